//! Conditions and when they are written: the table of the contract, first matching row.

use std::time::Duration;

use jiff::Timestamp;

use super::memory::{MAX_UNCONFIRMED_CHANGES, Memory, PendingChange, SyncError};
use super::polling::waits_to_exist;
use super::{AccountReadiness, Desired, ReconcileEnv, after, reason_of, recovery, since};
use crate::domain::condition::{self, types};
use crate::domain::{Class, ConditionStatus, Facts, Failure, Kind, Outcome, Progress, Reason};

/// Maximum number of available regions in a message.
const REGIONS_MAX: usize = 50;

/// Returns the facts that status shall report. Without `observed_generation` there is nothing to write yet.
pub fn report(desired: &Desired, env: &ReconcileEnv, memory: &Memory, now: Timestamp) -> Facts {
    let mut facts = memory.facts.clone();
    if !desired.change.active {
        facts.recovery_point = None;
        facts.protected_since = None;
    }
    let Some(outcome) = outcome(desired, env, memory, now) else {
        if facts.observed_generation == Some(desired.generation) {
            facts.conditions = with_own_conditions(facts.conditions.clone(), desired, env, memory, now);
        }
        return facts;
    };
    // Stored with this generation, it would count as proof of access after a restart.
    if memory.unproven {
        facts.policy = None;
    }
    let main = [types::SYNCED, types::READY];
    let merged = condition::merge(&facts.conditions, &main, &outcome, desired.generation, now);
    facts.conditions = with_own_conditions(merged, desired, env, memory, now);
    facts.observed_generation = Some(desired.generation);
    facts
}

/// Sets or removes the conditions that depend on the clock: RecoveryPointMet and Contested.
fn with_own_conditions(
    mut conditions: Vec<condition::Condition>,
    desired: &Desired,
    env: &ReconcileEnv,
    memory: &Memory,
    now: Timestamp,
) -> Vec<condition::Condition> {
    let own = [
        (types::RECOVERY_POINT_MET, recovery::outcome(desired, &env.readiness, memory, now)),
        (types::CONTESTED, contested(desired, memory, now)),
    ];
    for (kind, outcome) in own {
        let new = outcome.map(|o| condition::set(&conditions, kind, o.status, &o, desired.generation, now));
        conditions.retain(|c| c.kind != kind);
        conditions.extend(new);
    }
    let order = [
        types::READY,
        types::SYNCED,
        types::RECOVERY_POINT_MET,
        types::CONTESTED,
        types::RECONCILING,
        types::STALLED,
    ];
    conditions.sort_by_key(|c| order.iter().position(|o| *o == c.kind));
    conditions
}

/// Returns the Contested outcome: three corrections within max(1 h, 4 × the interval in force).
fn contested(desired: &Desired, memory: &Memory, now: Timestamp) -> Option<Outcome> {
    contested_until(desired, memory, now).map(|_| Outcome {
        status: ConditionStatus::True,
        reason: Reason::Contested,
        progress: Progress::Settled,
        cause: "something else keeps changing the policy back".to_owned(),
        detail: None,
    })
}

/// Returns when the policy stops being contested; `None` if it is not.
pub(super) fn contested_until(desired: &Desired, memory: &Memory, now: Timestamp) -> Option<Timestamp> {
    let first = memory.facts.drift.recent.first().filter(|_| memory.facts.drift.recent.len() >= 3)?;
    let window = (desired.interval * 4).max(Duration::from_secs(3600));
    Some(after(*first, window)).filter(|until| *until > now)
}

/// Returns the outcome of Synced and Ready; `None`: keep the stored one.
pub fn outcome(desired: &Desired, env: &ReconcileEnv, memory: &Memory, now: Timestamp) -> Option<Outcome> {
    if desired.suspended {
        return Some(closed(Reason::Suspended, "spec.suspend is true"));
    }
    match &env.readiness {
        AccountReadiness::Open => {}
        AccountReadiness::Pending(_) => return None,
        AccountReadiness::Closed(reason, text) => return Some(closed(*reason, text)),
    }
    let new_generation = memory.facts.observed_generation != Some(desired.generation);
    if !memory.described {
        return throttled(env, now).filter(|_| new_generation);
    }
    let seen = memory.describe_failure.is_none();
    let sync_error = memory.sync_error.as_ref();
    if let Some(SyncError::Failed(failure)) = sync_error
        && matches!(failure.kind, Kind::CredentialsRejected | Kind::NotSupported | Kind::EndpointNotAllowed)
    {
        return Some(failed(desired, memory, failure, now));
    }
    if let Some(competitor) = &env.competitor {
        let cause = match &competitor.name {
            Some(name) => format!("CrossRegionBackupPolicy {name} manages this instance"),
            None => "a CrossRegionBackupPolicy of another namespace manages this instance".to_owned(),
        };
        return Some(say(ConditionStatus::False, Reason::Conflict, Progress::Stalled, cause));
    }
    match sync_error {
        Some(SyncError::RegionNotAvailable { wanted, available }) => {
            let cause = match available.as_slice() {
                [] => {
                    format!("{wanted} is not available as target of this instance, nor is any other region")
                }
                some => {
                    let more = some.len().checked_sub(REGIONS_MAX).filter(|more| *more > 0);
                    format!(
                        "{wanted} is not available as target of this instance; available: {}{}",
                        some[..some.len().min(REGIONS_MAX)].join(", "),
                        more.map_or_else(String::new, |more| format!(" and {more} more"))
                    )
                }
            };
            return Some(say(ConditionStatus::False, Reason::RegionNotAvailable, Progress::Stalled, cause));
        }
        Some(SyncError::Failed(failure)) => return Some(failed(desired, memory, failure, now)),
        None => {}
    }
    let stale =
        memory.failed_since && memory.last_good.is_none_or(|good| since(good, now) >= desired.staleness());
    let outdated = memory.facts.condition(types::SYNCED).is_some_and(|c| is_of_the_account(&c.reason));
    if let Some(failure) = memory.describe_failure.as_ref().filter(|_| stale || new_generation || outdated) {
        return Some(failed(desired, memory, failure, now));
    }
    match &memory.difference {
        Some(difference) if !desired.manages => {
            seen.then(|| say(ConditionStatus::False, Reason::DriftDetected, Progress::Stalled, difference))
        }
        Some(difference) => {
            modifying(memory, difference).or_else(|| uncorrected_outcome(desired, env, memory, now))
        }
        None => (seen && memory.backups.tried).then(|| in_sync(desired)),
    }
}

