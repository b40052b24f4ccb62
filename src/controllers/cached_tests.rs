use serde_json::{Value, json};

use super::*;

fn object(status: Value) -> Value {
    json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CrossRegionBackupPolicy",
        "metadata": {
            "name": "sessions", "namespace": "payments", "uid": "u-1", "resourceVersion": "7", "generation": 2,
            "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z",
            "finalizers": ["crossregionbackup.io/disable-on-delete"],
            "annotations": {"crossregionbackup.io/reconcile-requested-at": "now"},
        },
        "spec": {"accountRef": {"name": "prod"}, "region": "cn-beijing", "instanceId": "redis-a1", "active": false},
        "status": status,
    })
}

fn cached(object: Value) -> Cached<CrossRegionBackupPolicy> {
    serde_json::from_value(object).unwrap()
}

#[test]
fn an_object_comes_back_whole() {
    let status = json!({
        "observedGeneration": 2, "backups": {"total": 3, "byStatus": {"Available": 3}, "items": [
            {"backupPointId": "b-1", "status": "Available", "startTime": "2026-01-01T00:00:00Z"},
        ]},
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "InSync", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    });
    let expected: CrossRegionBackupPolicy = serde_json::from_value(object(status.clone())).unwrap();
    let kept = cached(object(status)).0.unwrap();
    assert_eq!(kept.listed, Some(3));
    assert_eq!(kept.expand(), expected);
}

#[test]
fn a_status_that_packing_would_change_stays_as_it_is() {
    let status = json!({"protectedSince": "2026-01-01T00:00:00.25Z"});
    let expected: CrossRegionBackupPolicy = serde_json::from_value(object(status.clone())).unwrap();
    assert_eq!(cached(object(status)).0.unwrap().expand(), expected);
    assert_eq!(cached(object(Value::Null)).0.unwrap().expand().status, None);
}

#[test]
fn a_spec_that_packing_would_change_stays_as_it_is() {
    let inventory = json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "BackupInventory",
        "metadata": {"name": "search", "namespace": "payments", "uid": "u-1", "resourceVersion": "x7"},
        "spec": {
            "accountRef": {"name": "prod"}, "region": "cn-beijing", "scope": "Account",
            "filter": {"startTime": "2026-01-01T00:00:00.25Z", "endTime": "2026-01-02T00:00:00Z"},
        },
    });
    let expected: BackupInventory = serde_json::from_value(inventory.clone()).unwrap();
    let kept: Cached<BackupInventory> = serde_json::from_value(inventory).unwrap();
    assert_eq!(kept.0.unwrap().expand(), expected);
}

#[test]
fn a_version_comes_back_as_it_was() {
    for text in ["7", "0", "18446744073709551615", "18446744073709551616", "007", "+7", "", "a7"] {
        assert_eq!(Version::of(text).to_string(), text);
    }
}

#[test]
fn of_the_metadata_only_what_is_used_is_kept() {
    let mut long = object(json!({}));
    let (of_user, own) = ("kubectl.kubernetes.io/last-applied-configuration", RECONCILE_REQUESTED_AT);
    long["metadata"]["annotations"] = json!({of_user: "{}", own: "now"});
    long["metadata"]["labels"] = json!({"team": "payments"});
    long["metadata"]["finalizers"] = json!(["a/b", "crossregionbackup.io/disable-on-delete", "c/d"]);
    long["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
    assert_eq!(cached(long).0.unwrap().expand(), cached(object(json!({}))).0.unwrap().expand());
    let mut plain = object(json!({}));
    plain["metadata"]["annotations"] = json!({of_user: "{}"});
    assert_eq!(cached(plain).0.unwrap().expand().metadata.annotations, None);
}

#[test]
fn an_object_that_cannot_be_read_keeps_its_metadata() {
    let mut broken = object(json!({}));
    broken["spec"]["active"] = json!("perhaps");
    let kept = cached(broken);
    assert!(kept.0.as_ref().is_err_and(|invalid| invalid.error.contains("perhaps")));
    assert_eq!(*kept.meta(), cached(object(json!({}))).0.unwrap().expand().metadata);
    assert_eq!(kept.request(), Some("now"));
    assert!(kept.is_deleted());
}

#[test]
fn kube_is_told_the_version_while_it_watches_and_then_the_name_alone() {
    let mut settled = cached(object(json!({})));
    assert_eq!(settled.meta().resource_version.as_deref(), Some("7"), "without it the watch would end");
    settled.intern(None);
    let reference = ObjectRef::from_obj(&settled);
    assert_eq!(reference, settled.reference());
    assert_eq!((reference.extra.uid, reference.extra.resource_version), (None, None));
    let Ok(copy) = settled.clone().0 else { panic!("it can be read") };
    assert!(copy.metadata.0.get().is_none(), "a copy is without what kube asked for");
    assert_eq!(copy.expand(), cached(object(json!({}))).0.unwrap().expand());
}

#[test]
fn an_object_takes_over_what_it_has_in_common_with_the_one_before() {
    let [before, mut next, mut namesake] = [(); 3].map(|()| cached(object(json!({}))));
    next.intern(Some(&before));
    let mut other = object(json!({}));
    other["metadata"]["uid"] = json!("u-2");
    namesake.intern(Some(&cached(other)));
    let [before, next, namesake] = [before, next, namesake].map(|object| object.0.unwrap());
    assert!(Arc::ptr_eq(&before.object_key, &next.object_key) && before.spec.is(&next.spec));
    assert!(!Arc::ptr_eq(&before.object_key, &namesake.object_key) && !before.spec.is(&namesake.spec));
    assert_eq!(before.object_key, namesake.object_key);
}

#[test]
fn an_object_takes_little_room() {
    assert!(
        size_of::<Cached<CrossRegionBackupPolicy>>() <= 144,
        "{}",
        size_of::<Cached<CrossRegionBackupPolicy>>()
    );
}
