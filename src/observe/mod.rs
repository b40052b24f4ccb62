//! Cloud accounts known to the operator: their clients, credentials and verification state, and reads of a cloud
//! through them.

mod account;
pub mod accounts;
pub mod identity;
mod instances;
mod inventory;
mod reach;
mod recipe;
mod regions;
mod supply;

pub use account::Account;
pub use accounts::{AccountKey, Accounts, LastSeen, Means, Sharing, View};
pub use instances::Instances;
pub use inventory::{Ask, Details, InventoryReading};
pub use reach::{Reached, just_changed};
pub use recipe::{Recipe, home_region, provider_name};
pub use supply::{NoCredentials, Why};
