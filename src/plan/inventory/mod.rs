//! Inventories: listing schedule, summary of a listing, and the Ready condition.

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
