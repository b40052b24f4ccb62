//! Cloud-neutral types: instance, policy, backup, failure, condition. No kube, no HTTP, no clock.

pub mod backup;
pub mod condition;
pub mod facts;
pub mod failure;
pub mod instance;
pub mod named;
pub mod policy;

pub use backup::{Backup, BackupDetail, InstanceInfo};
pub use condition::{Condition, Outcome, Progress, Reason, Truth};
pub use facts::Facts;
pub use failure::{Class, Failure, Kind, RawCode};
pub use instance::Instance;
pub use named::Named;
pub use policy::{Change, InstanceRef, PolicyState};
