//! The custom resources: types, schema and CEL rules. No logic, no IO.

pub mod account;
pub mod duration;
mod generate;
pub mod inventory;
pub mod policy;

pub use account::{CloudAccount, ClusterCloudAccount};
pub use generate::{crds, yaml};
pub use inventory::BackupInventory;
pub use policy::CrossRegionBackupPolicy;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// There only while `deletionPolicy: Disable`.
pub const FINALIZER: &str = "crossregionbackup.io/disable-on-delete";
/// Any new value asks for a look now.
pub const RECONCILE_REQUESTED_AT: &str = "crossregionbackup.io/reconcile-requested-at";

/// The time as Kubernetes writes it, in whole seconds: what is written must read back as the same value,
/// or every comparison with the stored status would differ.
pub fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}
