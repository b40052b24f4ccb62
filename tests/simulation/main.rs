//! All controllers in virtual time, with an API server and the clouds' simulator in this process: faults at every step, and what
//! fleets cost.

mod faults;
mod fleet;
mod harness;
mod metrics;
mod shard;
mod terms;