/// Whether the reason comes from the account. Such a reason ends with the first possible describe, even if that one
/// fails.
fn is_of_the_account(reason: &str) -> bool {
    [
        Reason::Suspended,
        Reason::AccountNotFound,
        Reason::AccountNotAllowed,
        Reason::AccountNotReady,
        Reason::CredentialsMissing,
        Reason::CredentialsRejected,
        Reason::EndpointNotAllowed,
    ]
    .iter()
    .any(|of_account| of_account.as_str() == reason)
}

/// Returns why a difference is not being corrected. Synced must not stay True once a difference is known.
fn uncorrected_outcome(
    desired: &Desired,
    env: &ReconcileEnv,
    memory: &Memory,
    now: Timestamp,
) -> Option<Outcome> {
    memory.facts.condition(types::SYNCED).filter(|synced| synced.status == ConditionStatus::True)?;
    match &memory.describe_failure {
        Some(failure) => Some(failed(desired, memory, failure, now)),
        None => throttled(env, now),
    }
}

fn throttled(env: &ReconcileEnv, now: Timestamp) -> Option<Outcome> {
    env.paused_until.filter(|until| *until > now)?;
    Some(say(ConditionStatus::Unknown, Reason::Throttled, Progress::Reconciling, "the account is throttled"))
}

fn modifying(memory: &Memory, difference: &str) -> Option<Outcome> {
    // The describe that should have shown the change has completed, successfully or not.
    let described = |c: &PendingChange| c.looks > 0 || memory.describe_failure.is_some();
    let waiting = memory.pending_change.as_ref().is_some_and(described);
    if memory.unconfirmed_changes >= MAX_UNCONFIRMED_CHANGES {
        let cause =
            format!("{difference}; the cloud accepted the change repeatedly, and it never became visible");
        return Some(say(ConditionStatus::False, Reason::Modifying, Progress::Stalled, cause));
    }
    (waiting || memory.unconfirmed_changes > 0).then(|| {
        let cause = format!("{difference}; the cloud accepted the change, and it is not visible yet");
        say(ConditionStatus::False, Reason::Modifying, Progress::Reconciling, cause)
    })
}

fn in_sync(desired: &Desired) -> Outcome {
    let cause = match (&desired.change.cross_backup_region, desired.change.active) {
        (Some(target), true) => format!("backups are copied to {target}"),
        _ => "cross-region backup is off".to_owned(),
    };
    let reason = if desired.manages { Reason::InSync } else { Reason::Observed };
    say(ConditionStatus::True, reason, Progress::Settled, cause)
}

/// Returns the outcome for an account that is not ready.
pub(super) fn closed(reason: Reason, text: &str) -> Outcome {
    let (status, progress) = match reason {
        Reason::Suspended => (ConditionStatus::Unknown, Progress::Settled),
        Reason::AccountNotFound | Reason::AccountNotReady | Reason::CredentialsMissing => {
            (ConditionStatus::False, Progress::Reconciling)
        }
        _ => (ConditionStatus::False, Progress::Stalled),
    };
    say(status, reason, progress, text)
}

fn failed(desired: &Desired, memory: &Memory, failure: &Failure, now: Timestamp) -> Outcome {
    let mut outcome = failure_outcome(desired.created, failure, now);
    if let Some(difference) = memory.difference.as_ref().filter(|_| memory.correction_failed) {
        outcome.cause = format!("{difference}; {}", outcome.cause);
    }
    outcome
}

/// Returns the outcome for a failed call of a resource.
pub(super) fn failure_outcome(created: Timestamp, failure: &Failure, now: Timestamp) -> Outcome {
    let (status, progress) = match failure.kind.class() {
        _ if waits_to_exist(created, failure, now) || failure.kind == Kind::InstanceNotReady => {
            (ConditionStatus::False, Progress::Reconciling)
        }
        Class::NeedsPerson => (ConditionStatus::False, Progress::Stalled),
        Class::Transient | Class::Throttled => (ConditionStatus::Unknown, Progress::Reconciling),
    };
    // The message of a refused endpoint, or of a call without a usable response, is our own.
    let shows_message = matches!(
        failure.kind,
        Kind::InvalidRequest
            | Kind::PermissionDenied
            | Kind::NotSupported
            | Kind::EndpointNotAllowed
            | Kind::CloudUnavailable
    );
    let detail = failure.message.clone().filter(|m| shows_message && !m.is_empty());
    let cause = format!("{}: {}", failure.action, failure.code);
    Outcome { status, reason: reason_of(failure.kind), progress, cause, detail }
}

pub(super) fn say(
    status: ConditionStatus,
    reason: Reason,
    progress: Progress,
    cause: impl Into<String>,
) -> Outcome {
    Outcome { status, reason, progress, cause: cause.into(), detail: None }
}
