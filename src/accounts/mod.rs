//! Cloud accounts known to the operator: their clients, credentials and verification state, and reads of a cloud
//! through them.

mod account;
mod account_client;
mod client_spec;
mod credentials_provider;
pub mod identity;
mod instances;
mod inventory;
mod regions;
pub mod registry;

pub use account::Account;
pub use account_client::{AccountClient, account_just_changed};
pub use client_spec::{ClientSpec, home_region, provider_name};
pub use credentials_provider::{CredentialsError, CredentialsRequest};
pub use instances::Instances;
pub use inventory::{Details, InventoryReading, InventoryScope};
pub use registry::{AccountKey, AccountView, Accounts, Deps, LastSeen, Sharing};
