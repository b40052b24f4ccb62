//! In-memory state of one policy between polls, and its transitions on each cloud response.
//!
//! `facts` is the content of status. The rest controls progress; losing it with the process is harmless, since the next
//! describe after a restart restores it.

use std::time::Duration;

use jiff::Timestamp;

use super::backups::{Known, goes_backwards};
use super::conflict::Refusal;
use super::polling::{MAX_BACKOFF, NEEDS_PERSON_MAX_INTERVAL, after_failure, backoff, next_poll};
use super::shared_listing::Fingerprints;
use super::{Desired, after, recovery, since, truncate_to_seconds};
use crate::domain::condition::types;
use crate::domain::facts::{Cause, Modification, ModifyRefused};
use crate::domain::{Backup, Change, Class, Facts, Failure, Kind, PolicyState, Reason};

/// Number of accepted but never visible changes after which only one attempt per interval is made.
pub const MAX_UNCONFIRMED_CHANGES: u32 = 3;
/// Maximum age of the Describe that a Modify is based on.
pub const MAX_DESCRIBE_AGE: Duration = Duration::from_secs(30);
/// Times of the describes that confirm an accepted change, in seconds after the acceptance. The first describe precedes
/// them and is made at once.
const CONFIRMATION_DELAYS: [u64; 7] = [1, 2, 4, 8, 16, 30, 60];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub facts: Facts,
    /// Generation that the fields below belong to.
    pub generation: i64,
    /// Last observed access generation of the account.
    pub access_generation: Option<u64>,
    /// Time of the last successful describe.
    pub last_good: Option<Timestamp>,
    /// Whether a describe has failed since `last_good`.
    pub failed_since: bool,
    /// Whether a describe has completed in this generation, successfully or not.
    pub described: bool,
    pub next_describe: Timestamp,
    pub failures: u32,
    /// Failure of the last describe, if it is transient.
    pub describe_failure: Option<Failure>,
    pub sync_error: Option<SyncError>,
    /// Difference found by the last successful describe.
    pub difference: Option<String>,
    /// Time of a Describe that showed a difference and that no Modify has followed.
    pub difference_seen: Option<Timestamp>,
    /// The last attempt to correct the known difference failed.
    pub correction_failed: bool,
    pub pending_change: Option<PendingChange>,
    pub unconfirmed_changes: u32,
    pub regions: Regions,
    /// A Modify that was sent without a response: it may have taken effect.
    pub unanswered: Option<(Change, Change)>,
    /// The difference is drift, to be counted once it is corrected.
    pub drifted: bool,
    /// Whether a Describe was refused as PermissionDenied or InstanceNotFound, and none has succeeded since.
    pub describe_refusal: Refusal,
    /// `facts.policy` was stored by an earlier process for another generation. It does not prove access, since the
    /// account may have changed.
    pub unproven: bool,
    /// `facts.modify_refused` was stored by an earlier process: account or Secret may have changed since.
    pub refusal_unchecked: bool,
    pub request: Request,
    pub backups: BackupMemory,
    pub deletion: super::deletion::DeletionMemory,
    /// Change that was last observed in sync.
    pub(super) synced: Option<Change>,
}

/// Error that keeps the policy out of sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncError {
    Failed(Failure),
    RegionNotAvailable { wanted: String, available: Vec<String> },
}

/// An accepted change that is not visible yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingChange {
    pub from: Change,
    pub to: Change,
    pub accepted: Timestamp,
    /// Number of describes that did not show the change yet.
    pub looks: usize,
}

/// The regions that the instance can copy to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Regions {
    /// To be listed before a target is set.
    #[default]
    Unknown,
    /// The cloud does not list them; the change is sent anyway.
    NotListable,
    Listed,
    /// A Modify was refused with a code that may concern the region: list again to name the cause.
    Recheck,
}

/// The request annotation's value in progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub pending: Option<String>,
    /// A verification of the account was requested for this request.
    pub forwarded: bool,
}

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

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupMemory {
    pub known: Known,
    /// Time of the last listing.
    pub read: Option<Timestamp>,
    /// Whether a listing has completed in this process, successfully or not.
    pub tried: bool,
    /// Due time of a listing for this policy alone, apart from the account's shared listings.
    pub due: Option<Timestamp>,
    /// The next shared listing is expected to serve the due one.
    pub awaited: bool,
    /// The last listing failed.
    pub(super) last_failed: bool,
    pub(super) failures: u32,
    /// Result of a listing that would move the recovery point back, held until a second listing confirms it.
    pub(super) unconfirmed: Option<Known>,
    /// Recovery point for which the listing before its deadline was requested.
    pub deadline_listed_for: Option<Timestamp>,
}

