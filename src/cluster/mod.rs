//! What the operator needs of Kubernetes besides watching: leadership, Events, Secrets, and writes to status and finalizers.

pub mod connect;
pub mod elector;
pub mod events;
pub mod secrets;
pub mod status;
#[cfg(test)]
pub(crate) mod testing;

/// The name under which the operator writes: the field manager, and the Lease's name.
pub const MANAGER: &str = "cross-region-backup-operator";

/// Whether the API server answered with this HTTP status.
pub fn answered(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}
