//! Status of policies while every describe of their instances fails.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::faults::{Cell, Class, Fault, all, of_content};
use super::phases::INTERVAL;
use crate::faults::play::in_time_of_its_own;
use crate::harness::World;
use crate::harness::figures::{DESCRIBE, MODIFY};
use crate::harness::fleet::Fleet;

/// Age of the last successful describe at which a transient failure is reported: two intervals.
const STALE: Duration = Duration::from_secs(2 * 300);
const A_WHILE: Duration = Duration::from_secs(60);
/// Upper bound on describes of one policy that all fail: one per minute or two for a transient failure, and some at the
/// start.
const LOOKS: usize = 20;

fn ready(world: &World, fleet: &Fleet) -> Value {
    let policy = world.api.get(&fleet.path(0));
    let conditions = policy["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default()
}

/// Returns Ready before the fault, early and late in it, and after it, and the number of describes during it.
async fn told(fault: &Fault) -> ([Value; 4], usize) {
    let fleet = Fleet { in_sync: true, interval: "5m", ..Fleet::DEFAULT };
    let mut world = World::new();
    world.settle(&[fleet]).await;
    world.start(world.clock.now());
    sleep(INTERVAL).await;
    let before = ready(&world, &fleet);
    let cell = Cell { fault: fault.clone(), actions: vec![DESCRIBE], percent: 100 };
    cell.begin(&world, &fleet, 1);
    let start = Instant::now();
    sleep(INTERVAL).await;
    let at_first = ready(&world, &fleet);
    sleep(STALE + A_WHILE).await;
    let at_last = ready(&world, &fleet);
    let calls = world.calls(&fleet, start);
    assert!(!calls.contains_key(MODIFY), "{}: {calls:?}", fault.name);
    world.cloud.clear_faults();
    sleep(INTERVAL + A_WHILE).await;
    let after = ready(&world, &fleet);
    world.kill();
    sleep(Duration::from_millis(1)).await;
    ([before, at_first, at_last, after], calls.get(DESCRIBE).copied().unwrap_or_default())
}

#[test]
fn a_policy_says_what_is_wrong_with_its_looks() {
    let mut most = 0;
    for fault in all().into_iter().chain(of_content()) {
        let (said, looks) = in_time_of_its_own(fault.name, 1, told(&fault));
        let reasons = said.each_ref().map(|ready| ready["reason"].as_str().unwrap_or_default().to_owned());
        let at_first = if fault.class == Class::NeedsPerson { fault.reason } else { "InSync" };
        assert_eq!(reasons, ["InSync", at_first, fault.reason, "InSync"], "{}", fault.name);
        let status = match fault.reason {
            "InSync" => "True",
            "CloudUnavailable" | "Throttled" => "Unknown",
            _ => "False",
        };
        assert_eq!(said[2]["status"], status, "{}: {}", fault.name, said[2]);
        assert!(looks <= LOOKS, "{}: {looks} looks", fault.name);
        most = most.max(looks);
    }
    println!("at most {most} looks in sixteen minutes in which all fail");
}