impl BackupMemory {
    /// Returns the fingerprints for a policy that joins the shared listings. Status holds the newest backups only, and
    /// their total.
    pub fn fingerprints(&self, facts: &Facts) -> Fingerprints {
        let total = facts.backups.as_ref().map(|backups| backups.total);
        let all = total.is_some_and(|total| usize::try_from(total) == Ok(self.known.iter().count()));
        Fingerprints::from_status(&self.known, facts.instance.as_ref(), all && !self.last_failed)
    }

    /// Whether the last listing is older than regular listings at each interval allow.
    pub(super) fn is_old(&self, desired: &Desired, now: Timestamp) -> bool {
        self.read.is_none_or(|read| since(read, now) > desired.staleness())
    }

    /// Whether a second listing must confirm the first one.
    pub fn has_unconfirmed(&self) -> bool {
        self.unconfirmed.is_some()
    }

    /// Whether a requested listing is still outstanding.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.awaited || self.due.is_some_and(|due| due <= now)
    }
}

impl Memory {
    /// Restores the state from a stored status. `as_of`: time at which its facts were true. If that is longer ago than
    /// the interval, or the policy was not in sync, a describe is due at once.
    pub fn new(facts: Facts, desired: &Desired, as_of: Timestamp, now: Timestamp) -> Self {
        let mut facts = facts.credible(desired.generation, now);
        let fresh = is_settled(&facts, desired.generation) && since(as_of, now) <= desired.interval;
        let known = facts.backups.as_ref().map(Known::from_summary).unwrap_or_default();
        let read = facts.backups.is_some() && since(as_of, now) <= desired.interval;
        let synced = if facts.synced_generation == Some(desired.generation) {
            Some(desired.change.clone())
        } else {
            facts.policy.as_ref().map(Change::from).filter(|_| facts.protected_since.is_some())
        };
        let difference = facts.policy.as_ref().and_then(|p| desired.change.difference(p));
        // A drift that was reported before is not reported again.
        let drifted = difference.is_some()
            && facts.synced_generation == Some(desired.generation)
            && facts.drift.last_difference == difference;
        let is_new = facts.observed_generation != Some(desired.generation);
        let is_same_spec = facts.observed_generation.is_some_and(|observed| desired.is_spec_of(observed));
        let synced_reason = facts.condition(types::SYNCED).filter(|_| facts.modify_refused.is_none());
        let describe_refusal =
            synced_reason.map_or(Refusal::None, |synced| Refusal::of_reason(&synced.reason));
        facts.modify_refused = facts.modify_refused.filter(|_| is_same_spec);
        let mut memory = Self {
            generation: desired.generation,
            access_generation: None,
            last_good: facts.policy.is_some().then_some(as_of),
            failed_since: false,
            described: fresh,
            next_describe: if fresh { next_poll(desired.poll_offset, desired.interval, now) } else { now },
            failures: 0,
            describe_failure: None,
            sync_error: None,
            difference,
            difference_seen: None,
            correction_failed: false,
            pending_change: None,
            unconfirmed_changes: 0,
            regions: Regions::Unknown,
            unanswered: None,
            drifted,
            describe_refusal,
            unproven: !is_same_spec && facts.policy.is_some(),
            refusal_unchecked: facts.modify_refused.is_some(),
            request: Request::default(),
            backups: BackupMemory {
                known,
                read: facts.backups.is_some().then_some(as_of),
                tried: facts.backups.is_some(),
                due: (!read).then_some(now),
                ..BackupMemory::default()
            },
            deletion: super::deletion::DeletionMemory::default(),
            synced,
            facts,
        };
        if is_new {
            memory.restore_for_changed_spec(desired, now);
        }
        memory
    }

    /// Drops what status reports for an earlier spec, which may have had another target. Status does not hold all
    /// backups: if the cloud's policy is the desired one, its recovery point stays until the next listing.
    fn restore_for_changed_spec(&mut self, desired: &Desired, now: Timestamp) {
        let told = self.facts.recovery_point.clone();
        self.retarget(desired);
        let is_same = desired.change.active && self.facts.policy.is_some() && self.difference.is_none();
        if is_same && self.facts.recovery_point.is_none() {
            self.facts.recovery_point = told;
        }
        self.backups.due = Some(now);
    }

    /// Whether no operation is in progress that the next describe would complete.
    pub fn is_settled(&self) -> bool {
        self.difference_seen.is_none() && self.pending_change.is_none() && self.regions != Regions::Recheck
    }

