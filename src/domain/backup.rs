//! A backup in the cloud, and the instance data in its record.

use jiff::Timestamp;
use jiff::fmt::serde::timestamp::nanosecond;
use serde::{Deserialize, Serialize};

/// One backup, in the terms of the custom resources: a cross-region copy (Volcengine, BytePlus), or the instance's
/// own backup (Tencent Cloud).
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Backup {
    pub instance_id: String,
    pub backup_point_id: String,
    pub backup_point_name: Option<String>,
    /// `ManualBackup`, `AutomatedBackup`, or another value of the cloud.
    pub strategy: Option<String>,
    /// `Full`, or another value of the cloud.
    pub backup_type: Option<String>,
    /// Code of the cloud for the strategy, where `strategy` is a translation of it (Tencent Cloud: BackupType).
    pub provider_type: Option<String>,
    /// `Available`, `Creating`, `Unavailable`, `Deleting`, with Tencent Cloud also `Locked`, `Exporting`, `Exported`,
    /// `Expired`, `Deleted`. Any other value of Volcengine stays unchanged; `Unknown` if the cloud reports none, or
    /// an unknown code.
    pub status: String,
    /// Status as the cloud reports it.
    pub provider_status: Option<String>,
    pub source_region: Option<String>,
    pub target_region: Option<String>,
    #[serde(with = "nanosecond::optional")]
    pub start_time: Option<Timestamp>,
    #[serde(with = "nanosecond::optional")]
    pub end_time: Option<Timestamp>,
    /// Bytes. No page of the cloud documents the unit; its Cloud Control provider specifies bytes.
    pub size_bytes: Option<i64>,
    pub ttl_days: Option<i64>,
    /// Time at which the cloud deletes the backup (Tencent Cloud).
    #[serde(with = "nanosecond::optional")]
    pub expiry_time: Option<Timestamp>,
    pub project_name: Option<String>,
    pub instance: Option<InstanceInfo>,
    /// Details that only Tencent Cloud reports: in part in its list, in full by DescribeBackupDetail.
    pub detail: BackupDetail,
}

/// Details of a backup beyond the fields of every listing. A key that decrypts the backup is never part of them.
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
    /// Adds details that were fetched before; values of the listing take precedence, since they are newer.
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

/// Instance data in a backup's own record.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct InstanceInfo {
    pub name: Option<String>,
    pub engine_version: Option<String>,
}
