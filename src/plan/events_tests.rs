use jiff::Timestamp;

use super::*;
use crate::domain::condition::Condition;
use crate::domain::facts::Modification;
use crate::domain::{Change, Progress};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn condition(kind: &str, status: ConditionStatus, reason: &str) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status,
        reason: reason.to_owned(),
        message: format!("about {reason}"),
        observed_generation: 1,
        last_transition: at(0),
    }
}

fn facts(reason: Reason, progress: Progress) -> Facts {
    let mut conditions = vec![condition(types::SYNCED, ConditionStatus::False, reason.as_str())];
    match progress {
        Progress::Settled => {}
        Progress::Reconciling => {
            conditions.push(condition(types::RECONCILING, ConditionStatus::True, reason.as_str()))
        }
        Progress::Stalled => {
            conditions.push(condition(types::STALLED, ConditionStatus::True, reason.as_str()))
        }
    }
    Facts { observed_generation: Some(1), conditions, ..Facts::default() }
}

fn in_sync() -> Facts {
    facts(Reason::InSync, Progress::Settled)
}

fn modified(mut facts: Facts, seconds: i64, cause: Cause) -> Facts {
    let off = Change { active: false, cross_backup_region: None };
    let on = Change { active: true, cross_backup_region: Some("cn-shanghai".to_owned()) };
    facts.modification = Some(Modification {
        time: at(seconds),
        request_id: Some("r-1".to_owned()),
        from: off,
        to: on,
        cause,
    });
    facts
}

fn with(mut facts: Facts, kind: &str, status: ConditionStatus, reason: &str) -> Facts {
    facts.conditions.push(condition(kind, status, reason));
    facts
}

fn drifted(mut facts: Facts, seconds: i64) -> Facts {
    facts.drift.last_time = Some(at(seconds));
    facts.drift.last_difference = Some("active: desired true, found false".to_owned());
    facts
}

fn corrected(facts: Facts, seconds: i64) -> Facts {
    let mut facts = drifted(facts, seconds);
    facts.drift.corrections += 1;
    facts
}

#[track_caller]
fn tells(old: &Facts, new: &Facts, expected: &[(bool, &str, &str)]) {
    let told = between(old, new);
    let told: Vec<_> = told.iter().map(|h| (h.warning, h.reason, h.text.as_str())).collect();
    assert_eq!(told, expected);
    assert_eq!(between(new, new), [], "a restart repeats none");
}

#[test]
fn changes_and_drift() {
    let to = "from off to on with target cn-shanghai";
    tells(
        &Facts::default(),
        &modified(in_sync(), 1, Cause::SpecChanged),
        &[(false, "PolicyModified", &format!("{to} (SpecChanged, request r-1)"))],
    );
    tells(&Facts::default(), &in_sync(), &[]);
    let difference = "active: desired true, found false";
    tells(
        &in_sync(),
        &modified(corrected(in_sync(), 1), 1, Cause::Drift),
        &[
            (true, "DriftDetected", difference),
            (false, "PolicyModified", &format!("{to} (Drift, request r-1)")),
            (false, "DriftCorrected", difference),
        ],
    );
    // In Observe: the reason is new, or only the difference.
    let seen = facts(Reason::DriftDetected, Progress::Stalled);
    tells(
        &facts(Reason::Observed, Progress::Settled),
        &seen,
        &[(true, "DriftDetected", "about DriftDetected")],
    );
    tells(&seen, &drifted(seen.clone(), 9), &[(true, "DriftDetected", difference)]);
    // Without a request id, after a lost response.
    let mut lost = modified(in_sync(), 1, Cause::SpecChanged);
    lost.modification.as_mut().unwrap().request_id = None;
    tells(&in_sync(), &lost, &[(false, "PolicyModified", &format!("{to} (SpecChanged)"))]);
}

#[test]
fn contested_and_conflict() {
    let contested = with(in_sync(), types::CONTESTED, ConditionStatus::True, "Contested");
    tells(&in_sync(), &contested, &[(true, "Contested", "about Contested")]);
    tells(&contested, &in_sync(), &[]);
    let conflict = facts(Reason::Conflict, Progress::Stalled);
    tells(&in_sync(), &conflict, &[(true, "Conflict", "about Conflict")]);
    tells(&conflict, &in_sync(), &[]);
}

