//! Objects of the simulated cloud, as seeds and the admin API write them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::faults::{FaultSpec, ThrottleStyle};
use crate::roles::RoleSpec;
use crate::tencent::model::TencentSeed;
use crate::tencent::settings::TencentSettings;

/// Account of keys, instances and backups that name none.
pub const DEFAULT_ACCOUNT: u64 = 2_100_000_000;

/// A cross-region backup policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    pub active: bool,
    /// Empty if none was ever set.
    pub region: String,
    /// Days. The API cannot set it; 7 is the documented default.
    pub ttl: i64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { active: false, region: String::new(), ttl: 7 }
    }
}

impl Policy {
    /// Returns an active policy that copies to `region`.
    pub fn to_region(region: impl Into<String>) -> Self {
        Self { active: true, region: region.into(), ..Self::default() }
    }
}

/// Values of CrossBackupRegion and TTL while the policy is inactive; not documented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InactiveShape {
    /// Neither field is in the response.
    Absent,
    /// An empty string and 0.
    #[default]
    Empty,
    /// The values of the last active policy.
    Last,
}

/// Delay until an accepted Modify is visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Visibility {
    #[default]
    AtOnce,
    AfterSeconds(f64),
    Never,
}

/// Schedule of the backups that an instance makes on its own while its policy is active.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cadence {
    /// At least 1.
    pub every_seconds: u32,
    /// Time for which each backup is Creating.
    #[serde(default)]
    pub creating_seconds: f64,
    /// Time for which each backup is Deleting after its TTL has passed.
    #[serde(default)]
    pub deleting_seconds: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InstanceSpec {
    pub instance_id: String,
    pub instance_name: String,
    pub account_id: u64,
    pub region: String,
    pub zone_ids: Vec<String>,
    /// An open set: Running, Creating, Scaling, …
    pub status: String,
    /// PrimarySecondary or Standalone.
    pub class: String,
    pub engine_version: String,
    pub project_name: String,
    pub charge_type: String,
    pub deletion_protection: String,
    pub vpc_id: String,
    pub maintenance_time: String,
    pub service_type: String,
    pub data_layout: String,
    pub create_time: Timestamp,
    pub node_number: i32,
    pub shard_number: i32,
    /// MiB per shard; on the wire a number that may have a fraction.
    pub shard_capacity: f64,
    pub tags: Vec<Tag>,
    /// Regions that DescribeAvailableCrossRegion lists and Modify accepts.
    pub available_regions: Vec<String>,
    pub policy: Policy,
    pub inactive_shape: InactiveShape,
    pub visibility: Visibility,
    pub cadence: Option<Cadence>,
    /// Fields that override those in the result of DescribeCrossRegionBackupPolicy as they are, `null` included.
    pub policy_overrides: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

impl Default for InstanceSpec {
    fn default() -> Self {
        Self {
            instance_id: String::new(),
            instance_name: String::new(),
            account_id: DEFAULT_ACCOUNT,
            region: "cn-beijing".into(),
            zone_ids: Vec::new(),
            status: "Running".into(),
            class: "PrimarySecondary".into(),
            engine_version: "7.0".into(),
            project_name: "default".into(),
            charge_type: "PostPaid".into(),
            deletion_protection: "disabled".into(),
            vpc_id: "vpc-rs5811nceqyov0x58x400001".into(),
            maintenance_time: "02:00-02:59".into(),
            service_type: "Basic".into(),
            data_layout: "RAM".into(),
            create_time: Timestamp::constant(1_735_689_600, 0),
            node_number: 2,
            shard_number: 1,
            shard_capacity: 1024.0,
            tags: Vec::new(),
            available_regions: vec!["cn-shanghai".into(), "cn-guangzhou".into()],
            policy: Policy::default(),
            inactive_shape: InactiveShape::default(),
            visibility: Visibility::default(),
            cadence: None,
            policy_overrides: Map::new(),
        }
    }
}

impl InstanceSpec {
    /// Returns a running instance without an active policy.
    pub fn new(instance_id: impl Into<String>, region: impl Into<String>) -> Self {
        Self { instance_id: instance_id.into(), region: region.into(), ..Self::default() }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BackupSpec {
    pub backup_point_id: String,
    pub backup_point_name: String,
    pub instance_id: String,
    pub account_id: u64,
    pub source_region: String,
    pub target_region: String,
    pub project_name: String,
    pub backup_strategy: String,
    pub backup_type: String,
    /// An open set. Derived from the time instead if `available_after_seconds` or `expires` is set.
    pub status: String,
    /// Defaults to the time at which the backup is set.
    pub start_time: Option<Timestamp>,
    /// Alternative to `start_time`: seconds before the time at which the backup is set (after it when negative).
    #[serde(skip_serializing)]
    pub age_seconds: Option<f64>,
    pub end_time: Option<Timestamp>,
    pub size: i64,
    /// Days.
    pub ttl: i64,
    pub progress: Option<i32>,
    /// Whether the backup is not listed before its start time.
    pub hidden_until_start: bool,
    /// The backup is Creating for this time after its start, then Available.
    pub available_after_seconds: Option<f64>,
    /// Whether the backup becomes Deleting when its TTL has passed, and is removed afterwards.
    pub expires: bool,
    /// Time for which the backup is Deleting.
    pub deleting_seconds: f64,
    /// Fields that override those of the item as they are, `null` included.
    pub overrides: Map<String, Value>,
}

impl Default for BackupSpec {
    fn default() -> Self {
        Self {
            backup_point_id: String::new(),
            backup_point_name: String::new(),
            instance_id: String::new(),
            account_id: DEFAULT_ACCOUNT,
            source_region: "cn-beijing".into(),
            target_region: "cn-shanghai".into(),
            project_name: "default".into(),
            backup_strategy: "AutomatedBackup".into(),
            backup_type: "Full".into(),
            status: "Available".into(),
            start_time: None,
            age_seconds: None,
            end_time: None,
            size: 486_040,
            ttl: 7,
            progress: None,
            hidden_until_start: false,
            available_after_seconds: None,
            expires: false,
            deleting_seconds: 0.0,
            overrides: Map::new(),
        }
    }
}

impl BackupSpec {
    /// Returns an available backup of `instance_id` that started `age_seconds` ago.
    pub fn new(backup_point_id: impl Into<String>, instance_id: impl Into<String>, age_seconds: f64) -> Self {
        Self {
            backup_point_id: backup_point_id.into(),
            instance_id: instance_id.into(),
            age_seconds: Some(age_seconds),
            ..Self::default()
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyStatus {
    #[default]
    Active,
    /// Known to the cloud, but not yet or no longer valid.
    Inactive,
    Revoked,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KeySpec {
    pub access_key_id: String,
    pub secret_access_key: String,
    /// Token of a temporary key; every request must carry it.
    pub session_token: Option<String>,
    pub expires_at: Option<Timestamp>,
    /// Alternative to `expires_at`: seconds after the time at which the key is set.
    #[serde(skip_serializing)]
    pub expires_in_seconds: Option<f64>,
    pub account_id: u64,
    pub user: String,
    pub status: KeyStatus,
    /// Denied action names, `*` for all, or `ACTION/*` for an action's calls that name no instance (Volcengine), as for
    /// a key of one project.
    pub denied: BTreeSet<String>,
}

impl Default for KeySpec {
    fn default() -> Self {
        Self {
            access_key_id: String::new(),
            secret_access_key: String::new(),
            session_token: None,
            expires_at: None,
            expires_in_seconds: None,
            account_id: DEFAULT_ACCOUNT,
            user: "backup-operator".into(),
            status: KeyStatus::default(),
            denied: BTreeSet::new(),
        }
    }
}

impl KeySpec {
    /// Returns a permanent key without denied actions.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            ..Self::default()
        }
    }

    pub(crate) fn denies(&self, action: &str) -> bool {
        self.denied.contains(action) || self.denied.contains("*")
    }
}

/// Rate limit of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    pub per_second: f64,
    /// Number of requests that may come at once; defaults to `per_second` (at least 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<f64>,
    #[serde(default)]
    pub style: ThrottleStyle,
    /// Retry-After header of the refusal, sent as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccountSpec {
    pub account_id: u64,
    #[serde(default)]
    pub rate_limit: Option<RateLimit>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// Whether responses contain fields and enum values that no client knows.
    pub quirks: bool,
    pub tencent: TencentSettings,
}

impl Settings {
    /// Adds a field that no client knows to a response, if `quirks` is set.
    pub(crate) fn with_quirk(&self, mut object: Value) -> Value {
        if self.quirks {
            object["FutureField"] = json!({ "Nested": [1, "two", null], "Enabled": true });
        }
        object
    }
}

/// A whole world, or additions to one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Seed {
    pub settings: Option<Settings>,
    pub accounts: Vec<AccountSpec>,
    pub keys: Vec<KeySpec>,
    pub roles: Vec<RoleSpec>,
    pub instances: Vec<InstanceSpec>,
    pub backups: Vec<BackupSpec>,
    pub tencent: TencentSeed,
    pub faults: Vec<FaultSpec>,
}
