//! In-memory state of a policy's backups, and the effect of a listing on it.

use std::time::Duration;

use jiff::Timestamp;

use super::backups::{Known, goes_backwards};
use super::memory::Memory;
use super::polling::backoff;
use super::shared_listing::Fingerprints;
use super::{Desired, after, recovery, since};
use crate::domain::{Backup, Class, Facts, Failure};

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
        Fingerprints::told(&self.known, facts.instance.as_ref(), all && !self.last_failed)
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
