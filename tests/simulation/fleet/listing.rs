//! Listings whose pages are slow or too large: facts stay known, and an idle fleet causes no writes.

use std::time::Duration;

use cloud_simulator::{BackupSpec, Effect, FaultSpec};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use crate::harness::World;
use crate::harness::figures::{BACKUPS, DESCRIBE};
use crate::harness::fleet::{API, Fleet};

const MINUTE: Duration = Duration::from_secs(60);
const FLEET: Fleet =
    Fleet { in_sync: true, interval: "1m", objective: "8760h", backups: 14, policies: 200, ..Fleet::DEFAULT };

fn slow_pages(world: &World, seconds: f64) {
    let slow = FaultSpec::new(Effect::Delay { seconds }).on_action(BACKUPS);
    world.cloud.place_fault(slow).unwrap();
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap()
}

fn account(world: &World, fleet: &Fleet) -> Value {
    world.api.get(&format!("{API}/namespaces/{}/cloudaccounts/{}", fleet.namespace(0), fleet.name))
}

#[tokio::test(start_paused = true)]
async fn a_listing_slower_than_its_interval_page_by_page_makes_no_recovery_point_unknown() {
    let mut world = World::new();
    world.settle(&[FLEET]).await;
    // Sequentially, the 28 pages and their pauses take a minute and a half.
    slow_pages(&world, 2.0);
    world.start(world.clock.now());
    sleep(6 * MINUTE).await;
    let writes: Vec<_> = world.writes().iter().map(|w| (w.resource.clone(), w.name.clone())).collect();
    assert_eq!(writes, []);
    let policy = world.api.get(&FLEET.path(7));
    assert_eq!(condition(&policy, "RecoveryPointMet")["reason"], "WithinObjective");
}

#[tokio::test(start_paused = true)]
async fn a_listing_slower_than_its_interval_side_by_side_makes_that_longer_and_the_account_says_so() {
    let fleet = Fleet { policies: 120, backups: 140, ..FLEET };
    let mut world = World::new();
    world.settle(&[fleet]).await;
    // 168 pages, eight in parallel, take 88 s.
    slow_pages(&world, 4.0);
    world.start(world.clock.now());
    sleep(6 * MINUTE).await;
    assert_eq!(world.status_writes().len(), 0, "{:?}", world.api.counts());
    let ready = condition(&account(&world, &fleet), "Ready").clone();
    assert_eq!((ready["status"].as_str(), ready["reason"].as_str()), (Some("True"), Some("BudgetTooSmall")));
    let message = ready["message"].as_str().unwrap();
    assert!(message.contains("every 1m45s") || message.contains("every 2m"), "{message}");
    assert!(message.contains("need 5 requests per second"), "{message}");
    // From here on nothing changes.
    world.forget();
    let start = Instant::now();
    sleep(6 * MINUTE).await;
    assert_eq!(world.writes().len(), 0, "{:?}", world.api.counts());
    let looks = world.calls(&fleet, start)[DESCRIBE];
    assert!((3 * 120..=4 * 120).contains(&looks), "{looks} looks in six minutes, each every 1m45s or 2m");
}

#[tokio::test(start_paused = true)]
async fn a_listing_whose_pages_are_too_large_is_read_in_smaller_ones() {
    let fleet = Fleet { interval: "10m", objective: "", backups: 10, policies: 30, ..FLEET };
    let mut world = World::new();
    world.settle(&[fleet]).await;
    // Enlarges the newest backups.
    for number in 0..fleet.policies {
        for backup in 0..3 {
            let instance = fleet.instance(number);
            let of =
                BackupSpec::new(format!("b-{instance}-{backup}"), instance, 3600.0 * f64::from(backup + 1));
            let overrides = Map::from_iter([("Padding".to_owned(), Value::from("p".repeat(100_000)))]);
            let spec = BackupSpec { account_id: fleet.account, overrides, ..of };
            world.cloud.put_backup(spec).unwrap();
        }
    }
    world.add_backup(&fleet, 29, 10, 60.0);
    world.start(world.clock.now());
    let newest = |world: &World| world.api.get(&fleet.path(29))["status"]["backups"]["total"] == 11;
    world.until("the new backup is told", 15 * MINUTE, newest).await;
    world.forget();
    let start = Instant::now();
    // The next listing starts after six of these minutes, and takes less than five.
    sleep(11 * MINUTE).await;
    assert_eq!(world.calls(&fleet, start)[BACKUPS], 7, "301 backups, 50 a page, and none is tried in vain");
}