#[test]
fn each_attempt_that_did_not_become_visible() {
    let waiting =
        |seconds| modified(facts(Reason::Modifying, Progress::Reconciling), seconds, Cause::SpecChanged);
    let given_up =
        |seconds| modified(facts(Reason::Modifying, Progress::Stalled), seconds, Cause::SpecChanged);
    let names = |old: &Facts, new: &Facts| between(old, new).iter().map(|h| h.reason).collect::<Vec<_>>();
    assert_eq!(names(&in_sync(), &waiting(1)), ["PolicyModified"]);
    assert_eq!(names(&waiting(1), &waiting(1)), [""; 0]);
    assert_eq!(names(&waiting(1), &waiting(120)), ["ModifyNotVisible", "PolicyModified"]);
    assert_eq!(names(&waiting(120), &given_up(120)), ["ModifyNotVisible"]);
    assert_eq!(
        names(&given_up(120), &given_up(700)),
        ["PolicyModified"],
        "it was told to have been given up"
    );
    assert_eq!(names(&given_up(120), &in_sync()), [""; 0]);
    // Another spec replaced the pending change.
    let next = Facts { observed_generation: Some(2), ..waiting(30) };
    assert_eq!(names(&waiting(1), &next), ["PolicyModified"]);
}

#[test]
fn failures_once_per_new_reason_and_the_account_s_not_at_all() {
    use Reason::*;
    for reason in [
        AccountNotFound,
        NotSupported,
        InstanceNotFound,
        PermissionDenied,
        InvalidRequest,
        RegionNotAvailable,
        InstanceNotReady,
        CloudUnavailable,
        Throttled,
    ] {
        let failed = facts(reason, Progress::Stalled);
        let text = format!("{0}: about {0}", reason.as_str());
        tells(&in_sync(), &failed, &[(true, "ReconcileFailed", &text)]);
        let mut other_message = failed.clone();
        other_message.conditions[0].message = "in other words".to_owned();
        tells(&failed, &other_message, &[]);
        tells(&failed, &in_sync(), &[]);
    }
    for reason in [
        AccountNotReady,
        CredentialsMissing,
        CredentialsRejected,
        EndpointNotAllowed,
        Suspended,
        InSync,
        Observed,
    ] {
        tells(&Facts::default(), &facts(reason, Progress::Settled), &[]);
    }
}

#[test]
fn the_recovery_point_is_exceeded_and_restored() {
    let point = |status| with(in_sync(), types::RECOVERY_POINT_MET, status, "Reason");
    let exceeded = [(true, "RecoveryPointExceeded", "about Reason")];
    let restored = [(false, "RecoveryPointRestored", "about Reason")];
    use ConditionStatus::*;
    for (old, new, expected) in [
        (point(True), point(False), &exceeded[..]),
        (point(Unknown), point(False), &exceeded),
        (in_sync(), point(False), &exceeded),
        (point(False), point(True), &restored),
        (point(False), point(Unknown), &[]),
        (point(False), in_sync(), &[]),
        (in_sync(), point(True), &[]),
        (point(Unknown), point(True), &[]),
        (point(True), point(Unknown), &[]),
    ] {
        tells(&old, &new, expected);
    }
}

#[test]
fn accounts() {
    let told = |old: Option<(ConditionStatus, &str)>, new: (ConditionStatus, &str)| {
        of_account(old, new, "text").map(|h| (h.warning, h.reason, h.text))
    };
    let text = |text: &str| text.to_owned();
    let verified = (ConditionStatus::True, "CredentialsVerified");
    let rejected = (ConditionStatus::False, "CredentialsRejected");
    let missing = (ConditionStatus::False, "CredentialsMissing");
    let suspended = (ConditionStatus::Unknown, "Suspended");
    assert_eq!(told(None, verified), Some((false, "AccountVerified", text("text"))));
    assert_eq!(told(Some(verified), rejected), Some((true, "AccountRejected", text("text"))));
    assert_eq!(told(Some(rejected), verified), Some((false, "AccountVerified", text("text"))));
    assert_eq!(
        told(Some(verified), missing),
        Some((true, "ReconcileFailed", text("CredentialsMissing: text")))
    );
    assert_eq!(told(Some(verified), suspended), None);
    for same in [verified, rejected, missing, suspended] {
        assert_eq!(told(Some(same), same), None);
    }
}
