//! A backup that the cloud holds, and what a backup tells of its instance.

use jiff::Timestamp;

/// One cross-region copy of a backup, in the words of the custom resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backup {
    pub instance_id: String,
    pub backup_point_id: String,
    pub backup_point_name: Option<String>,
    /// `ManualBackup`, `AutomatedBackup`, or what else the cloud says.
    pub strategy: Option<String>,
    /// `Full`, or what else the cloud says.
    pub backup_type: Option<String>,
    /// `Available`, `Creating`, `Unavailable`, `Deleting`; what else the cloud says stays as it is; `Unknown` where it says nothing.
    pub status: String,
    /// The cloud's own word for the status.
    pub provider_status: Option<String>,
    pub source_region: Option<String>,
    pub target_region: Option<String>,
    pub start_time: Option<Timestamp>,
    pub end_time: Option<Timestamp>,
    /// Bytes. The unit is documented by none of the cloud's pages; its Cloud Control provider says bytes.
    pub size_bytes: Option<i64>,
    pub ttl_days: Option<i64>,
    pub project_name: Option<String>,
    pub instance: Option<InstanceInfo>,
}

/// What a backup's own record says of the instance it was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceInfo {
    pub name: Option<String>,
    pub engine_version: Option<String>,
}
