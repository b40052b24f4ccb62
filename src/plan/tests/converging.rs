//! From a difference to sync, and staying in sync.

use super::*;

#[test]
fn a_new_policy_converges_in_one_turn_and_one_write() {
    let mut w = World::new(on("cn-shanghai"));
    w.turn();
    let names: Vec<_> = w.calls.iter().map(|(n, _)| *n).collect();
    assert_eq!(names, ["describe", "regions", "modify", "describe", "backups"]);
    assert_eq!((w.reason(), w.writes), ("InSync", 1));
    assert_eq!(w.told, ["PolicyModified"]);
    assert_eq!(w.stored.protected_since, Some(at(0)));
    assert_eq!(w.stored.synced_generation, Some(1));
    let ready = w.stored.condition(types::READY).unwrap();
    assert_eq!((ready.status, ready.observed_generation), (ConditionStatus::True, 1));
}

#[test]
fn at_rest_nothing_is_written_nor_modified_also_when_a_look_fails_now_and_then() {
    let mut w = World::new(on("cn-shanghai"));
    w.live(600);
    let modifies = w.count("modify");
    for round in 1..=20 {
        w.failing_looks = usize::from(round % 10 == 0);
        w.live(600 + round * 600);
    }
    assert_eq!((w.writes, w.count("modify")), (1, modifies));
}

#[test]
fn drift_is_corrected_and_told_and_does_not_move_protected_since() {
    let mut w = World::new(on("cn-shanghai"));
    w.turn();
    w.drift_to(false);
    w.live(700);
    assert_eq!(w.reason(), "InSync");
    assert_eq!(w.stored.drift.corrections, 1);
    assert_eq!(w.stored.drift.last_difference.as_deref(), Some("active: desired true, found false"));
    assert_eq!(w.stored.protected_since, Some(at(0)));
    assert_eq!(w.told, ["PolicyModified", "DriftDetected", "PolicyModified", "DriftCorrected"]);
}

#[test]
fn three_corrections_in_an_hour_are_contested_until_the_hour_is_over() {
    let mut w = World::new(on("cn-shanghai"));
    w.turn();
    for round in 1..=3 {
        w.drift_to(false);
        w.live(round * 700);
    }
    assert!(w.has(types::CONTESTED) && w.reason() == "InSync");
    assert!(w.told.contains(&"Contested"));
    w.live(3 * 3600);
    assert!(!w.has(types::CONTESTED));
}

#[test]
fn observe_reports_drift_and_never_modifies() {
    let mut w = World::new(on("cn-shanghai"));
    w.desired.manages = false;
    w.live(3000);
    assert_eq!((w.reason(), w.count("modify"), w.writes), ("DriftDetected", 0, 1));
    assert!(w.has(types::STALLED));
    assert_eq!(
        w.stored.condition(types::READY).unwrap().message,
        "active: desired true, found false; crossBackupRegion: desired cn-shanghai, found none"
    );
    w.state =
        PolicyState { active: true, cross_backup_region: Some("cn-shanghai".to_owned()), ttl_days: None };
    w.live(4000);
    assert_eq!(w.reason(), "Observed");
}

#[test]
fn suspended_calls_nothing_and_writes_once() {
    let mut w = World::new(on("cn-shanghai"));
    w.desired.suspended = true;
    w.live(5000);
    assert_eq!((w.reason(), w.calls.len(), w.writes), ("Suspended", 0, 1));
    assert!(!w.has(types::RECONCILING) && !w.has(types::STALLED));
}

#[test]
fn a_late_change_is_modifying_until_it_is_visible() {
    let mut w = World::new(on("cn-shanghai"));
    w.visible_after = Some(20);
    w.turn();
    assert_eq!(w.reason(), "Modifying");
    assert!(w.has(types::RECONCILING));
    w.live(40);
    assert_eq!((w.reason(), w.count("modify")), ("InSync", 1));
    assert_eq!(w.times("describe"), [0, 0, 1, 2, 4, 8, 16, 30]);
}

#[test]
fn a_change_that_never_shows_is_stalled_after_three_attempts_then_tried_once_an_interval() {
    let mut w = World::new(on("cn-shanghai"));
    w.visible_after = None;
    w.live(240);
    assert_eq!((w.reason(), w.count("modify")), ("Modifying", 3));
    assert!(w.has(types::STALLED) && !w.has(types::RECONCILING));
    assert!(w.told.contains(&"ModifyNotVisible"));
    let writes = w.writes;
    w.calls.clear();
    w.live(240 + 3 * 600);
    assert_eq!((w.count("modify"), w.count("describe")), (3, 6));
    assert_eq!(w.writes, writes + 3, "each attempt is a lastModification of its own");
}

#[test]
fn a_third_value_is_drift_and_is_not_fought_without_end() {
    let mut w = World::new(on("cn-shanghai"));
    w.visible_after = Some(0);
    let mut turns = 0;
    // The cloud stores another region than requested.
    while turns < 50 {
        w.turn();
        w.state =
            PolicyState { active: true, cross_backup_region: Some("cn-other".to_owned()), ttl_days: None };
        if let Some((state, _)) = &mut w.pending {
            state.cross_backup_region = Some(format!("cn-other-{turns}"));
        }
        turns += 1;
        w.now = after(w.now, Duration::from_secs(1));
    }
    assert!(w.count("modify") <= 4, "{} changes in 50 s", w.count("modify"));
}

#[test]
fn the_loser_of_a_conflict_looks_and_never_modifies() {
    let mut w = World::new(on("cn-shanghai"));
    w.env.competitor = Some(CompetingPolicy { name: Some("elder".to_owned()) });
    w.live(2000);
    assert_eq!((w.reason(), w.count("modify")), ("Conflict", 0));
    assert!(w.stored.condition(types::READY).unwrap().message.contains("elder"));
    assert!(w.count("describe") > 2);
    w.env.competitor = None;
    w.turn();
    w.live(2700);
    assert_eq!(w.reason(), "InSync");
}

#[test]
fn closed_gates_call_nothing_and_say_why() {
    for (reason, status, kind) in [
        (Reason::AccountNotFound, ConditionStatus::False, Some(types::RECONCILING)),
        (Reason::AccountNotReady, ConditionStatus::False, Some(types::RECONCILING)),
        (Reason::CredentialsMissing, ConditionStatus::False, Some(types::RECONCILING)),
        (Reason::CredentialsRejected, ConditionStatus::False, Some(types::STALLED)),
        (Reason::EndpointNotAllowed, ConditionStatus::False, Some(types::STALLED)),
        (Reason::Suspended, ConditionStatus::Unknown, None),
    ] {
        let mut w = World::new(on("cn-shanghai"));
        w.env.readiness = AccountReadiness::Closed(reason, "why".to_owned());
        w.live(3000);
        assert_eq!((w.reason(), w.calls.len(), w.writes), (reason.as_str(), 0, 1));
        assert_eq!(w.stored.condition(types::READY).unwrap().status, status);
        for other in [types::RECONCILING, types::STALLED] {
            assert_eq!(w.has(other), kind == Some(other), "{reason:?} {other}");
        }
    }
}
