//! What is remembered of each resource, by UID: a namesake created later starts from nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cached::{Kept, Lean};
use super::guarded::strip;
use crate::cluster::resource_version;

/// A slot for each resource of one kind.
pub struct Memories<S>(Mutex<HashMap<Arc<str>, Arc<tokio::sync::Mutex<S>>>>);

impl<S> Default for Memories<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: Default> Memories<S> {
    pub fn slot(&self, uid: &Arc<str>) -> Arc<tokio::sync::Mutex<S>> {
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

/// The object as the API server answered our last write: the watch can be behind it. It stays until the next turn, in as little
/// room as in a store: as it came it takes ten times as much.
pub struct Latest<K: Kept>(Option<Box<Answered<K>>>);

struct Answered<K: Kept> {
    object: Lean<K>,
    /// The resourceVersion that the watch had brought before.
    over: String,
}

impl<K: Kept> Default for Latest<K> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: Kept> Latest<K> {
    /// The newer of what the watch brought and what our last write was answered with.
    pub fn newest(&mut self, watched: &Lean<K>) -> Arc<K> {
        if !self.is_newer_than(watched) {
            self.0 = None;
        }
        Arc::new(self.written().unwrap_or(watched).whole())
    }

    /// Whether our last write was answered with something newer than what the watch brought: with what it replaced, or with something
    /// between that and the answer. A lower resourceVersion than before is of an etcd that was restored: then the watch is right,
    /// although its number is the smaller one.
    pub fn is_newer_than(&self, watched: &Lean<K>) -> bool {
        self.0.as_ref().is_some_and(|answered| {
            let [over, object, watched] = [&answered.over, &answered.object.version(), &watched.version()];
            let [first, last, now] = [over, object, watched].map(|version| resource_version(version));
            object != watched && (over == watched || (first.is_some() && first < now && now < last))
        })
    }

    /// What our last write was answered with, unless the watch has brought it since.
    pub fn written(&self) -> Option<&Lean<K>> {
        self.0.as_deref().map(|answered| &answered.object)
    }

    /// `over`: the resourceVersion that the watch had brought when the write was computed.
    pub fn keep(&mut self, mut written: K, over: &str) -> Arc<K> {
        strip(written.meta_mut());
        self.0 = Some(Box::new(Answered { object: Lean::of(written.clone()), over: over.to_owned() }));
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
        let mut latest = Latest::default();
        let newest = |latest: &mut Latest<_>, watched: &str| {
            latest.newest(&Lean::of(policy(watched))).metadata.resource_version.clone().unwrap()
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
        let mut latest = Latest::default();
        let newest = |latest: &mut Latest<_>, watched: &str| {
            latest.newest(&Lean::of(policy(watched))).metadata.resource_version.clone().unwrap()
        };
        latest.keep(policy("480"), "470");
        assert_eq!(newest(&mut latest, "100"), "100", "the list made after the restoration");
        assert!(latest.written().is_none());
        // A write was refused and the object read, while the watch has not told yet of the restoration.
        latest.keep(policy("100"), "470");
        assert_eq!(newest(&mut latest, "470"), "100");
        latest.keep(policy("101"), "470");
        assert_eq!(newest(&mut latest, "470"), "101");
        assert_eq!(newest(&mut latest, "102"), "102");
    }
}
