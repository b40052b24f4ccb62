//! Inventories: listing schedule, summary of a listing, and the Ready condition.

#[cfg(test)]
mod counting_tests;
pub mod listing_summary;
pub mod memory;
#[cfg(test)]
mod memory_tests;
pub mod tally;

pub use listing_summary::{InstanceSummary, ListingSummary, PolicyObservation, PolicySetting, Unprotected};
pub use memory::{DesiredInventory, Memory, NextAction};
pub use tally::{Tally, TwoPassTally};
