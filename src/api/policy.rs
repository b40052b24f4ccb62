//! `CrossRegionBackupPolicy`: desired and observed cross-region backup policy of one instance.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Desired policy of the instance, and the handling of differences.
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
    /// Account whose credentials are used for the instance.
    pub account_ref: AccountRef,
    /// Region of the instance, such as cn-beijing. Immutable.
    #[schemars(length(min = 4, max = 40), regex(pattern = r"^[a-z]{2,}(-[a-z0-9]+)+$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("region is immutable").reason(Reason::FieldValueForbidden))]
    pub region: String,
    /// Id of the Redis instance, such as redis-cnlfq69d9abcdefgh. Immutable.
    #[schemars(length(min = 5, max = 64), regex(pattern = r"^[a-z][a-z0-9]*(-[a-z0-9]+)+$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("instanceId is immutable").reason(Reason::FieldValueForbidden))]
    pub instance_id: String,
    /// Whether backups are copied to another region. If false, crossBackupRegion is not compared, since the cloud
    /// ignores it then.
    pub active: bool,
    /// Target region of the copies. Required if active is true; must differ from region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 4, max = 40), regex(pattern = r"^[a-z]{2,}(-[a-z0-9]+)+$"))]
    pub cross_backup_region: Option<String>,
    /// Manage: differences in the cloud are corrected. Observe: differences are reported, and nothing is modified.
    /// Default Manage.
    #[serde(default)]
    pub management_policy: ManagementPolicy,
    /// Handling of the cloud's policy when this resource is deleted. Retain: it stays unchanged. Disable: it is
    /// switched off (Active=false) first. Default Retain.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// If true, the operator neither polls nor changes the cloud for this resource. Default false.
    #[serde(default)]
    pub suspend: bool,
    /// Poll interval: 1m to 24h, default 10m. Longer if the account's requestBudget requires it.
    #[serde(default = "default_resync_interval")]
    #[schemars(length(min = 2, max = 21), regex(pattern = r"^([0-9]{1,6}(h|m|s)){1,3}$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('24h')").message("resyncInterval must be 1m to 24h"))]
    pub resync_interval: String,
    /// Maximum age of the newest usable backup in crossBackupRegion: 1m to 8760h. If unset, the condition
    /// RecoveryPointMet is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 21), regex(pattern = r"^([0-9]{1,6}(h|m|s)){1,3}$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('8760h')").message("recoveryPointObjective must be 1m to 8760h"))]
    pub recovery_point_objective: Option<String>,
    /// Backups that are listed in status.
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
    /// Name of the account. A CloudAccount must be in the same namespace.
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

/// Backups that are listed in status.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupsSpec {
    /// Maximum number of backups in status.backups.items, newest first: 0 to 100, default 10. All backups are
    /// counted.
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

/// Boxed, so that an object whose status is stored elsewhere needs no memory for it.
pub type BoxedStatus = Box<CrossRegionBackupPolicyStatus>;

/// Observed state, and the last change that the operator made.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct CrossRegionBackupPolicyStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation crossregionbackup.io/reconcile-requested-at that the operator last acted on, even if
    /// the poll failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// Last generation that was in sync with the cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced_generation: Option<i64>,
    /// Policy as last reported by the cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ObservedPolicy>,
    /// Last change that the operator made in the cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modification: Option<Modification>,
    /// Differences that appeared after the spec was in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// Time at which the current values of active and crossBackupRegion were first in sync; drift does not change it.
    /// Only while active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected_since: Option<Time>,
    /// Newest usable backup (Available) in crossBackupRegion, by startTime. Only while active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_point: Option<RecoveryPoint>,
    /// Change that the cloud refused. While it is set, any other policy of the instance that the cloud did not refuse
    /// manages the instance instead. Removed when the spec, the account, its Secret or the annotation changes, or
    /// when a change is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modify_refused: Option<ModifyRefused>,
    /// Cross-region backups of the instance, in any target region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<BackupsStatus>,
    /// Instance, as described by its newest backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceStatus>,
    /// Synced; Ready, a copy of Synced; RecoveryPointMet if recoveryPointObjective is set; Contested if something
    /// keeps changing the policy back; Reconciling or Stalled while Ready waits for something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Policy as reported by the cloud.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObservedPolicy {
    /// Whether backups are copied to another region.
    pub active: bool,
    /// Target region of the copies. While inactive, the cloud may omit it or report the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_backup_region: Option<String>,
    /// Retention of the copies in days. The cloud's default is 7, and no API sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_days: Option<i64>,
}

/// Change that the operator made in the cloud.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Modification {
    /// Time at which the cloud accepted the change.
    pub time: Time,
    /// Request id of the cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Values in the cloud before the change.
    pub from: PolicyValues,
    /// Requested values.
    pub to: PolicyValues,
    /// SpecChanged if this generation was never in sync before, otherwise Drift.
    pub cause: Cause,
}

/// Values that a change sets.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyValues {
    /// Whether backups are copied to another region.
    pub active: bool,
    /// Target region of the copies.
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
    /// Number of corrections.
    #[serde(default)]
    pub corrections: i64,
    /// Time at which the last difference was detected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_time: Option<Time>,
    /// Last difference, such as: active: desired true, found false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_difference: Option<String>,
    /// Times of the last three corrections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<Time>,
}

/// Newest usable backup (Available) in crossBackupRegion.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryPoint {
    /// Start time of the backup.
    pub time: Time,
    /// Id of the backup in the cloud.
    pub backup_point_id: String,
    /// Size as reported by the cloud. The cloud documents no unit; bytes are assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
}

/// Change that the cloud refused.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModifyRefused {
    /// Time of the first refusal since the spec, the account, its Secret or the annotation last changed.
    pub time: Time,
    /// Error code of the cloud, such as AccessDenied.
    pub code: String,
}

/// Cross-region backups of the instance.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupsStatus {
    /// Number of backups, of every status.
    pub total: i64,
    /// Number of backups by status: Available, Creating, Unavailable and Deleting always, others if present.
    pub by_status: BTreeMap<String, i64>,
    /// Newest backups by startTime, newest first; at most spec.backups.limit.
    #[serde(default)]
    pub items: Vec<BackupItem>,
}

/// One backup.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupItem {
    /// Id of the backup in the cloud.
    pub backup_point_id: String,
    /// Name of the backup; a manual backup keeps the name that it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_point_name: Option<String>,
    /// Backup strategy: AutomatedBackup or ManualBackup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Backup type: Full, or another value of the cloud.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub backup_type: Option<String>,
    /// Status of the backup: Available, Creating, Unavailable or Deleting; any other value of the cloud unchanged;
    /// Unknown if the cloud reports none.
    pub status: String,
    /// Status as the cloud reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<String>,
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
    /// Size as reported by the cloud. The cloud documents no unit; bytes are assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Retention in days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_days: Option<i64>,
}

/// Instance, as described by its newest backup.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// Name of the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Redis version, such as 7.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// Project of the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
}
