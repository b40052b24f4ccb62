//! Rank of a policy among those of its instance, across restarts: proof of access, and refusals.

use super::*;

const CODE: &str = "AccessDenied";

/// A policy whose Modify the cloud has just refused.
fn refused() -> World {
    let mut w = World::new(on("cn-shanghai"));
    w.modify_fails = Some(failure(Kind::PermissionDenied, CODE));
    w.now = at(100);
    w.turn();
    assert_eq!(w.reason(), "PermissionDenied");
    w
}

fn told_refusal(w: &World) -> Option<(i64, &str)> {
    let refused = w.stored.modify_refused.as_ref()?;
    Some((refused.time.as_second() - START, &refused.code))
}

#[test]
fn a_refused_modify_is_told_once_and_ranks_behind_over_a_restart() {
    for kind in [Kind::PermissionDenied, Kind::InstanceNotFound] {
        let mut w = World::new(on("cn-shanghai"));
        w.modify_fails = Some(failure(kind, CODE));
        w.now = at(700);
        w.turn();
        assert_eq!(told_refusal(&w), Some((700, CODE)), "{kind:?}");
        let (writes, modifies) = (w.writes, w.count("modify"));
        w.live(6_000);
        assert!(w.count("modify") > modifies + 5, "it is tried at each interval");
        assert_eq!(
            (told_refusal(&w), w.writes),
            (Some((700, CODE)), writes),
            "an unchanged world causes no write"
        );
        w.restart(at(6_000));
        assert_eq!(w.memory.refusal(), Refusal::Known);
        w.turn();
        assert_eq!(w.memory.refusal(), Refusal::Known, "a Describe that succeeds does not end it");
        assert!(told_refusal(&w).is_some());
    }
}

#[test]
fn a_refused_modify_counts_until_spec_account_secret_or_annotation_change() {
    type Happen = fn(&mut World);
    let table: [(&str, Happen, bool); 8] = [
        ("time passes", |w| w.live(5_000), true),
        ("a restart", |w| w.restart(w.now), true),
        ("its deletion, which changes no spec", |w| w.respec(|d| d.deleted = true), true),
        ("its deletion meanwhile", |w| (w.respec(|d| d.deleted = true), w.restart(w.now)).1, true),
        ("another spec", |w| w.respec(|d| d.limit = 5), false),
        ("another spec meanwhile", |w| (w.respec(|d| d.limit = 5), w.restart(w.now)).1, false),
        ("account or Secret", |w| w.env.access_generation = Some(2), false),
        ("the annotation", |w| w.desired.request = Some("now".to_owned()), false),
    ];
    for (what, happen, is_refused) in table {
        let mut w = refused();
        happen(&mut w);
        let (desired, access_generation, now) = (w.desired.clone(), w.env.access_generation, w.now);
        w.memory.notice(&desired, access_generation, now);
        assert_eq!(w.memory.refusal(), Refusal::known(is_refused), "{what}");
    }
}

#[test]
fn after_a_start_a_refusal_is_compared_once_with_the_last_change_of_account_and_secret() {
    for (changed, is_refused) in [(None, true), (Some(99), true), (Some(100), true), (Some(101), false)] {
        let mut w = refused();
        w.restart(at(200));
        assert!(w.memory.refusal_unchecked);
        w.memory.check_refusal(changed.map(at), at(200));
        assert_eq!(w.memory.refusal(), Refusal::known(is_refused), "{changed:?}");
        assert!(!w.memory.refusal_unchecked);
    }
    let mut w = refused();
    assert!(!w.memory.refusal_unchecked, "the clocks of API server and operator may differ");
    w.modify_fails = None;
    w.env.access_generation = Some(2);
    w.turn();
    assert_eq!((w.reason(), told_refusal(&w)), ("InSync", None));
}

#[test]
fn a_refused_describe_ranks_behind_until_one_succeeds_whatever_else_changes() {
    let mut w = World::new(on("cn-shanghai"));
    w.turn();
    w.describe_fails = Some(failure(Kind::PermissionDenied, CODE));
    w.live(700);
    assert!(w.memory.refusal() == Refusal::Known && w.memory.is_proven());
    // A losing policy reports Conflict, also after restarts.
    w.env.competitor = Some(CompetingPolicy { name: None });
    w.turn();
    assert_eq!((w.reason(), told_refusal(&w)), ("Conflict", None));
    w.restart(w.now);
    assert!(w.memory.refusal() == Refusal::Possible && w.memory.is_proven());
    w.desired.request = Some("now".to_owned());
    let (desired, now) = (w.desired.clone(), w.now);
    w.memory.notice(&desired, Some(1), now);
    assert_eq!(w.memory.refusal(), Refusal::Possible);
    w.turn();
    assert_eq!(w.memory.refusal(), Refusal::Known);
    w.live(w.now.as_second() - START + 700);
    w.describe_fails = None;
    w.live(w.now.as_second() - START + 700);
    w.turn();
    assert_eq!(w.memory.refusal(), Refusal::None);
}

#[test]
fn after_a_start_status_proves_access_for_its_own_spec_alone() {
    type Change = fn(&mut Desired);
    let table: [(&str, u64, Change, bool); 4] = [
        ("the same spec", 0, |_| {}, true),
        ("another spec", 1, |_| {}, false),
        ("deleted", 1, |d| d.deleted = true, true),
        ("another spec, and deleted", 2, |d| d.deleted = true, false),
    ];
    for (what, generations, change, is_proven) in table {
        let mut w = World::new(on("cn-shanghai"));
        w.turn();
        assert!(w.memory.is_proven());
        (0..generations).for_each(|_| w.respec(|_| {}));
        change(&mut w.desired);
        w.restart(w.now);
        assert_eq!(w.memory.is_proven(), is_proven, "{what}");
        assert_eq!(w.memory.awaits_proof(), !is_proven, "{what}");
    }
}

#[test]
fn what_proves_nothing_is_not_told_of_another_spec_until_a_describe_proves_it() {
    let mut w = World::new(on("cn-shanghai"));
    w.turn();
    w.respec(|d| d.limit = 5);
    w.restart(w.now);
    w.env.readiness = AccountReadiness::Closed(Reason::AccountNotFound, "why".to_owned());
    w.turn();
    assert_eq!((w.reason(), &w.stored.policy), ("AccountNotFound", &None));
    w.restart(w.now);
    assert!(!w.memory.is_proven(), "the next start knows as well");
    w.env.readiness = AccountReadiness::Open;
    w.live(w.now.as_second() - START + 5);
    assert!(w.stored.policy.is_some() && w.memory.is_proven());
    // In a running process, another spec with the same account keeps the proof.
    w.respec(|d| d.limit = 6);
    w.describe_fails = Some(failure(Kind::CloudUnavailable, "timeout"));
    w.turn();
    assert!(w.stored.policy.is_some() && w.memory.is_proven());
}
