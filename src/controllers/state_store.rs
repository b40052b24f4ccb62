//! In-memory state of each resource, by UID: a new object of the same name starts without state.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cached::{Cacheable, CompactObject};
use super::guarded::strip;
use crate::cluster::resource_version;

/// State of each resource of one kind.
pub struct StateStore<S>(Mutex<HashMap<Arc<str>, Arc<tokio::sync::Mutex<S>>>>);

impl<S> Default for StateStore<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: Default> StateStore<S> {
    pub fn entry(&self, uid: &Arc<str>) -> Arc<tokio::sync::Mutex<S>> {
        self.lock().entry(uid.clone()).or_default().clone()
    }

    pub fn uids(&self) -> Vec<Arc<str>> {
        self.lock().keys().cloned().collect()
    }

    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<tokio::sync::Mutex<S>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Read-your-writes cache of one object: the API server's response to our last write, which the watch can lag behind.
/// It is held until the next reconcile, in the compact form of a store, which takes a tenth of the memory.
pub struct ReadYourWrites<K: Cacheable>(Option<Box<LastWrite<K>>>);

struct LastWrite<K: Cacheable> {
    object: CompactObject<K>,
    /// resourceVersion that the watch had delivered before the write.
    base_version: String,
}

impl<K: Cacheable> Default for ReadYourWrites<K> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: Cacheable> ReadYourWrites<K> {
    /// Returns the newer of the watched object and the response to our last write.
    pub fn newest(&mut self, watched: &CompactObject<K>) -> Arc<K> {
        if !self.is_newer_than(watched) {
            self.0 = None;
        }
        Arc::new(self.written().unwrap_or(watched).expand())
    }

    /// Whether the response to our last write is newer than the watched object: the watch has delivered no more than
    /// the object that the write replaced, or one between that and the response. A lower resourceVersion than before
    /// comes from a restored etcd: then the watched object counts, although its number is smaller.
    pub fn is_newer_than(&self, watched: &CompactObject<K>) -> bool {
        self.0.as_ref().is_some_and(|answered| {
            let [base_version, object, watched] =
                [&answered.base_version, &answered.object.version(), &watched.version()];
            let [first, last, now] = [base_version, object, watched].map(|version| resource_version(version));
            object != watched && (base_version == watched || (first.is_some() && first < now && now < last))
        })
    }

    /// Returns the response to our last write, unless the watch has delivered it since.
    pub fn written(&self) -> Option<&CompactObject<K>> {
        self.0.as_deref().map(|answered| &answered.object)
    }

    /// Stores the response to a write. `base_version`: the resourceVersion that the watch had delivered when the write was
    /// computed.
    pub fn keep(&mut self, mut written: K, base_version: &str) -> Arc<K> {
        strip(written.meta_mut());
        self.0 = Some(Box::new(LastWrite {
            object: CompactObject::of(written.clone()),
            base_version: base_version.to_owned(),
        }));
        Arc::new(written)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::CrossRegionBackupPolicy;

    fn policy(version: &str) -> CrossRegionBackupPolicy {
        serde_json::from_value(json!({
            "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CrossRegionBackupPolicy",
            "metadata": {"name": "sessions", "namespace": "payments", "uid": "u-1", "resourceVersion": version},
            "spec": {"accountRef": {"name": "prod"}, "region": "cn-beijing", "instanceId": "redis-a1", "active": false},
        }))
        .unwrap()
    }

    #[test]
    fn what_was_written_counts_until_the_watch_brings_it() {
        let mut latest = ReadYourWrites::default();
        let newest = |latest: &mut ReadYourWrites<_>, watched: &str| {
            latest.newest(&CompactObject::of(policy(watched))).metadata.resource_version.clone().unwrap()
        };
        assert_eq!(newest(&mut latest, "9"), "9");
        assert_eq!(*latest.keep(policy("10"), "9"), policy("10"));
        assert_eq!(newest(&mut latest, "9"), "10");
        assert!(latest.written().is_some());
        assert_eq!(newest(&mut latest, "10"), "10");
        assert!(latest.written().is_none(), "it is in the store now");
        latest.keep(policy("12"), "10");
        assert_eq!(newest(&mut latest, "11"), "12", "somebody else's write before ours");
        assert_eq!(newest(&mut latest, "100"), "100");
    }

    #[test]
    fn what_was_written_does_not_outlive_an_etcd_that_was_restored() {
        let mut latest = ReadYourWrites::default();
        let newest = |latest: &mut ReadYourWrites<_>, watched: &str| {
            latest.newest(&CompactObject::of(policy(watched))).metadata.resource_version.clone().unwrap()
        };
        latest.keep(policy("480"), "470");
        assert_eq!(newest(&mut latest, "100"), "100", "the list made after the restoration");
        assert!(latest.written().is_none());
        // A write was refused and the object read, before the watch reports the restoration.
        latest.keep(policy("100"), "470");
        assert_eq!(newest(&mut latest, "470"), "100");
        latest.keep(policy("101"), "470");
        assert_eq!(newest(&mut latest, "470"), "101");
        assert_eq!(newest(&mut latest, "102"), "102");
    }
}
