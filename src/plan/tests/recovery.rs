//! Recovery points, requests and restarts.

use super::*;

#[test]
fn the_objective_is_met_read_again_before_the_deadline_and_exceeded_by_the_clock() {
    let mut w = World::new(on("cn-shanghai"));
    w.desired.objective = Some(Duration::from_secs(900));
    w.backups = vec![backup("b-1", -60)];
    w.live(800);
    assert_eq!(w.rpo(), (ConditionStatus::True, "WithinObjective"));
    w.live(835);
    assert_eq!(w.times("backups").last(), Some(&810), "30 s before the deadline");
    w.live(841);
    assert_eq!(w.rpo(), (ConditionStatus::False, "ObjectiveExceeded"));
    assert!(w.told.contains(&"RecoveryPointExceeded"));
    assert_eq!(w.reason(), "InSync", "it is no part of Ready");
    w.backups.push(backup("b-2", 850));
    w.live(1300);
    assert_eq!(w.rpo(), (ConditionStatus::True, "WithinObjective"));
    assert!(w.told.contains(&"RecoveryPointRestored"));
}

#[test]
fn without_a_backup_the_objective_is_unknown_and_then_missed() {
    let mut w = World::new(on("cn-shanghai"));
    w.desired.objective = Some(Duration::from_secs(3600));
    w.live(3500);
    assert_eq!(w.rpo(), (ConditionStatus::Unknown, "NoBackupYet"));
    w.live(3601);
    assert_eq!(w.rpo(), (ConditionStatus::False, "NoBackupYet"));
}

#[test]
fn backups_that_cannot_be_read_make_it_unknown_after_two_intervals() {
    let mut w = World::new(on("cn-shanghai"));
    w.desired.objective = Some(Duration::from_secs(360_000));
    w.backups = vec![backup("b-1", -60)];
    w.turn();
    w.backups_fail = Some(failure(Kind::PermissionDenied, "AccessDenied"));
    w.live(1190);
    assert_eq!(w.rpo(), (ConditionStatus::True, "WithinObjective"));
    w.live(1210);
    assert_eq!(w.rpo(), (ConditionStatus::Unknown, "BackupsUnknown"));
    assert_eq!(w.reason(), "InSync", "not permitted to list backups is no failure of the policy");
    assert!(w.stored.recovery_point.is_some(), "what was observed is kept");
}

#[test]
fn a_recovery_point_goes_backwards_only_after_a_second_reading() {
    let mut w = World::new(on("cn-shanghai"));
    w.backups = vec![backup("b-1", -120), backup("b-2", -60)];
    w.turn();
    w.backups.pop();
    w.live(300);
    assert_eq!(w.times("backups"), [0, 7, 7]);
    assert_eq!(w.stored.recovery_point.as_ref().unwrap().backup_point_id, "b-1");
    assert_eq!(w.stored.backups.as_ref().unwrap().total, 1);
}

#[test]
fn a_target_that_changed_while_nobody_looked_counts_its_own_copies() {
    for limit in [10, 0] {
        let mut w = World::new(on("cn-shanghai"));
        w.desired.limit = limit;
        w.backups = vec![backup("b-1", -60)];
        w.turn();
        let point = w.stored.recovery_point.clone();
        assert!(point.is_some());
        w.now = at(50);
        // A field other than the target changes: status does not hold the backup.
        w.respec(|_| {});
        w.restart(at(45));
        w.backups_fail = Some(failure(Kind::CloudUnavailable, "503"));
        w.turn();
        assert_eq!(w.stored.recovery_point, point, "limit {limit}");
        w.backups_fail = None;
        w.respec(|d| d.change = on("cn-guangzhou"));
        w.restart(at(45));
        w.turn();
        assert_eq!((w.reason(), w.stored.recovery_point.clone()), ("InSync", None), "limit {limit}");
        assert_eq!(w.stored.protected_since, Some(at(50)));
    }
}

#[test]
fn another_target_counts_other_copies_at_once() {
    let mut w = World::new(on("cn-shanghai"));
    w.backups = vec![backup("b-1", -60)];
    w.turn();
    assert!(w.stored.recovery_point.is_some());
    w.now = at(50);
    w.respec(|d| d.change = on("cn-guangzhou"));
    w.turn();
    assert_eq!((w.reason(), w.stored.recovery_point.clone()), ("InSync", None));
    assert_eq!(w.stored.protected_since, Some(at(50)));
    w.respec(|d| d.change = Change { active: false, cross_backup_region: None });
    w.turn();
    assert_eq!((w.reason(), w.stored.protected_since), ("InSync", None));
    w.respec(|d| d.change = on("cn-shanghai"));
    w.turn();
    assert!(w.stored.recovery_point.is_some(), "older copies count again");
}

#[test]
fn a_restart_looks_at_its_own_phase_or_at_once_after_a_longer_absence() {
    let mut w = World::new(on("cn-shanghai"));
    w.live(700);
    w.calls.clear();
    w.restart(at(695));
    w.turn();
    assert!(w.calls.is_empty());
    w.now = at(2000);
    w.restart(at(700));
    w.turn();
    assert_eq!(w.count("describe"), 1);
    assert_eq!((w.count("modify"), w.writes), (0, 1));
}

#[test]
fn a_request_is_looked_at_now_and_told_also_when_the_look_fails() {
    let mut w = World::new(on("cn-shanghai"));
    w.live(50);
    w.calls.clear();
    w.desired.request = Some("one".to_owned());
    w.turn();
    assert_eq!((w.count("describe"), w.count("backups")), (1, 1));
    assert_eq!(w.stored.handled_request.as_deref(), Some("one"));
    w.describe_fails = Some(failure(Kind::CloudUnavailable, "timeout"));
    w.desired.request = Some("two".to_owned());
    w.turn();
    assert_eq!(w.stored.handled_request.as_deref(), Some("two"));
    assert_eq!(w.reason(), "InSync");
    w.env.paused_until = Some(at(200));
    w.desired.request = Some("three".to_owned());
    w.calls.clear();
    assert_eq!(w.turn().map(|t| since(at(50), t)), Some(Duration::from_secs(150)), "not past Retry-After");
    assert!(w.calls.is_empty());
}

#[test]
fn a_drift_that_was_told_before_a_restart_is_not_told_again() {
    let mut w = World::new(on("cn-shanghai"));
    w.desired.manages = false;
    w.state =
        PolicyState { active: true, cross_backup_region: Some("cn-shanghai".to_owned()), ttl_days: None };
    w.turn();
    w.drift_to(false);
    w.live(700);
    let writes = w.writes;
    assert_eq!(w.told, ["DriftDetected"]);
    w.restart(at(690));
    w.live(2000);
    assert_eq!((w.told.len(), w.writes), (1, writes));
}
