//! What is remembered of each policy, by UID: a namesake created later starts from nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::ResourceExt;

use crate::api::CrossRegionBackupPolicy;
use crate::observe::AccountKey;
use crate::plan::memory::Memory;

#[derive(Default)]
pub struct Memories(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Slot>>>>);

/// What is remembered of one policy.
#[derive(Default)]
pub struct Slot {
    pub memory: Option<Memory>,
    /// The object as the API server answered our last write: the watch can be behind it.
    latest: Option<Arc<CrossRegionBackupPolicy>>,
    /// The account that the proof of access belongs to.
    pub account: Option<AccountKey>,
}

impl Memories {
    pub fn slot(&self, uid: &str) -> Arc<tokio::sync::Mutex<Slot>> {
        self.lock().entry(uid.to_owned()).or_default().clone()
    }

    pub fn uids(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<Slot>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// The newer of what the watch brought and what our last write was answered with.
    pub fn newest(&mut self, watched: &CrossRegionBackupPolicy) -> Arc<CrossRegionBackupPolicy> {
        match &self.latest {
            Some(latest) if version(latest) > version(watched) => latest.clone(),
            _ => {
                self.latest = None;
                Arc::new(watched.clone())
            }
        }
    }

    pub fn keep(&mut self, written: CrossRegionBackupPolicy) -> Arc<CrossRegionBackupPolicy> {
        let written = Arc::new(written);
        self.latest = Some(written.clone());
        written
    }
}

/// Resource versions of one resource type can be compared as numbers (Kubernetes API concepts, since 1.35; etcd's revisions before).
fn version(policy: &CrossRegionBackupPolicy) -> Option<u128> {
    policy.resource_version().and_then(|v| v.parse().ok())
}
