//! Fleets in virtual time: their cost in calls and writes, and the latency of changes.

mod bad_input;
mod change_latency;
mod counts;
mod elected;
mod listing;
mod outage;
mod refused;
mod refused_writes;
mod restart;
mod secrets;
mod writes;
