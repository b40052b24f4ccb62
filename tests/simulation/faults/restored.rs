//! The API server's state goes back, as after etcd was restored from an older backup, or a watch falls silent: the
//! operator lists everything again and follows what it reads.

use std::time::Duration;

use cloud_simulator::Policy;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::harness::World;
use crate::harness::api_server::{EVENT, Reply, Spoilt};
use crate::harness::fleet::{API, Fleet, OTHER_TARGET, TARGET};

const FLEET: Fleet = Fleet { policies: 20, backups: 1, in_sync: true, ..Fleet::DEFAULT };
/// More than the time to detect a silent watch, and the reconciles after it.
const NOTICED: Duration = Duration::from_secs(50);

/// Returns whether spec, status and cloud have this target, and the policy is Ready.
fn holds(world: &World, number: usize, target: &str) -> bool {
    let policy = world.api.get(&FLEET.path(number));
    let held = world.cloud.policy(&FLEET.instance(number)).unwrap().current;
    policy["spec"]["crossBackupRegion"] == target
        && policy["status"]["policy"]["crossBackupRegion"] == target
        && held == Policy::to_region(target)
        && world.is_ready(&FLEET, number)
}

fn account(world: &World) -> Value {
    world.api.get(&format!("{API}/namespaces/{}/cloudaccounts/{}", FLEET.namespace(0), FLEET.name))
}

#[tokio::test(start_paused = true)]
async fn an_etcd_restored_from_an_older_copy_is_followed_at_once() {
    let mut world = World::new();
    world.settle(&[FLEET]).await;
    world.start(world.clock.now());
    sleep(2 * NOTICED).await;
    let copy = world.api.backup();
    // Changes after the copy: specs of policies and of the account.
    let path = format!("{API}/namespaces/{}/cloudaccounts/{}", FLEET.namespace(0), FLEET.name);
    world.api.patch(&path, &json!({"spec": {"requestTimeout": "9s"}}));
    for number in 0..3 {
        world.retarget(&FLEET, number, OTHER_TARGET);
    }
    world
        .until("the new targets", NOTICED, |world| (0..3).all(|number| holds(world, number, OTHER_TARGET)))
        .await;
    world.until("the account", NOTICED, |world| account(world)["status"]["observedGeneration"] == 2).await;
    world.api.restore(copy);
    let restored = Instant::now();
    world.until("the old targets", NOTICED, |world| (0..3).all(|number| holds(world, number, TARGET))).await;
    assert!(restored.elapsed() < Duration::from_secs(5), "it took {:?}", restored.elapsed());
    assert_eq!(account(&world)["status"]["observedGeneration"], 1);
    // Policy 0 reaches a generation number that was observed before the restore.
    let changed = Instant::now();
    world.retarget(&FLEET, 3, OTHER_TARGET);
    world.retarget(&FLEET, 0, OTHER_TARGET);
    world
        .until("targets changed after it", NOTICED, |world| {
            [0, 3].iter().all(|n| holds(world, *n, OTHER_TARGET))
        })
        .await;
    assert!(changed.elapsed() < Duration::from_secs(5), "it took {:?}", changed.elapsed());
    // Nothing is written any more.
    sleep(NOTICED).await;
    world.forget();
    sleep(2 * NOTICED).await;
    assert_eq!(world.writes().len(), 0, "{:?}", world.api.counts());
    world.stop().await;
}

/// Drops the first event of a policy, and everything that follows on its connection.
fn swallow_a_watch(world: &World) {
    let mut is_first = true;
    world.api.spoil(move |seen| {
        let is_met = seen.verb == EVENT && seen.resource == "crossregionbackuppolicies";
        let reply = Reply::Silent;
        (is_met && std::mem::take(&mut is_first)).then(|| Spoilt { reply, ..Spoilt::default() })
    });
}

#[tokio::test(start_paused = true)]
async fn a_changed_spec_is_acted_on_within_50_s_where_a_connection_is_swallowed() {
    let mut world = World::new();
    world.settle(&[FLEET]).await;
    world.start(world.clock.now());
    sleep(2 * NOTICED).await;
    swallow_a_watch(&world);
    let changed = Instant::now();
    world.retarget(&FLEET, 3, OTHER_TARGET);
    world.until("the target", 2 * NOTICED, |world| holds(world, 3, OTHER_TARGET)).await;
    assert!(changed.elapsed() < NOTICED, "it took {:?}", changed.elapsed());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_takes_the_lead_lists_anew_whatever_its_watches_told() {
    let mut world = World::new();
    world.settle(&[FLEET]).await;
    let (clock, (lead, leads)) = (world.clock.clone(), oneshot::channel::<()>());
    world.start_when(async move {
        let _ = leads.await;
        clock.now() - SignedDuration::from_secs(15)
    });
    sleep(2 * NOTICED).await;
    swallow_a_watch(&world);
    let changed = Instant::now();
    world.retarget(&FLEET, 3, OTHER_TARGET);
    sleep(Duration::from_secs(1)).await;
    lead.send(()).unwrap();
    world.until("the target", NOTICED, |world| holds(world, 3, OTHER_TARGET)).await;
    assert!(changed.elapsed() < Duration::from_secs(3), "it took {:?}", changed.elapsed());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn at_rest_each_watch_costs_two_requests_in_40_seconds() {
    let mut world = World::new();
    world.settle(&[FLEET]).await;
    world.start(world.clock.now());
    sleep(NOTICED).await;
    world.forget();
    sleep(Duration::from_secs(800)).await;
    // Seven watches: the operator's four kinds, namespaces, and Secrets of all namespaces and of the operator's own.
    let counts = world.api.counts();
    let reads: usize = counts.iter().filter(|(what, _)| !what.starts_with("patch")).map(|(_, n)| n).sum();
    assert!((7 * 40 - 14..=7 * 40 + 14).contains(&reads), "{counts:?}");
    assert_eq!(world.writes().len(), 0, "{counts:?}");
    world.stop().await;
}
