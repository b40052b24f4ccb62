//! The next action for a policy. The controller asks repeatedly until the answer is to wait.

use jiff::Timestamp;

use super::memory::{MAX_DESCRIBE_AGE, Memory, Regions};
use super::{AccountReadiness, Desired, ReconcileEnv, after, conditions, recovery, since};
use crate::plan::polling::NOT_FOUND_GRACE;

/// Next action of a reconcile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// Describe the cloud policy.
    Describe,
    /// List the regions that the instance can copy to.
    ListRegions,
    /// Modify the cloud policy: a fresh describe showed a difference, and no precondition forbids the correction.
    Modify,
    /// List all backups of the instance.
    ListBackups,
    /// Requeue at that time; `None`: wait for a watch event.
    Wait(Option<Timestamp>),
}

/// Decides the next action.
pub fn next(desired: &Desired, env: &ReconcileEnv, memory: &Memory, now: Timestamp) -> NextAction {
    let timers = timers(desired, memory, now);
    if desired.suspended {
        return NextAction::Wait(None);
    }
    match &env.readiness {
        AccountReadiness::Open => {}
        AccountReadiness::Pending(until) => return NextAction::Wait(earliest([Some(*until), timers])),
        AccountReadiness::Closed(..) => return NextAction::Wait(timers),
    }
    if let Some(until) = env.paused_until.filter(|until| *until > now) {
        return NextAction::Wait(earliest([Some(until), timers]));
    }
    if memory.next_describe <= now {
        return NextAction::Describe;
    }
    if memory.regions == Regions::Recheck {
        return NextAction::ListRegions;
    }
    if let Some(seen) = memory.difference_seen.filter(|_| desired.manages && env.competitor.is_none()) {
        if since(seen, now) > MAX_DESCRIBE_AGE {
            return NextAction::Describe;
        }
        if desired.change.active && memory.regions == Regions::Unknown {
            return NextAction::ListRegions;
        }
        return NextAction::Modify;
    }
    if memory.backups.due.is_some_and(|due| due <= now) || recovery::wants_listing(desired, memory, now) {
        return NextAction::ListBackups;
    }
    NextAction::Wait(earliest([Some(memory.next_describe), memory.backups.due, timers]))
}

/// Returns when to requeue while the account's request budget has no permit for the due action. A permit that becomes
/// free triggers the reconcile itself.
pub fn meanwhile(desired: &Desired, memory: &Memory, now: Timestamp) -> Option<Timestamp> {
    let look = Some(memory.next_describe).filter(|look| *look > now);
    earliest([look, timers(desired, memory, now)])
}

/// Returns the next time at which a condition changes by the clock alone.
fn timers(desired: &Desired, memory: &Memory, now: Timestamp) -> Option<Timestamp> {
    let still_to_come = |t: Timestamp| Some(t).filter(|t| *t > now);
    let not_found =
        still_to_come(after(desired.created, NOT_FOUND_GRACE)).filter(|_| memory.sync_error.is_some());
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
