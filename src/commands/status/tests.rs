//! Tests of the explanation of a policy in each state.

use serde_json::{Value, json};

use super::*;
use crate::domain::condition::Reason;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn explained(policy: Value) -> String {
    text(&explain(&serde_json::from_value(policy).unwrap(), now()), Paint::NONE)
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": format!("message of {reason}"),
           "lastTransitionTime": "2026-11-23T10:00:00Z", "observedGeneration": 3})
}

/// Returns a healthy policy.
fn well() -> Value {
    json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CrossRegionBackupPolicy",
        "metadata": {"namespace": "payments", "name": "sessions", "generation": 3, "creationTimestamp": "2026-11-01T00:00:00Z"},
        "spec": {
            "accountRef": {"name": "prod"}, "region": "cn-beijing", "instanceId": "redis-cn0a1b2", "active": true,
            "crossBackupRegion": "cn-shanghai", "recoveryPointObjective": "26h"
        },
        "status": {
            "observedGeneration": 3,
            "policy": {"active": true, "crossBackupRegion": "cn-shanghai", "ttlDays": 7},
            "lastModification": {
                "time": "2026-11-20T08:00:00Z", "requestId": "req-1", "from": {"active": false},
                "to": {"active": true, "crossBackupRegion": "cn-shanghai"}, "cause": "Drift"
            },
            "drift": {
                "corrections": 2, "lastTime": "2026-11-20T08:00:00Z", "lastDifference": "active: desired true, found false",
                "recent": ["2026-11-19T08:00:00Z", "2026-11-20T08:00:00Z"]
            },
            "protectedSince": "2026-11-01T00:05:00Z",
            "recoveryPoint": {"time": "2026-11-23T03:00:00Z", "backupPointId": "bp-42", "sizeBytes": 1024},
            "backups": {
                "total": 9, "byStatus": {"Available": 8, "Creating": 1, "Unavailable": 0, "Deleting": 0},
                "items": [
                    {"backupPointId": "bp-43", "status": "Creating", "targetRegion": "cn-shanghai", "startTime": "2026-11-23T11:58:00Z"},
                    {"backupPointId": "bp-42", "status": "Available", "targetRegion": "cn-shanghai", "strategy": "AutomatedBackup",
                     "startTime": "2026-11-23T03:00:00Z"}
                ]
            },
            "instance": {"name": "会话缓存", "engineVersion": "7.0", "projectName": "default"},
            "conditions": [condition("Ready", "True", "InSync"), condition("Synced", "True", "InSync"),
                           condition("RecoveryPointMet", "True", "WithinObjective")]
        }
    })
}

/// Returns the healthy policy with changes at these JSON pointers; null counts as absent.
fn with(changes: &[(&str, Value)]) -> Value {
    let mut policy = well();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        policy.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    policy
}

fn headline(policy: Value) -> String {
    explained(policy).lines().nth(1).unwrap().to_owned()
}

#[test]
fn a_policy_that_is_well() {
    insta::assert_snapshot!(explained(well()));
}

#[test]
fn the_same_as_json() {
    insta::assert_snapshot!(show::json(&explain(&serde_json::from_value(well()).unwrap(), now())).unwrap());
}

