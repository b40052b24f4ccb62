//! Cloud faults: each fault of the simulator, at each action, in each phase of many policies' lives, next to an account
//! without faults. After the fault everything converges, calls during it are bounded, and the healthy account is not
//! affected.

mod call_pacing;
mod check;
mod degraded_status;
mod faults;
mod matrix;
mod phases;
mod table;
mod thousands;
