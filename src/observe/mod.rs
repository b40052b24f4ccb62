//! What is true now: the accounts and the clients made for them.

pub mod accounts;
mod reach;
mod recipe;

pub use accounts::{Account, AccountKey, Accounts, View};
pub use reach::Reached;
pub use recipe::{NoCredentials, Recipe, home_region, provider_name};
