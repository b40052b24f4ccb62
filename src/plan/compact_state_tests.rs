use std::time::Duration;

use super::*;
use crate::domain::{InstanceInfo, Kind, PolicyState};
use crate::plan::{AccountReadiness, Desired, ReconcileEnv, conditions};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn desired() -> Desired {
    Desired {
        generation: 3,
        created: at(-9000),
        change: Change { active: true, cross_backup_region: Some("cn-shanghai".to_owned()) },
        manages: true,
        suspended: false,
        disable_on_delete: false,
        deleted: false,
        interval: Duration::from_secs(600),
        objective: Some(Duration::from_secs(86400)),
        limit: 10,
        request: None,
        poll_offset: 7,
    }
}

/// Numbered by age, newest first, with every field that a cloud provides.
fn backup(number: i64) -> Backup {
    Backup {
        instance_id: "redis-a1".to_owned(),
        backup_point_id: format!("b-{number:03}"),
        status: "Available".to_owned(),
        target_region: Some("cn-shanghai".to_owned()),
        start_time: Some(at(-3600 * number)),
        project_name: Some("default".to_owned()),
        instance: Some(InstanceInfo { name: Some(format!("n-{number}")), engine_version: None }),
        ..Backup::default()
    }
}

fn look(memory: &mut Memory, desired: &Desired, backups: i64, now: i64) -> Facts {
    let active = desired.change.active;
    let state =
        PolicyState { active, cross_backup_region: Some("cn-shanghai".to_owned()), ttl_days: Some(7) };
    memory.notice(desired, Some(4), at(now));
    memory.described(desired, Ok(state), at(now), 0.5);
    memory.listing_started(desired, at(now));
    memory.apply_listing(desired, Ok((1..=backups).map(backup).collect()), at(now), 0.5);
    report(memory, desired, now)
}

fn report(memory: &mut Memory, desired: &Desired, now: i64) -> Facts {
    let env = ReconcileEnv {
        readiness: AccountReadiness::Open,
        paused_until: None,
        competitor: None,
        access_generation: Some(4),
    };
    memory.facts = conditions::report(desired, &env, memory, at(now));
    told(&memory.facts)
}

/// Facts after a round trip through status.
fn told(facts: &Facts) -> Facts {
    let mut facts = facts.clone();
    facts.backups = facts.backups.map(lean);
    facts
}

fn lean(summary: BackupSummary) -> BackupSummary {
    BackupSummary { items: summary.items.into_iter().map(as_told).collect(), ..summary }
}

fn compact(memory: Memory, told: &Facts) -> (CompactState, Vec<Backup>) {
    super::compact(memory, told, &desired(), at(1))
}

fn new(desired: &Desired) -> Memory {
    Memory::new(Facts::default(), desired, at(0), at(0))
}

#[test]
fn in_sync_nothing_is_held_that_status_tells() {
    let mut memory = new(&desired());
    let told = look(&mut memory, &desired(), 10, 1);
    let (resting, others) = compact(memory.clone(), &told);
    assert!(matches!(resting, CompactState::InSync(_)), "{resting:?}");
    assert!(others.is_empty());
    let woken = resting.expand(told.clone(), others);
    assert_eq!(woken.facts, told);
    assert_eq!(lean(woken.backups.known.summary(10)), lean(memory.backups.known.summary(10)));
    assert_eq!(woken.backups.known.instance(), memory.backups.known.instance());
    let without = |memory: &Memory| {
        let mut memory = memory.clone();
        (memory.facts, memory.backups.known) = (Facts::default(), Known::default());
        memory
    };
    assert_eq!(without(&woken), without(&memory));
    let (again, others) = compact(woken.clone(), &told);
    assert_eq!(again.expand(told, others), woken, "it is the same every time");
}

#[test]
fn what_happened_between_two_seconds_is_held_no_more_than_status_can_tell_it() {
    let (desired, half) = (desired(), jiff::SignedDuration::from_millis(500));
    let mut memory = new(&desired);
    look(&mut memory, &desired, 10, 0);
    for condition in &mut memory.facts.conditions {
        condition.last_transition += half;
    }
    let mut told = told(&memory.facts);
    for condition in &mut told.conditions {
        condition.last_transition = truncate_to_seconds(condition.last_transition);
    }
    let (resting, others) = compact(memory, &told);
    assert!(matches!(resting, CompactState::InSync(_)) && others.is_empty(), "{resting:?}");
}

#[test]
fn backups_that_status_has_no_room_for_are_handed_out() {
    let mut memory = new(&desired());
    let told = look(&mut memory, &desired(), 42, 1);
    let (resting, others) = compact(memory.clone(), &told);
    assert!(matches!(resting, CompactState::InSync(_)), "{resting:?}");
    assert_eq!(others.len(), 32);
    let woken = resting.expand(told, others);
    assert_eq!(lean(woken.backups.known.summary(42)), lean(memory.backups.known.summary(42)));
    assert_eq!(woken.backups.known.instance(), memory.backups.known.instance());
}

#[test]
fn what_is_missing_for_the_first_time_is_still_missing() {
    let mut memory = new(&desired());
    look(&mut memory, &desired(), 10, 1);
    let told = look(&mut memory, &desired(), 9, 601);
    let (resting, others) = compact(memory, &told);
    assert!(matches!(resting, CompactState::WithoutFacts(_)), "{resting:?}");
    let mut woken = resting.expand(told, others);
    assert_eq!(woken.facts.backups.as_ref().map(|b| b.total), Some(10));
    let told = look(&mut woken, &desired(), 9, 1201);
    assert_eq!(told.backups.map(|b| b.total), Some(9));
}

#[test]
fn a_failure_is_remembered() {
    let mut memory = new(&desired());
    look(&mut memory, &desired(), 10, 1);
    let failure = crate::domain::Failure::new(Kind::CloudUnavailable, "Act", "HTTP 503");
    memory.described(&desired(), Err(failure), at(601), 0.5);
    let told = report(&mut memory, &desired(), 601);
    let (resting, others) = compact(memory.clone(), &told);
    assert!(matches!(resting, CompactState::WithoutFacts(_)), "{resting:?}");
    let woken = resting.expand(told, others);
    assert_eq!((woken.describe_failure, woken.failures), (memory.describe_failure, memory.failures));
}

#[test]
fn a_target_that_the_cloud_ignores_unsettles_nothing() {
    let off = Desired { change: Change { active: false, cross_backup_region: None }, ..desired() };
    let mut memory = new(&off);
    let told = look(&mut memory, &off, 3, 1);
    assert_eq!(memory.synced, Some(off.change.clone()));
    let (resting, others) = compact(memory, &told);
    assert!(matches!(resting, CompactState::InSync(_)), "{resting:?}");
    assert_eq!(resting.expand(told, others).synced, Some(off.change));
}

#[test]
fn what_status_tells_otherwise_is_not_believed() {
    let mut memory = new(&desired());
    let told = look(&mut memory, &desired(), 10, 1);
    let mut fewer = told.clone();
    fewer.backups.as_mut().unwrap().items.pop();
    let mut foreign = told.clone();
    foreign.backups.as_mut().unwrap().items[3].status = "Lost".to_owned();
    for other in [Facts::default(), Facts { synced_generation: None, ..told.clone() }, fewer, foreign] {
        let (resting, others) = compact(memory.clone(), &other);
        assert!(matches!(resting, CompactState::Full(_)), "{resting:?}");
        assert_eq!(resting.expand(other, others).facts, told);
    }
}
