//! What is remembered of each resource, by UID: a namesake created later starts from nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cached::{Kept, Lean, strip};

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

/// The object as the API server answered our last write: the watch can be behind it.
pub struct Latest<K>(Option<Arc<K>>);

impl<K> Default for Latest<K> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: Kept> Latest<K> {
    /// The newer of what the watch brought and what our last write was answered with.
    pub fn newest(&mut self, watched: &Lean<K>) -> Arc<K> {
        match &self.0 {
            Some(latest) if self.is_newer_than(watched) => latest.clone(),
            _ => {
                self.0 = None;
                Arc::new(watched.whole())
            }
        }
    }

    /// Whether our last write was answered with something newer than what the watch brought.
    pub fn is_newer_than(&self, watched: &Lean<K>) -> bool {
        let newer = |latest: &Arc<K>| {
            version(latest.meta().resource_version.as_deref()) > version(Some(watched.version()))
        };
        self.0.as_ref().is_some_and(newer)
    }

    pub fn keep(&mut self, mut written: K) -> Arc<K> {
        strip(written.meta_mut());
        let written = Arc::new(written);
        self.0 = Some(written.clone());
        written
    }
}

/// Resource versions of one resource type can be compared as numbers (Kubernetes API concepts, since 1.35; etcd's revisions before).
fn version(text: Option<&str>) -> Option<u128> {
    text?.parse().ok()
}
