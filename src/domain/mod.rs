//! Cloud-neutral types: instance, policy, backup, failure, condition. No kube, no HTTP, no clock.

pub mod backup;
pub mod condition;
pub mod facts;
pub mod failure;
pub mod instance;
pub mod object_key;
pub mod policy;

pub use backup::{Backup, BackupDetail, InstanceInfo};
pub use condition::{Condition, ConditionStatus, Outcome, Progress, Reason};
pub use facts::Facts;
pub use failure::{Class, Failure, Kind, RawCode};
pub use instance::Instance;
pub use object_key::ObjectKey;
pub use policy::{Change, InstanceRef, PolicyState};
