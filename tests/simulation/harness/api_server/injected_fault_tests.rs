//! Injected faults reach the client as they do in production.

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};

use serde_json::json;
use tokio::time::{sleep, timeout};

use super::*;
use crate::harness::history::CrashPoint;

const MAPS: &str = "/api/v1/namespaces/payments/configmaps";

fn server() -> ApiServer {
    let server =
        ApiServer::new(Clock::from_tokio("2026-11-22T12:00:00Z".parse().unwrap()), History::default());
    create(&server, "a");
    server
}

fn create(server: &ApiServer, name: &str) {
    server.create(MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}));
}

fn maps(server: &ApiServer) -> Api<ConfigMap> {
    Api::namespaced(server.client(&ProcessLink::default()), "payments")
}

fn inject(server: &ApiServer, verb: &'static str, fault: InjectedFault) {
    server.inject(move |seen| (seen.verb == verb).then(|| fault.clone()));
}

fn name(event: &WatchEvent<ConfigMap>) -> Option<&str> {
    match event {
        WatchEvent::Added(map) | WatchEvent::Modified(map) => map.metadata.name.as_deref(),
        _ => None,
    }
}

/// Returns the events of a watch from version 0, and how long it lasted.
async fn watched(server: &ApiServer) -> (Vec<Result<WatchEvent<ConfigMap>, kube::Error>>, Duration) {
    let start = Instant::now();
    let watch = maps(server).watch(&WatchParams::default().timeout(30), "0").await.unwrap();
    let events = watch.collect().await;
    (events, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn events_that_come_late_come_in_their_order() {
    let server = server();
    create(&server, "b");
    inject(&server, EVENT, InjectedFault { delay: Duration::from_secs(5), ..InjectedFault::default() });
    let (events, took) = watched(&server).await;
    let names: Vec<_> = events.iter().filter_map(|event| name(event.as_ref().unwrap())).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(took >= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_early_is_cut_falls_silent_or_is_told_to_list_anew() {
    let server = server();
    let soon = Duration::from_secs(1);
    inject(&server, EVENT, InjectedFault { reply: Delivery::Lost, ..InjectedFault::default() });
    let (events, took) = watched(&server).await;
    assert!(events.is_empty() && took < soon);
    inject(&server, EVENT, InjectedFault { reply: Delivery::Half, ..InjectedFault::default() });
    let (events, took) = watched(&server).await;
    assert!(matches!(&events[..], [Err(_)]) && took < soon, "{events:?}");
    inject(&server, EVENT, InjectedFault { reply: Delivery::Silent, ..InjectedFault::default() });
    assert!(timeout(Duration::from_secs(3600), watched(&server)).await.is_err());
    let gone = Refusal::new(410, "Expired");
    inject(&server, EVENT, InjectedFault { refusal: Some(gone), ..InjectedFault::default() });
    let (events, _) = watched(&server).await;
    assert!(matches!(&events[..], [Ok(WatchEvent::Error(refusal))] if refusal.code == 410), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn after_an_old_list_the_watch_tells_what_it_lacks() {
    let server = server();
    create(&server, "b");
    server.patch(&format!("{MAPS}/a"), &json!({"data": {"a": "1"}}));
    server.delete(&format!("{MAPS}/b"));
    inject(&server, "list", InjectedFault { behind: 2, ..InjectedFault::default() });
    let api = maps(&server);
    let list = api.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 2);
    assert!(list.items.iter().all(|map| map.data.is_none()));
    let version = list.metadata.resource_version.unwrap();
    let watch = api.watch(&WatchParams::default(), &version).await.unwrap();
    let received: Vec<_> = watch.take(2).try_collect().await.unwrap();
    assert!(matches!(&received[..], [WatchEvent::Modified(_), WatchEvent::Deleted(_)]), "{received:?}");
}

#[tokio::test(start_paused = true)]
async fn lists_by_pages_and_a_write_whose_answer_is_lost() {
    let server = server();
    create(&server, "b");
    server.page(1);
    let first = maps(&server).list(&ListParams::default()).await.unwrap();
    assert!(first.items.len() == 1 && first.metadata.continue_.is_some());
    for reply in [Delivery::Lost, Delivery::Half] {
        inject(&server, "patch", InjectedFault { reply, ..InjectedFault::default() });
        let patch = Patch::Merge(json!({"data": {"a": format!("{reply:?}")}}));
        let answer = maps(&server).patch("a", &PatchParams::default(), &patch).await;
        assert!(answer.is_err());
        assert_eq!(server.get(&format!("{MAPS}/a"))["data"]["a"], format!("{reply:?}"));
        server.stop_injecting();
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_killed_hears_nothing_more_and_has_done_what_had_its_effect() {
    for (stage, at_once, later) in
        [(CrashPoint::Before, 1, 1), (CrashPoint::After, 2, 2), (CrashPoint::InFlight, 1, 2)]
    {
        let server = server();
        let wire = ProcessLink::default();
        wire.journal.crash_point(1, stage);
        let api = Api::<ConfigMap>::namespaced(server.client(&wire), "payments");
        let map = ConfigMap {
            metadata: kube::api::ObjectMeta { name: Some("b".to_owned()), ..Default::default() },
            ..Default::default()
        };
        let created = tokio::spawn(async move { api.create(&Default::default(), &map).await });
        sleep(Duration::from_secs(1)).await;
        assert_eq!(server.all("configmaps").len(), at_once, "{stage:?}");
        sleep(Duration::from_secs(10)).await;
        assert_eq!(server.all("configmaps").len(), later, "{stage:?}");
        assert!(!created.is_finished());
    }
}
