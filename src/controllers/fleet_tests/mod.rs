//! Fleets in virtual time: what they cost in calls and writes, and how long people wait.

mod bad_input;
mod counts;
mod lanes;
mod outage;
mod restart;
mod writes;
