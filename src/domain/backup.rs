//! A backup that the cloud holds, and what a backup tells of its instance.

use jiff::Timestamp;
use jiff::fmt::serde::timestamp::nanosecond;
use serde::{Deserialize, Serialize};

/// One backup, in the words of the custom resources: a cross-region copy (Volcengine, BytePlus), or the instance's own
/// backup (Tencent Cloud).
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Backup {
    pub instance_id: String,
    pub backup_point_id: String,
    pub backup_point_name: Option<String>,
    /// `ManualBackup`, `AutomatedBackup`, or what else the cloud says.
    pub strategy: Option<String>,
    /// `Full`, or what else the cloud says.
    pub backup_type: Option<String>,
    /// The cloud's own code of how it was begun, where `strategy` is a translation of it (Tencent Cloud: BackupType).
    pub provider_type: Option<String>,
    /// `Available`, `Creating`, `Unavailable`, `Deleting`, with Tencent Cloud also `Locked`, `Exporting`, `Exported`, `Expired`,
    /// `Deleted`; what else Volcengine says stays as it is; `Unknown` where a cloud says nothing, or a code that is not known.
    pub status: String,
    /// The cloud's own word for the status.
    pub provider_status: Option<String>,
    pub source_region: Option<String>,
    pub target_region: Option<String>,
    #[serde(with = "nanosecond::optional")]
    pub start_time: Option<Timestamp>,
    #[serde(with = "nanosecond::optional")]
    pub end_time: Option<Timestamp>,
    /// Bytes. The unit is documented by none of the cloud's pages; its Cloud Control provider says bytes.
    pub size_bytes: Option<i64>,
    pub ttl_days: Option<i64>,
    /// When the cloud deletes it (Tencent Cloud).
    #[serde(with = "nanosecond::optional")]
    pub expiry_time: Option<Timestamp>,
    pub project_name: Option<String>,
    pub instance: Option<InstanceInfo>,
    /// What only Tencent Cloud tells: in part by its list, in full by DescribeBackupDetail.
    pub detail: BackupDetail,
}

/// What is told of a backup beyond what every listing tells. A key that decrypts the backup is never a part of it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupDetail {
    pub locked: Option<bool>,
    pub remark: Option<String>,
    /// Tencent Cloud's number for engine and architecture.
    pub instance_type: Option<i64>,
    /// Memory of one shard, in MiB.
    pub mem_size_mib: Option<i64>,
    pub shard_num: Option<i64>,
    pub replicas_num: Option<i64>,
}

impl BackupDetail {
    /// Adds what its details told once; what the listing tells of a backup is newer.
    pub fn complete(&mut self, known: &BackupDetail) {
        *self = BackupDetail {
            locked: self.locked.or(known.locked),
            remark: self.remark.take().or_else(|| known.remark.clone()),
            instance_type: self.instance_type.or(known.instance_type),
            mem_size_mib: known.mem_size_mib,
            shard_num: known.shard_num,
            replicas_num: known.replicas_num,
        };
    }
}

/// What a backup's own record says of the instance it was made from.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct InstanceInfo {
    pub name: Option<String>,
    pub engine_version: Option<String>,
}
