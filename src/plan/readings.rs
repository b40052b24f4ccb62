//! What is remembered of a policy's backups, and how a reading of them changes it.

use std::time::Duration;

use jiff::Timestamp;

use super::backups::{Known, goes_backwards};
use super::memory::Memory;
use super::pace::backoff;
use super::round::Sighted;
use super::{Desired, after, recovery, since};
use crate::domain::{Backup, Class, Facts, Failure};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupMemory {
    pub known: Known,
    /// When they were last read.
    pub read: Option<Timestamp>,
    /// Whether a reading has ended in this process, well or not.
    pub tried: bool,
    /// When they are to be read for this policy, apart from the readings that all policies of an account share.
    pub due: Option<Timestamp>,
    /// The next shared reading is to bring what was due.
    pub awaited: bool,
    /// The last reading failed.
    pub(super) unread: bool,
    pub(super) failures: u32,
    /// A reading that would take the recovery point away waits for a second one.
    pub(super) doubt: Option<Known>,
    /// The recovery point for which the reading before its deadline was asked.
    pub deadline_read_for: Option<Timestamp>,
}

impl BackupMemory {
    /// What readings are compared with, until one was told. Status says how many backups there were, and has room for the newest.
    pub fn as_sighted(&self, facts: &Facts) -> Sighted {
        let total = facts.backups.as_ref().map(|backups| backups.total);
        let all = total.is_some_and(|total| usize::try_from(total) == Ok(self.known.iter().count()));
        Sighted::told(&self.known, facts.instance.as_ref(), all && !self.unread)
    }

    /// Whether they were not read for longer than readings at each interval take.
    pub(super) fn is_old(&self, desired: &Desired, now: Timestamp) -> bool {
        self.read.is_none_or(|read| since(read, now) > desired.staleness())
    }

    /// Whether a second reading decides about the first one.
    pub fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Whether what was asked for last has not been read yet.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.awaited || self.due.is_some_and(|due| due <= now)
    }
}

impl Memory {
    /// A shared reading is to bring what is due.
    pub fn await_reading(&mut self) {
        self.backups.due = None;
        self.backups.awaited = true;
    }

    /// Where no other reading brings the backups, they are read with a look, once in an interval.
    pub fn read_with_look(&mut self, desired: &Desired, now: Timestamp) {
        let is_old = match self.backups.read {
            Some(read) => since(read, now) + desired.interval / 2 >= desired.interval,
            // What fails in looks that come fast is not asked for with each of them.
            None => !self.failed_since || !self.backups.tried,
        };
        if is_old {
            self.backups.due.get_or_insert(now);
        }
    }

    /// The backups were read at that time, and nothing else was found than what is known.
    pub fn read_unchanged(&mut self, at: Timestamp) {
        self.backups.read = self.backups.read.max(Some(at));
    }

    /// A shared reading that began at `at`, by a time at which no other was made.
    pub fn took_shared(&mut self, desired: &Desired, reading: Vec<Backup>, at: Timestamp, dice: f64) {
        match self.backups.read.is_some_and(|read| read > at) {
            true => self.backups.awaited = false,
            false => self.read_backups(desired, Ok(reading), at, dice),
        }
    }

    /// The backups are about to be read: what asked for it is served.
    pub fn begin_reading(&mut self, desired: &Desired, now: Timestamp) {
        if recovery::wants_reading(desired, self, now) {
            self.backups.deadline_read_for = self.facts.recovery_point.as_ref().map(|point| point.time);
        }
        self.backups.due = None;
        self.backups.awaited = false;
    }

    /// A whole reading of the instance's backups, or why there is none.
    pub fn read_backups(
        &mut self,
        desired: &Desired,
        reading: Result<Vec<Backup>, Failure>,
        now: Timestamp,
        dice: f64,
    ) {
        self.backups.tried = true;
        self.backups.awaited = false;
        self.backups.unread = reading.is_err();
        match reading {
            Ok(reading) => self.took_reading(desired, reading, now),
            Err(failure) => {
                self.backups.doubt = None;
                self.backups.due = match failure.kind.class() {
                    // The next regular look brings the next reading.
                    Class::NeedsPerson => None,
                    Class::Passing | Class::Throttled => {
                        self.backups.failures = self.backups.failures.saturating_add(1);
                        Some(after(now, backoff(self.backups.failures, Duration::MAX, dice)))
                    }
                };
            }
        }
    }

    fn took_reading(&mut self, desired: &Desired, reading: Vec<Backup>, now: Timestamp) {
        let before = self.backups.doubt.take();
        let second = before.is_some();
        let known = before.as_ref().unwrap_or(&self.backups.known).merge(reading);
        let newest = known.point_of_last_reading(&desired.change);
        if !second && goes_backwards(self.facts.recovery_point.as_ref(), newest.as_ref()) {
            self.backups.doubt = Some(known);
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
