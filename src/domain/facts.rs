//! Everything that a policy's status tells, in the domain's words.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::backup::Backup;
use super::condition::Condition;
use super::policy::{Change, PolicyState};

/// A policy's status: seeded from the stored one when the operator first sees the resource, and written back where it differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `None` as long as nothing was ever written.
    pub observed_generation: Option<i64>,
    /// The annotation's value that was last acted on.
    pub handled_request: Option<String>,
    pub synced_generation: Option<i64>,
    pub policy: Option<PolicyState>,
    pub modification: Option<Modification>,
    pub drift: Drift,
    pub protected_since: Option<Timestamp>,
    pub recovery_point: Option<RecoveryPoint>,
    pub modify_refused: Option<ModifyRefused>,
    pub backups: Option<BackupSummary>,
    pub instance: Option<Instance>,
    pub conditions: Vec<Condition>,
}

impl Facts {
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.kind == kind)
    }
}

/// A change that the cloud accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modification {
    pub time: Timestamp,
    pub request_id: Option<String>,
    pub from: Change,
    pub to: Change,
    pub cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This generation was never in sync before.
    SpecChanged,
    Drift,
}

/// Differences that appeared after the spec was in sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    pub corrections: i64,
    pub last_time: Option<Timestamp>,
    pub last_difference: Option<String>,
    /// When the last three were corrected, oldest first.
    pub recent: Vec<Timestamp>,
}

/// The newest available backup in the target region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryPoint {
    pub time: Timestamp,
    pub backup_point_id: String,
    pub size_bytes: Option<i64>,
}

/// A Modify that the cloud refused: it ranks the policy behind others of its instance until spec, account, Secret or
/// annotation change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModifyRefused {
    /// When it was first refused since the last such change.
    pub time: Timestamp,
    /// The cloud's error code.
    pub code: String,
}

/// What of the backups is kept in status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupSummary {
    pub total: i64,
    pub by_status: BTreeMap<String, i64>,
    /// The newest ones, newest first.
    pub items: Vec<Backup>,
}

/// The instance, as its newest backup describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    pub name: Option<String>,
    pub engine_version: Option<String>,
    pub project_name: Option<String>,
}
