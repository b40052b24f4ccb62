//! A Lease lasts for seconds, and an account's request budget may delay a policy's next call much longer: that is no
//! failure, and costs no describes.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::harness::TestCluster;
use crate::harness::fleet::Fleet;
use crate::harness::measurements::{DESCRIBE, MODIFY};

/// A hundred namespaces share one account.
const FLEET: Fleet =
    Fleet { namespaces: 100, backups: 1, requests_per_second: 10, interval: "24h", ..Fleet::DEFAULT };

/// Returns the number of written Events about policies, by reason.
fn events(cluster: &TestCluster) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for seen in cluster.writes().iter().filter(|seen| seen.resource == "events" && seen.code < 300) {
        let event: Value = serde_json::from_slice(&seen.object).unwrap();
        if event["regarding"]["kind"] == "CrossRegionBackupPolicy" {
            *counts.entry(event["reason"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Returns the number of status writes, by reason of Ready.
fn reasons(cluster: &TestCluster) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for write in cluster.status_writes() {
        let policy: Value = serde_json::from_slice(&write.object).unwrap();
        let conditions = policy["status"]["conditions"].as_array().cloned().unwrap_or_default();
        for ready in conditions.iter().filter(|condition| condition["type"] == "Ready") {
            *counts.entry(ready["reason"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Returns the most describes of a policy until its status was Ready; its scheduled polls come later.
fn max_describes(cluster: &TestCluster, fleet: &Fleet, start: Instant) -> usize {
    let ready: HashMap<_, _> = cluster.status_writes().into_iter().map(|w| (w.name, w.at)).collect();
    let ready = (0..fleet.policies).map(|number| (fleet.instance(number), ready[&fleet.policy(number)]));
    let ready: HashMap<_, _> = ready.collect();
    let mut looks = HashMap::<String, usize>::new();
    for call in cluster.calls_of(fleet, start) {
        if call.action == DESCRIBE && call.at <= ready[&call.instance] {
            *looks.entry(call.instance).or_default() += 1;
        }
    }
    looks.into_values().max().unwrap_or_default()
}

/// Creates the fleet at once, waits until all of it is Ready, and checks the cost.
async fn rolled_out(fleet: &Fleet, most: Duration) {
    let mut cluster = TestCluster::new();
    cluster.install(fleet);
    cluster.start(cluster.clock.now());
    let start = Instant::now();
    cluster.create(fleet, 0..fleet.policies);
    let all = |cluster: &TestCluster| (0..fleet.policies).all(|number| cluster.is_ready(fleet, number));
    while !all(&cluster) && start.elapsed() < most {
        sleep(Duration::from_secs(20)).await;
    }
    let took = start.elapsed();
    let calls = cluster.calls(fleet, start);
    let (events, reasons) = (events(&cluster), reasons(&cluster));
    let summary = format!("after {took:?}: {calls:?}, Events {events:?}, Ready {reasons:?}");
    println!("{} policies {summary}", fleet.policies);
    assert!(all(&cluster), "not all are Ready {summary}");
    assert_eq!(events, BTreeMap::from([("PolicyModified".to_owned(), fleet.policies)]), "{summary}");
    assert_eq!(reasons, BTreeMap::from([("InSync".to_owned(), fleet.policies)]), "one write each {summary}");
    assert_eq!(calls[MODIFY], fleet.policies, "{summary}");
    let looks = max_describes(&cluster, fleet, start);
    assert_eq!(looks, 2, "one look at each, and one after its Modify {summary}");
    cluster.stop().await;
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
