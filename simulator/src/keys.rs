//! The access keys the cloud knows.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::later;
use crate::model::{KeySpec, KeyStatus};

/// The credentials that take the place of an older pair.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rotation {
    /// The old id is kept, with another secret, when absent; revoked when present.
    pub access_key_id: Option<String>,
    pub secret_access_key: String,
    pub session_token: Option<String>,
    pub expires_in_seconds: Option<f64>,
}

#[derive(Debug, Default)]
pub(crate) struct Keys(BTreeMap<String, KeySpec>);

impl Keys {
    pub fn put(&mut self, mut spec: KeySpec, now: Timestamp) {
        if let Some(seconds) = spec.expires_in_seconds.take() {
            spec.expires_at = Some(later(now, seconds));
        }
        self.0.insert(spec.access_key_id.clone(), spec);
    }

    pub fn get(&self, id: &str) -> Option<&KeySpec> {
        self.0.get(id)
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut KeySpec> {
        self.0.get_mut(id)
    }

    pub fn remove(&mut self, id: &str) -> bool {
        self.0.remove(id).is_some()
    }

    pub fn list(&self) -> Vec<KeySpec> {
        self.0.values().cloned().collect()
    }

    /// Puts a new pair in the place of an old one, with the same user and the same permissions.
    pub fn rotate(&mut self, id: &str, rotation: Rotation, now: Timestamp) -> bool {
        let Some(old) = self.0.get_mut(id) else { return false };
        let mut fresh = KeySpec {
            secret_access_key: rotation.secret_access_key,
            session_token: rotation.session_token,
            expires_at: None,
            expires_in_seconds: rotation.expires_in_seconds,
            status: KeyStatus::Active,
            ..old.clone()
        };
        if let Some(new_id) = rotation.access_key_id {
            old.status = KeyStatus::Revoked;
            fresh.access_key_id = new_id;
        }
        self.put(fresh, now);
        true
    }
}
