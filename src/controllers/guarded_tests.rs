use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::{ObjectList, PartialObjectMeta};
use serde_json::json;

use super::*;
use crate::api::{BackupInventory, CloudAccount, ClusterCloudAccount, CrossRegionBackupPolicy};
use crate::controllers::cached::Cached;

/// Maximum size of an object in etcd, in bytes.
const MAX_OBJECT_BYTES: usize = 1_500_000;
/// Upper bound on the bytes kept of such an object, in its `{:?}` form.
const MAX_KEPT_BYTES: usize = 16 * 1024;

/// Returns an object with each text of its metadata as long as the API server lets a user make it, or longer.
fn long_object(kind: &str, spec: Value) -> Value {
    let long = "x".repeat(MAX_OBJECT_BYTES);
    let many = |entry: fn(usize) -> Value| (0..20_000).map(entry).collect::<Vec<_>>();
    let labels: Map<_, _> = (0..20_000).map(|n| (format!("label-{n}"), json!("v".repeat(63)))).collect();
    json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": kind,
        "metadata": {
            "name": "long", "namespace": "payments", "uid": "u-1", "resourceVersion": "7", "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z", "generateName": long,
            "annotations": {RECONCILE_REQUESTED_AT: long, "kubectl.kubernetes.io/last-applied-configuration": long},
            "labels": labels,
            "finalizers": many(|n| json!(format!("example.com/finalizer-{n}"))),
            "ownerReferences": many(|n| json!({"apiVersion": "v1", "kind": "Pod", "name": format!("pod-{n}"), "uid": "u"})),
            // The year -1, as the API server writes "0000-01-01T00:00:00+14:00".
            "managedFields": many(|_| json!({"manager": "m", "operation": "Update", "time": "-001-12-31T10:00:00Z"})),
        },
        "spec": spec,
    })
}

/// Returns the number of bytes kept of the object, if it can be parsed and if it cannot.
fn kept_of<O: DeserializeOwned + Clone + std::fmt::Debug>(kind: &str, spec: Value) -> [usize; 2] {
    let broken = json!({"provider": "y".repeat(MAX_OBJECT_BYTES), "region": "y".repeat(MAX_OBJECT_BYTES), "active": "y".repeat(MAX_OBJECT_BYTES)});
    [spec, broken].map(|spec| {
        // In a list, as a watch reads it.
        let list =
            json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [long_object(kind, spec)]});
        let list: ObjectList<O> = serde_json::from_value(list).unwrap();
        format!("{:?}", list.items).len()
    })
}

#[test]
fn of_no_kind_a_text_is_kept_that_its_user_can_make_longer() {
    let account = json!({"name": "prod"});
    let cloud = json!({"provider": "Volcengine", "credentials": {"secretRef": account}});
    let mut shared = cloud.clone();
    shared["allowedNamespaces"] = json!({"from": "All"});
    let policy =
        json!({"accountRef": account, "region": "cn-beijing", "instanceId": "redis-a1", "active": false});
    let inventory = json!({"accountRef": account, "region": "cn-beijing", "scope": "Account"});
    for (kind, kept) in [
        ("CloudAccount", kept_of::<Guarded<CloudAccount>>("CloudAccount", cloud)),
        ("ClusterCloudAccount", kept_of::<Guarded<ClusterCloudAccount>>("ClusterCloudAccount", shared)),
        ("Policy", kept_of::<Cached<CrossRegionBackupPolicy>>("CrossRegionBackupPolicy", policy)),
        ("BackupInventory", kept_of::<Cached<BackupInventory>>("BackupInventory", inventory)),
        ("Secret", kept_of::<Guarded<PartialObjectMeta<Secret>>>("Secret", json!({}))),
        ("Namespace", kept_of::<Guarded<PartialObjectMeta<Namespace>>>("Namespace", json!({}))),
    ] {
        assert!(kept.iter().all(|bytes| *bytes <= MAX_KEPT_BYTES), "{kind}: {kept:?} bytes");
    }
}

#[test]
fn labels_are_kept_of_namespaces_alone() {
    let object = |kind: &str, labels: usize| {
        let labels: Map<_, _> = (0..labels).map(|n| (format!("label-{n}"), json!("v"))).collect();
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", "labels": labels}})
    };
    let labels = |count| {
        let namespace: Guarded<PartialObjectMeta<Namespace>> =
            serde_json::from_value(object("Namespace", count)).unwrap();
        namespace.0.unwrap().metadata.labels.map(|labels| labels.len())
    };
    assert_eq!((labels(3), labels(20_000)), (Some(3), None));
    let secret: Guarded<PartialObjectMeta<Secret>> = serde_json::from_value(object("Secret", 3)).unwrap();
    assert_eq!(secret.0.unwrap().metadata.labels, None);
}

#[test]
fn the_answer_to_a_write_is_kept_like_what_the_watch_reads() {
    let object = long_object(
        "BackupInventory",
        json!({"accountRef": {"name": "prod"}, "region": "cn-beijing", "scope": "Account"}),
    );
    let watched: Guarded<BackupInventory> = serde_json::from_value(object.clone()).unwrap();
    let mut answered = object;
    answered["metadata"]["managedFields"] = json!([]);
    let mut answered: BackupInventory = serde_json::from_value(answered).unwrap();
    strip(&mut answered.metadata);
    let watched = watched.0.unwrap();
    assert_eq!(watched.metadata, answered.metadata);
    let request = &watched.metadata.annotations.unwrap()[RECONCILE_REQUESTED_AT];
    assert_eq!(*request, handled_value(&"x".repeat(MAX_OBJECT_BYTES)));
}
