//! A Secret that is deleted and created again, as some secret stores do.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud_simulator::KeySpec;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::harness::TestCluster;
use crate::harness::fleet::{API, Fleet, SECRET};
use crate::harness::measurements::{DESCRIBE, VERIFY};

const FLEET: Fleet = Fleet { policies: 50, backups: 1, interval: "1m", in_sync: true, ..Fleet::DEFAULT };
const MINUTE: Duration = Duration::from_secs(60);

fn collection() -> String {
    format!("/api/v1/namespaces/{}/secrets", FLEET.namespace(0))
}

fn path() -> String {
    format!("{}/{}", collection(), FLEET.name)
}

/// Returns an idle fleet, and its Secret for creating it again.
async fn at_rest() -> (TestCluster, Value) {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    cluster.start(cluster.clock.now());
    sleep(3 * MINUTE).await;
    cluster.clear_records();
    let mut secret = cluster.api.get(&path());
    secret["metadata"] = json!({"name": FLEET.name});
    (cluster, secret)
}

fn ready(object: &Value) -> (&str, &str) {
    let conditions = object["status"]["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
    (ready["status"].as_str().unwrap(), ready["reason"].as_str().unwrap())
}

fn all_say(cluster: &TestCluster, expected: &str) -> bool {
    (0..FLEET.policies).all(|number| ready(&cluster.api.get(&FLEET.path(number))).1 == expected)
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_gone_for_less_than_ten_seconds_changes_nothing() {
    let (mut cluster, secret) = at_rest().await;
    for gone in [1, 5, 9] {
        let start = Instant::now();
        cluster.api.delete(&path());
        sleep(Duration::from_secs(gone)).await;
        assert!(!cluster.calls(&FLEET, start).contains_key(VERIFY));
        cluster.api.create(&collection(), secret.clone());
        sleep(2 * MINUTE).await;
        assert_eq!(cluster.writes().len(), 0, "gone for {gone} s: {:?}", cluster.api.counts());
        let calls = cluster.calls(&FLEET, start);
        assert!(calls[DESCRIBE] >= FLEET.policies && !calls.contains_key(VERIFY), "{calls:?}");
    }
    // Each deletion starts the ten seconds anew.
    for _ in 0..5 {
        cluster.api.delete(&path());
        sleep(Duration::from_secs(6)).await;
        cluster.api.create(&collection(), secret.clone());
        sleep(Duration::from_secs(1)).await;
    }
    sleep(MINUTE).await;
    assert_eq!(cluster.writes().len(), 0, "{:?}", cluster.api.counts());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_gone_for_longer_is_told_once_and_so_is_its_return() {
    let (mut cluster, secret) = at_rest().await;
    cluster.api.delete(&path());
    sleep(Duration::from_millis(9_900)).await;
    assert_eq!(cluster.writes().len(), 0, "{:?}", cluster.api.counts());
    sleep(Duration::from_millis(1_100)).await;
    cluster
        .until("all say so", Duration::from_secs(5), |cluster| all_say(cluster, "CredentialsMissing"))
        .await;
    cluster.api.create(&collection(), secret);
    cluster.until("all are well", Duration::from_secs(15), |cluster| all_say(cluster, "InSync")).await;
    sleep(2 * MINUTE).await;
    assert_eq!(cluster.status_writes().len(), 2 * FLEET.policies, "{:?}", cluster.api.counts());
    let account =
        cluster.api.get(&format!("{API}/namespaces/{}/cloudaccounts/{}", FLEET.namespace(0), FLEET.name));
    assert_eq!(ready(&account), ("True", "CredentialsVerified"));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_back_with_another_key_is_used_at_once() {
    let (mut cluster, mut secret) = at_rest().await;
    let next = "AKLTnext0000000000000000";
    cluster.cloud.put_key(KeySpec { account_id: FLEET.account, ..KeySpec::new(next, SECRET) }).unwrap();
    secret["data"]["accessKeyId"] = json!(STANDARD.encode(next));
    cluster.api.delete(&path());
    sleep(Duration::from_secs(3)).await;
    cluster.api.create(&collection(), secret);
    let back = Instant::now();
    sleep(Duration::from_secs(1)).await;
    let calls = cluster.arrivals.since(back);
    assert!(calls.iter().any(|call| call.action == VERIFY && call.key == next), "{calls:?}");
    cluster.cloud.remove_key(&FLEET.key()).unwrap();
    sleep(2 * MINUTE).await;
    assert!(all_say(&cluster, "InSync"));
    assert_eq!(cluster.status_writes().len(), 0, "{:?}", cluster.api.counts());
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_start_nothing_was_last_seen_of_a_secret_that_is_gone() {
    let (mut cluster, _) = at_rest().await;
    cluster.api.delete(&path());
    sleep(Duration::from_secs(1)).await;
    cluster.stop().await;
    cluster.start(cluster.clock.now());
    cluster
        .until("all say so", Duration::from_secs(5), |cluster| all_say(cluster, "CredentialsMissing"))
        .await;
    cluster.stop().await;
}
