//! Inventories: when to list, what a listing amounts to, and what Ready says of it.

pub mod found;
pub mod memory;
pub mod tally;
#[cfg(test)]
mod tests;

pub use found::{Found, InstanceLine, PolicyKnowledge, PolicyTold, Unprotected};
pub use memory::{Do, Memory, Wanted};
pub use tally::{Reading, Tally};
