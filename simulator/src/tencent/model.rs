//! Tencent's instances and backups, as seeds and the admin API write them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{DEFAULT_ACCOUNT, Tag};

/// Region of instances that name none.
pub(super) const DEFAULT_REGION: &str = "ap-guangzhou";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TencentInstanceSpec {
    pub instance_id: String,
    pub instance_name: String,
    pub account_id: u64,
    pub region: String,
    /// 0 init, 1 in process, 2 running, -2 isolated, -3 to be deleted.
    pub status: i64,
    /// 16 is Redis 6.2 cluster.
    pub instance_type: i64,
    /// MB per shard.
    pub mem_size: i64,
    pub shard_num: i64,
    pub replicas_num: i64,
    pub project_id: i64,
    pub create_time: Timestamp,
    pub tags: Vec<Tag>,
    /// Fields that override those of the item of DescribeInstances as they are, `null` included.
    pub overrides: Map<String, Value>,
}

impl Default for TencentInstanceSpec {
    fn default() -> Self {
        Self {
            instance_id: String::new(),
            instance_name: String::new(),
            account_id: DEFAULT_ACCOUNT,
            region: DEFAULT_REGION.into(),
            status: 2,
            instance_type: 16,
            mem_size: 2048,
            shard_num: 3,
            replicas_num: 1,
            project_id: 0,
            create_time: Timestamp::constant(1_735_689_600, 0),
            tags: Vec::new(),
            overrides: Map::new(),
        }
    }
}

impl TencentInstanceSpec {
    /// Returns a running instance.
    pub fn new(instance_id: impl Into<String>, region: impl Into<String>) -> Self {
        Self { instance_id: instance_id.into(), region: region.into(), ..Self::default() }
    }
}

/// A `None` takes the value of the instance if that exists, else its default, unless the field says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TencentBackupSpec {
    pub backup_id: String,
    pub instance_id: String,
    pub instance_name: Option<String>,
    pub account_id: u64,
    /// Defaults to the region of the instance at the time at which the backup is set.
    pub region: Option<String>,
    /// Defaults to the time at which the backup is set.
    pub start_time: Option<Timestamp>,
    /// Alternative to `start_time`: seconds before the time at which the backup is set (after it when negative).
    #[serde(skip_serializing)]
    pub age_seconds: Option<f64>,
    /// Defaults to 21 seconds after the start, as in the sample.
    pub end_time: Option<Timestamp>,
    /// Whether the end is shown as `0000-00-00 00:00:00`, regardless of `end_time`.
    pub running: bool,
    /// "0" manual, "1" automatic, "2" before a change of the specification.
    pub backup_type: String,
    /// 1 in process or locked, 2 normal, 3 being exported, 4 exported, -1 expired, -2 deleted.
    pub status: i64,
    pub locked: bool,
    pub remark: String,
    /// Bytes.
    pub size: i64,
    /// Defaults to seven days after the start, as in the sample.
    pub expire_time: Option<Timestamp>,
    pub file_type: String,
    pub encrypted: bool,
    /// Decryption key in DescribeBackupDetail of an encrypted backup: a secret in the real cloud.
    pub decrypt_key: String,
    pub kms_key_id: String,
    pub instance_type: Option<i64>,
    pub mem_size: Option<i64>,
    pub shard_num: Option<i64>,
    pub replicas_num: Option<i64>,
    /// Fields that override those of the item of DescribeInstanceBackups as they are, `null` included.
    pub overrides: Map<String, Value>,
    /// Fields that override those of the response of DescribeBackupDetail as they are, `null` included.
    pub detail_overrides: Map<String, Value>,
}

impl Default for TencentBackupSpec {
    fn default() -> Self {
        Self {
            backup_id: String::new(),
            instance_id: String::new(),
            instance_name: None,
            account_id: DEFAULT_ACCOUNT,
            region: None,
            start_time: None,
            age_seconds: None,
            end_time: None,
            running: false,
            backup_type: "1".into(),
            status: 2,
            locked: false,
            remark: String::new(),
            size: 537,
            expire_time: None,
            file_type: "RDB-Redis 6.2".into(),
            encrypted: false,
            decrypt_key: "exampleDecryptKey".into(),
            kms_key_id: "example-kms-key-id".into(),
            instance_type: None,
            mem_size: None,
            shard_num: None,
            replicas_num: None,
            overrides: Map::new(),
            detail_overrides: Map::new(),
        }
    }
}

impl TencentBackupSpec {
    /// Returns a normal automatic backup of `instance_id` that started `age_seconds` ago.
    pub fn new(backup_id: impl Into<String>, instance_id: impl Into<String>, age_seconds: f64) -> Self {
        Self {
            backup_id: backup_id.into(),
            instance_id: instance_id.into(),
            age_seconds: Some(age_seconds),
            ..Self::default()
        }
    }
}

/// Tencent's part of a seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TencentSeed {
    pub instances: Vec<TencentInstanceSpec>,
    pub backups: Vec<TencentBackupSpec>,
}
