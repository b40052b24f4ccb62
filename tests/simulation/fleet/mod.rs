//! Fleets in virtual time: what they cost in calls and writes, and how long people wait.

mod bad_input;
mod counts;
mod elected;
mod lanes;
mod listing;
mod outage;
mod refused;
mod refused_writes;
mod restart;
mod secrets;
mod writes;
