//! Status of policies while every describe of their instances fails.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::faults::{Class, Fault, FaultCase, all, of_content};
use super::phases::INTERVAL;
use crate::faults::run::in_own_runtime;
use crate::harness::TestCluster;
use crate::harness::fleet::Fleet;
use crate::harness::measurements::{DESCRIBE, MODIFY};

/// Age of the last successful describe at which a transient failure is reported: two intervals.
const STALE: Duration = Duration::from_secs(2 * 300);
const A_WHILE: Duration = Duration::from_secs(60);
/// Upper bound on describes of one policy that all fail: one per minute or two for a transient failure, and some at the
/// start.
const MAX_DESCRIBES: usize = 20;

fn ready(cluster: &TestCluster, fleet: &Fleet) -> Value {
    let policy = cluster.api.get(&fleet.path(0));
    let conditions = policy["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default()
}

/// Returns Ready before the fault, early and late in it, and after it, and the number of describes during it.
async fn observe_ready(fault: &Fault) -> ([Value; 4], usize) {
    let fleet = Fleet { in_sync: true, interval: "5m", ..Fleet::DEFAULT };
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[fleet]).await;
    cluster.start(cluster.clock.now());
    sleep(INTERVAL).await;
    let before = ready(&cluster, &fleet);
    let cell = FaultCase { fault: fault.clone(), actions: vec![DESCRIBE], percent: 100 };
    cell.begin(&cluster, &fleet, 1);
    let start = Instant::now();
    sleep(INTERVAL).await;
    let at_first = ready(&cluster, &fleet);
    sleep(STALE + A_WHILE).await;
    let at_last = ready(&cluster, &fleet);
    let calls = cluster.calls(&fleet, start);
    assert!(!calls.contains_key(MODIFY), "{}: {calls:?}", fault.name);
    cluster.cloud.clear_faults();
    sleep(INTERVAL + A_WHILE).await;
    let after = ready(&cluster, &fleet);
    cluster.kill();
    sleep(Duration::from_millis(1)).await;
    ([before, at_first, at_last, after], calls.get(DESCRIBE).copied().unwrap_or_default())
}

#[test]
fn a_policy_says_what_is_wrong_with_its_looks() {
    let mut most = 0;
    for fault in all().into_iter().chain(of_content()) {
        let (ready_conditions, looks) = in_own_runtime(fault.name, 1, observe_ready(&fault));
        let reasons =
            ready_conditions.each_ref().map(|ready| ready["reason"].as_str().unwrap_or_default().to_owned());
        let at_first = if fault.class == Class::NeedsPerson { fault.reason } else { "InSync" };
        assert_eq!(reasons, ["InSync", at_first, fault.reason, "InSync"], "{}", fault.name);
        let status = match fault.reason {
            "InSync" => "True",
            "CloudUnavailable" | "Throttled" => "Unknown",
            _ => "False",
        };
        assert_eq!(ready_conditions[2]["status"], status, "{}: {}", fault.name, ready_conditions[2]);
        assert!(looks <= MAX_DESCRIBES, "{}: {looks} looks", fault.name);
        most = most.max(looks);
    }
    println!("at most {most} looks in sixteen minutes in which all fail");
}
