//! What is remembered of each resource, by UID: a namesake created later starts from nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::ResourceExt;

use super::cached::{Kept, Lean, strip};

/// A slot for each resource of one kind.
pub struct Memories<S>(Mutex<HashMap<String, Arc<tokio::sync::Mutex<S>>>>);

impl<S> Default for Memories<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: Default> Memories<S> {
    pub fn slot(&self, uid: &str) -> Arc<tokio::sync::Mutex<S>> {
        self.lock().entry(uid.to_owned()).or_default().clone()
    }

    pub fn uids(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<S>>>> {
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
            Some(latest) if version(&**latest) > version(&**watched) => latest.clone(),
            _ => {
                self.0 = None;
                Arc::new(watched.whole())
            }
        }
    }

    pub fn keep(&mut self, mut written: K) -> Arc<K> {
        strip(written.meta_mut());
        let written = Arc::new(written);
        self.0 = Some(written.clone());
        written
    }
}

/// Resource versions of one resource type can be compared as numbers (Kubernetes API concepts, since 1.35; etcd's revisions before).
fn version(object: &impl ResourceExt) -> Option<u128> {
    object.resource_version().and_then(|v| v.parse().ok())
}
