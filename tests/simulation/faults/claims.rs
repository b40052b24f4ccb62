//! The manager of an instance is known before the first reconcile: a policy may be the last of many to reconcile.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud_simulator::{Effect, FaultSpec};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::run::{in_own_runtime, stage};
use super::scenarios::Scenario;
use super::steps;
use crate::harness::TestCluster;
use crate::harness::fleet::{Fleet, OTHER_TARGET};
use crate::harness::measurements::{DESCRIBE, MODIFY};

/// So many that some reconcile for the first time long after others have made three calls.
const FLEET: Fleet = Fleet { policies: 2_000, backups: 1, in_sync: true, ..Fleet::DEFAULT };

const TURNS_AWAY: &str = "the_elder_turns_to_an_account_that_does_not_exist_and_the_younger_takes_over";

/// Adds a younger policy to each one, which wants another target and has lost the claim.
fn contest(cluster: &TestCluster) {
    for number in 0..FLEET.policies {
        let mut younger = FLEET.manifest(number);
        younger["metadata"]["name"] = json!(format!("younger-{number:05}"));
        younger["spec"]["crossBackupRegion"] = json!(OTHER_TARGET);
        younger["status"] = cluster.api.get(&FLEET.path(number))["status"].clone();
        for condition in younger["status"]["conditions"].as_array_mut().unwrap() {
            if condition["type"] == "Ready" || condition["type"] == "Synced" {
                condition["status"] = json!("False");
                condition["reason"] = json!("Conflict");
            }
        }
        cluster.api.create(&FLEET.collection(number), younger);
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_lost_modifies_nothing_after_a_start() {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    sleep(Duration::from_secs(2)).await;
    contest(&cluster);
    let start = Instant::now();
    cluster.start(cluster.clock.now());
    sleep(Duration::from_secs(5)).await;
    let calls = cluster.calls(&FLEET, start);
    assert!(!calls.is_empty() && !calls.contains_key(MODIFY), "{calls:?}");
    cluster.stop().await;
}

/// Runs a scenario of competing policies until it is idle.
async fn lived(name: &str) -> TestCluster {
    let scenario = Scenario::named(name);
    let mut cluster = stage(&scenario);
    cluster.start(cluster.clock.now());
    for (pause, step) in &scenario.steps {
        sleep(Duration::from_millis(*pause)).await;
        step.happen(&cluster);
    }
    sleep(Duration::from_secs(180)).await;
    cluster.clear_records();
    cluster
}

fn policy(cluster: &TestCluster, name: &str) -> Value {
    cluster.api.get(&format!("{}/{name}", steps::FLEET.collection(0)))
}

fn reason(cluster: &TestCluster, name: &str) -> String {
    let policy = policy(cluster, name);
    let conditions = policy["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let synced = conditions.into_iter().find(|condition| condition["type"] == "Synced");
    synced.and_then(|synced| synced["reason"].as_str().map(str::to_owned)).unwrap_or_default()
}

#[test]
fn after_a_start_the_one_that_may_not_modify_leaves_the_instance_to_the_other() {
    in_own_runtime("refused", 1, async {
        let mut cluster = lived("the_elder_may_not_modify_and_the_younger_manages").await;
        assert_eq!([reason(&cluster, "one"), reason(&cluster, "two")], ["Conflict", "InSync"]);
        let refused = policy(&cluster, "one")["status"]["modifyRefused"].clone();
        assert_eq!(refused["code"], "AccessDenied", "{refused}");
        for seconds in [0, 1, 17, 300] {
            cluster.kill();
            cluster.start(cluster.clock.now() - jiff::SignedDuration::from_secs(seconds));
            let start = Instant::now();
            sleep(Duration::from_secs(150)).await;
            assert_eq!(cluster.writes().len(), 0, "{:?}", cluster.api.counts());
            assert!(!cluster.calls(&steps::FLEET, start).contains_key(MODIFY));
        }
        cluster.stop().await;
    });
}

#[test]
fn a_conflict_left_from_before_a_refusal_gives_no_place_back_to_the_refused_one() {
    in_own_runtime("both in conflict", 1, async {
        let mut cluster = lived("the_elder_may_not_modify_and_the_younger_manages").await;
        cluster.kill();
        // State as stored when the process ends between the refusal and the younger policy's next status.
        let conditions = policy(&cluster, "one")["status"]["conditions"].clone();
        let younger = format!("{}/two/status", steps::FLEET.collection(0));
        cluster.api.patch(&younger, &json!({"status": {"conditions": conditions}}));
        assert_eq!([reason(&cluster, "one"), reason(&cluster, "two")], ["Conflict", "Conflict"]);
        // The refused policy gets its response first.
        let of_the_younger = Fleet { name: steps::SECOND, ..steps::FLEET };
        let late = FaultSpec::new(Effect::Delay { seconds: 5.0 }).on_action(DESCRIBE);
        cluster.cloud.place_fault(late.on_key(of_the_younger.key()).times(1)).unwrap();
        cluster.start(cluster.clock.now());
        let start = Instant::now();
        cluster
            .until("the younger one manages again", Duration::from_secs(30), |cluster| {
                [reason(cluster, "one"), reason(cluster, "two")] == ["Conflict", "InSync"]
            })
            .await;
        sleep(Duration::from_secs(150)).await;
        assert!(!cluster.calls(&steps::FLEET, start).contains_key(MODIFY));
        cluster.stop().await;
    });
}

#[test]
fn a_secret_that_was_changed_while_the_operator_was_down_ends_a_refusal_at_the_start() {
    in_own_runtime("changed meanwhile", 1, async {
        let mut cluster = lived("the_elder_may_not_modify_and_the_younger_manages").await;
        cluster.kill();
        steps::Step::Rotate.happen(&cluster);
        let changed = cluster.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let secret =
            format!("/api/v1/namespaces/{0}/secrets/{1}", steps::FLEET.namespace(0), steps::FLEET.name);
        let fields = json!([{"manager": "kubectl", "operation": "Update", "time": changed}]);
        cluster.api.patch(&secret, &json!({"metadata": {"managedFields": fields}}));
        assert_ne!(cluster.api.get(&secret)["data"]["accessKeyId"], STANDARD.encode(steps::FLEET.key()));
        cluster.start(cluster.clock.now());
        let most = Duration::from_secs(30);
        cluster
            .until("the elder manages again", most, |cluster| {
                [reason(cluster, "one"), reason(cluster, "two")] == ["InSync", "Conflict"]
            })
            .await;
        assert!(policy(&cluster, "one")["status"]["modifyRefused"].is_null());
        cluster.stop().await;
    });
}

#[test]
fn who_turned_to_another_account_while_the_operator_was_down_keeps_no_place() {
    in_own_runtime(TURNS_AWAY, 1, async {
        let scenario = Scenario::named(TURNS_AWAY);
        let (last, before) = scenario.steps.split_last().unwrap();
        let mut cluster = stage(&scenario);
        cluster.start(cluster.clock.now());
        for (pause, step) in before {
            sleep(Duration::from_millis(*pause)).await;
            step.happen(&cluster);
        }
        sleep(Duration::from_secs(60)).await;
        assert_eq!([reason(&cluster, "one"), reason(&cluster, "two")], ["InSync", "Conflict"]);
        cluster.kill();
        last.1.happen(&cluster);
        for _ in 0..2 {
            cluster.start(cluster.clock.now());
            let most = Duration::from_secs(15);
            cluster
                .until("the younger manages", most, |cluster| {
                    [reason(cluster, "one"), reason(cluster, "two")] == ["AccountNotFound", "InSync"]
                })
                .await;
            assert!(policy(&cluster, "one")["status"]["policy"].is_null());
            // The next start must know it as well.
            cluster.kill();
        }
    });
}

#[test]
fn a_spec_that_was_changed_while_the_operator_was_down_lets_no_younger_one_modify() {
    in_own_runtime("another spec meanwhile", 1, async {
        let scenario = Scenario::named(TURNS_AWAY);
        let mut cluster = stage(&scenario);
        cluster.start(cluster.clock.now());
        for (pause, step) in &scenario.steps[..2] {
            sleep(Duration::from_millis(*pause)).await;
            step.happen(&cluster);
        }
        sleep(Duration::from_secs(60)).await;
        cluster.kill();
        drop(cluster.api.patch(
            &format!("{}/one", steps::FLEET.collection(0)),
            &json!({"spec": {"backups": {"limit": 5}}}),
        ));
        cluster.start(cluster.clock.now());
        let start = Instant::now();
        sleep(Duration::from_secs(150)).await;
        assert_eq!([reason(&cluster, "one"), reason(&cluster, "two")], ["InSync", "Conflict"]);
        assert!(!cluster.calls(&steps::FLEET, start).contains_key(MODIFY));
        cluster.stop().await;
    });
}
