//! Listings whose pages are slow or too large: facts stay known, and an idle fleet causes no writes.

use std::time::Duration;

use cloud_simulator::{BackupSpec, Effect, FaultSpec};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use crate::harness::TestCluster;
use crate::harness::fleet::{API, Fleet};
use crate::harness::measurements::{BACKUPS, DESCRIBE};

const MINUTE: Duration = Duration::from_secs(60);
const FLEET: Fleet =
    Fleet { in_sync: true, interval: "1m", objective: "8760h", backups: 14, policies: 200, ..Fleet::DEFAULT };

fn slow_pages(cluster: &TestCluster, seconds: f64) {
    let slow = FaultSpec::new(Effect::Delay { seconds }).on_action(BACKUPS);
    cluster.cloud.place_fault(slow).unwrap();
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap()
}

fn account(cluster: &TestCluster, fleet: &Fleet) -> Value {
    cluster.api.get(&format!("{API}/namespaces/{}/cloudaccounts/{}", fleet.namespace(0), fleet.name))
}

#[tokio::test(start_paused = true)]
async fn a_listing_slower_than_its_interval_page_by_page_makes_no_recovery_point_unknown() {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    // Sequentially, the 28 pages and their pauses take a minute and a half.
    slow_pages(&cluster, 2.0);
    cluster.start(cluster.clock.now());
    sleep(6 * MINUTE).await;
    let writes: Vec<_> = cluster.writes().iter().map(|w| (w.resource.clone(), w.name.clone())).collect();
    assert_eq!(writes, []);
    let policy = cluster.api.get(&FLEET.path(7));
    assert_eq!(condition(&policy, "RecoveryPointMet")["reason"], "WithinObjective");
}

#[tokio::test(start_paused = true)]
async fn a_listing_slower_than_its_interval_side_by_side_makes_that_longer_and_the_account_says_so() {
    let fleet = Fleet { policies: 120, backups: 140, ..FLEET };
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[fleet]).await;
    // 168 pages, eight in parallel, take 88 s.
    slow_pages(&cluster, 4.0);
    cluster.start(cluster.clock.now());
    sleep(6 * MINUTE).await;
    assert_eq!(cluster.status_writes().len(), 0, "{:?}", cluster.api.counts());
    let ready = condition(&account(&cluster, &fleet), "Ready").clone();
    assert_eq!((ready["status"].as_str(), ready["reason"].as_str()), (Some("True"), Some("BudgetTooSmall")));
    let message = ready["message"].as_str().unwrap();
    assert!(message.contains("every 1m45s") || message.contains("every 2m"), "{message}");
    assert!(message.contains("need 5 requests per second"), "{message}");
    // From here on nothing changes.
    cluster.clear_records();
    let start = Instant::now();
    sleep(6 * MINUTE).await;
    assert_eq!(cluster.writes().len(), 0, "{:?}", cluster.api.counts());
    let looks = cluster.calls(&fleet, start)[DESCRIBE];
    assert!((3 * 120..=4 * 120).contains(&looks), "{looks} looks in six minutes, each every 1m45s or 2m");
}

#[tokio::test(start_paused = true)]
async fn a_listing_whose_pages_are_too_large_is_read_in_smaller_ones() {
    let fleet = Fleet { interval: "10m", objective: "", backups: 10, policies: 30, ..FLEET };
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[fleet]).await;
    // Enlarges the newest backups.
    for number in 0..fleet.policies {
        for backup in 0..3 {
            let instance = fleet.instance(number);
            let of =
                BackupSpec::new(format!("b-{instance}-{backup}"), instance, 3600.0 * f64::from(backup + 1));
            let overrides = Map::from_iter([("Padding".to_owned(), Value::from("p".repeat(100_000)))]);
            let spec = BackupSpec { account_id: fleet.account, overrides, ..of };
            cluster.cloud.put_backup(spec).unwrap();
        }
    }
    cluster.add_backup(&fleet, 29, 10, 60.0);
    cluster.start(cluster.clock.now());
    let newest = |cluster: &TestCluster| cluster.api.get(&fleet.path(29))["status"]["backups"]["total"] == 11;
    cluster.until("the new backup is told", 15 * MINUTE, newest).await;
    cluster.clear_records();
    let start = Instant::now();
    // The next listing starts after six of these minutes, and takes less than five.
    sleep(11 * MINUTE).await;
    assert_eq!(cluster.calls(&fleet, start)[BACKUPS], 7, "301 backups, 50 a page, and none is tried in vain");
}
