use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

use super::*;

const INSTANCE: &str = "redis-cn0a1b2c3d4e5f6";

/// Returns times in whole seconds, as in a status.
fn time() -> impl Strategy<Value = Timestamp> {
    (0_i64..4_000_000_000).prop_map(|seconds| Timestamp::from_second(seconds).unwrap())
}

fn text() -> impl Strategy<Value = String> {
    "[ -~äöü\u{1F600}]{0,12}"
}

fn change() -> impl Strategy<Value = Change> {
    (any::<bool>(), of(text()))
        .prop_map(|(active, cross_backup_region)| Change { active, cross_backup_region })
}

fn state() -> impl Strategy<Value = PolicyState> {
    (any::<bool>(), of(text()), of(any::<i64>())).prop_map(|(active, cross_backup_region, ttl_days)| {
        PolicyState { active, cross_backup_region, ttl_days }
    })
}

fn modification() -> impl Strategy<Value = Modification> {
    let cause = prop_oneof![Just(Cause::SpecChanged), Just(Cause::Drift)];
    (time(), of(text()), change(), change(), cause)
        .prop_map(|(time, request_id, from, to, cause)| Modification { time, request_id, from, to, cause })
}

fn drift() -> impl Strategy<Value = Drift> {
    (0_i64..9, of(time()), of(text()), vec(time(), 0..4)).prop_map(
        |(corrections, last_time, last_difference, recent)| Drift {
            corrections,
            last_time,
            last_difference,
            recent,
        },
    )
}

fn backup() -> impl Strategy<Value = Backup> {
    let names = (text(), of(text()), of(text()), of(text()), text(), of(text()));
    let places = (of(text()), of(text()), of(time()), of(time()), of(any::<i64>()), of(any::<i64>()));
    (names, places).prop_map(|(names, places)| Backup {
        instance_id: INSTANCE.to_owned(),
        backup_point_id: names.0,
        backup_point_name: names.1,
        strategy: names.2,
        backup_type: names.3,
        status: names.4,
        provider_status: names.5,
        source_region: places.0,
        target_region: places.1,
        start_time: places.2,
        end_time: places.3,
        size_bytes: places.4,
        ttl_days: places.5,
        // Status reports the other fields of the newest backup only, as the instance, or not at all.
        ..Backup::default()
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    let truth =
        prop::sample::select(vec![ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown]);
    (text(), truth, text(), text(), 0_i64..9, time()).prop_map(
        |(kind, status, reason, message, observed_generation, last_transition)| Condition {
            kind,
            status,
            reason,
            message,
            observed_generation,
            last_transition,
        },
    )
}

prop_compose! {
    fn facts()(
        generations in (of(0_i64..9), of(0_i64..9)),
        handled_request in of(text()),
        policy in of(state()),
        modification in of(modification()),
        drift in drift(),
        protected_since in of(time()),
        point in of((time(), text(), of(any::<i64>()))),
        refused in of((time(), text())),
        backups in of((any::<i64>(), btree_map(text(), any::<i64>(), 0..4), vec(backup(), 0..4))),
        instance in of((of(text()), of(text()), of(text()))),
        conditions in vec(condition(), 0..5),
    ) -> Facts {
        Facts {
            observed_generation: generations.0,
            handled_request,
            synced_generation: generations.1,
            policy,
            modification,
            drift,
            protected_since,
            recovery_point: point.map(|(time, id, size_bytes)| RecoveryPoint { time, backup_point_id: id, size_bytes }),
            modify_refused: refused.map(|(time, code)| ModifyRefused { time, code }),
            backups: backups.map(|(total, by_status, items)| BackupSummary { total, by_status, items }),
            instance: instance.map(|(name, engine_version, project_name)| Instance { name, engine_version, project_name }),
            conditions,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(facts in facts()) {
        let status = status_from(&facts);
        prop_assert_eq!(&facts_from(&status, INSTANCE), &facts);
        // The API server must not change it either: otherwise each poll would find a difference to write.
        let stored: api::CrossRegionBackupPolicyStatus =
            serde_json::from_value(serde_json::to_value(&status).unwrap()).unwrap();
        prop_assert_eq!(&stored, &status);
        prop_assert_eq!(status_from(&facts_from(&stored, INSTANCE)), status);
    }
}

#[test]
fn the_schema_s_default_is_no_observed_generation() {
    let status: api::CrossRegionBackupPolicyStatus =
        serde_json::from_value(serde_json::json!({"observedGeneration": -1})).unwrap();
    assert_eq!(facts_from(&status, INSTANCE), Facts::default());
}

#[test]
fn fractions_of_seconds_are_cut_and_not_rounded() {
    let time: Timestamp = "2026-01-01T00:00:00.999Z".parse().unwrap();
    let facts = Facts { protected_since: Some(time), ..Facts::default() };
    let back = facts_from(&status_from(&facts), INSTANCE);
    assert_eq!(back.protected_since, Some("2026-01-01T00:00:00Z".parse().unwrap()));
}
