//! `CrossRegionBackupPolicy`: the desired cross-region backup policy of one instance, and what is observed of it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The policy that the instance is to have, and what becomes of differences.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "crossregionbackup.io",
    version = "v1alpha1",
    kind = "CrossRegionBackupPolicy",
    doc = "Desired cross-region backup policy of one Redis instance, and what is observed of it.",
    plural = "crossregionbackuppolicies",
    namespaced,
    status = "BoxedStatus",
    shortname = "crbp",
    category = "crossregionbackup",
    derive = "PartialEq",
    selectable = ".spec.instanceId",
    selectable = ".spec.region",
    selectable = ".spec.accountRef.name",
    printcolumn(name = "Instance", type_ = "string", json_path = ".spec.instanceId"),
    printcolumn(name = "Active", type_ = "boolean", json_path = ".spec.active"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.crossBackupRegion"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Recovery-Point", type_ = "date", json_path = ".status.recoveryPoint.time"),
    printcolumn(name = "Backups", type_ = "integer", json_path = ".status.backups.total"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Account", type_ = "string", priority = 1, json_path = ".spec.accountRef.name"),
    printcolumn(name = "Region", type_ = "string", priority = 1, json_path = ".spec.region"),
    printcolumn(name = "TTL", type_ = "integer", priority = 1, json_path = ".status.policy.ttlDays"),
    printcolumn(
        name = "RPO",
        type_ = "string",
        priority = 1,
        json_path = r#".status.conditions[?(@.type=="RecoveryPointMet")].status"#
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#
    ),
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name must be at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!self.active || has(self.crossBackupRegion)").message("crossBackupRegion is required when active is true").field_path(".crossBackupRegion").reason(Reason::FieldValueRequired))]
#[x_kube(validation = Rule::new("!has(self.crossBackupRegion) || self.crossBackupRegion != self.region").message("crossBackupRegion must be different from region").field_path(".crossBackupRegion"))]
pub struct CrossRegionBackupPolicySpec {
    /// The account that the instance is reached with.
    pub account_ref: AccountRef,
    /// Region of the instance, such as cn-beijing. Immutable.
    #[schemars(length(min = 4, max = 40), regex(pattern = r"^[a-z]{2,}(-[a-z0-9]+)+$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("region is immutable").reason(Reason::FieldValueForbidden))]
    pub region: String,
    /// Id of the Redis instance, such as redis-cnlfq69d9abcdefgh. Immutable.
    #[schemars(length(min = 5, max = 64), regex(pattern = r"^[a-z][a-z0-9]*(-[a-z0-9]+)+$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("instanceId is immutable").reason(Reason::FieldValueForbidden))]
    pub instance_id: String,
    /// Whether backups are copied to another region. False: only that the copies are off is compared, since the cloud
    /// ignores the target then.
    pub active: bool,
    /// The region that the copies go to: required when active, and different from region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 4, max = 40), regex(pattern = r"^[a-z]{2,}(-[a-z0-9]+)+$"))]
    pub cross_backup_region: Option<String>,
    /// Manage: differences in the cloud are corrected. Observe: they are reported, and nothing is ever modified. Default
    /// Manage.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// What becomes of the cloud's policy when this resource is deleted. Retain: it stays as it is. Disable: it is switched
    /// off (Active=false) first. Default Retain.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// True: the cloud is neither asked nor changed for this resource. Default false.
    #[serde(default)]
    pub suspend: bool,
    /// How often the cloud is looked at: 1m to 24h, default 10m. Longer where the account's requestBudget needs it.
    #[serde(default = "default_resync_interval")]
    #[schemars(length(min = 2, max = 21), regex(pattern = r"^([0-9]{1,6}(h|m|s)){1,3}$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('24h')").message("resyncInterval must be 1m to 24h"))]
    pub resync_interval: String,
    /// How old the newest usable backup in crossBackupRegion may become: 1m to 8760h. Without it there is no condition
    /// RecoveryPointMet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 21), regex(pattern = r"^([0-9]{1,6}(h|m|s)){1,3}$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('8760h')").message("recoveryPointObjective must be 1m to 8760h"))]
    pub recovery_point_objective: Option<String>,
    /// What of the backups is kept in status.
    #[serde(default)]
    pub backups: BackupsSpec,
}

fn default_resync_interval() -> String {
    "10m".to_owned()
}

/// Reference to an account.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountRef {
    /// Kind of the account: CloudAccount or ClusterCloudAccount. Default CloudAccount.
    #[serde(default)]
    pub kind: AccountKind,
    /// Name of the account: a CloudAccount is in the same namespace.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, JsonSchema)]
pub enum AccountKind {
    #[default]
    CloudAccount,
    ClusterCloudAccount,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum ManagementPolicy {
    #[default]
    Manage,
    Observe,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum DeletionPolicy {
    #[default]
    Retain,
    Disable,
}

/// What of the backups is kept in status.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupsSpec {
    /// How many of the newest backups are listed in status.backups.items: 0 to 100, default 10. All are counted.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 0, max = 100))]
    pub limit: i32,
}

fn default_limit() -> i32 {
    10
}

impl Default for BackupsSpec {
    fn default() -> Self {
        Self { limit: default_limit() }
    }
}

/// Boxed, so that an object whose status is kept elsewhere does not hold the room for one.
pub type BoxedStatus = Box<CrossRegionBackupPolicyStatus>;

/// What the operator observed, and what it did.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct CrossRegionBackupPolicyStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation crossregionbackup.io/reconcile-requested-at that was last acted on, also when the look failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// The last generation that was seen in sync with the cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced_generation: Option<i64>,
    /// The policy as the cloud last reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ObservedPolicy>,
    /// The last change that the operator made in the cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modification: Option<Modification>,
    /// Differences that appeared after the spec was in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// When the present active and crossBackupRegion were first seen in sync; drift does not move it. Only while active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected_since: Option<Time>,
    /// The newest usable backup (Available) in crossBackupRegion, by its startTime. Only while active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_point: Option<RecoveryPoint>,
    /// A change that the cloud refused. While it is set, any other policy of the instance that the cloud did not refuse manages
    /// the instance instead. Removed when spec, account, Secret or the annotation change, or a change is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modify_refused: Option<ModifyRefused>,
    /// The cross-region backups of the instance, to whatever region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<BackupsStatus>,
    /// The instance, as its newest backup describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceStatus>,
    /// Synced; Ready, its copy; RecoveryPointMet with an objective; Contested where something keeps changing the policy
    /// back; Reconciling or Stalled where Ready waits for something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A policy as the cloud reported it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObservedPolicy {
    /// Whether backups are copied to another region.
    pub active: bool,
    /// The region that they are copied to; the cloud may leave it out, or keep the last one, while inactive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_backup_region: Option<String>,
    /// Days that the copies are kept. The cloud's default is 7, and no API sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_days: Option<i64>,
}

/// One change that the operator made.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Modification {
    /// When the cloud accepted it.
    pub time: Time,
    /// The cloud's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What the cloud held before.
    pub from: PolicyValues,
    /// What it was asked to hold.
    pub to: PolicyValues,
    /// SpecChanged if this generation was never in sync before, else Drift.
    pub cause: Cause,
}

