//! `BackupInventory`: read-only list of the backups that the cloud holds for an instance or for a whole account.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::AccountRef;
use super::time;

/// Backups to list, and the interval between listings.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "crossregionbackup.io",
    version = "v1alpha1",
    kind = "BackupInventory",
    doc = "The backups that the cloud holds for one instance or for a whole account in a region. It reads alone: nothing in the cloud is ever changed for it.",
    plural = "backupinventories",
    namespaced,
    status = "BackupInventoryStatus",
    shortname = "bkinv",
    category = "crossregionbackup",
    derive = "PartialEq",
    selectable = ".spec.instanceId",
    selectable = ".spec.region",
    selectable = ".spec.accountRef.name",
    printcolumn(name = "Scope", type_ = "string", json_path = ".spec.scope"),
    printcolumn(name = "Instance", type_ = "string", json_path = ".spec.instanceId"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Total", type_ = "integer", json_path = ".status.total"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.totalSize"),
    printcolumn(name = "Newest", type_ = "date", json_path = ".status.newest.time"),
    printcolumn(name = "Unprotected", type_ = "integer", json_path = ".status.unprotected.total"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name must be at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.scope == 'Account' || has(self.instanceId)").message("instanceId is required when scope is Instance").field_path(".instanceId").reason(Reason::FieldValueRequired))]
#[x_kube(validation = Rule::new("self.scope == 'Instance' || !has(self.instanceId)").message("instanceId is forbidden when scope is Account").field_path(".instanceId").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("self.scope == 'Account' || !has(self.filter) || !has(self.filter.backupPointName)").message("filter.backupPointName is allowed with scope Account only").field_path(".filter.backupPointName").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("self.scope == 'Account' || !has(self.filter) || !has(self.filter.backupPointId)").message("filter.backupPointId is allowed with scope Account only").field_path(".filter.backupPointId").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("self.scope == 'Account' || !has(self.filter) || !has(self.filter.projectName)").message("filter.projectName is allowed with scope Account only").field_path(".filter.projectName").reason(Reason::FieldValueForbidden))]
pub struct BackupInventorySpec {
    /// Account whose backups are listed.
    pub account_ref: AccountRef,
    /// Region of the instances, such as cn-beijing.
    #[schemars(length(min = 4, max = 40), regex(pattern = r"^[a-z]{2,}(-[a-z0-9]+)+$"))]
    pub region: String,
    /// Instance: backups of one instance. Account: backups of every instance of the account in the region.
    pub scope: Scope,
    /// Id of the instance. Required for scope Instance, forbidden for scope Account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 5, max = 64), regex(pattern = r"^[a-z][a-z0-9]*(-[a-z0-9]+)+$"))]
    pub instance_id: Option<String>,
    /// Backups to count and list: those that match every member that is set. Without a filter, all backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// If true, items also contain the fields that only DescribeBackupDetail returns. Tencent Cloud only: one call
    /// for each backup in items, once. Default false.
    #[serde(default)]
    pub include_details: bool,
    /// Maximum number of backups in status.items, newest first: 0 to 300, default 50. All backups are counted.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 0, max = 300))]
    pub limit: i32,
    /// Interval between listings: 1m to 24h, default 10m.
    #[serde(default = "default_refresh_interval")]
    #[schemars(length(min = 2, max = 21), regex(pattern = r"^([0-9]{1,6}(h|m|s)){1,3}$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('24h')").message("refreshInterval must be 1m to 24h"))]
    pub refresh_interval: String,
    /// If true, no requests are sent to the cloud for this resource. Default false.
    #[serde(default)]
    pub suspend: bool,
}

fn default_limit() -> i32 {
    50
}

fn default_refresh_interval() -> String {
    "10m".to_owned()
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Scope {
    Instance,
    Account,
}

/// Backups to count and list: those that match every member that is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.startTime) == has(self.endTime)").message("startTime and endTime must be given together"))]
// Both times are compared in whole seconds, the resolution of the clouds. In CEL, a difference of 293 years
// overflows, as does a sum beyond the years 1 to 9999: times out of range are left to the rules of the two fields.
#[x_kube(validation = Rule::new("!has(self.startTime) || !has(self.endTime) || self.endTime < timestamp('1970-01-01T00:00:00Z') || self.endTime > timestamp('9999-12-31T23:59:59Z') || self.endTime - duration('1s') >= self.startTime").message("endTime must be later than startTime").field_path(".endTime"))]
#[x_kube(validation = Rule::new("!has(self.since) || !has(self.startTime) && !has(self.endTime)").message("since is instead of startTime and endTime").field_path(".since"))]
pub struct Filter {
    /// Backups with one of these statuses. Volcengine and BytePlus have Creating, Available, Unavailable and
    /// Deleting; Tencent Cloud has Creating, Locked, Available, Exporting, Exported, Expired and Deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub statuses: Vec<BackupStatus>,
    /// Backups with one of these strategies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub strategies: Vec<BackupStrategy>,
    /// Backups started at this time or later: 1970-01-01T00:00:00Z to 9999-12-31T23:59:59Z. Requires endTime.
    #[serde(default, deserialize_with = "time::deserialize", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= timestamp('1970-01-01T00:00:00Z') && self <= timestamp('9999-12-31T23:59:59Z')").message("startTime must be 1970-01-01T00:00:00Z to 9999-12-31T23:59:59Z"))]
    pub start_time: Option<Time>,
    /// Backups started at this time or earlier, up to 9999-12-31T23:59:59Z. Requires startTime, which must be
    /// earlier.
    #[serde(default, deserialize_with = "time::deserialize", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= timestamp('1970-01-01T00:00:00Z') && self <= timestamp('9999-12-31T23:59:59Z')").message("endTime must be 1970-01-01T00:00:00Z to 9999-12-31T23:59:59Z"))]
    pub end_time: Option<Time>,
    /// Backups started within this duration before the listing: 1m to 8760h. Cannot be combined with startTime and
    /// endTime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 21), regex(pattern = r"^([0-9]{1,6}(h|m|s)){1,3}$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('8760h')").message("since must be 1m to 8760h"))]
    pub since: Option<String>,
    /// Backups whose name contains this text, as the cloud matches it. Scope Account with Volcengine or BytePlus
    /// only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub backup_point_name: Option<String>,
    /// Backups whose id contains this text, as the cloud matches it. Scope Account with Volcengine or BytePlus only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub backup_point_id: Option<String>,
    /// Backups of instances in this project. Scope Account with Volcengine or BytePlus only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub project_name: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum BackupStatus {
    Available,
    Creating,
    Unavailable,
    Deleting,
    Locked,
    Exporting,
    Exported,
    Expired,
    Deleted,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum BackupStrategy {
    ManualBackup,
    AutomatedBackup,
}

/// Result of the last complete listing.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct BackupInventoryStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation crossregionbackup.io/reconcile-requested-at that the operator last acted on, even if
    /// the listing failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// Kind of the listed backups. CrossRegion: copies in other regions (Volcengine, BytePlus). Local: the instances'
    /// own backups (Tencent Cloud).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups_of: Option<BackupsOf>,
    /// Number of backups that match the filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// Total size in bytes of the backups that match the filter; a backup of unknown size counts as 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_size_bytes: Option<i64>,
    /// Total size in binary units, such as 97.7 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_size: Option<String>,
    /// Number of backups by status: always those that the provider is known to list, others if present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_status: Option<BTreeMap<String, i64>>,
    /// Newest usable backup that matches the filter, by startTime. Usable: Available; with Tencent Cloud also
    /// Exporting, Exported and Locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Newest>,
    /// Newest backups that match the filter, newest first by startTime; at most spec.limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<InventoryItem>>,
    /// Scope Account: every instance of the account in the region, regardless of the filter. Instances without a
    /// usable backup first, then those with the oldest newestBackup; at most 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<Vec<InventoryInstance>>,
    /// Scope Account, Volcengine and BytePlus: instances whose cross-region backup is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unprotected: Option<Unprotected>,
    /// Lists of this status that were truncated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<Truncated>,
    /// Ready, and either Reconciling or Stalled while Ready waits for something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum BackupsOf {
    CrossRegion,
    Local,
}

/// Newest usable backup.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Newest {
    /// Start time of the backup.
    pub time: Time,
    /// Id of the backup in the cloud.
    pub backup_point_id: String,
    /// Id of the instance that was backed up.
    pub instance_id: String,
}

/// One backup. Names and remarks are truncated to 64 characters.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryItem {
    /// Id of the instance that was backed up.
    pub instance_id: String,
    /// Name of the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_name: Option<String>,
    /// Project of the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
    /// Id of the backup in the cloud.
    pub backup_point_id: String,
    /// Name of the backup; a manual backup keeps the name that it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_point_name: Option<String>,
    /// Backup strategy: AutomatedBackup, ManualBackup, with Tencent Cloud also SpecificationChange, or Unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Backup type: Full, or another value of the cloud.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub backup_type: Option<String>,
    /// Status of the backup, with the same values for every cloud. Any other value of Volcengine unchanged; Unknown
    /// if the cloud reports none, or an unknown number.
    pub status: String,
    /// Status as the cloud reports it, a word or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<String>,
    /// Code of the cloud for the strategy (Tencent Cloud: BackupType).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_type: Option<String>,
    /// Region of the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_region: Option<String>,
    /// Region of the copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_region: Option<String>,
    /// Start time of the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// End time of the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// Time at which the cloud deletes the backup (Tencent Cloud).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_time: Option<Time>,
    /// Size in bytes as the cloud reports it. Volcengine documents no unit; bytes are assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Retention in days (Volcengine, BytePlus).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_days: Option<i64>,
    /// Whether the cloud has locked the backup. Tencent Cloud with includeDetails only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
    /// Remark that was given to a manual backup. Tencent Cloud with includeDetails only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// Number for engine and architecture, such as 16 for Redis 6.2 cluster. Tencent Cloud with includeDetails only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<i64>,
    /// Memory of one shard, in MiB. Tencent Cloud with includeDetails only.
    #[serde(default, rename = "memSizeMiB", skip_serializing_if = "Option::is_none")]
    pub mem_size_mib: Option<i64>,
    /// Number of shards. Tencent Cloud with includeDetails only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_num: Option<i64>,
    /// Number of replicas. Tencent Cloud with includeDetails only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas_num: Option<i64>,
}

