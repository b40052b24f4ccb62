//! `BackupInventory`: read-only, the backups that the cloud holds for an instance or for a whole account.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::AccountRef;
use super::time;

/// Which backups are listed, and how often.
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
    /// The account whose backups are listed.
    pub account_ref: AccountRef,
    /// Region of the instances, such as cn-beijing.
    #[schemars(length(min = 4, max = 40), regex(pattern = r"^[a-z]{2,}(-[a-z0-9]+)+$"))]
    pub region: String,
    /// Instance: the backups of one instance. Account: those of every instance of the account in the region.
    pub scope: Scope,
    /// Id of the instance: required for scope Instance, forbidden for scope Account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 5, max = 64), regex(pattern = r"^[a-z][a-z0-9]*(-[a-z0-9]+)+$"))]
    pub instance_id: Option<String>,
    /// Which backups are counted and listed; without it all are. Every member must fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// True: items also tell what only DescribeBackupDetail does. Tencent Cloud alone has such details: one call for each
    /// backup in items, once. Default false.
    #[serde(default)]
    pub include_details: bool,
    /// How many of the newest backups are listed in status.items: 0 to 300, default 50. All are counted.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 0, max = 300))]
    pub limit: i32,
    /// How often the cloud is asked: 1m to 24h, default 10m.
    #[serde(default = "default_refresh_interval")]
    #[schemars(length(min = 2, max = 21), regex(pattern = r"^([0-9]{1,6}(h|m|s)){1,3}$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('24h')").message("refreshInterval must be 1m to 24h"))]
    pub refresh_interval: String,
    /// True: the cloud is not asked for this resource. Default false.
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

/// Which backups are counted and listed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.startTime) == has(self.endTime)").message("startTime and endTime must be given together"))]
// Both are compared in whole seconds, as clouds take them. A difference of 293 years overflows in CEL, as a sum beyond the years 1 to
// 9999 does: what is out of range is left to the rules of the two fields.
#[x_kube(validation = Rule::new("!has(self.startTime) || !has(self.endTime) || self.endTime < timestamp('1970-01-01T00:00:00Z') || self.endTime > timestamp('9999-12-31T23:59:59Z') || self.endTime - duration('1s') >= self.startTime").message("endTime must be later than startTime").field_path(".endTime"))]
#[x_kube(validation = Rule::new("!has(self.since) || !has(self.startTime) && !has(self.endTime)").message("since is instead of startTime and endTime").field_path(".since"))]
pub struct Filter {
    /// Backups of one of these statuses. Volcengine and BytePlus have Creating, Available, Unavailable and Deleting;
    /// Tencent Cloud has Creating, Locked, Available, Exporting, Exported, Expired and Deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub statuses: Vec<BackupStatus>,
    /// Backups that were begun so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub strategies: Vec<BackupStrategy>,
    /// Backups begun at this time or later, from 1970-01-01T00:00:00Z to 9999-12-31T23:59:59Z; endTime is required with it.
    #[serde(default, deserialize_with = "time::deserialize", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= timestamp('1970-01-01T00:00:00Z') && self <= timestamp('9999-12-31T23:59:59Z')").message("startTime must be 1970-01-01T00:00:00Z to 9999-12-31T23:59:59Z"))]
    pub start_time: Option<Time>,
    /// Backups begun at this time or earlier, up to 9999-12-31T23:59:59Z; startTime is required with it, and must be earlier.
    #[serde(default, deserialize_with = "time::deserialize", skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= timestamp('1970-01-01T00:00:00Z') && self <= timestamp('9999-12-31T23:59:59Z')").message("endTime must be 1970-01-01T00:00:00Z to 9999-12-31T23:59:59Z"))]
    pub end_time: Option<Time>,
    /// Backups begun within this time before the look: 1m to 8760h. Instead of startTime and endTime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 21), regex(pattern = r"^([0-9]{1,6}(h|m|s)){1,3}$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('8760h')").message("since must be 1m to 8760h"))]
    pub since: Option<String>,
    /// Backups with a name that contains this, as the cloud matches it. Scope Account with Volcengine or BytePlus only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub backup_point_name: Option<String>,
    /// Backups with an id that contains this, as the cloud matches it. Scope Account with Volcengine or BytePlus only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub backup_point_id: Option<String>,
    /// Backups of instances of this project. Scope Account with Volcengine or BytePlus only.
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

/// What the last complete listing found.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct BackupInventoryStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation crossregionbackup.io/reconcile-requested-at that was last acted on, also when the listing
    /// failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// What is listed. CrossRegion: the copies in other regions (Volcengine, BytePlus). Local: the instances' own backups
    /// (Tencent Cloud).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups_of: Option<BackupsOf>,
    /// How many backups fit the filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// Their sizes together, in bytes; those without a known size count as 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_size_bytes: Option<i64>,
    /// The same for people, such as 97.7 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_size: Option<String>,
    /// How many of each status: those that the provider is known to list always, others when seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_status: Option<BTreeMap<String, i64>>,
    /// The newest usable backup that fits the filter, by its startTime: Available, with Tencent Cloud also Exporting,
    /// Exported and Locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Newest>,
    /// The newest backups that fit the filter, newest first by startTime; at most spec.limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<InventoryItem>>,
    /// Scope Account: every instance of the account in the region, whatever the filter says. Those without a usable
    /// backup first, then the oldest newestBackup first; at most 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<Vec<InventoryInstance>>,
    /// Scope Account, Volcengine and BytePlus: instances whose cross-region backup is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unprotected: Option<Unprotected>,
    /// Which of the lists above were cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<Truncated>,
    /// Ready, and either Reconciling or Stalled where Ready waits for something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum BackupsOf {
    CrossRegion,
    Local,
}

