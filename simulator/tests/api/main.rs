//! Tests of the simulator through its client-facing API.

mod admin;
mod backups;
mod binary;
mod client;
mod faults;
mod instances;
mod policy;
mod scale;
mod signature;
mod sockets;
mod sts;
mod tencent_backups;
mod tencent_client;
mod tencent_faults;
mod tencent_gateway;
mod tencent_instances;
mod tencent_sts;
mod tencent_vectors;
mod vectors;
mod world;
