//! Failures and recovery from them.

use super::*;

#[test]
fn a_lost_answer_is_found_by_the_next_look_and_recorded() {
    let mut w = World::new(on("cn-shanghai"));
    w.modify_fails = Some(failure(Kind::CloudUnavailable, "connection reset"));
    w.turn();
    assert_eq!(w.reason(), "CloudUnavailable");
    assert!(w.stored.modification.is_none());
    w.state =
        PolicyState { active: true, cross_backup_region: Some("cn-shanghai".to_owned()), ttl_days: None };
    w.live(60);
    assert_eq!((w.reason(), w.count("modify")), ("InSync", 1));
    assert_eq!(w.stored.modification.as_ref().unwrap().request_id, None);
}

#[test]
fn what_was_never_sent_is_nothing_unanswered() {
    for effect in [Effect::None, Effect::Possible] {
        for superseded in [true, false] {
            let mut w = World::new(on("cn-shanghai"));
            let change = w.desired.change.clone();
            let answer = w.describe();
            w.memory.described(&w.desired, answer, w.now, 1.0);
            match superseded {
                true => w.memory.superseded(&change, effect, w.now),
                false => {
                    let failure = failure(Kind::CloudUnavailable, "name not resolved");
                    w.memory.not_accepted(&w.desired, &change, failure, effect, w.now, 1.0);
                }
            }
            // Another client makes the same change.
            w.state.active = true;
            w.state.cross_backup_region = Some("cn-shanghai".to_owned());
            w.live(60);
            assert_eq!((w.reason(), w.count("modify")), ("InSync", 0));
            assert_eq!(w.stored.modification.is_some(), effect == Effect::Possible, "{effect:?}");
        }
    }
}

#[test]
fn an_unavailable_target_is_named_with_those_that_are_and_nothing_is_modified() {
    let mut w = World::new(on("cn-nowhere"));
    w.turn();
    assert_eq!((w.reason(), w.count("modify")), ("RegionNotAvailable", 0));
    assert_eq!(
        w.stored.condition(types::READY).unwrap().message,
        "cn-nowhere is not available as target of this instance; available: cn-guangzhou, cn-shanghai"
    );
    w.respec(|d| d.change = on("cn-guangzhou"));
    w.turn();
    assert_eq!(w.reason(), "InSync");
}

#[test]
fn a_refused_region_is_asked_for_again_before_the_blame() {
    let mut w = World::new(on("cn-shanghai"));
    // A secret of the account can equal any word: the decision must not depend on the redacted code.
    let refused = failure(Kind::InvalidRequest, "InvalidRegion");
    w.modify_fails = Some(Failure { code: "redacted".to_owned(), ..refused });
    w.turn();
    assert_eq!((w.reason(), w.count("regions")), ("InvalidRequest", 2));
    w.regions.clear();
    w.memory.regions = crate::plan::memory::Regions::NotListable;
    w.live(1300);
    assert_eq!(w.reason(), "RegionNotAvailable");
}

#[test]
fn a_missing_instance_is_waited_for_ten_minutes_then_stalled_by_the_clock() {
    let mut w = World::new(on("cn-shanghai"));
    w.describe_fails = Some(failure(Kind::InstanceNotFound, "InstanceNotExist"));
    w.live(590);
    assert_eq!(w.reason(), "InstanceNotFound");
    assert!(w.has(types::RECONCILING));
    let gaps: Vec<_> = w.times("describe").windows(2).map(|p| p[1] - p[0]).collect();
    assert!(gaps.iter().all(|gap| *gap <= 60), "{gaps:?}");
    w.live(601);
    assert!(w.has(types::STALLED));
    let looks = w.count("describe");
    w.live(601 + 6000);
    assert!((9..=12).contains(&(w.count("describe") - looks)), "then once an interval");
}

#[test]
fn passing_failures_are_told_only_when_the_last_good_look_is_old() {
    let mut w = World::new(on("cn-shanghai"));
    w.turn();
    w.describe_fails = Some(failure(Kind::CloudUnavailable, "timeout"));
    w.live(1190);
    assert_eq!((w.reason(), w.writes), ("InSync", 1));
    w.live(1250);
    assert_eq!((w.reason(), w.writes), ("CloudUnavailable", 2));
    let ready = w.stored.condition(types::READY).unwrap();
    assert_eq!((ready.status, ready.message.as_str()), (ConditionStatus::Unknown, "Act: timeout"));
    w.live(9000);
    assert_eq!(w.writes, 2, "nothing more is written while it lasts");
    w.respec(|d| d.limit = 5);
    w.turn();
    assert_eq!(w.writes, 3, "a new generation is told at once");
}

