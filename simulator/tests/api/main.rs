//! Tests of the simulator as its clients see it.

mod admin;
mod backups;
mod binary;
mod client;
mod faults;
mod instances;
mod policy;
mod signature;
mod sockets;
mod vectors;
mod world;
