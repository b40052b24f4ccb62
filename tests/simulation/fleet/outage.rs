//! A connection to the cloud that is closed for long: few calls meanwhile, and all policies are described soon after it
//! opens.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::harness::TestCluster;
use crate::harness::fleet::Fleet;
use crate::harness::measurements::DESCRIBE;
use cross_region_backup_operator::cloud::TransportError;

/// Bound in docs/reliability.md: a probe every 20 s at the latest, and 5 s for a connection attempt in progress.
const DESCRIBED_WITHIN: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

/// Closes the connection for a quarter of an hour. Returns the number of calls in its last five minutes, and the time
/// from its end until each policy was described.
async fn outage(fleet: &Fleet, after: Duration, error: TransportError) -> (usize, Duration) {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(std::slice::from_ref(fleet)).await;
    cluster.start(cluster.clock.now());
    sleep(MINUTE).await;
    cluster.arrivals.close(after, error);
    sleep(10 * MINUTE).await;
    let late = Instant::now();
    sleep(5 * MINUTE).await;
    let calls = cluster.calls_of(fleet, late).len();
    cluster.arrivals.open();
    let open = Instant::now();
    let looked = |cluster: &TestCluster| {
        let calls = cluster.calls_of(fleet, open).into_iter().filter(|call| call.action == DESCRIBE);
        calls.map(|call| call.instance).collect::<HashSet<_>>().len()
    };
    cluster.until("all are looked at", 10 * MINUTE, |cluster| looked(cluster) == fleet.policies).await;
    let took = open.elapsed();
    cluster
        .until("all are Ready", MINUTE, |cluster| (0..fleet.policies).all(|n| cluster.is_ready(fleet, n)))
        .await;
    cluster.stop().await;
    (calls, took)
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_every_policy_is_looked_at_within_the_documented_time() {
    let few = Fleet { policies: 1, backups: 1, in_sync: true, ..Fleet::DEFAULT };
    let many = Fleet { policies: 300, ..few };
    let (refused, dropped) = (
        (Duration::from_millis(1), TransportError::ConnectionRefused),
        (Duration::from_secs(5), TransportError::ConnectTimeout),
    );
    // Each policy is tried every 150 s on average, the listing and the probe every 15 s; at most four attempts that
    // time out are in flight.
    for (fleet, (after, error), most) in
        [(few, refused, 80), (few, dropped, 80), (many, refused, 850), (many, dropped, 350)]
    {
        let case = format!("{} policies, {error:?}", fleet.policies);
        let (calls, took) = outage(&fleet, after, error).await;
        println!("{case}: {calls} calls in five minutes, then looked at after {took:?}");
        assert!(calls <= most, "{case}: {calls} calls in five minutes");
        assert!(calls >= 15, "{case}: it is tried all the time, {calls}");
        assert!(took <= DESCRIBED_WITHIN, "{case}: {took:?}");
    }
}
