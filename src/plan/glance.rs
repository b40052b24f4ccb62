//! Fast path of a reconcile. Most polls find the state that status already reports and change nothing; a compact state
//! recognizes such a poll without the decompressed status.

use jiff::Timestamp;

use super::brief::Brief;
use super::memory::Memory;
use super::next::{Do, earliest};
use super::pace::{LONGEST, next_turn};
use super::resting::Settled;
use super::{Desired, Gate, Surroundings, after, conditions, hash_of, recovery};
use crate::domain::PolicyState;

/// Proof that another describe with the same result would change nothing in memory but timestamps.
#[derive(Debug)]
pub struct Quiet {
    /// 64-bit hash of the reported cloud state.
    state: u64,
    /// Start and end of the period in which the conditions stay unchanged, provided that backups keep being listed. A
    /// start is needed because a clock that is set back makes a passed deadline future again.
    from: Brief,
    until: Brief,
}

impl Quiet {
    /// Simulates one more describe, so that the rules for its effects exist only once.
    pub(super) fn of(desired: &Desired, memory: &Memory, now: Timestamp) -> Option<Self> {
        let state = memory.facts.policy.clone()?;
        if desired.suspended || !memory.looked || recovery::wants_reading(desired, memory, now) {
            return None;
        }
        let hash = hash_of(&state);
        let mut again = memory.clone();
        again.notice(desired, memory.epoch, now);
        again.looked(desired, Ok(state), now, 0.0);
        (again.last_good, again.next_look) = (memory.last_good, memory.next_look);
        let around = Surroundings { gate: Gate::Open, paused_until: None, rival: None, epoch: memory.epoch };
        let is_told = || conditions::report(desired, &around, memory, now) == memory.facts;
        (again == *memory && is_told()).then(|| Self {
            state: hash,
            from: Some(now).into(),
            until: earliest([
                conditions::contested_until(desired, memory, now),
                recovery::next_deadline(desired, memory, now),
            ])
            .into(),
        })
    }
}

impl Settled {
    /// Returns the next action (describe or wait) of a policy with the interval it was compacted with, an open account
    /// and no competing policy. `None` if the decision needs the status. `read`: time of the last backup listing.
    pub fn glance(
        &self,
        desired: &Desired,
        epoch: Option<u64>,
        read: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Do> {
        let quiet = self.quiet.as_ref()?;
        let is_the_same = self.generation == desired.generation && self.epoch == epoch;
        let next_look = self.next_look.get()?;
        let latest = after(now, desired.interval.max(LONGEST));
        let past = [quiet.from.get(), self.last_good.get(), self.read.get(), read];
        let past = past.into_iter().flatten().all(|time| time <= now);
        let ahead = [Some(next_look), self.due.get()].into_iter().flatten().all(|time| time <= latest);
        let passed = [quiet.until.get(), recovery::stale_at(desired, self.read.get()), self.due.get()];
        if !is_the_same || !past || !ahead || passed.into_iter().flatten().any(|time| time <= now) {
            return None;
        }
        match next_look <= now {
            true => Some(Do::Look),
            false => Some(Do::Wait(self.until(desired, read))),
        }
    }

    /// Applies a describe response if it equals the reported state; returns whether it did.
    pub fn saw(
        &mut self,
        desired: &Desired,
        state: &PolicyState,
        read: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        let quiet = self.quiet.as_mut().filter(|quiet| quiet.state == hash_of(state));
        let is_told = quiet.is_some();
        if let Some(quiet) = quiet {
            quiet.from = Some(now).into();
            self.last_good = Some(now).into();
            self.next_look = Some(next_turn(desired.phase, desired.interval, now)).into();
            self.read = self.read.get().max(read).into();
        }
        is_told
    }

    /// Returns the time of the next due action or condition change.
    pub fn until(&self, desired: &Desired, read: Option<Timestamp>) -> Option<Timestamp> {
        earliest([self.next_look.get(), self.due.get(), self.meanwhile(desired, read)])
    }

    /// Returns the next time a condition changes while the due action cannot run.
    pub fn meanwhile(&self, desired: &Desired, read: Option<Timestamp>) -> Option<Timestamp> {
        let quiet = self.quiet.as_ref().and_then(|quiet| quiet.until.get());
        earliest([quiet, recovery::stale_at(desired, self.read.get().max(read))])
    }
}
