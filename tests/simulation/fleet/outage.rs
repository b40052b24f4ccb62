//! A connection to the cloud that is closed for long: few calls meanwhile, and all policies are described soon after it
//! opens.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::harness::World;
use crate::harness::figures::DESCRIBE;
use crate::harness::fleet::Fleet;
use cross_region_backup_operator::cloud::TransportError;

/// Bound in docs/reliability.md: a probe every 20 s at the latest, and 5 s for a connection attempt in progress.
const LOOKED_AT: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

/// Closes the connection for a quarter of an hour. Returns the number of calls in its last five minutes, and the time
/// from its end until each policy was described.
async fn outage(fleet: &Fleet, after: Duration, error: TransportError) -> (usize, Duration) {
    let mut world = World::new();
    world.settle(std::slice::from_ref(fleet)).await;
    world.start(world.clock.now());
    sleep(MINUTE).await;
    world.arrivals.close(after, error);
    sleep(10 * MINUTE).await;
    let late = Instant::now();
    sleep(5 * MINUTE).await;
    let calls = world.calls_of(fleet, late).len();
    world.arrivals.open();
    let open = Instant::now();
    let looked = |world: &World| {
        let calls = world.calls_of(fleet, open).into_iter().filter(|call| call.action == DESCRIBE);
        calls.map(|call| call.instance).collect::<HashSet<_>>().len()
    };
    world.until("all are looked at", 10 * MINUTE, |world| looked(world) == fleet.policies).await;
    let took = open.elapsed();
    world.until("all are Ready", MINUTE, |world| (0..fleet.policies).all(|n| world.is_ready(fleet, n))).await;
    world.stop().await;
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
        let told = format!("{} policies, {error:?}", fleet.policies);
        let (calls, took) = outage(&fleet, after, error).await;
        println!("{told}: {calls} calls in five minutes, then looked at after {took:?}");
        assert!(calls <= most, "{told}: {calls} calls in five minutes");
        assert!(calls >= 15, "{told}: it is tried all the time, {calls}");
        assert!(took <= LOOKED_AT, "{told}: {took:?}");
    }
}
