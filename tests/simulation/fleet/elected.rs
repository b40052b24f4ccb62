//! A Lease lasts for seconds, and an account's request budget may delay a policy's next call much longer: that is no
//! failure, and costs no describes.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::harness::World;
use crate::harness::figures::{DESCRIBE, MODIFY};
use crate::harness::fleet::Fleet;

/// A hundred namespaces share one account.
const FLEET: Fleet =
    Fleet { namespaces: 100, backups: 1, requests_per_second: 10, interval: "24h", ..Fleet::DEFAULT };

/// Returns the number of written Events about policies, by reason.
fn events(world: &World) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for seen in world.writes().iter().filter(|seen| seen.resource == "events" && seen.code < 300) {
        let event: Value = serde_json::from_slice(&seen.object).unwrap();
        if event["regarding"]["kind"] == "CrossRegionBackupPolicy" {
            *counts.entry(event["reason"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Returns the number of status writes, by reason of Ready.
fn reasons(world: &World) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for write in world.status_writes() {
        let policy: Value = serde_json::from_slice(&write.object).unwrap();
        let conditions = policy["status"]["conditions"].as_array().cloned().unwrap_or_default();
        for ready in conditions.iter().filter(|condition| condition["type"] == "Ready") {
            *counts.entry(ready["reason"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Returns the most describes of a policy until its status was Ready; its scheduled polls come later.
fn most_looks(world: &World, fleet: &Fleet, start: Instant) -> usize {
    let ready: HashMap<_, _> = world.status_writes().into_iter().map(|w| (w.name, w.at)).collect();
    let ready = (0..fleet.policies).map(|number| (fleet.instance(number), ready[&fleet.policy(number)]));
    let ready: HashMap<_, _> = ready.collect();
    let mut looks = HashMap::<String, usize>::new();
    for call in world.calls_of(fleet, start) {
        if call.action == DESCRIBE && call.at <= ready[&call.instance] {
            *looks.entry(call.instance).or_default() += 1;
        }
    }
    looks.into_values().max().unwrap_or_default()
}

/// Creates the fleet at once, waits until all of it is Ready, and checks the cost.
async fn rolled_out(fleet: &Fleet, most: Duration) {
    let mut world = World::new();
    world.found(fleet);
    world.start(world.clock.now());
    let start = Instant::now();
    world.create(fleet, 0..fleet.policies);
    let all = |world: &World| (0..fleet.policies).all(|number| world.is_ready(fleet, number));
    while !all(&world) && start.elapsed() < most {
        sleep(Duration::from_secs(20)).await;
    }
    let took = start.elapsed();
    let calls = world.calls(fleet, start);
    let (events, reasons) = (events(&world), reasons(&world));
    let told = format!("after {took:?}: {calls:?}, Events {events:?}, Ready {reasons:?}");
    println!("{} policies {told}", fleet.policies);
    assert!(all(&world), "not all are Ready {told}");
    assert_eq!(events, BTreeMap::from([("PolicyModified".to_owned(), fleet.policies)]), "{told}");
    assert_eq!(reasons, BTreeMap::from([("InSync".to_owned(), fleet.policies)]), "one write each {told}");
    assert_eq!(calls[MODIFY], fleet.policies, "{told}");
    let looks = most_looks(&world, fleet, start);
    assert_eq!(looks, 2, "one look at each, and one after its Modify {told}");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn three_hundred_policies_of_a_hundred_namespaces_wait_for_the_budget_without_a_failure() {
    rolled_out(&Fleet { policies: 300, ..FLEET }, Duration::from_secs(150)).await;
}

#[tokio::test(start_paused = true)]
async fn three_thousand_policies_of_a_hundred_namespaces_wait_for_the_budget_without_a_failure() {
    rolled_out(&Fleet { policies: 3000, ..FLEET }, Duration::from_secs(1200)).await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_of_all_namespaces_that_takes_minutes_costs_no_second_look() {
    let fleet = Fleet { policies: 600, namespaces: 300, requests_per_second: 1, ..FLEET };
    rolled_out(&fleet, Duration::from_secs(3600)).await;
}
