//! The next action for a policy. The controller asks repeatedly until the answer is to wait.

use jiff::Timestamp;

use super::memory::{FRESHNESS, Memory, Regions};
use super::{Desired, Gate, Surroundings, after, conditions, recovery, since};
use crate::plan::pace::NOT_FOUND_GRACE;

/// Next action of a reconcile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// Describe the cloud policy.
    Look,
    /// List the regions that the instance can copy to.
    AskRegions,
    /// Modify the cloud policy: a fresh describe showed a difference, and no precondition forbids the correction.
    Modify,
    /// List all backups of the instance.
    ReadBackups,
    /// Requeue at that time; `None`: wait for a watch event.
    Wait(Option<Timestamp>),
}

/// Decides the next action.
pub fn next(desired: &Desired, around: &Surroundings, memory: &Memory, now: Timestamp) -> Do {
    let timers = timers(desired, memory, now);
    if desired.suspended {
        return Do::Wait(None);
    }
    match &around.gate {
        Gate::Open => {}
        Gate::Pending(until) => return Do::Wait(earliest([Some(*until), timers])),
        Gate::Closed(..) => return Do::Wait(timers),
    }
    if let Some(until) = around.paused_until.filter(|until| *until > now) {
        return Do::Wait(earliest([Some(until), timers]));
    }
    if memory.next_look <= now {
        return Do::Look;
    }
    if memory.regions == Regions::Recheck {
        return Do::AskRegions;
    }
    if let Some(seen) = memory.correctable.filter(|_| desired.manages && around.rival.is_none()) {
        if since(seen, now) > FRESHNESS {
            return Do::Look;
        }
        if desired.change.active && memory.regions == Regions::Unknown {
            return Do::AskRegions;
        }
        return Do::Modify;
    }
    if memory.backups.due.is_some_and(|due| due <= now) || recovery::wants_reading(desired, memory, now) {
        return Do::ReadBackups;
    }
    Do::Wait(earliest([Some(memory.next_look), memory.backups.due, timers]))
}

/// Returns when to requeue while the account's request budget has no permit for the due action. A permit that becomes
/// free triggers the reconcile itself.
pub fn meanwhile(desired: &Desired, memory: &Memory, now: Timestamp) -> Option<Timestamp> {
    let look = Some(memory.next_look).filter(|look| *look > now);
    earliest([look, timers(desired, memory, now)])
}

/// Returns the next time at which a condition changes by the clock alone.
fn timers(desired: &Desired, memory: &Memory, now: Timestamp) -> Option<Timestamp> {
    let still_to_come = |t: Timestamp| Some(t).filter(|t| *t > now);
    let not_found =
        still_to_come(after(desired.created, NOT_FOUND_GRACE)).filter(|_| memory.verdict.is_some());
    let stale = memory
        .last_good
        .filter(|_| memory.failed_since)
        .and_then(|good| still_to_come(after(good, desired.staleness())));
    let uncontested = conditions::contested_until(desired, memory, now);
    earliest([not_found, stale, uncontested, recovery::next_change(desired, memory, now)])
}

pub(super) fn earliest<const N: usize>(times: [Option<Timestamp>; N]) -> Option<Timestamp> {
    times.into_iter().flatten().min()
}
