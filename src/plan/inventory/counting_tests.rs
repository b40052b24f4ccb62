use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use proptest::prelude::*;

use super::listing_summary::{is_usable, of_backups, of_instances, unprotected};
use super::tally::InstanceCounts;
use super::*;
use crate::domain::{Backup, Instance};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn backup(instance: u8, id: u8, status: &str, start: Option<i64>, size: Option<i64>) -> Backup {
    Backup {
        instance_id: format!("redis-{instance}"),
        backup_point_id: format!("b-{id}"),
        status: status.to_owned(),
        start_time: start.map(at),
        size_bytes: size,
        ..Backup::default()
    }
}

/// One backup, which may change between two pages.
fn any_backup() -> impl Strategy<Value = Backup> {
    let status = prop::sample::select(vec!["Available", "Creating", "Locked", "Odd"]);
    let start = prop::option::of(0..9_i64);
    (0..4_u8, 0..4_u8, status, start, prop::option::of(-9..1000_i64))
        .prop_map(|(instance, id, status, start, size)| backup(instance, id, status, start, size))
}

proptest! {
    #[test]
    fn counts_are_those_of_each_backup_as_it_was_last_seen(
        pages in prop::collection::vec(any_backup(), 0..40), limit in 17..20_usize,
    ) {
        let mut tally = Tally::new(limit);
        let mut last = BTreeMap::new();
        for backup in &pages {
            tally.add(backup.clone());
            last.insert((backup.instance_id.clone(), backup.backup_point_id.clone()), backup.clone());
        }
        let mut expected: Vec<_> = last.values().cloned().collect();
        expected.sort_by(|a, b| {
            let key = |x: &Backup| (x.instance_id.clone(), x.backup_point_id.clone());
            b.start_time.cmp(&a.start_time).then(key(a).cmp(&key(b)))
        });
        let usable = |b: &&Backup| is_usable(&b.status);
        let newest = expected.iter().filter(usable).filter_map(|b| b.start_time).max();
        prop_assert_eq!(tally.newest().map(|newest| newest.time), newest);
        for instance in 0..4 {
            let id = format!("redis-{instance}");
            let own = || expected.iter().filter(|b| b.instance_id == id);
            let counted = InstanceCounts {
                total: i64::try_from(own().count()).unwrap(),
                newest_usable: own().filter(usable).filter_map(|b| b.start_time).max(),
            };
            let told = tally.by_instance().get(id.as_str()).cloned().unwrap_or_default();
            prop_assert_eq!(told, counted);
        }
        let found = of_backups(&tally, limit, &["Available", "Deleting"]);
        prop_assert_eq!(found.total, i64::try_from(last.len()).unwrap());
        prop_assert_eq!(found.size_bytes, last.values().map(|b| b.size_bytes.unwrap_or(0).max(0)).sum::<i64>());
        let mut counts = BTreeMap::from([("Available".to_owned(), 0), ("Deleting".to_owned(), 0)]);
        for backup in last.values() {
            *counts.entry(backup.status.clone()).or_default() += 1;
        }
        prop_assert_eq!(found.by_status, counts);
        expected.truncate(limit);
        prop_assert_eq!(found.items, expected);
    }
}

proptest! {
    #[test]
    fn items_are_the_newest_and_no_more_than_asked_for(
        mut all in prop::collection::hash_map(0..200_u8, prop::option::of(0..50_i64), 0..60), limit in 0..20_usize,
    ) {
        let mut tally = Tally::new(limit);
        let mut expected: Vec<_> = all.drain().map(|(id, start)| backup(0, id, "Available", start, None)).collect();
        expected.iter().for_each(|backup| tally.add(backup.clone()));
        expected.sort_by(|a, b| {
            b.start_time.cmp(&a.start_time).then(a.backup_point_id.cmp(&b.backup_point_id))
        });
        expected.truncate(limit);
        prop_assert_eq!(tally.items(limit), expected);
    }
}

#[test]
fn words_for_a_status_are_limited() {
    let mut tally = Tally::new(0);
    for n in 0..200_u8 {
        tally.add(backup(0, n, &format!("Odd{n}"), None, None));
    }
    let counts = tally.by_status(&[]);
    assert!(counts.len() <= 25, "{}", counts.len());
    assert_eq!(counts.values().sum::<i64>(), 200);
    assert_eq!(counts["Other"], 200 - 24);
}

#[test]
fn a_second_reading_replaces_the_first_unless_pages_moved_again() {
    let (one, two) = (backup(1, 1, "Available", Some(1), None), backup(1, 2, "Available", Some(2), None));
    let read = |moved| {
        let mut reading = TwoPassTally::new(9);
        reading.add(vec![one.clone()]);
        reading.begin_again();
        reading.add(vec![two.clone()]);
        reading.end(moved).items(9)
    };
    assert_eq!(read(false), std::slice::from_ref(&two));
    assert_eq!(read(true), [two.clone(), one.clone()]);
}

fn instance(id: &str, class: &str) -> Instance {
    Instance {
        id: id.to_owned(),
        name: Some(format!("name of {id}")),
        class: Some(class.to_owned()),
        ..Instance::default()
    }
}

#[test]
fn instances_come_without_backup_first_then_the_oldest() {
    let mut tally = Tally::new(0);
    tally.add(backup(1, 1, "Available", Some(50), None));
    tally.add(backup(2, 1, "Available", Some(10), None));
    tally.add(backup(2, 2, "Creating", Some(90), None));
    tally.add(backup(3, 1, "Unavailable", Some(95), None));
    let list = ["redis-1", "redis-2", "redis-3", "redis-4"].map(|id| instance(id, "PrimarySecondary"));
    let policies = HashMap::from([(
        "redis-2".to_owned(),
        PolicyObservation { policy: PolicySetting::Active(true), at: at(0) },
    )]);
    let lines = of_instances(&list, &tally, &policies);
    let told: Vec<_> =
        lines.iter().map(|l| (l.id.as_str(), l.total, l.newest_usable, l.policy_active)).collect();
    let expected = [
        ("redis-3", 1, None, None),
        ("redis-4", 0, None, None),
        ("redis-2", 2, Some(at(10)), Some(true)),
        ("redis-1", 1, Some(at(50)), None),
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_is_off_is_unprotected_and_what_cannot_or_may_not_be_told_is_counted_apart() {
    let list = [
        instance("redis-on", "PrimarySecondary"),
        instance("redis-off", "PrimarySecondary"),
        instance("redis-alone", "Standalone"),
        instance("redis-odd", "EnhancedPrimarySecondary"),
        instance("redis-denied", "PrimarySecondary"),
        instance("redis-unasked", "PrimarySecondary"),
    ];
    let known = |policy, seconds| PolicyObservation { policy, at: at(seconds) };
    let policies = HashMap::from([
        ("redis-on".to_owned(), known(PolicySetting::Active(true), 30)),
        ("redis-off".to_owned(), known(PolicySetting::Active(false), 20)),
        // A Standalone instance counts as unsupported, regardless of the observed policy.
        ("redis-alone".to_owned(), known(PolicySetting::Active(false), 5)),
        ("redis-odd".to_owned(), known(PolicySetting::Unsupported, 40)),
        ("redis-denied".to_owned(), known(PolicySetting::Unknown, 50)),
    ]);
    let found = unprotected(&list, &policies);
    let off = ("redis-off".to_owned(), Some("name of redis-off".to_owned()));
    let expected = Unprotected { items: vec![off], unsupported: 2, unknown: 2, as_of: Some(at(20)) };
    assert_eq!(found, expected);
}
