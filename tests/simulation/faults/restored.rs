//! The API server's state goes back, as after etcd was restored from an older backup, or a watch falls silent: the
//! operator lists everything again and follows what it reads.

use std::time::Duration;

use cloud_simulator::Policy;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::harness::TestCluster;
use crate::harness::api_server::{Delivery, EVENT, InjectedFault};
use crate::harness::fleet::{API, Fleet, OTHER_TARGET, TARGET};

const FLEET: Fleet = Fleet { policies: 20, backups: 1, in_sync: true, ..Fleet::DEFAULT };
/// More than the time to detect a silent watch, and the reconciles after it.
const DETECTION_TIMEOUT: Duration = Duration::from_secs(50);

/// Returns whether spec, status and cloud have this target, and the policy is Ready.
fn holds(cluster: &TestCluster, number: usize, target: &str) -> bool {
    let policy = cluster.api.get(&FLEET.path(number));
    let held = cluster.cloud.policy(&FLEET.instance(number)).unwrap().current;
    policy["spec"]["crossBackupRegion"] == target
        && policy["status"]["policy"]["crossBackupRegion"] == target
        && held == Policy::to_region(target)
        && cluster.is_ready(&FLEET, number)
}

fn account(cluster: &TestCluster) -> Value {
    cluster.api.get(&format!("{API}/namespaces/{}/cloudaccounts/{}", FLEET.namespace(0), FLEET.name))
}

#[tokio::test(start_paused = true)]
async fn an_etcd_restored_from_an_older_copy_is_followed_at_once() {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    cluster.start(cluster.clock.now());
    sleep(2 * DETECTION_TIMEOUT).await;
    let copy = cluster.api.backup();
    // Changes after the copy: specs of policies and of the account.
    let path = format!("{API}/namespaces/{}/cloudaccounts/{}", FLEET.namespace(0), FLEET.name);
    cluster.api.patch(&path, &json!({"spec": {"requestTimeout": "9s"}}));
    for number in 0..3 {
        cluster.retarget(&FLEET, number, OTHER_TARGET);
    }
    cluster
        .until("the new targets", DETECTION_TIMEOUT, |cluster| {
            (0..3).all(|number| holds(cluster, number, OTHER_TARGET))
        })
        .await;
    cluster
        .until("the account", DETECTION_TIMEOUT, |cluster| {
            account(cluster)["status"]["observedGeneration"] == 2
        })
        .await;
    cluster.api.restore(copy);
    let restored = Instant::now();
    cluster
        .until("the old targets", DETECTION_TIMEOUT, |cluster| {
            (0..3).all(|number| holds(cluster, number, TARGET))
        })
        .await;
    assert!(restored.elapsed() < Duration::from_secs(5), "it took {:?}", restored.elapsed());
    assert_eq!(account(&cluster)["status"]["observedGeneration"], 1);
    // Policy 0 reaches a generation number that was observed before the restore.
    let changed = Instant::now();
    cluster.retarget(&FLEET, 3, OTHER_TARGET);
    cluster.retarget(&FLEET, 0, OTHER_TARGET);
    cluster
        .until("targets changed after it", DETECTION_TIMEOUT, |cluster| {
            [0, 3].iter().all(|n| holds(cluster, *n, OTHER_TARGET))
        })
        .await;
    assert!(changed.elapsed() < Duration::from_secs(5), "it took {:?}", changed.elapsed());
    // Nothing is written any more.
    sleep(DETECTION_TIMEOUT).await;
    cluster.clear_records();
    sleep(2 * DETECTION_TIMEOUT).await;
    assert_eq!(cluster.writes().len(), 0, "{:?}", cluster.api.counts());
    cluster.stop().await;
}

/// Drops the first event of a policy, and everything that follows on its connection.
fn swallow_a_watch(cluster: &TestCluster) {
    let mut is_first = true;
    cluster.api.inject(move |seen| {
        let is_met = seen.verb == EVENT && seen.resource == "crossregionbackuppolicies";
        let reply = Delivery::Silent;
        (is_met && std::mem::take(&mut is_first)).then(|| InjectedFault { reply, ..InjectedFault::default() })
    });
}

#[tokio::test(start_paused = true)]
async fn a_changed_spec_is_acted_on_within_50_s_where_a_connection_is_swallowed() {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    cluster.start(cluster.clock.now());
    sleep(2 * DETECTION_TIMEOUT).await;
    swallow_a_watch(&cluster);
    let changed = Instant::now();
    cluster.retarget(&FLEET, 3, OTHER_TARGET);
    cluster.until("the target", 2 * DETECTION_TIMEOUT, |cluster| holds(cluster, 3, OTHER_TARGET)).await;
    assert!(changed.elapsed() < DETECTION_TIMEOUT, "it took {:?}", changed.elapsed());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_takes_the_lead_lists_anew_whatever_its_watches_told() {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    let (clock, (lead, leads)) = (cluster.clock.clone(), oneshot::channel::<()>());
    cluster.start_when(async move {
        let _ = leads.await;
        clock.now() - SignedDuration::from_secs(15)
    });
    sleep(2 * DETECTION_TIMEOUT).await;
    swallow_a_watch(&cluster);
    let changed = Instant::now();
    cluster.retarget(&FLEET, 3, OTHER_TARGET);
    sleep(Duration::from_secs(1)).await;
    lead.send(()).unwrap();
    cluster.until("the target", DETECTION_TIMEOUT, |cluster| holds(cluster, 3, OTHER_TARGET)).await;
    assert!(changed.elapsed() < Duration::from_secs(3), "it took {:?}", changed.elapsed());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn at_rest_each_watch_costs_two_requests_in_40_seconds() {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    cluster.start(cluster.clock.now());
    sleep(DETECTION_TIMEOUT).await;
    cluster.clear_records();
    sleep(Duration::from_secs(800)).await;
    // Seven watches: the operator's four kinds, namespaces, and Secrets of all namespaces and of the operator's own.
    let counts = cluster.api.counts();
    let reads: usize = counts.iter().filter(|(what, _)| !what.starts_with("patch")).map(|(_, n)| n).sum();
    assert!((7 * 40 - 14..=7 * 40 + 14).contains(&reads), "{counts:?}");
    assert_eq!(cluster.writes().len(), 0, "{counts:?}");
    cluster.stop().await;
}