#[test]
fn needs_a_person_is_told_at_once_and_looked_at_once_an_interval() {
    for (kind, reason) in [
        (Kind::PermissionDenied, "PermissionDenied"),
        (Kind::InvalidRequest, "InvalidRequest"),
        (Kind::NotSupported, "NotSupported"),
    ] {
        let mut w = World::new(on("cn-shanghai"));
        w.turn();
        w.describe_fails = Some(failure(kind, "Code"));
        w.live(6100);
        assert_eq!((w.reason(), w.writes), (reason, 2));
        assert!(w.count("describe") <= 13);
        assert!(w.has(types::STALLED));
    }
}

#[test]
fn a_modify_refused_needs_a_person_and_ranks_behind() {
    let mut w = World::new(on("cn-shanghai"));
    w.modify_fails = Some(failure(Kind::PermissionDenied, "AccessDenied"));
    w.live(100);
    assert_eq!(w.reason(), "PermissionDenied");
    assert_eq!(w.memory.refusal(), Refusal::Known);
    w.modify_fails = None;
    w.env.access_generation = Some(2);
    w.turn();
    assert_eq!(w.reason(), "InSync");
    assert_eq!(w.memory.refusal(), Refusal::None);
}

#[test]
fn a_difference_grown_old_and_a_failing_look_are_no_reason_to_look_without_end() {
    let mut w = World::new(on("cn-shanghai"));
    w.env.competitor = Some(CompetingPolicy { name: None });
    w.live(5);
    w.describe_fails = Some(failure(Kind::CloudUnavailable, "timeout"));
    w.live(60);
    w.env.competitor = None;
    w.calls.clear();
    w.live(61);
    assert!(w.count("describe") <= 1, "{:?}", w.calls);
}

#[test]
fn a_clock_set_back_puts_no_look_off() {
    let mut w = World::new(on("cn-shanghai"));
    w.live(700);
    w.now = at(-86_400);
    w.drift_to(false);
    w.live(-86_400 + 600);
    assert_eq!((w.reason(), w.stored.drift.corrections), ("InSync", 1));
    // An observation from before the clock step does not count as present.
    w.env.paused_until = Some(at(-86_400 + 2000));
    w.drift_to(false);
    w.live(-86_400 + 1300);
    w.describe_fails = Some(failure(Kind::CloudUnavailable, "timeout"));
    w.live(-86_400 + 2900);
    assert_eq!(w.reason(), "CloudUnavailable");
}

#[test]
fn an_instance_that_is_not_ready_is_retried() {
    let mut w = World::new(on("cn-shanghai"));
    w.modify_fails = Some(failure(Kind::InstanceNotReady, "InstanceStatusNotMatch"));
    w.live(20);
    assert_eq!(w.reason(), "InstanceNotReady");
    assert!(w.has(types::RECONCILING));
    w.modify_fails = None;
    w.live(400);
    assert_eq!(w.reason(), "InSync");
}

#[test]
fn a_change_that_keeps_failing_is_tried_less_and_less() {
    for kind in [Kind::InstanceNotReady, Kind::CloudUnavailable, Kind::Throttled] {
        let mut w = World::new(on("cn-shanghai"));
        w.modify_fails = Some(failure(kind, "Code"));
        w.live(3600);
        assert!((10..=30).contains(&w.count("modify")), "{kind:?}: {} in an hour", w.count("modify"));
        w.modify_fails = None;
        w.live(4000);
        assert_eq!(w.reason(), "InSync");
        w.drift_to(false);
        w.modify_fails = Some(failure(kind, "Code"));
        w.live(4300);
        let times = w.times("modify");
        let first = times.iter().position(|t| *t > 4000).unwrap();
        assert!(times[first + 1] - times[first] <= 2, "the pace begins anew: {times:?}");
    }
}

