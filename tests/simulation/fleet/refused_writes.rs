//! Statuses that the API server refuses: corrections in the cloud go on, and neither API server nor log is flooded.

use std::time::Duration;

use cloud_simulator::Policy;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::harness::World;
use crate::harness::api_server::{Refusal, Spoilt};
use crate::harness::figures::{DESCRIBE, MODIFY, STATUS};
use crate::harness::fleet::{Fleet, OTHER_TARGET};
use cross_region_backup_operator::api::RECONCILE_REQUESTED_AT;
use testbed::capture::{Capture, capture};

const FLEET: Fleet = Fleet { policies: 200, backups: 1, interval: "1m", in_sync: true, ..Fleet::DEFAULT };
const MINUTE: Duration = Duration::from_secs(60);
const STATUSES: [&str; 3] = [STATUS, "cloudaccounts/status", "backupinventories/status"];

/// Returns an idle fleet whose statuses the API server refuses from now on.
async fn refusing(refusal: Refusal) -> World {
    let mut world = World::new();
    world.settle(&[FLEET]).await;
    world.start(world.clock.now());
    sleep(3 * MINUTE).await;
    world.forget();
    world.api.spoil(move |seen| {
        let is_met = seen.verb == "patch" && STATUSES.contains(&&*seen.resource);
        is_met.then(|| Spoilt { refusal: Some(refusal.clone()), ..Spoilt::default() })
    });
    world
}

/// Returns the logged lines of the levels WARN and ERROR, and their number.
fn warnings(log: &Capture) -> (String, usize) {
    let text = log.text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    (lines.join("\n"), lines.len())
}

fn drift(world: &World) {
    for number in 0..FLEET.policies {
        world.cloud.set_policy(&FLEET.instance(number), Policy::to_region(OTHER_TARGET)).unwrap();
    }
}

fn corrected(world: &World, number: usize) -> bool {
    world.api.get(&FLEET.path(number))["status"]["drift"]["corrections"] == 1
}

#[tokio::test(start_paused = true)]
async fn refused_statuses_cost_few_writes_and_lines_and_hold_no_correction_up() {
    let mut world = refusing(Refusal::new(403, "Forbidden")).await;
    let log = capture();
    let start = Instant::now();
    drift(&world);
    sleep(2 * MINUTE).await;
    let calls = world.calls(&FLEET, start);
    assert_eq!(calls[MODIFY], FLEET.policies, "all are corrected within their interval: {calls:?}");
    sleep(8 * MINUTE).await;
    let calls = world.calls(&FLEET, start);
    assert_eq!(calls[MODIFY], FLEET.policies, "{calls:?}");
    // One describe per interval, and those that found the difference and confirmed its correction.
    let looks = calls[DESCRIBE] / FLEET.policies;
    assert!((9..=13).contains(&looks), "{calls:?}");
    let mut tries = world.writes();
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

    world.api.heal();
    world.api.patch(&FLEET.path(7), &json!({"metadata": {"annotations": {RECONCILE_REQUESTED_AT: "now"}}}));
    let soon = Duration::from_secs(2);
    world.until("one that is asked for is told at once", soon, |world| corrected(world, 7)).await;
    world
        .until("all are told within the longest pause", 5 * MINUTE + soon, |world| {
            (0..FLEET.policies).all(|number| corrected(world, number) && world.is_ready(&FLEET, number))
        })
        .await;
    world.forget();
    sleep(3 * MINUTE).await;
    assert_eq!(world.writes().len(), 0, "{:?}", world.api.counts());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn statuses_that_fail_in_passing_are_told_soon_after_it() {
    let mut world = refusing(Refusal::new(500, "InternalError")).await;
    let log = capture();
    drift(&world);
    sleep(5 * MINUTE).await;
    let (text, lines) = warnings(&log);
    assert!(lines <= 7, "{text}");
    world.api.heal();
    world
        .until("all are told", Duration::from_secs(6), |world| {
            (0..FLEET.policies).all(|number| corrected(world, number))
        })
        .await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_finalizer_holds_changes_up_and_nothing_else() {
    let fleet = Fleet { policies: 1, backups: 1, interval: "1m", ..Fleet::DEFAULT };
    let mut world = World::new();
    world.found(&fleet);
    world.start(world.clock.now());
    world.api.spoil(|seen| {
        let is_met = seen.verb == "patch" && seen.resource == "crossregionbackuppolicies";
        is_met.then(|| Spoilt { refusal: Some(Refusal::new(422, "Invalid")), ..Spoilt::default() })
    });
    let mut policy = fleet.manifest(0);
    policy["spec"]["deletionPolicy"] = json!("Disable");
    world.api.create(&fleet.collection(0), policy);
    let start = Instant::now();
    sleep(10 * MINUTE).await;
    let calls = world.calls(&fleet, start);
    assert!(!calls.contains_key(MODIFY) && calls[DESCRIBE] >= 9, "{calls:?}");
    let patches = world.api.counts()["patch crossregionbackuppolicies"];
    assert!((5..=14).contains(&patches), "{patches}");
    let status = world.api.get(&fleet.path(0))["status"].clone();
    assert_eq!(status["policy"]["active"], false, "{status:#}");
    assert_eq!(status["conditions"][0]["reason"], "DriftDetected", "{status:#}");
    world.api.heal();
    world.until("it is Ready", 5 * MINUTE + MINUTE, |world| world.is_ready(&fleet, 0)).await;
    world.stop().await;
}
