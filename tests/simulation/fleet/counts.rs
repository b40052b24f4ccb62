//! Cost of a fleet: every call and every write has a reason.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::harness::World;
use crate::harness::figures::{BACKUPS, DESCRIBE, MODIFY, REGIONS, VERIFY};
use crate::harness::fleet::Fleet;

const INTERVAL: Duration = Duration::from_secs(600);
const FLEET: Fleet = Fleet { policies: 200, ..Fleet::DEFAULT };
/// Pages of a listing of all backups, 100 per page.
const PAGES: usize = 20;

/// Creates the policies within a second, and waits until all are Ready.
async fn all_ready(world: &mut World, fleet: &Fleet) {
    world.found(fleet);
    world.start(world.clock.now());
    for number in 0..fleet.policies {
        world.create(fleet, number..number + 1);
        sleep(Duration::from_millis(5)).await;
    }
    let all = |world: &World| (0..fleet.policies).all(|number| world.is_ready(fleet, number));
    world.until("all are Ready", Duration::from_secs(60), all).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_fleet_is_looked_at_modified_and_written_once_and_listed_together() {
    let mut world = World::new();
    // No policy is due for a poll meanwhile.
    let fleet = Fleet { interval: "24h", ..FLEET };
    let start = Instant::now();
    all_ready(&mut world, &fleet).await;
    let calls = world.calls(&fleet, start);
    let made = |action: &str| calls.get(action).copied().unwrap_or_default();
    assert_eq!(made(MODIFY), FLEET.policies, "{calls:?}");
    assert!(made(DESCRIBE) <= 2 * FLEET.policies, "one look at each, and one after each Modify: {calls:?}");
    assert_eq!(made(VERIFY), 1, "{calls:?}");
    assert_eq!(made(REGIONS), 1, "they share a region: {calls:?}");
    assert!(made(BACKUPS) <= PAGES, "one listing serves all: {calls:?}");
    assert_eq!(world.status_writes().len(), FLEET.policies);
}

#[tokio::test(start_paused = true)]
async fn a_fleet_at_rest_costs_a_look_at_each_and_one_listing_in_an_interval_and_no_write() {
    let mut world = World::new();
    all_ready(&mut world, &FLEET).await;
    // Lets the effects of the start pass.
    sleep(INTERVAL).await;
    world.forget();
    let start = Instant::now();
    sleep(INTERVAL).await;
    let calls = world.calls(&FLEET, start);
    let made = |action: &str| calls.get(action).copied().unwrap_or_default();
    assert_eq!(made(DESCRIBE), FLEET.policies, "{calls:?}");
    assert!(made(BACKUPS).abs_diff(PAGES) <= 1, "{calls:?}");
    assert_eq!(calls.len(), 2, "{calls:?}");
    let writes: Vec<_> =
        world.writes().iter().map(|w| (w.verb, w.resource.clone(), w.name.clone())).collect();
    assert_eq!(writes, []);
}

#[tokio::test(start_paused = true)]
async fn new_backups_are_told_to_their_own_policies_by_the_next_listing_alone() {
    let fleet = Fleet { in_sync: true, ..FLEET };
    let mut world = World::new();
    world.settle(&[fleet]).await;
    world.start(world.clock.now());
    sleep(INTERVAL).await;
    assert_eq!(world.writes().len(), 0, "{:?}", world.api.counts());
    world.forget();
    let start = Instant::now();
    let some = [3, 77, 150];
    for number in some {
        world.add_backup(&fleet, number, fleet.backups, 0.0);
    }
    // A listing in progress lacks them, and the next is spread over its interval.
    sleep(2 * INTERVAL).await;
    let mut written: Vec<_> = world.status_writes().into_iter().map(|write| write.name).collect();
    written.sort();
    assert_eq!(written, some.map(|number| fleet.policy(number)));
    assert_eq!(world.writes().len(), some.len(), "{:?}", world.api.counts());
    let lists = world.calls(&fleet, start).get(BACKUPS).copied().unwrap_or_default();
    assert!(lists <= 2 * (PAGES + 1), "two listings, each of a page more than before: {lists}");
}