    /// Applies changes of the resource, its account and the clock since the last reconcile.
    pub fn notice(&mut self, desired: &Desired, access_generation: Option<u64>, now: Timestamp) {
        self.clamp_to_clock(desired, now);
        if self.generation != desired.generation {
            if !desired.is_spec_of(self.generation) {
                self.facts.modify_refused = None;
            }
            self.generation = desired.generation;
            self.described = false;
            self.pending_change = self.pending_change.take().filter(|c| c.to == desired.change);
            self.retarget(desired);
            self.reset_progress(now);
            if self.backups.is_old(desired, now) {
                self.backups.due = Some(now);
            }
        }
        if let Some(access_generation) = access_generation
            && self
                .access_generation
                .replace(access_generation)
                .is_some_and(|before| before != access_generation)
        {
            self.account_changed(now);
        }
        let unhandled = desired.request.is_some() && desired.request != self.facts.handled_request;
        if unhandled && self.request.pending != desired.request {
            self.request = Request { pending: desired.request.clone(), forwarded: false };
            self.facts.modify_refused = None;
            self.reset_progress(now);
            self.backups.due = Some(now);
        }
        if !unhandled {
            self.request = Request::default();
        }
    }

    /// Clamps timestamps to a clock that was set back. Otherwise polls would be postponed to the old future, and old
    /// observations would count as new.
    fn clamp_to_clock(&mut self, desired: &Desired, now: Timestamp) {
        let latest = after(now, desired.interval.max(MAX_BACKOFF));
        self.next_describe = self.next_describe.min(latest);
        self.backups.due = self.backups.due.map(|due| due.min(latest));
        self.last_good = self.last_good.map(|good| good.min(now));
        self.backups.read = self.backups.read.map(|read| read.min(now));
        if let Some(waiting) = &mut self.pending_change {
            waiting.accepted = waiting.accepted.min(now);
        }
        if self.difference_seen.is_some_and(|seen| seen > now) {
            self.difference_seen = None;
            self.next_describe = now;
        }
    }

    /// Whether the policy's account has proven access to the instance.
    pub fn is_proven(&self) -> bool {
        self.facts.policy.is_some() && !self.unproven
    }

    /// Whether, after a restart with a changed spec, no Describe has completed yet that could renew the stored proof of
    /// access.
    pub fn awaits_proof(&self) -> bool {
        self.unproven && !self.described
    }

    /// Returns the refusal that ranks the policy behind competing policies.
    pub fn refusal(&self) -> Refusal {
        self.describe_refusal.max(Refusal::known(self.facts.modify_refused.is_some()))
    }

    /// Drops a stored refusal that is older than the last change of account or Secret. Called once after a restart;
    /// `notice` handles later changes.
    pub fn check_refusal(&mut self, changed: Option<Timestamp>, now: Timestamp) {
        self.refusal_unchecked = false;
        let refused = self.facts.modify_refused.as_ref();
        if refused.is_some_and(|refused| changed.is_some_and(|changed| refused.time < changed)) {
            self.account_changed(now);
        }
    }

    /// Drops the proof of access that was obtained through another account.
    pub fn forget_proof(&mut self) {
        self.unproven = false;
        self.facts.policy = None;
        self.difference = None;
        self.last_good = None;
    }

    /// Handles new credentials or an account that accepts calls again: makes a describe due if the policy is not in
    /// sync, and a backup listing if the last one failed. Other polls keep their schedule; otherwise each key rotation
    /// would poll the cloud for every resource.
    fn account_changed(&mut self, now: Timestamp) {
        self.facts.modify_refused = None;
        let in_sync = self.sync_error.is_none()
            && self.describe_failure.is_none()
            && is_settled(&self.facts, self.generation);
        if !in_sync {
            self.reset_progress(now);
        }
        if self.backups.last_failed || !self.backups.tried {
            self.backups.due = Some(now);
        }
    }

    fn reset_progress(&mut self, now: Timestamp) {
        self.next_describe = now;
        self.failures = 0;
        self.describe_failure = None;
        self.sync_error = None;
        self.correction_failed = false;
        self.difference_seen = None;
        self.unconfirmed_changes = 0;
        self.regions = Regions::Unknown;
        self.deletion.described = false;
        self.backups.failures = 0;
    }

    /// Re-evaluates the facts for the spec's target, which decides which copies count.
    fn retarget(&mut self, desired: &Desired) {
        self.drifted = false;
        self.backups.unconfirmed = None;
        self.facts.recovery_point = self.backups.known.recovery_point(&desired.change);
        if self.synced.as_ref() != Some(&desired.change) {
            self.facts.protected_since = None;
        }
        self.difference = self.facts.policy.as_ref().and_then(|p| desired.change.difference(p));
    }

