//! Correction of a difference: effects of Modify responses and of the list of available regions on the in-memory state.

use std::time::Duration;

use jiff::Timestamp;

use super::memory::{MAX_UNCONFIRMED_CHANGES, Memory, PendingChange, Regions, SyncError};
use super::polling::next_poll;
use super::{Desired, after, whole};
use crate::domain::facts::{Cause, Modification, ModifyRefused};
use crate::domain::{Change, Failure, Kind};

/// Times of the describes that confirm an accepted change, in seconds after the acceptance. The first describe precedes
/// them and is made at once.
const CONFIRMATION_DELAYS: [u64; 7] = [1, 2, 4, 8, 16, 30, 60];

/// Whether a Modify that was not accepted may have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing was sent, or the cloud refused all attempts.
    None,
    /// A request was sent without a response, or with an inconclusive one.
    Possible,
}

#[cfg(test)]
impl Effect {
    /// Returns the effect of a sent request that failed.
    pub fn of(failure: &Failure) -> Self {
        if failure.kind == Kind::CloudUnavailable { Self::Possible } else { Self::None }
    }
}

impl Memory {
    /// Records an accepted Modify.
    pub fn accepted(&mut self, desired: &Desired, to: &Change, request_id: Option<String>, now: Timestamp) {
        let from = self.facts.policy.as_ref().map(Change::from).unwrap_or_else(|| to.clone());
        self.difference_seen = None;
        self.unanswered = None;
        self.correction_failed = false;
        self.sync_error = None;
        self.failures = 0;
        self.facts.modify_refused = None;
        self.modified(desired, from.clone(), to.clone(), request_id, now);
        self.pending_change = Some(PendingChange { from, to: to.clone(), accepted: now, looks: 0 });
        self.next_describe = now;
    }

    pub(super) fn modified(
        &mut self,
        desired: &Desired,
        from: Change,
        to: Change,
        request_id: Option<String>,
        now: Timestamp,
    ) {
        let was_synced = self.facts.synced_generation == Some(desired.generation);
        self.facts.modification = Some(Modification {
            time: whole(now),
            request_id,
            from,
            to,
            cause: if was_synced { Cause::Drift } else { Cause::SpecChanged },
        });
    }

    /// Records a Modify that failed after its retries.
    pub fn not_accepted(
        &mut self,
        desired: &Desired,
        to: &Change,
        failure: Failure,
        effect: Effect,
        now: Timestamp,
        jitter: f64,
    ) {
        self.difference_seen = None;
        self.correction_failed = true;
        self.record_effect(to, effect);
        if matches!(failure.kind, Kind::PermissionDenied | Kind::InstanceNotFound) {
            self.refuse(&failure.code, now);
        }
        let could_be_region = to.active
            && failure.kind == Kind::InvalidRequest
            && failure.has_code(|code| matches!(code, "InvalidRegion" | "ParamError"));
        self.regions = if could_be_region { Regions::Recheck } else { Regions::Unknown };
        self.pace(desired, &failure, now, jitter);
        self.sync_error = Some(SyncError::Failed(failure));
    }

    /// Records a refusal. The time of the first one with the same code stays, so that a retry causes no status write.
    fn refuse(&mut self, code: &str, now: Timestamp) {
        let before = self.facts.modify_refused.take().filter(|before| before.code == code);
        let refused = || ModifyRefused { time: whole(now), code: code.to_owned() };
        self.facts.modify_refused = Some(before.unwrap_or_else(refused));
        self.refusal_unchecked = false;
    }

    /// Records a Modify that was not sent, or not retried, because the resource has changed, its account is paused, or
    /// the describe is too old.
    pub fn superseded(&mut self, to: &Change, effect: Effect, now: Timestamp) {
        self.record_effect(to, effect);
        self.difference_seen = None;
        self.next_describe = now;
    }

    fn record_effect(&mut self, to: &Change, effect: Effect) {
        if effect == Effect::Possible {
            let from = self.facts.policy.as_ref().map(Change::from).unwrap_or_else(|| to.clone());
            self.unanswered = Some((from, to.clone()));
        }
    }

    /// Applies the list of regions that the instance can copy to.
    pub fn regions_listed(
        &mut self,
        desired: &Desired,
        answer: Result<Vec<String>, Failure>,
        now: Timestamp,
    ) {
        let recheck = self.regions == Regions::Recheck;
        let wanted = desired.change.cross_backup_region.clone().unwrap_or_default();
        match answer {
            Ok(available) if !available.contains(&wanted) => {
                let mut available = available;
                available.sort();
                self.sync_error = Some(SyncError::RegionNotAvailable { wanted, available });
                self.correction_failed = true;
                self.difference_seen = None;
                self.regions = Regions::Unknown;
                self.next_describe = self.next_capped_poll(desired, now);
            }
            Ok(_) if recheck => self.regions = Regions::Unknown,
            Ok(_) => self.regions = Regions::Listed,
            Err(_) if recheck => self.regions = Regions::Unknown,
            Err(_) => self.regions = Regions::NotListable,
        }
    }

    /// Returns when the accepted change is polled for next; `None` if it counts as not taken.
    pub(super) fn next_confirmation(&self, waiting: &PendingChange) -> Option<Timestamp> {
        if self.unconfirmed_changes >= MAX_UNCONFIRMED_CHANGES {
            return None;
        }
        CONFIRMATION_DELAYS.get(waiting.looks - 1).map(|s| after(waiting.accepted, Duration::from_secs(*s)))
    }

    pub(super) fn stop_confirming(&mut self, desired: &Desired, now: Timestamp) {
        self.unconfirmed_changes = self.unconfirmed_changes.saturating_add(1);
        self.sync_error = None;
        self.regions = Regions::Unknown;
        if self.unconfirmed_changes < MAX_UNCONFIRMED_CHANGES {
            self.difference_seen = Some(now);
        }
        self.next_describe = next_poll(desired.poll_offset, desired.interval, now);
    }
}