/// One instance of the account.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryInstance {
    /// Id of the instance in the cloud.
    pub instance_id: String,
    /// Name of the instance, truncated to 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_name: Option<String>,
    /// Number of backups of the instance, of every status.
    pub total: i64,
    /// Start time of the newest usable backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_backup: Option<Time>,
    /// Whether cross-region backup is on (Volcengine, BytePlus); absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_active: Option<bool>,
}

/// Instances without cross-region backup.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unprotected {
    /// Number of instances whose cross-region backup is off.
    pub total: i64,
    /// Instances whose cross-region backup is off, by id; at most 100.
    #[serde(default)]
    pub items: Vec<UnprotectedInstance>,
    /// Number of standalone instances, which cannot have cross-region backups.
    pub unsupported: i64,
    /// Number of instances whose policy could not be described.
    pub unknown: i64,
    /// Time of the oldest poll of a policy that these numbers are based on. It changes only together with another
    /// field of the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
}

/// One instance without cross-region backup.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnprotectedInstance {
    /// Id of the instance in the cloud.
    pub instance_id: String,
    /// Name of the instance, truncated to 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_name: Option<String>,
}

/// Truncated lists: cut at their limit, or because status must stay below 256 KiB.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Truncated {
    /// Whether status.items has fewer backups than status.total.
    pub items: bool,
    /// Whether instances are missing in status.instances.
    pub instances: bool,
    /// Whether instances are missing in status.unprotected.items.
    pub unprotected: bool,
}