/// The newest usable backup.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Newest {
    /// When it was begun.
    pub time: Time,
    /// The cloud's id of the backup.
    pub backup_point_id: String,
    /// The instance that it was made from.
    pub instance_id: String,
}

/// One backup. Names and remarks are cut at 64 characters.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryItem {
    /// The instance that it was made from.
    pub instance_id: String,
    /// The instance's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_name: Option<String>,
    /// The project of the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
    /// The cloud's id of the backup.
    pub backup_point_id: String,
    /// Its name; manual backups have the one that they were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_point_name: Option<String>,
    /// How it was begun: AutomatedBackup, ManualBackup, with Tencent Cloud also SpecificationChange, or Unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Full, or what else the cloud names.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub backup_type: Option<String>,
    /// Its status in one vocabulary for every cloud; another word of Volcengine as it is; Unknown where the cloud says
    /// none, or a number that is not known.
    pub status: String,
    /// The cloud's own word or number for the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<String>,
    /// The cloud's own code for how it was begun (Tencent Cloud: BackupType).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_type: Option<String>,
    /// The region of the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_region: Option<String>,
    /// The region of the copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_region: Option<String>,
    /// When it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// When the cloud deletes it (Tencent Cloud).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_time: Option<Time>,
    /// Its size as the cloud reports it, in bytes. Volcengine documents no unit, bytes are assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Days that it is kept (Volcengine, BytePlus).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_days: Option<i64>,
    /// Whether the cloud has locked it. This and all below: Tencent Cloud with includeDetails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
    /// What was noted when it was made by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// Tencent Cloud's number for engine and architecture, such as 16 for Redis 6.2 cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<i64>,
    /// Memory of one shard, in MiB.
    #[serde(default, rename = "memSizeMiB", skip_serializing_if = "Option::is_none")]
    pub mem_size_mib: Option<i64>,
    /// Number of shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_num: Option<i64>,
    /// Number of replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas_num: Option<i64>,
}

/// One instance of the account.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryInstance {
    /// The cloud's id of the instance.
    pub instance_id: String,
    /// Its name, cut at 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_name: Option<String>,
    /// How many backups it has, of every status.
    pub total: i64,
    /// When its newest usable backup was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_backup: Option<Time>,
    /// Whether its cross-region backup is on (Volcengine, BytePlus); absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_active: Option<bool>,
}

/// Instances that no cross-region backup protects.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unprotected {
    /// How many instances have cross-region backup off.
    pub total: i64,
    /// They, by id; at most 100.
    #[serde(default)]
    pub items: Vec<UnprotectedInstance>,
    /// Standalone instances, which cannot have cross-region backups.
    pub unsupported: i64,
    /// Instances whose policy could not be described.
    pub unknown: i64,
    /// The oldest look that this is based on. It moves only together with another change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
}

/// One instance without cross-region backup.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnprotectedInstance {
    /// The cloud's id of the instance.
    pub instance_id: String,
    /// Its name, cut at 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_name: Option<String>,
}

/// Which lists were cut: at their limit, or because status must stay below 256 KiB.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Truncated {
    /// status.items has fewer than status.total backups.
    pub items: bool,
    /// status.instances lacks instances.
    pub instances: bool,
    /// status.unprotected.items lacks instances.
    pub unprotected: bool,
}