/// The two values that a change sets.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyValues {
    /// Whether backups are copied to another region.
    pub active: bool,
    /// The region that they are copied to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_backup_region: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Cause {
    SpecChanged,
    Drift,
}

/// Differences that appeared after the spec was in sync.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// How many were corrected.
    #[serde(default)]
    pub corrections: i64,
    /// When the last one was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_time: Option<Time>,
    /// What it was, such as: active: desired true, found false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_difference: Option<String>,
    /// When the last three were corrected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<Time>,
}

/// The newest available backup in the other region.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryPoint {
    /// When the backup was begun.
    pub time: Time,
    /// The cloud's id of the backup.
    pub backup_point_id: String,
    /// Its Size as the cloud reports it; the cloud documents no unit, bytes are assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
}

/// A change that the cloud refused.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModifyRefused {
    /// When it was first refused since spec, account, Secret or the annotation changed.
    pub time: Time,
    /// The cloud's error code, such as AccessDenied.
    pub code: String,
}

/// The cross-region backups of the instance.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupsStatus {
    /// How many there are, of every status.
    pub total: i64,
    /// How many of each status: Available, Creating, Unavailable and Deleting always, others when seen.
    pub by_status: BTreeMap<String, i64>,
    /// The newest by startTime, newest first; at most spec.backups.limit.
    #[serde(default)]
    pub items: Vec<BackupItem>,
}

/// One backup.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupItem {
    /// The cloud's id of the backup.
    pub backup_point_id: String,
    /// Its name; manual backups have the one that they were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_point_name: Option<String>,
    /// How it was begun: AutomatedBackup or ManualBackup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Full, or what else the cloud names.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub backup_type: Option<String>,
    /// Available, Creating, Unavailable or Deleting; another word of the cloud as it is; Unknown where it says none.
    pub status: String,
    /// The cloud's own word for the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<String>,
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
    /// Its Size as the cloud reports it; the cloud documents no unit, bytes are assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Days that it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_days: Option<i64>,
}

/// The instance, as its newest backup describes it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Version of Redis, such as 7.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// The project that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
}
