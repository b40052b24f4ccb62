//! Simulation tests: all controllers against an in-process API server and the cloud simulator, in virtual time. They
//! cover faults at every step and the cost of large fleets.

mod faults;
mod fleet;
mod harness;
mod metrics;
mod shard;
mod terms;
