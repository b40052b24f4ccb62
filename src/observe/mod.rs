//! What is true now: the accounts and the clients made for them, and what these read.

pub mod accounts;
mod instances;
mod inventory;
mod reach;
mod recipe;

pub use accounts::{Account, AccountKey, Accounts, View};
pub use inventory::{Ask, Details, InventoryReading};
pub use reach::Reached;
pub use recipe::{NoCredentials, Recipe, home_region, provider_name};
