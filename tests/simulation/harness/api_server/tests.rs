//! The simulated API server behaves like a real one where the operator relies on it.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use serde_json::json;

use super::*;
use cross_region_backup_operator::api::CrossRegionBackupPolicy;

const POLICIES: &str = "/apis/crossregionbackup.io/v1alpha1/namespaces/payments/crossregionbackuppolicies";

fn server() -> ApiServer {
    ApiServer::new(Clock::from_tokio("2026-11-22T12:00:00Z".parse().unwrap()), History::default())
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

fn policy() -> Value {
    json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CrossRegionBackupPolicy", "metadata": {"name": "sessions"},
        "spec": {"accountRef": {"name": "prod"}, "region": "cn-beijing", "instanceId": "redis-a1", "active": false},
    })
}

fn policies(server: &ApiServer) -> Api<CrossRegionBackupPolicy> {
    server.create(POLICIES, policy());
    Api::namespaced(server.client(&ProcessLink::default()), "payments")
}

fn status(version: Option<&str>, generation: i64) -> Patch<Value> {
    Patch::Apply(json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CrossRegionBackupPolicy",
        "metadata": {"name": "sessions", "resourceVersion": version}, "status": {"observedGeneration": generation},
    }))
}

#[tokio::test(start_paused = true)]
async fn a_list_by_pages_and_the_watch_after_it_miss_nothing() {
    let server = server();
    for name in ["a", "b", "c"] {
        server.create("/api/v1/namespaces/payments/configmaps", config_map(name));
    }
    server.create("/api/v1/namespaces/other/configmaps", config_map("d"));
    let api = Api::<ConfigMap>::namespaced(server.client(&ProcessLink::default()), "payments");
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    // The watch reports an object created between two pages.
    server.create("/api/v1/namespaces/payments/configmaps", config_map("e"));
    let token = first.metadata.continue_.unwrap();
    let second = api.list(&ListParams::default().limit(2).continue_token(&token)).await.unwrap();
    let names = |items: Vec<ConfigMap>| items.into_iter().filter_map(|i| i.metadata.name).collect::<Vec<_>>();
    assert_eq!([names(first.items), names(second.items)], [vec!["a", "b"], vec!["c"]]);
    assert_eq!(second.metadata.continue_, None);
    let version = second.metadata.resource_version.unwrap();
    let mut watch = api.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    server.patch("/api/v1/namespaces/payments/configmaps/a", &json!({"data": {"a": "2"}}));
    let received: Vec<_> = watch.by_ref().take(2).try_collect().await.unwrap();
    let [WatchEvent::Added(e), WatchEvent::Modified(a)] = &received[..] else { panic!("{received:?}") };
    assert_eq!((e.metadata.name.as_deref(), a.metadata.name.as_deref()), (Some("e"), Some("a")));
    assert_eq!(a.data.as_ref().unwrap()["a"], "2");
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_a_bookmark_and_one_from_too_long_ago_is_refused() {
    let server = server();
    let api = Api::<ConfigMap>::all(server.client(&ProcessLink::default()));
    let watch = api.watch(&WatchParams::default().timeout(10), "0").await.unwrap().boxed();
    server.create("/api/v1/namespaces/payments/configmaps", config_map("a"));
    let received: Vec<_> = watch.try_collect().await.unwrap();
    let [WatchEvent::Added(_), WatchEvent::Bookmark(bookmark)] = &received[..] else {
        panic!("{received:?}")
    };
    assert_eq!(bookmark.metadata.resource_version, "1");
    for number in 0..10_001 {
        server.patch("/api/v1/namespaces/payments/configmaps/a", &json!({"data": {"a": number.to_string()}}));
    }
    let Err(kube::Error::Api(refusal)) = api.watch(&WatchParams::default(), "1").await.map(drop) else {
        panic!()
    };
    assert_eq!(refusal.code, 410);
}

#[tokio::test(start_paused = true)]
async fn a_status_is_applied_to_its_own_version_and_leaves_the_generation() {
    let server = server();
    let api = policies(&server);
    let before = api.get("sessions").await.unwrap();
    assert_eq!(before.status.as_ref().unwrap().observed_generation, Some(-1));
    let params = PatchParams::apply("test").force();
    let version = before.metadata.resource_version.as_deref();
    let after = api.patch_status("sessions", &params, &status(version, 1)).await.unwrap();
    assert_eq!(after.status.as_ref().unwrap().observed_generation, Some(1));
    assert_eq!(after.metadata.generation, Some(1));
    let Err(kube::Error::Api(stale)) = api.patch_status("sessions", &params, &status(version, 2)).await
    else {
        panic!()
    };
    assert_eq!((stale.code, stale.reason.as_str()), (409, "Conflict"));
    let same = api.patch_status("sessions", &params, &status(None, 1)).await.unwrap();
    assert_eq!(same.metadata.resource_version, after.metadata.resource_version, "nothing has changed");
    server.patch(&format!("{POLICIES}/sessions"), &json!({"spec": {"active": true}}));
    assert_eq!(api.get("sessions").await.unwrap().metadata.generation, Some(2));
    let counts = server.counts();
    assert_eq!(counts["patch crossregionbackuppolicies/status"], 3);
    assert_eq!(counts["get crossregionbackuppolicies"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_holds_an_object_that_is_being_deleted() {
    let server = server();
    let api = policies(&server);
    let finalizers = |list: &[&str]| Patch::Merge(json!({"metadata": {"finalizers": list}}));
    api.patch("sessions", &PatchParams::default(), &finalizers(&["crossregionbackup.io/held"]))
        .await
        .unwrap();
    api.delete("sessions", &DeleteParams::default()).await.unwrap();
    let held = api.get("sessions").await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    assert_eq!(held.metadata.generation, Some(2));
    let mut watch =
        api.watch(&WatchParams::default(), &held.metadata.resource_version.unwrap()).await.unwrap().boxed();
    api.patch("sessions", &PatchParams::default(), &finalizers(&[])).await.unwrap();
    assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Deleted(_)))));
    assert_eq!(api.get_opt("sessions").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn metadata_alone_has_no_values() {
    let server = server();
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "data": {"a": "MQ=="}});
    server.create("/api/v1/namespaces/payments/secrets", secret);
    let whole = Api::<Secret>::namespaced(server.client(&ProcessLink::default()), "payments")
        .get("key")
        .await
        .unwrap();
    assert!(whole.data.is_some());
    let api = Api::<PartialObjectMeta<Secret>>::all(server.client(&ProcessLink::default()));
    let listed = api.list(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items[0].metadata.name.as_deref(), Some("key"));
    assert_eq!(listed.items[0].types.as_ref().unwrap().kind, "PartialObjectMetadata");
}

#[tokio::test(start_paused = true)]
async fn what_is_spoilt_is_refused_and_retried_as_in_production() {
    let server = server();
    let api = policies(&server);
    let met = AtomicUsize::new(0);
    server.inject(move |_| {
        let refusal = Refusal { retry_after: Some(7), ..Refusal::new(429, "TooManyRequests") };
        (met.fetch_add(1, Ordering::Relaxed) == 0)
            .then(|| InjectedFault { refusal: Some(refusal), ..InjectedFault::default() })
    });
    let start = Instant::now();
    api.get("sessions").await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(7));
    let codes: Vec<_> = server.seen().iter().map(|seen| seen.code).collect();
    assert_eq!(codes, [429, 200]);
}
