//! RecoveryPointMet: whether the newest usable copy is young enough, decided by the clock between polls.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::memory::Memory;
use super::{AccountReadiness, Desired, after, since};
use crate::domain::{ConditionStatus, Outcome, Progress, Reason};

/// Time before the deadline at which the backups are listed once more.
const LAST_LISTING_LEAD: Duration = Duration::from_secs(30);

/// Returns the RecoveryPointMet outcome; `None` for a policy without an objective.
pub fn outcome(
    desired: &Desired,
    readiness: &AccountReadiness,
    memory: &Memory,
    now: Timestamp,
) -> Option<Outcome> {
    let objective = objective(desired)?;
    let target = desired.change.cross_backup_region.as_deref().unwrap_or_default();
    let say = |status, reason, cause: String| {
        Some(Outcome { status, reason, progress: Progress::Settled, cause, detail: None })
    };
    let limit = format!("{:#}", SignedDuration::try_from(objective).unwrap_or(SignedDuration::MAX));
    if desired.suspended || matches!(readiness, AccountReadiness::Closed(Reason::Suspended, _)) {
        return say(
            ConditionStatus::Unknown,
            Reason::Suspended,
            "nothing is read while suspended".to_owned(),
        );
    }
    if memory.backups.read.is_none_or(|read| since(read, now) >= desired.staleness()) {
        let cause = format!("the backups in {target} could not be read recently");
        return say(ConditionStatus::Unknown, Reason::BackupsUnknown, cause);
    }
    match &memory.facts.recovery_point {
        Some(point) if now < after(point.time, objective) => {
            let cause = format!("the newest usable backup in {target} is younger than {limit}");
            say(ConditionStatus::True, Reason::WithinObjective, cause)
        }
        Some(_) => {
            let mut cause = format!("the newest usable backup in {target} is older than {limit}");
            if let Some(failed) = memory.backups.known.newest_failed() {
                let status = &failed.status;
                cause.push_str(&format!("; the newest attempt, {}, is {status}", failed.backup_point_id));
            }
            say(ConditionStatus::False, Reason::ObjectiveExceeded, cause)
        }
        None => {
            let late = now >= no_backup_deadline(desired, memory, objective);
            let status = if late { ConditionStatus::False } else { ConditionStatus::Unknown };
            say(status, Reason::NoBackupYet, format!("there is no usable backup in {target} yet"))
        }
    }
}

fn no_backup_deadline(desired: &Desired, memory: &Memory, objective: Duration) -> Timestamp {
    let protected = memory.facts.protected_since.unwrap_or(desired.created);
    after(protected.max(desired.created), objective)
}

/// Whether the listing shortly before the deadline is due.
pub fn wants_listing(desired: &Desired, memory: &Memory, now: Timestamp) -> bool {
    last_listing(desired, memory).is_some_and(|(at, deadline)| at <= now && now < deadline)
}

/// Returns the next time at which the condition, or the need to list, changes by the clock alone.
pub fn next_change(desired: &Desired, memory: &Memory, now: Timestamp) -> Option<Timestamp> {
    let stale = stale_at(desired, memory.backups.read).filter(|t| *t > now);
    [stale, next_deadline(desired, memory, now)].into_iter().flatten().min()
}

/// Returns the next such time, provided that backups keep being listed.
pub fn next_deadline(desired: &Desired, memory: &Memory, now: Timestamp) -> Option<Timestamp> {
    let objective = objective(desired)?;
    let deadline = match &memory.facts.recovery_point {
        Some(point) => after(point.time, objective),
        None => no_backup_deadline(desired, memory, objective),
    };
    let reading = last_listing(desired, memory).map(|(at, _)| at);
    [Some(deadline), reading].into_iter().flatten().filter(|t| *t > now).min()
}

/// Returns when backups last listed at `read` become unknown, if the condition depends on them.
pub fn stale_at(desired: &Desired, read: Option<Timestamp>) -> Option<Timestamp> {
    objective(desired).and(read).map(|read| after(read, desired.staleness()))
}

/// Returns the objective of an active policy.
fn objective(desired: &Desired) -> Option<Duration> {
    desired.objective.filter(|_| desired.change.active)
}

/// Returns the time of the listing before the deadline, and the deadline; `None` if that listing was made.
fn last_listing(desired: &Desired, memory: &Memory) -> Option<(Timestamp, Timestamp)> {
    let objective = objective(desired)?;
    let point = memory.facts.recovery_point.as_ref()?;
    let deadline = after(point.time, objective);
    let at = deadline.checked_sub(SignedDuration::try_from(LAST_LISTING_LEAD).ok()?).ok()?;
    let done = memory.backups.deadline_listed_for == Some(point.time)
        || memory.backups.read.is_some_and(|read| read >= at);
    (!done).then_some((at, deadline))
}

/// Classifies a transition: `Some(false)` if the condition becomes False, `Some(true)` if it becomes True after False.
pub fn transition(old: Option<ConditionStatus>, new: Option<ConditionStatus>) -> Option<bool> {
    match (old, new) {
        (Some(ConditionStatus::False), Some(ConditionStatus::True)) => Some(true),
        (Some(ConditionStatus::False), _) => None,
        (_, Some(ConditionStatus::False)) => Some(false),
        _ => None,
    }
}
