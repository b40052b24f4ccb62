//! The manager of an instance is known before the first reconcile: a policy may be the last of many to reconcile.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud_simulator::{Effect, FaultSpec};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::play::{in_time_of_its_own, stage};
use super::scenarios::Scenario;
use super::steps;
use crate::harness::World;
use crate::harness::figures::{DESCRIBE, MODIFY};
use crate::harness::fleet::{Fleet, OTHER_TARGET};

/// So many that some reconcile for the first time long after others have made three calls.
const FLEET: Fleet = Fleet { policies: 2_000, backups: 1, in_sync: true, ..Fleet::DEFAULT };

const TURNS_AWAY: &str = "the_elder_turns_to_an_account_that_does_not_exist_and_the_younger_takes_over";

/// Adds a younger policy to each one, which wants another target and has lost the claim.
fn contest(world: &World) {
    for number in 0..FLEET.policies {
        let mut younger = FLEET.manifest(number);
        younger["metadata"]["name"] = json!(format!("younger-{number:05}"));
        younger["spec"]["crossBackupRegion"] = json!(OTHER_TARGET);
        younger["status"] = world.api.get(&FLEET.path(number))["status"].clone();
        for condition in younger["status"]["conditions"].as_array_mut().unwrap() {
            if condition["type"] == "Ready" || condition["type"] == "Synced" {
                condition["status"] = json!("False");
                condition["reason"] = json!("Conflict");
            }
        }
        world.api.create(&FLEET.collection(number), younger);
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_lost_modifies_nothing_after_a_start() {
    let mut world = World::new();
    world.settle(&[FLEET]).await;
    sleep(Duration::from_secs(2)).await;
    contest(&world);
    let start = Instant::now();
    world.start(world.clock.now());
    sleep(Duration::from_secs(5)).await;
    let calls = world.calls(&FLEET, start);
    assert!(!calls.is_empty() && !calls.contains_key(MODIFY), "{calls:?}");
    world.stop().await;
}

/// Runs a scenario of competing policies until it is idle.
async fn lived(name: &str) -> World {
    let scenario = Scenario::named(name);
    let mut world = stage(&scenario);
    world.start(world.clock.now());
    for (pause, step) in &scenario.steps {
        sleep(Duration::from_millis(*pause)).await;
        step.happen(&world);
    }
    sleep(Duration::from_secs(180)).await;
    world.forget();
    world
}

fn policy(world: &World, name: &str) -> Value {
    world.api.get(&format!("{}/{name}", steps::FLEET.collection(0)))
}

fn reason(world: &World, name: &str) -> String {
    let policy = policy(world, name);
    let conditions = policy["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let synced = conditions.into_iter().find(|condition| condition["type"] == "Synced");
    synced.and_then(|synced| synced["reason"].as_str().map(str::to_owned)).unwrap_or_default()
}

#[test]
fn after_a_start_the_one_that_may_not_modify_leaves_the_instance_to_the_other() {
    in_time_of_its_own("refused", 1, async {
        let mut world = lived("the_elder_may_not_modify_and_the_younger_manages").await;
        assert_eq!([reason(&world, "one"), reason(&world, "two")], ["Conflict", "InSync"]);
        let refused = policy(&world, "one")["status"]["modifyRefused"].clone();
        assert_eq!(refused["code"], "AccessDenied", "{refused}");
        for seconds in [0, 1, 17, 300] {
            world.kill();
            world.start(world.clock.now() - jiff::SignedDuration::from_secs(seconds));
            let start = Instant::now();
            sleep(Duration::from_secs(150)).await;
            assert_eq!(world.writes().len(), 0, "{:?}", world.api.counts());
            assert!(!world.calls(&steps::FLEET, start).contains_key(MODIFY));
        }
        world.stop().await;
    });
}

#[test]
fn a_conflict_left_from_before_a_refusal_gives_no_place_back_to_the_refused_one() {
    in_time_of_its_own("both in conflict", 1, async {
        let mut world = lived("the_elder_may_not_modify_and_the_younger_manages").await;
        world.kill();
        // State as stored when the process ends between the refusal and the younger policy's next status.
        let conditions = policy(&world, "one")["status"]["conditions"].clone();
        let younger = format!("{}/two/status", steps::FLEET.collection(0));
        world.api.patch(&younger, &json!({"status": {"conditions": conditions}}));
        assert_eq!([reason(&world, "one"), reason(&world, "two")], ["Conflict", "Conflict"]);
        // The refused policy gets its response first.
        let of_the_younger = Fleet { name: steps::SECOND, ..steps::FLEET };
        let late = FaultSpec::new(Effect::Delay { seconds: 5.0 }).on_action(DESCRIBE);
        world.cloud.place_fault(late.on_key(of_the_younger.key()).times(1)).unwrap();
        world.start(world.clock.now());
        let start = Instant::now();
        world
            .until("the younger one manages again", Duration::from_secs(30), |world| {
                [reason(world, "one"), reason(world, "two")] == ["Conflict", "InSync"]
            })
            .await;
        sleep(Duration::from_secs(150)).await;
        assert!(!world.calls(&steps::FLEET, start).contains_key(MODIFY));
        world.stop().await;
    });
}

#[test]
fn a_secret_that_was_changed_while_the_operator_was_down_ends_a_refusal_at_the_start() {
    in_time_of_its_own("changed meanwhile", 1, async {
        let mut world = lived("the_elder_may_not_modify_and_the_younger_manages").await;
        world.kill();
        steps::Step::Rotate.happen(&world);
        let changed = world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let secret =
            format!("/api/v1/namespaces/{0}/secrets/{1}", steps::FLEET.namespace(0), steps::FLEET.name);
        let fields = json!([{"manager": "kubectl", "operation": "Update", "time": changed}]);
        world.api.patch(&secret, &json!({"metadata": {"managedFields": fields}}));
        assert_ne!(world.api.get(&secret)["data"]["accessKeyId"], STANDARD.encode(steps::FLEET.key()));
        world.start(world.clock.now());
        let most = Duration::from_secs(30);
        world
            .until("the elder manages again", most, |world| {
                [reason(world, "one"), reason(world, "two")] == ["InSync", "Conflict"]
            })
            .await;
        assert!(policy(&world, "one")["status"]["modifyRefused"].is_null());
        world.stop().await;
    });
}

#[test]
fn who_turned_to_another_account_while_the_operator_was_down_keeps_no_place() {
    in_time_of_its_own(TURNS_AWAY, 1, async {
        let scenario = Scenario::named(TURNS_AWAY);
        let (last, before) = scenario.steps.split_last().unwrap();
        let mut world = stage(&scenario);
        world.start(world.clock.now());
        for (pause, step) in before {
            sleep(Duration::from_millis(*pause)).await;
            step.happen(&world);
        }
        sleep(Duration::from_secs(60)).await;
        assert_eq!([reason(&world, "one"), reason(&world, "two")], ["InSync", "Conflict"]);
        world.kill();
        last.1.happen(&world);
        for _ in 0..2 {
            world.start(world.clock.now());
            let most = Duration::from_secs(15);
            world
                .until("the younger manages", most, |world| {
                    [reason(world, "one"), reason(world, "two")] == ["AccountNotFound", "InSync"]
                })
                .await;
            assert!(policy(&world, "one")["status"]["policy"].is_null());
            // The next start must know it as well.
            world.kill();
        }
    });
}

#[test]
fn a_spec_that_was_changed_while_the_operator_was_down_lets_no_younger_one_modify() {
    in_time_of_its_own("another spec meanwhile", 1, async {
        let scenario = Scenario::named(TURNS_AWAY);
        let mut world = stage(&scenario);
        world.start(world.clock.now());
        for (pause, step) in &scenario.steps[..2] {
            sleep(Duration::from_millis(*pause)).await;
            step.happen(&world);
        }
        sleep(Duration::from_secs(60)).await;
        world.kill();
        drop(world.api.patch(
            &format!("{}/one", steps::FLEET.collection(0)),
            &json!({"spec": {"backups": {"limit": 5}}}),
        ));
        world.start(world.clock.now());
        let start = Instant::now();
        sleep(Duration::from_secs(150)).await;
        assert_eq!([reason(&world, "one"), reason(&world, "two")], ["InSync", "Conflict"]);
        assert!(!world.calls(&steps::FLEET, start).contains_key(MODIFY));
        world.stop().await;
    });
}
