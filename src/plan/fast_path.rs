//! Fast path of a reconcile. Most polls find the state that status already reports and change nothing; a compact state
//! recognizes such a poll without the decompressed status.

use jiff::Timestamp;

use super::compact_state::InSyncState;
use super::compact_timestamp::CompactTimestamp;
use super::memory::Memory;
use super::next::{NextAction, earliest};
use super::polling::{MAX_BACKOFF, next_poll};
use super::{AccountReadiness, Desired, ReconcileEnv, after, conditions, hash_of, recovery};
use crate::domain::PolicyState;

/// Proof that another describe with the same result would change nothing in memory but timestamps.
#[derive(Debug)]
pub struct Unchanged {
    /// 64-bit hash of the reported cloud state.
    state: u64,
    /// Start and end of the period in which the conditions stay unchanged, provided that backups keep being listed. A
    /// start is needed because a clock that is set back makes a passed deadline future again.
    from: CompactTimestamp,
    until: CompactTimestamp,
}

impl Unchanged {
    /// Simulates one more describe, so that the rules for its effects exist only once.
    pub(super) fn of(desired: &Desired, memory: &Memory, now: Timestamp) -> Option<Self> {
        let state = memory.facts.policy.clone()?;
        if desired.suspended || !memory.described || recovery::wants_listing(desired, memory, now) {
            return None;
        }
        let hash = hash_of(&state);
        let mut again = memory.clone();
        again.notice(desired, memory.access_generation, now);
        again.described(desired, Ok(state), now, 0.0);
        (again.last_good, again.next_describe) = (memory.last_good, memory.next_describe);
        let env = ReconcileEnv {
            readiness: AccountReadiness::Open,
            paused_until: None,
            competitor: None,
            access_generation: memory.access_generation,
        };
        let is_told = || conditions::report(desired, &env, memory, now) == memory.facts;
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

impl InSyncState {
    /// Returns the next action (describe or wait) of a policy with the interval it was compacted with, an open account
    /// and no competing policy. `None` if the decision needs the status. `read`: time of the last backup listing.
    pub fn fast_path(
        &self,
        desired: &Desired,
        access_generation: Option<u64>,
        read: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<NextAction> {
        let unchanged = self.unchanged.as_ref()?;
        let is_the_same =
            self.generation == desired.generation && self.access_generation == access_generation;
        let next_describe = self.next_describe.get()?;
        let latest = after(now, desired.interval.max(MAX_BACKOFF));
        let past = [unchanged.from.get(), self.last_good.get(), self.read.get(), read];
        let past = past.into_iter().flatten().all(|time| time <= now);
        let ahead = [Some(next_describe), self.due.get()].into_iter().flatten().all(|time| time <= latest);
        let passed = [unchanged.until.get(), recovery::stale_at(desired, self.read.get()), self.due.get()];
        if !is_the_same || !past || !ahead || passed.into_iter().flatten().any(|time| time <= now) {
            return None;
        }
        match next_describe <= now {
            true => Some(NextAction::Describe),
            false => Some(NextAction::Wait(self.until(desired, read))),
        }
    }

    /// Applies a describe response if it equals the reported state; returns whether it did.
    pub fn apply_if_unchanged(
        &mut self,
        desired: &Desired,
        state: &PolicyState,
        read: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        let unchanged = self.unchanged.as_mut().filter(|unchanged| unchanged.state == hash_of(state));
        let is_told = unchanged.is_some();
        if let Some(unchanged) = unchanged {
            unchanged.from = Some(now).into();
            self.last_good = Some(now).into();
            self.next_describe = Some(next_poll(desired.poll_offset, desired.interval, now)).into();
            self.read = self.read.get().max(read).into();
        }
        is_told
    }

    /// Returns the time of the next due action or condition change.
    pub fn until(&self, desired: &Desired, read: Option<Timestamp>) -> Option<Timestamp> {
        earliest([self.next_describe.get(), self.due.get(), self.meanwhile(desired, read)])
    }

    /// Returns the next time a condition changes while the due action cannot run.
    pub fn meanwhile(&self, desired: &Desired, read: Option<Timestamp>) -> Option<Timestamp> {
        let unchanged = self.unchanged.as_ref().and_then(|unchanged| unchanged.until.get());
        earliest([unchanged, recovery::stale_at(desired, self.read.get().max(read))])
    }
}
