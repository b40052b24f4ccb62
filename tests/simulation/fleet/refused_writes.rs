//! Statuses that the API server refuses: corrections in the cloud go on, and neither API server nor log is flooded.

use std::time::Duration;

use cloud_simulator::Policy;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::harness::TestCluster;
use crate::harness::api_server::{InjectedFault, Refusal};
use crate::harness::fleet::{Fleet, OTHER_TARGET};
use crate::harness::measurements::{DESCRIBE, MODIFY, STATUS};
use cross_region_backup_operator::api::RECONCILE_REQUESTED_AT;
use testbed::capture::{Capture, capture};

const FLEET: Fleet = Fleet { policies: 200, backups: 1, interval: "1m", in_sync: true, ..Fleet::DEFAULT };
const MINUTE: Duration = Duration::from_secs(60);
const STATUSES: [&str; 3] = [STATUS, "cloudaccounts/status", "backupinventories/status"];

/// Returns an idle fleet whose statuses the API server refuses from now on.
async fn refusing(refusal: Refusal) -> TestCluster {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    cluster.start(cluster.clock.now());
    sleep(3 * MINUTE).await;
    cluster.clear_records();
    cluster.api.inject(move |seen| {
        let is_met = seen.verb == "patch" && STATUSES.contains(&&*seen.resource);
        is_met.then(|| InjectedFault { refusal: Some(refusal.clone()), ..InjectedFault::default() })
    });
    cluster
}

/// Returns the logged lines of the levels WARN and ERROR, and their number.
fn warnings(log: &Capture) -> (String, usize) {
    let text = log.text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    (lines.join("\n"), lines.len())
}

fn drift(cluster: &TestCluster) {
    for number in 0..FLEET.policies {
        cluster.cloud.set_policy(&FLEET.instance(number), Policy::to_region(OTHER_TARGET)).unwrap();
    }
}

fn corrected(cluster: &TestCluster, number: usize) -> bool {
    cluster.api.get(&FLEET.path(number))["status"]["drift"]["corrections"] == 1
}

#[tokio::test(start_paused = true)]
async fn refused_statuses_cost_few_writes_and_lines_and_hold_no_correction_up() {
    let mut cluster = refusing(Refusal::new(403, "Forbidden")).await;
    let log = capture();
    let start = Instant::now();
    drift(&cluster);
    sleep(2 * MINUTE).await;
    let calls = cluster.calls(&FLEET, start);
    assert_eq!(calls[MODIFY], FLEET.policies, "all are corrected within their interval: {calls:?}");
    sleep(8 * MINUTE).await;
    let calls = cluster.calls(&FLEET, start);
    assert_eq!(calls[MODIFY], FLEET.policies, "{calls:?}");
    // One describe per interval, and those that found the difference and confirmed its correction.
    let looks = calls[DESCRIBE] / FLEET.policies;
    assert!((9..=13).contains(&looks), "{calls:?}");
    let mut tries = cluster.writes();
    tries.retain(|seen| seen.resource == STATUS);
    let (text, lines) = warnings(&log);
    println!("{} writes were refused in ten minutes, {lines} lines were logged", tries.len());
    assert!(tries.iter().all(|seen| seen.code == 403));
    let each = tries.len() / FLEET.policies;
    assert!((5..=14).contains(&each), "{each} of each policy");
    let last_minute = tries.iter().filter(|seen| seen.at > Instant::now() - MINUTE).count();
    assert!(last_minute <= FLEET.policies, "they become fewer: {last_minute}");
    assert!(lines <= 12, "{text}");
    assert!(text.contains("refuses a change") && text.contains("199"), "{text}");

    cluster.api.stop_injecting();
    cluster.api.patch(&FLEET.path(7), &json!({"metadata": {"annotations": {RECONCILE_REQUESTED_AT: "now"}}}));
    let soon = Duration::from_secs(2);
    cluster.until("one that is asked for is told at once", soon, |cluster| corrected(cluster, 7)).await;
    cluster
        .until("all are told within the longest pause", 5 * MINUTE + soon, |cluster| {
            (0..FLEET.policies).all(|number| corrected(cluster, number) && cluster.is_ready(&FLEET, number))
        })
        .await;
    cluster.clear_records();
    sleep(3 * MINUTE).await;
    assert_eq!(cluster.writes().len(), 0, "{:?}", cluster.api.counts());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn statuses_that_fail_in_passing_are_told_soon_after_it() {
    let mut cluster = refusing(Refusal::new(500, "InternalError")).await;
    let log = capture();
    drift(&cluster);
    sleep(5 * MINUTE).await;
    let (text, lines) = warnings(&log);
    assert!(lines <= 7, "{text}");
    cluster.api.stop_injecting();
    cluster
        .until("all are told", Duration::from_secs(6), |cluster| {
            (0..FLEET.policies).all(|number| corrected(cluster, number))
        })
        .await;
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_finalizer_holds_changes_up_and_nothing_else() {
    let fleet = Fleet { policies: 1, backups: 1, interval: "1m", ..Fleet::DEFAULT };
    let mut cluster = TestCluster::new();
    cluster.install(&fleet);
    cluster.start(cluster.clock.now());
    cluster.api.inject(|seen| {
        let is_met = seen.verb == "patch" && seen.resource == "crossregionbackuppolicies";
        is_met.then(|| InjectedFault {
            refusal: Some(Refusal::new(422, "Invalid")),
            ..InjectedFault::default()
        })
    });
    let mut policy = fleet.manifest(0);
    policy["spec"]["deletionPolicy"] = json!("Disable");
    cluster.api.create(&fleet.collection(0), policy);
    let start = Instant::now();
    sleep(10 * MINUTE).await;
    let calls = cluster.calls(&fleet, start);
    assert!(!calls.contains_key(MODIFY) && calls[DESCRIBE] >= 9, "{calls:?}");
    let patches = cluster.api.counts()["patch crossregionbackuppolicies"];
    assert!((5..=14).contains(&patches), "{patches}");
    let status = cluster.api.get(&fleet.path(0))["status"].clone();
    assert_eq!(status["policy"]["active"], false, "{status:#}");
    assert_eq!(status["conditions"][0]["reason"], "DriftDetected", "{status:#}");
    cluster.api.stop_injecting();
    cluster.until("it is Ready", 5 * MINUTE + MINUTE, |cluster| cluster.is_ready(&fleet, 0)).await;
    cluster.stop().await;
}
