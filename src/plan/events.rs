//! Events, derived from the difference between old and new facts, so that a restart repeats none.

use super::recovery::transition;
use crate::domain::condition::types;
use crate::domain::facts::Cause;
use crate::domain::{Condition, ConditionStatus, Facts, Reason};

/// One event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    pub warning: bool,
    pub reason: &'static str,
    pub text: String,
}

/// Returns the events between two states of one policy.
pub fn between(old: &Facts, new: &Facts) -> Vec<NewEvent> {
    let mut all = Vec::new();
    let mut publish = |warning, reason, text: String| all.push(NewEvent { warning, reason, text });

    let synced = new.condition(types::SYNCED);
    let was = old.condition(types::SYNCED);
    let now_reason = synced.map_or("", |c| c.reason.as_str());
    let new_reason = was.is_none_or(|c| c.reason != now_reason);
    let message = synced.map(|c| c.message.clone()).unwrap_or_default();

    let drifted_anew = new.drift.last_time.is_some() && new.drift.last_time != old.drift.last_time;
    if drifted_anew || (new_reason && now_reason == Reason::DriftDetected.as_str()) {
        let what =
            new.drift.last_difference.clone().filter(|_| drifted_anew).unwrap_or_else(|| message.clone());
        publish(true, "DriftDetected", what);
    }
    let was_modifying = was.is_some_and(|c| c.reason == Reason::Modifying.as_str());
    let gave_up = new.condition(types::STALLED).is_some() && now_reason == Reason::Modifying.as_str();
    let had_given_up = old.condition(types::STALLED).is_some() && was_modifying;
    let modified = new.modification != old.modification;
    // A change for another spec replaces the pending one, whose outcome stays unknown.
    let same_spec = new.observed_generation == old.observed_generation;
    let again = modified && same_spec && was_modifying && now_reason == Reason::Modifying.as_str();
    if (again || gave_up) && !had_given_up {
        publish(true, "ModifyNotVisible", message.clone());
    }
    if let Some(change) = new.modification.as_ref().filter(|_| modified) {
        let cause = match change.cause {
            Cause::SpecChanged => "SpecChanged",
            Cause::Drift => "Drift",
        };
        let request = change.request_id.as_ref().map(|id| format!(", request {id}")).unwrap_or_default();
        publish(
            false,
            "PolicyModified",
            format!("from {} to {} ({cause}{request})", words(&change.from), words(&change.to)),
        );
    }
    if new.drift.corrections > old.drift.corrections {
        publish(false, "DriftCorrected", new.drift.last_difference.clone().unwrap_or_default());
    }
    if let Some(contested) =
        new.condition(types::CONTESTED).filter(|_| old.condition(types::CONTESTED).is_none())
    {
        publish(true, "Contested", contested.message.clone());
    }
    if new_reason && now_reason == Reason::Conflict.as_str() {
        publish(true, "Conflict", message.clone());
    }
    if new_reason && FAILURES.iter().any(|r| r.as_str() == now_reason) {
        publish(true, "ReconcileFailed", format!("{now_reason}: {message}"));
    }
    let point = |facts: &Facts| facts.condition(types::RECOVERY_POINT_MET).map(|c| c.status);
    let text = new.condition(types::RECOVERY_POINT_MET).map(|c| c.message.clone()).unwrap_or_default();
    match transition(point(old), point(new)) {
        Some(true) => publish(false, "RecoveryPointRestored", text),
        Some(false) => publish(true, "RecoveryPointExceeded", text),
        None => {}
    }
    all
}

/// Reasons of `ReconcileFailed`. Failures of the account are reported on the account only.
const FAILURES: [Reason; 9] = [
    Reason::AccountNotFound,
    Reason::NotSupported,
    Reason::InstanceNotFound,
    Reason::PermissionDenied,
    Reason::InvalidRequest,
    Reason::RegionNotAvailable,
    Reason::InstanceNotReady,
    Reason::CloudUnavailable,
    Reason::Throttled,
];

fn words(change: &crate::domain::Change) -> String {
    match (&change.cross_backup_region, change.active) {
        (Some(target), true) => format!("on with target {target}"),
        (None, true) => "on".to_owned(),
        (_, false) => "off".to_owned(),
    }
}

/// Returns the event for a change of an account's Ready condition.
pub fn of_account(
    old: Option<(ConditionStatus, &str)>,
    new: (ConditionStatus, &str),
    text: &str,
) -> Option<NewEvent> {
    let rejected = Reason::CredentialsRejected.as_str();
    if old.map(|(_, reason)| reason) == Some(new.1) {
        return None;
    }
    let was_true = old.is_some_and(|(status, _)| status == ConditionStatus::True);
    match new.1 {
        reason if reason == rejected => {
            Some(NewEvent { warning: true, reason: "AccountRejected", text: text.to_owned() })
        }
        _ if new.0 == ConditionStatus::True => {
            (!was_true).then(|| NewEvent { warning: false, reason: "AccountVerified", text: text.to_owned() })
        }
        reason if new.0 == ConditionStatus::False => {
            Some(NewEvent { warning: true, reason: "ReconcileFailed", text: format!("{reason}: {text}") })
        }
        _ => None,
    }
}

/// Returns the event for a change of an inventory's Ready condition.
pub fn of_inventory(old: Option<&Condition>, new: Option<&Condition>) -> Option<NewEvent> {
    let new = new?;
    let is_new = old.is_none_or(|old| old.reason != new.reason);
    (is_new && FAILURES.iter().any(|reason| reason.as_str() == new.reason)).then(|| NewEvent {
        warning: true,
        reason: "ReconcileFailed",
        text: format!("{}: {}", new.reason, new.message),
    })
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
