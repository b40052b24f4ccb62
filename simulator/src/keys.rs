//! Access keys that the cloud knows.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clock::later;
use crate::model::{KeySpec, KeyStatus};

/// Time for which an expired granted key is reported as expired; after that it is unknown.
const EXPIRED_KEY_RETENTION: SignedDuration = SignedDuration::from_hours(1);

/// Upper bound on the expired granted keys that are kept; of more, only the last ones.
const MAX_EXPIRED_KEYS: usize = 1_000;

/// Credentials that replace an older pair.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rotation {
    /// New id, which revokes the old one; when absent, the old id is kept with the new secret.
    pub access_key_id: Option<String>,
    pub secret_access_key: String,
    pub session_token: Option<String>,
    pub expires_in_seconds: Option<f64>,
}

#[derive(Debug, Default)]
pub(crate) struct Keys {
    specs: BTreeMap<String, KeySpec>,
    /// Granted keys by expiry, the first to expire first; they are removed some time after it.
    granted: BTreeSet<(Timestamp, String)>,
}

impl Keys {
    pub fn put(&mut self, mut spec: KeySpec, now: Timestamp) {
        if let Some(seconds) = spec.expires_in_seconds.take() {
            spec.expires_at = Some(later(now, seconds));
        }
        self.specs.insert(spec.access_key_id.clone(), spec);
    }

    /// Adds a temporary key, and removes granted keys that expired long ago.
    pub fn grant(&mut self, spec: KeySpec, expires_at: Timestamp, now: Timestamp) {
        self.forget_expired(now);
        self.granted.insert((expires_at, spec.access_key_id.clone()));
        self.put(KeySpec { expires_at: Some(expires_at), ..spec }, now);
    }

    fn forget_expired(&mut self, now: Timestamp) {
        let mut expired = self.granted.iter().take_while(|(end, _)| *end <= now).count();
        while expired > 0
            && let Some((end, id)) = self.granted.first().cloned()
            && (expired > MAX_EXPIRED_KEYS || now.duration_since(end) >= EXPIRED_KEY_RETENTION)
        {
            self.granted.pop_first();
            expired -= 1;
            // Another key may have the id by now.
            if self.specs.get(&id).is_some_and(|spec| spec.expires_at == Some(end)) {
                self.specs.remove(&id);
            }
        }
    }

    pub fn get(&self, id: &str) -> Option<&KeySpec> {
        self.specs.get(id)
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut KeySpec> {
        self.specs.get_mut(id)
    }

    pub fn remove(&mut self, id: &str) -> bool {
        self.specs.remove(id).is_some()
    }

    pub fn list(&self) -> Vec<KeySpec> {
        self.specs.values().cloned().collect()
    }

    /// Replaces a pair with a new one that has the same user and permissions.
    pub fn rotate(&mut self, id: &str, rotation: Rotation, now: Timestamp) -> bool {
        let Some(old) = self.specs.get_mut(id) else { return false };
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