#[test]
fn a_rotated_key_is_no_reason_to_look_at_what_is_in_sync() {
    let mut w = World::new(on("cn-shanghai"));
    w.live(100);
    w.calls.clear();
    w.env.access_generation = Some(2);
    w.turn();
    assert!(w.calls.is_empty());
    w.backups_fail = Some(failure(Kind::PermissionDenied, "AccessDenied"));
    w.live(700);
    w.calls.clear();
    w.env.access_generation = Some(3);
    w.turn();
    assert_eq!((w.count("describe"), w.count("backups")), (0, 1), "permission to list may have come");
}

#[test]
fn a_drift_that_somebody_else_put_right_is_no_correction() {
    let mut w = World::new(on("cn-shanghai"));
    w.turn();
    w.drift_to(false);
    w.live(700);
    assert_eq!(w.stored.drift.corrections, 1);
    w.modify_fails = Some(failure(Kind::PermissionDenied, "AccessDenied"));
    w.drift_to(false);
    w.live(1400);
    w.drift_to(true);
    w.live(2100);
    assert_eq!((w.reason(), w.stored.drift.corrections), ("InSync", 1));
}

#[test]
fn what_the_account_caused_is_not_said_any_longer_when_looks_fail_otherwise() {
    let mut w = World::new(on("cn-shanghai"));
    w.live(20);
    w.env.readiness = AccountReadiness::Closed(Reason::CredentialsMissing, "no Secret".to_owned());
    w.turn();
    assert_eq!(w.reason(), "CredentialsMissing");
    w.env.readiness = AccountReadiness::Open;
    w.env.access_generation = Some(2);
    w.describe_fails = Some(failure(Kind::CloudUnavailable, "timeout"));
    w.turn();
    assert_eq!(w.reason(), "CloudUnavailable");
}

#[test]
fn who_may_not_see_the_policy_may_still_see_the_backups() {
    let mut w = World::new(on("cn-shanghai"));
    w.desired.objective = Some(Duration::from_secs(360_000));
    w.backups = vec![backup("b-1", -60)];
    w.describe_fails = Some(failure(Kind::PermissionDenied, "AccessDenied"));
    w.live(3000);
    assert_eq!((w.reason(), w.rpo()), ("PermissionDenied", (ConditionStatus::True, "WithinObjective")));
    assert!(w.count("backups") <= w.count("describe"));
}

#[test]
fn a_third_value_after_a_change_is_told_as_drift() {
    let mut w = World::new(on("cn-shanghai"));
    w.visible_after = None;
    w.turn();
    assert_eq!(w.reason(), "Modifying");
    w.state =
        PolicyState { active: true, cross_backup_region: Some("cn-guangzhou".to_owned()), ttl_days: None };
    w.visible_after = Some(0);
    w.live(5);
    assert_eq!((w.reason(), w.count("modify")), ("InSync", 2));
    assert!(w.told.contains(&"DriftDetected"));
    assert_eq!(
        w.stored.drift.last_difference.as_deref(),
        Some("crossBackupRegion: desired cn-shanghai, found cn-guangzhou")
    );
}

#[test]
fn what_is_known_to_differ_is_no_longer_told_to_be_in_sync() {
    let mut world = World::new(on("cn-shanghai"));
    world.live(60);
    world.drift_to(false);
    world.now = at(700);
    let (desired, now, found) = (world.desired.clone(), world.now, world.state.clone());
    let unreachable = || Err(failure(Kind::CloudUnavailable, "HTTP 503"));
    let mut env = world.env.clone();
    let told = |env: &ReconcileEnv, memory: &Memory| {
        conditions::outcome(&desired, env, memory, now).map(|outcome| outcome.reason)
    };
    world.memory.described(&desired, Ok(found), now, 1.0);

    env.paused_until = Some(at(760));
    assert_eq!(told(&env, &world.memory), Some(Reason::Throttled));
    env.paused_until = None;

    let mut too_late = world.memory.clone();
    too_late.described(&desired, unreachable(), now, 1.0);
    assert_eq!(told(&env, &too_late), Some(Reason::CloudUnavailable));

    world.memory.accepted(&desired, &desired.change, None, now);
    world.memory.described(&desired, unreachable(), now, 1.0);
    assert_eq!(told(&env, &world.memory), Some(Reason::Modifying));
    world.drift_to(true);
    world.laid = None;
    world.live(720);
    assert_eq!(world.reason(), "InSync");
}