    /// Applies a Describe response. `dice`: random in 0..1.
    pub fn described(
        &mut self,
        desired: &Desired,
        answer: Result<PolicyState, Failure>,
        now: Timestamp,
        jitter: f64,
    ) {
        self.described = true;
        match answer {
            Ok(state) => self.apply_describe(desired, state, now),
            Err(failure) => {
                if matches!(failure.kind, Kind::PermissionDenied | Kind::InstanceNotFound) {
                    self.describe_refusal = Refusal::Known;
                }
                self.failed_since = true;
                // The difference is too old to correct. Kept, it would make a describe due again and again without
                // delay.
                self.difference_seen = None;
                self.pace(desired, &failure, now, jitter);
                match failure.kind.class() {
                    Class::Transient | Class::Throttled => self.describe_failure = Some(failure),
                    Class::NeedsPerson => {
                        self.describe_failure = None;
                        self.correction_failed = false;
                        self.sync_error = Some(SyncError::Failed(failure));
                    }
                }
            }
        }
    }

    fn apply_describe(&mut self, desired: &Desired, state: PolicyState, now: Timestamp) {
        let difference = desired.change.difference(&state);
        let value = Change::from(&state);
        self.facts.policy = Some(state);
        self.last_good = Some(now);
        self.failed_since = false;
        // Successful describes between failing changes must not reset the backoff of those changes.
        if difference.is_none() || !self.correction_failed {
            self.failures = 0;
        }
        self.describe_failure = None;
        (self.describe_refusal, self.unproven) = (Refusal::None, false);
        let pending_change = self.pending_change.take();
        self.difference = difference;
        match (self.difference.clone(), pending_change) {
            (None, _) => self.in_sync(desired, now),
            (Some(_), Some(mut waiting)) if waiting.from == value => {
                waiting.looks += 1;
                self.sync_error = None;
                match self.next_confirmation(&waiting) {
                    Some(at) => {
                        self.next_describe = at;
                        self.pending_change = Some(waiting);
                    }
                    None => self.stop_confirming(desired, now),
                }
                return;
            }
            (Some(difference), Some(_)) => {
                // Neither the old value nor ours: drift. It counts as an attempt, so that a cloud that stores a
                // different value than requested is not modified endlessly.
                self.drift(difference, now);
                self.stop_confirming(desired, now);
                return;
            }
            (Some(difference), None) => self.out_of_sync(desired, difference, now),
        }
        self.next_describe = next_poll(desired.poll_offset, desired.interval, now);
    }

    fn in_sync(&mut self, desired: &Desired, now: Timestamp) {
        if let Some((from, to)) = self.unanswered.take() {
            self.modified(desired, from, to, None, now);
        }
        let ours = self.facts.modification.as_ref().is_some_and(|m| {
            m.cause == Cause::Drift && self.facts.drift.last_time.is_none_or(|seen| seen <= m.time)
        });
        if self.drifted && ours {
            let drift = &mut self.facts.drift;
            drift.corrections = drift.corrections.saturating_add(1);
            drift.recent.push(truncate_to_seconds(now));
            if drift.recent.len() > 3 {
                drift.recent.remove(0);
            }
        }
        self.drifted = false;
        self.sync_error = None;
        self.correction_failed = false;
        self.difference_seen = None;
        self.unconfirmed_changes = 0;
        self.regions = Regions::Unknown;
        self.facts.synced_generation = Some(desired.generation);
        if !desired.change.active {
            self.facts.protected_since = None;
        } else if self.synced.as_ref() != Some(&desired.change) || self.facts.protected_since.is_none() {
            self.facts.protected_since = Some(truncate_to_seconds(now));
        }
        self.synced = Some(desired.change.clone());
    }

    /// Records a drift, once for as long as it stays the same.
    fn drift(&mut self, difference: String, now: Timestamp) {
        let new = !self.drifted || self.facts.drift.last_difference.as_ref() != Some(&difference);
        if new {
            self.drifted = true;
            self.facts.drift.last_time = Some(truncate_to_seconds(now));
            self.facts.drift.last_difference = Some(difference);
        }
    }

    fn out_of_sync(&mut self, desired: &Desired, difference: String, now: Timestamp) {
        let was_synced = self.facts.synced_generation == Some(desired.generation);
        if was_synced && self.unanswered.is_none() {
            self.drift(difference, now);
        }
        self.unanswered = None;
        if !self.correction_failed {
            self.sync_error = None;
        }
        self.difference_seen = Some(now);
    }