#[test]
fn each_reason_says_what_to_do() {
    let mut all = String::new();
    for reason in Reason::ALL {
        let policy = with(&[("/status/conditions", json!([condition("Synced", "False", reason.as_str())]))]);
        let text = explained(policy);
        all.push_str(text.split_once("What you can do\n").unwrap().1);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn an_accepted_change_that_is_never_seen_is_for_the_cloud_s_support() {
    let conditions =
        json!([condition("Synced", "False", "Modifying"), condition("Stalled", "True", "Modifying")]);
    assert!(explained(with(&[("/status/conditions", conditions)])).contains("ask the cloud's support"));
}

#[test]
fn headlines_call_nothing_protected_that_is_not() {
    let unknown = |kind: &str, reason: &str| json!([condition(kind, "Unknown", reason)]);
    let headlines: Vec<String> = [
        with(&[]),
        with(&[("/spec/recoveryPointObjective", Value::Null)]),
        with(&[("/spec/recoveryPointObjective", json!("2h"))]),
        with(&[("/status/recoveryPoint", Value::Null)]),
        with(&[("/status/recoveryPoint", Value::Null), ("/status/backups", Value::Null)]),
        with(&[("/status/policy/active", json!(false))]),
        with(&[("/status/policy/crossBackupRegion", json!("cn-guangzhou"))]),
        with(&[("/status/conditions", unknown("RecoveryPointMet", "BackupsUnknown"))]),
        with(&[("/status/conditions", unknown("Synced", "CloudUnavailable"))]),
        with(&[("/spec/active", json!(false)), ("/status/policy/active", json!(false))]),
        with(&[("/spec/active", json!(false))]),
        with(&[("/status", json!({"observedGeneration": -1}))]),
        with(&[("/status", Value::Null)]),
        with(&[("/metadata/generation", json!(4)), ("/spec/crossBackupRegion", json!("cn-guangzhou"))]),
    ]
    .map(headline)
    .to_vec();
    insta::assert_snapshot!(headlines.join("\n"));
}

#[test]
fn what_no_condition_says_is_advised_on_too() {
    let policy = with(&[
        ("/status/recoveryPoint", Value::Null),
        ("/status/conditions", json!([condition("Synced", "True", "InSync")])),
    ]);
    let text = explained(policy);
    assert!(text.contains("(runbook: NoBackupYet)") && !text.contains("Nothing to do"), "{text}");
}

#[test]
fn a_deletion_that_only_lets_go_does_not_promise_to_switch_off() {
    let deleted = |changes: &[(&str, Value)]| {
        let deletion = [
            ("/metadata/deletionTimestamp", json!("2026-11-23T11:55:00Z")),
            ("/metadata/finalizers", json!(["crossregionbackup.io/disable-on-delete"])),
            ("/spec/deletionPolicy", json!("Disable")),
        ];
        explained(with(&[&deletion, changes].concat()))
    };
    assert!(deleted(&[]).contains("switches the copies off in the cloud first"));
    for change in [("/spec/suspend", json!(true)), ("/spec/managementPolicy", json!("Observe"))] {
        let text = deleted(&[change]);
        assert!(text.contains("let it go without a call") && !text.contains("switched off"), "{text}");
    }
}

#[test]
fn what_was_never_looked_at() {
    insta::assert_snapshot!(explained(with(&[("/status", json!({"observedGeneration": -1}))])));
}

#[test]
fn what_is_between_two_states() {
    let policy = with(&[
        ("/metadata/generation", json!(4)),
        ("/metadata/deletionTimestamp", json!("2026-11-23T11:55:00Z")),
        ("/metadata/finalizers", json!(["crossregionbackup.io/disable-on-delete", "other.example/hold"])),
        ("/metadata/annotations", json!({"crossregionbackup.io/reconcile-requested-at": "now"})),
        ("/spec/suspend", json!(true)),
        ("/spec/deletionPolicy", json!("Disable")),
        ("/spec/managementPolicy", json!("Observe")),
        (
            "/status/conditions",
            json!([condition("Synced", "Unknown", "Suspended"), condition("Contested", "True", "Contested")]),
        ),
    ]);
    insta::assert_snapshot!(explained(policy));
}

#[test]
fn what_another_version_or_a_hand_has_written_hides_nothing_else() {
    let policy = with(&[
        ("/spec/active", json!("yes")),
        ("/status/policy", json!("on")),
        ("/status/backups", json!({"total": "many"})),
        ("/status/drift", json!(7)),
        (
            "/status/conditions",
            json!([condition("Synced", "False", "SunSpots"), condition("Weather", "True", "Rain"), 5]),
        ),
        ("/status/instance/name", json!("\u{1b}[2J\u{202e}evil\nReady is True")),
    ]);
    insta::assert_snapshot!(explained(policy));
}
