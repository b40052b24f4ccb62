//! Content of a policy's status, in domain types.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::backup::Backup;
use super::condition::{Condition, credible, is_credible, types};
use super::policy::{Change, PolicyState};

/// Maximum number of correction times in status.
const DRIFTS_MAX: usize = 3;
/// Upper bound on the backups listed in status, regardless of the spec.
const BACKUPS_MAX: usize = 100;

/// A policy's status: seeded from the stored one when the operator first sees the resource, and written back where it differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `None` until a status was written.
    pub observed_generation: Option<i64>,
    /// Value of the reconcile annotation that was last acted on.
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
    /// Returns the parts of a stored status that the operator may have written while the resource had this
    /// generation. Any writer can set a status, and impossible values must be neither trusted nor written again.
    #[must_use]
    pub fn credible(mut self, generation: i64, now: Timestamp) -> Self {
        let is_credible = |time: &Timestamp| is_credible(*time, now);
        self.observed_generation = self.observed_generation.filter(|observed| *observed <= generation);
        self.synced_generation = self.synced_generation.filter(|synced| (0..=generation).contains(synced));
        self.modification = self.modification.filter(|modification| is_credible(&modification.time));
        self.protected_since = self.protected_since.filter(is_credible);
        self.modify_refused = self.modify_refused.filter(|refused| is_credible(&refused.time));
        if self.recovery_point.as_ref().is_some_and(|point| !is_credible(&point.time)) {
            // The next listing of the backups restores it.
            (self.recovery_point, self.backups) = (None, None);
        }
        self.drift.corrections = self.drift.corrections.max(0);
        self.drift.last_time = self.drift.last_time.filter(is_credible);
        self.drift.recent.retain(is_credible);
        let earlier = self.drift.recent.len().saturating_sub(DRIFTS_MAX);
        self.drift.recent.drain(..earlier);
        self.backups = self.backups.filter(|backups| {
            let times = backups.items.iter().flat_map(|backup| [backup.start_time, backup.end_time]);
            let are_written = times.flatten().all(|time| time >= Timestamp::UNIX_EPOCH);
            backups.total >= 0 && backups.items.len() <= BACKUPS_MAX && are_written
        });
        self.conditions = credible(self.conditions, &types::OF_POLICY, now);
        self
    }

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
    /// Times of the last three corrections, oldest first.
    pub recent: Vec<Timestamp>,
}

/// The newest available backup in the target region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryPoint {
    pub time: Timestamp,
    pub backup_point_id: String,
    pub size_bytes: Option<i64>,
}

/// A Modify call that the cloud refused. It ranks the policy behind others of the same instance until the spec, the
/// account, its Secret or the annotation changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModifyRefused {
    /// Time of the first refusal since the last such change.
    pub time: Timestamp,
    /// The cloud's error code.
    pub code: String,
}

/// Summary of the backups in status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupSummary {
    pub total: i64,
    pub by_status: BTreeMap<String, i64>,
    /// The newest backups, newest first.
    pub items: Vec<Backup>,
}

/// The instance, as its newest backup describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    pub name: Option<String>,
    pub engine_version: Option<String>,
    pub project_name: Option<String>,
}