    /// Schedules the next poll after a failure.
    pub(super) fn pace(&mut self, desired: &Desired, failure: &Failure, now: Timestamp, jitter: f64) {
        (self.next_describe, self.failures) =
            after_failure(desired.poll_timing(), self.failures, failure, now, jitter);
    }

    pub(super) fn next_capped_poll(&self, desired: &Desired, now: Timestamp) -> Timestamp {
        next_poll(desired.poll_offset, desired.interval.min(NEEDS_PERSON_MAX_INTERVAL), now)
    }

    /// Marks the request annotation's value as handled.
    pub fn handled_request(&mut self) {
        if let Some(value) = self.request.pending.take() {
            self.facts.handled_request = Some(value);
        }
    }

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
            time: truncate_to_seconds(now),
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
        let refused = || ModifyRefused { time: truncate_to_seconds(now), code: code.to_owned() };
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

    /// Records that a shared listing will serve the due one.
    pub fn await_shared_listing(&mut self) {
        self.backups.due = None;
        self.backups.awaited = true;
    }

    /// Makes a listing due with a describe, once per interval, where no shared listing serves the policy.
    pub fn list_with_describe(&mut self, desired: &Desired, now: Timestamp) {
        let is_old = match self.backups.read {
            Some(read) => since(read, now) + desired.interval / 2 >= desired.interval,
            // While describes fail in quick succession, a failed listing is not repeated with each of them.
            None => !self.failed_since || !self.backups.tried,
        };
        if is_old {
            self.backups.due.get_or_insert(now);
        }
    }

    /// Records a listing at `at` that found no change.
    pub fn apply_unchanged_listing(&mut self, at: Timestamp) {
        self.backups.read = self.backups.read.max(Some(at));
    }

    /// Applies a shared listing that started at `at`, unless a newer one was applied.
    pub fn apply_shared_listing(
        &mut self,
        desired: &Desired,
        reading: Vec<Backup>,
        at: Timestamp,
        jitter: f64,
    ) {
        match self.backups.read.is_some_and(|read| read > at) {
            true => self.backups.awaited = false,
            false => self.apply_listing(desired, Ok(reading), at, jitter),
        }
    }

    /// Marks the requests for a listing as served, at its start.
    pub fn listing_started(&mut self, desired: &Desired, now: Timestamp) {
        if recovery::wants_listing(desired, self, now) {
            self.backups.deadline_listed_for = self.facts.recovery_point.as_ref().map(|point| point.time);
        }
        self.backups.due = None;
        self.backups.awaited = false;
    }

    /// Applies a complete listing of the instance's backups, or its failure.
    pub fn apply_listing(
        &mut self,
        desired: &Desired,
        reading: Result<Vec<Backup>, Failure>,
        now: Timestamp,
        jitter: f64,
    ) {
        self.backups.tried = true;
        self.backups.awaited = false;
        self.backups.last_failed = reading.is_err();
        match reading {
            Ok(reading) => self.apply_complete_listing(desired, reading, now),
            Err(failure) => {
                self.backups.unconfirmed = None;
                self.backups.due = match failure.kind.class() {
                    // The next listing comes with the next regular poll.
                    Class::NeedsPerson => None,
                    Class::Transient | Class::Throttled => {
                        self.backups.failures = self.backups.failures.saturating_add(1);
                        Some(after(now, backoff(self.backups.failures, Duration::MAX, jitter)))
                    }
                };
            }
        }
    }

    fn apply_complete_listing(&mut self, desired: &Desired, reading: Vec<Backup>, now: Timestamp) {
        let before = self.backups.unconfirmed.take();
        let second = before.is_some();
        let known = before.as_ref().unwrap_or(&self.backups.known).merge(reading);
        let newest = known.point_of_last_reading(&desired.change);
        if !second && goes_backwards(self.facts.recovery_point.as_ref(), newest.as_ref()) {
            self.backups.unconfirmed = Some(known);
            self.backups.due = Some(now);
            return;
        }
        self.facts.recovery_point = known.recovery_point(&desired.change);
        self.facts.backups = Some(known.summary(desired.limit));
        if let Some(instance) = known.instance() {
            self.facts.instance = Some(instance);
        }
        self.backups.known = known;
        self.backups.read = Some(now);
        self.backups.failures = 0;
        self.backups.due = None;
    }
}

/// Whether status reports this generation in sync.
fn is_settled(facts: &Facts, generation: i64) -> bool {
    let settled = [Reason::InSync.as_str(), Reason::Observed.as_str()];
    facts.observed_generation == Some(generation)
        && facts.condition(types::SYNCED).is_some_and(|c| settled.contains(&c.reason.as_str()))
}
