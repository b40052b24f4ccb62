//! Writes to the API server are few, and respect Retry-After.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::harness::TestCluster;
use crate::harness::api_server::{InjectedFault, Refusal};
use crate::harness::fleet::{Fleet, OTHER_TARGET, TARGET};
use crate::harness::measurements::STATUS;

const FLEET: Fleet = Fleet { in_sync: true, ..Fleet::DEFAULT };
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn many_changes_of_one_policy_cost_few_writes_and_the_last_one_holds() {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    cluster.start(cluster.clock.now());
    sleep(MINUTE).await;
    cluster.clear_records();
    for number in 0..20 {
        cluster.retarget(&FLEET, 0, if number % 2 == 0 { TARGET } else { OTHER_TARGET });
        sleep(Duration::from_millis(10)).await;
    }
    cluster.until("it is Ready", MINUTE, |cluster| cluster.is_ready(&FLEET, 0)).await;
    sleep(MINUTE).await;
    assert_eq!(cluster.cloud.policy(&FLEET.instance(0)).unwrap().current.region, OTHER_TARGET);
    assert!(cluster.is_ready(&FLEET, 0));
    let written: Vec<_> = cluster.status_writes().iter().map(|write| write.at).collect();
    assert!(written.len() <= 3, "{written:?}");
}

/// Refuses the first status write with `seconds` of Retry-After, and checks the retry.
async fn a_refused_write_waits(seconds: u64) {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    cluster.start(cluster.clock.now());
    sleep(MINUTE).await;
    cluster.clear_records();
    let met = AtomicBool::new(false);
    cluster.api.inject(move |seen| {
        let refusal = Refusal { retry_after: Some(seconds), ..Refusal::new(429, "TooManyRequests") };
        let first = seen.resource == STATUS && !met.swap(true, Ordering::Relaxed);
        first.then(|| InjectedFault { refusal: Some(refusal), ..InjectedFault::default() })
    });
    cluster.retarget(&FLEET, 0, OTHER_TARGET);
    cluster.until("it is Ready", MINUTE, |cluster| cluster.is_ready(&FLEET, 0)).await;
    let mut writes = cluster.api.seen();
    writes.retain(|seen| seen.resource == STATUS);
    let codes: Vec<_> = writes.iter().map(|write| write.code).collect();
    let waited = writes[1].at.duration_since(writes[0].at);
    assert!(waited >= Duration::from_secs(seconds), "{waited:?}, {codes:?}");
    assert_eq!(codes, [429, 200]);
    assert!(waited <= Duration::from_secs(seconds + 6), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_api_server_puts_off_waits_as_long_as_it_says() {
    a_refused_write_waits(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_put_off_for_longer_than_a_call_may_take_waits_as_long_all_the_same() {
    a_refused_write_waits(30).await;
}
