//! The operator acts on what only a list reports: a late one, and one with which a watch has to restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::sleep;

use crate::harness::TestCluster;
use crate::harness::api_server::{EVENT, InjectedFault, Refusal};
use crate::harness::fleet::{Fleet, OTHER_TARGET};

/// Many more than a queue accepts at once.
const FLEET: Fleet = Fleet { policies: 400, backups: 1, in_sync: true, ..Fleet::DEFAULT };
const CHANGED: usize = 100;

#[tokio::test(start_paused = true)]
async fn what_only_a_list_tells_is_acted_on_at_once() {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    cluster.start(cluster.clock.now());
    sleep(Duration::from_secs(5)).await;
    let is_gone = Arc::new(AtomicBool::new(true));
    let gone = is_gone.clone();
    cluster.api.inject(move |seen| {
        let is_first =
            seen.verb == EVENT && seen.resource == "crossregionbackuppolicies" && gone.swap(false, Relaxed);
        is_first.then(|| InjectedFault {
            refusal: Some(Refusal::new(410, "Expired")),
            ..InjectedFault::default()
        })
    });
    for number in 0..CHANGED {
        cluster.retarget(&FLEET, number, OTHER_TARGET);
    }
    // Their own polls are spread over ten minutes.
    let all = |cluster: &TestCluster| (0..CHANGED).all(|number| cluster.is_ready(&FLEET, number));
    cluster.until("all changes are acted on", Duration::from_secs(30), all).await;
    assert!(!is_gone.load(Relaxed), "the watch has begun anew");
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_namespaces_goes_on_when_they_are_listed_late() {
    let fleet = Fleet { policies: 2, backups: 1, namespaces: 2, ..Fleet::DEFAULT };
    let mut cluster = TestCluster::new();
    cluster.install(&fleet);
    cluster.create(&fleet, 0..2);
    cluster.api.inject(|seen| {
        let is_met = seen.verb == "list" && seen.resource == "namespaces";
        is_met.then(|| InjectedFault {
            refusal: Some(Refusal::new(500, "InternalError")),
            ..InjectedFault::default()
        })
    });
    cluster.start(cluster.clock.now());
    sleep(Duration::from_secs(20)).await;
    assert!(!cluster.is_ready(&fleet, 0) && !cluster.is_ready(&fleet, 1));
    cluster.api.stop_injecting();
    // The watch's backoff is at most 30 s.
    let all = |cluster: &TestCluster| (0..2).all(|number| cluster.is_ready(&fleet, number));
    cluster.until("all are Ready", Duration::from_secs(65), all).await;
    cluster.stop().await;
}
