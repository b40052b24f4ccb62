//! What the stores hold of the resources that are many.

use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::Deref;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::error_boundary::InvalidObject;
use kube::core::object::HasStatus;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::packed::Packed;
use super::watch::Guarded;
use crate::api::{BackupInventory, CrossRegionBackupPolicy, RECONCILE_REQUESTED_AT};

/// A kind of which there are many objects, or long ones.
pub trait Kept:
    Resource<DynamicType = ()>
    + HasStatus<Status: Serialize + DeserializeOwned + Clone + Debug + PartialEq>
    + DeserializeOwned
    + Clone
    + Debug
{
    /// How many backups a status tells of.
    fn listed(status: &Self::Status) -> Option<i64>;
}

impl Kept for CrossRegionBackupPolicy {
    fn listed(status: &Self::Status) -> Option<i64> {
        status.backups.as_ref().map(|backups| backups.total)
    }
}

impl Kept for BackupInventory {
    fn listed(status: &Self::Status) -> Option<i64> {
        status.total
    }
}

/// An object as the stores hold it, or why it cannot be read. It is made while the API server's answer is parsed: no list is
/// ever held as it came.
#[derive(Clone, Debug)]
pub struct Cached<K: Kept>(pub Result<Lean<K>, InvalidObject>);

/// An object without its status, which is beside it, packed. A status that would come back as another stays in the object:
/// Kubernetes' times are written in whole seconds, and somebody may have put in others, which is to be noticed.
#[derive(Clone, Debug)]
pub struct Lean<K: Kept> {
    object: K,
    pub status: Option<Packed<K::Status>>,
    /// How many backups the status tells of.
    pub listed: Option<i64>,
}

impl<K: Kept> Lean<K> {
    fn of(mut object: K) -> Self {
        strip(object.meta_mut());
        let status = object.status_mut().take();
        let listed = status.as_ref().and_then(K::listed);
        let packed = status.as_ref().map(Packed::of);
        let packed = packed.filter(|packed| status.as_ref() == Some(&packed.unpack()));
        if packed.is_none() {
            *object.status_mut() = status;
        }
        Self { object, status: packed, listed }
    }

    /// The object with its status.
    pub fn whole(&self) -> K {
        let mut object = self.object.clone();
        if let Some(status) = &self.status {
            *object.status_mut() = Some(status.unpack());
        }
        object
    }
}

impl<K: Kept> Deref for Lean<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.object
    }
}

impl<K: Kept> From<Guarded<K>> for Cached<K> {
    fn from(guarded: Guarded<K>) -> Self {
        Self(guarded.0.map(Lean::of).map_err(|mut invalid| {
            strip(&mut invalid.metadata);
            invalid
        }))
    }
}

impl<'de, K: Kept> Deserialize<'de> for Cached<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Guarded::<K>::deserialize(deserializer).map(Self::from)
    }
}

impl<K: Kept> Resource for Cached<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|invalid| &invalid.metadata, |lean| lean.object.meta())
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|invalid| &mut invalid.metadata, |lean| lean.object.meta_mut())
    }
}

/// Leaves what decisions and writes need. What else is there is as long as its users like: kubectl alone repeats the whole
/// object in an annotation, and the API server says of each field who wrote it.
pub fn strip(metadata: &mut ObjectMeta) {
    let all = std::mem::take(metadata);
    let request = all.annotations.and_then(|mut all| all.remove_entry(RECONCILE_REQUESTED_AT));
    *metadata = ObjectMeta {
        name: all.name,
        namespace: all.namespace,
        uid: all.uid,
        resource_version: all.resource_version,
        generation: all.generation,
        creation_timestamp: all.creation_timestamp,
        deletion_timestamp: all.deletion_timestamp,
        finalizers: all.finalizers,
        annotations: request.map(|request| [request].into()),
        ..ObjectMeta::default()
    };
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(status: Value) -> Value {
        json!({
            "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CrossRegionBackupPolicy",
            "metadata": {
                "name": "sessions", "namespace": "payments", "uid": "u-1", "resourceVersion": "7", "generation": 2,
                "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z",
                "finalizers": ["a/b"],
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
        assert_eq!(kept.object.status, None);
        assert_eq!(kept.whole(), expected);
    }

    #[test]
    fn a_status_that_packing_would_change_stays_as_it_is() {
        let status = json!({"protectedSince": "2026-01-01T00:00:00.25Z"});
        let expected: CrossRegionBackupPolicy = serde_json::from_value(object(status.clone())).unwrap();
        assert_eq!(cached(object(status)).0.unwrap().whole(), expected);
        assert_eq!(cached(object(Value::Null)).0.unwrap().whole().status, None);
    }

    #[test]
    fn of_the_metadata_only_what_is_used_is_kept() {
        let mut long = object(json!({}));
        let (of_user, own) = ("kubectl.kubernetes.io/last-applied-configuration", RECONCILE_REQUESTED_AT);
        long["metadata"]["annotations"] = json!({of_user: "{}", own: "now"});
        long["metadata"]["labels"] = json!({"team": "payments"});
        long["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
        assert_eq!(cached(long).meta(), cached(object(json!({}))).meta());
        let mut plain = object(json!({}));
        plain["metadata"]["annotations"] = json!({of_user: "{}"});
        assert_eq!(cached(plain).meta().annotations, None);
    }

    #[test]
    fn an_object_that_cannot_be_read_keeps_its_metadata() {
        let mut broken = object(json!({}));
        broken["spec"]["active"] = json!("perhaps");
        let kept = cached(broken);
        assert!(kept.0.as_ref().is_err_and(|invalid| invalid.error.contains("perhaps")));
        assert_eq!(kept.meta(), cached(object(json!({}))).meta());
    }
}
