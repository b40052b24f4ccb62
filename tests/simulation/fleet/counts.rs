//! Cost of a fleet: every call and every write has a reason.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::harness::TestCluster;
use crate::harness::fleet::Fleet;
use crate::harness::measurements::{BACKUPS, DESCRIBE, MODIFY, REGIONS, VERIFY};

const INTERVAL: Duration = Duration::from_secs(600);
const FLEET: Fleet = Fleet { policies: 200, ..Fleet::DEFAULT };
/// Pages of a listing of all backups, 100 per page.
const PAGES: usize = 20;

/// Creates the policies within a second, and waits until all are Ready.
async fn all_ready(cluster: &mut TestCluster, fleet: &Fleet) {
    cluster.install(fleet);
    cluster.start(cluster.clock.now());
    for number in 0..fleet.policies {
        cluster.create(fleet, number..number + 1);
        sleep(Duration::from_millis(5)).await;
    }
    let all = |cluster: &TestCluster| (0..fleet.policies).all(|number| cluster.is_ready(fleet, number));
    cluster.until("all are Ready", Duration::from_secs(60), all).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_fleet_is_looked_at_modified_and_written_once_and_listed_together() {
    let mut cluster = TestCluster::new();
    // No policy is due for a poll meanwhile.
    let fleet = Fleet { interval: "24h", ..FLEET };
    let start = Instant::now();
    all_ready(&mut cluster, &fleet).await;
    let calls = cluster.calls(&fleet, start);
    let made = |action: &str| calls.get(action).copied().unwrap_or_default();
    assert_eq!(made(MODIFY), FLEET.policies, "{calls:?}");
    assert!(made(DESCRIBE) <= 2 * FLEET.policies, "one look at each, and one after each Modify: {calls:?}");
    assert_eq!(made(VERIFY), 1, "{calls:?}");
    assert_eq!(made(REGIONS), 1, "they share a region: {calls:?}");
    assert!(made(BACKUPS) <= PAGES, "one listing serves all: {calls:?}");
    assert_eq!(cluster.status_writes().len(), FLEET.policies);
}

#[tokio::test(start_paused = true)]
async fn a_fleet_at_rest_costs_a_look_at_each_and_one_listing_in_an_interval_and_no_write() {
    let mut cluster = TestCluster::new();
    all_ready(&mut cluster, &FLEET).await;
    // Lets the effects of the start pass.
    sleep(INTERVAL).await;
    cluster.clear_records();
    let start = Instant::now();
    sleep(INTERVAL).await;
    let calls = cluster.calls(&FLEET, start);
    let made = |action: &str| calls.get(action).copied().unwrap_or_default();
    assert_eq!(made(DESCRIBE), FLEET.policies, "{calls:?}");
    assert!(made(BACKUPS).abs_diff(PAGES) <= 1, "{calls:?}");
    assert_eq!(calls.len(), 2, "{calls:?}");
    let writes: Vec<_> =
        cluster.writes().iter().map(|w| (w.verb, w.resource.clone(), w.name.clone())).collect();
    assert_eq!(writes, []);
}

#[tokio::test(start_paused = true)]
async fn new_backups_are_told_to_their_own_policies_by_the_next_listing_alone() {
    let fleet = Fleet { in_sync: true, ..FLEET };
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[fleet]).await;
    cluster.start(cluster.clock.now());
    sleep(INTERVAL).await;
    assert_eq!(cluster.writes().len(), 0, "{:?}", cluster.api.counts());
    cluster.clear_records();
    let start = Instant::now();
    let some = [3, 77, 150];
    for number in some {
        cluster.add_backup(&fleet, number, fleet.backups, 0.0);
    }
    // A listing in progress lacks them, and the next is spread over its interval.
    sleep(2 * INTERVAL).await;
    let mut written: Vec<_> = cluster.status_writes().into_iter().map(|write| write.name).collect();
    written.sort();
    assert_eq!(written, some.map(|number| fleet.policy(number)));
    assert_eq!(cluster.writes().len(), some.len(), "{:?}", cluster.api.counts());
    let lists = cluster.calls(&fleet, start).get(BACKUPS).copied().unwrap_or_default();
    assert!(lists <= 2 * (PAGES + 1), "two listings, each of a page more than before: {lists}");
}
