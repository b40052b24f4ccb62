//! Inventories: when to list, what a listing amounts to, and what Ready says of it.

#[cfg(test)]
mod counting_tests;
pub mod found;
pub mod memory;
#[cfg(test)]
mod memory_tests;
pub mod tally;

pub use found::{Found, InstanceLine, PolicyKnowledge, PolicyTold, Unprotected};
pub use memory::{Do, Memory, Wanted};
pub use tally::{Reading, Tally};
