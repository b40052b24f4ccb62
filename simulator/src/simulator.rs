//! The handle on a simulated cloud: all operations of the admin API, as methods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::clock::Clock;
use crate::faults::{FaultSpec, FaultState, Faults};
use crate::keys::{Keys, Rotation};
use crate::limits::Bucket;
use crate::model::{
    AccountSpec, BackupSpec, InstanceSpec, KeySpec, KeyStatus, Policy, RateLimit, Seed, Settings,
};
use crate::request_log::{Counters, RequestLog, RequestRecord};
use crate::roles::{RoleSpec, Roles};
use crate::tencent;
use crate::volcengine::replay::ClientTokens;
use crate::world::{BackupView, PolicyView, World};

/// State of the simulated cloud.
#[derive(Debug, Default)]
pub(crate) struct CloudState {
    pub world: World,
    pub keys: Keys,
    pub roles: Roles,
    pub tencent: tencent::world::World,
    pub buckets: BTreeMap<u64, Bucket>,
    /// By account, region and action.
    pub tencent_buckets: BTreeMap<(u64, String, String), Bucket>,
    pub faults: Faults,
    pub replays: ClientTokens,
    pub ledger: RequestLog,
    pub settings: Settings,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    #[error("there is no {0}")]
    NotFound(String),
    #[error("{0}")]
    Invalid(String),
}

/// A simulated cloud. Clones share its state.
#[derive(Clone, Debug)]
pub struct Simulator {
    clock: Clock,
    state: Arc<Mutex<CloudState>>,
}

impl Simulator {
    /// Returns an empty cloud.
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default() }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Locks the state. A panic in one request must not affect the others, so a poisoned lock is used as it is.
    pub(crate) fn lock(&self) -> MutexGuard<'_, CloudState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the state, and advances it to the present.
    fn lock_advanced(&self) -> (MutexGuard<'_, CloudState>, Timestamp) {
        let now = self.now();
        let mut state = self.lock();
        state.world.advance(now);
        (state, now)
    }

    /// Clears everything: world, keys, faults, limits, tokens, settings and counters.
    pub fn reset(&self) {
        let mut state = self.lock();
        let mut ledger = std::mem::take(&mut state.ledger);
        ledger.reset();
        *state = CloudState { ledger, ..CloudState::default() };
    }

    /// Adds the seed's objects, and replaces those with the same ids.
    pub fn seed(&self, seed: Seed) -> Result<(), AdminError> {
        if let Some(settings) = seed.settings {
            self.set_settings(settings);
        }
        for account in seed.accounts {
            self.put_account(account);
        }
        seed.keys.into_iter().try_for_each(|key| self.put_key(key))?;
        seed.roles.into_iter().try_for_each(|role| self.put_role(role))?;
        seed.instances.into_iter().try_for_each(|instance| self.put_instance(instance))?;
        seed.backups.into_iter().try_for_each(|backup| self.put_backup(backup))?;
        let tencent::model::TencentSeed { instances, backups } = seed.tencent;
        instances.into_iter().try_for_each(|instance| self.put_tencent_instance(instance))?;
        backups.into_iter().try_for_each(|backup| self.put_tencent_backup(backup))?;
        seed.faults.into_iter().try_for_each(|fault| self.place_fault(fault).map(drop))
    }

    pub fn set_settings(&self, settings: Settings) {
        let mut state = self.lock();
        if state.settings.tencent.limits != settings.tencent.limits {
            state.tencent_buckets.clear();
        }
        state.settings = settings;
    }

    /// Sets or removes the rate limit of an account.
    pub fn put_account(&self, spec: AccountSpec) {
        self.set_rate_limit(spec.account_id, spec.rate_limit);
    }

    pub fn set_rate_limit(&self, account_id: u64, limit: Option<RateLimit>) {
        let now = self.now();
        let mut state = self.lock();
        match limit {
            Some(limit) => drop(state.buckets.insert(account_id, Bucket::new(limit, now))),
            None => drop(state.buckets.remove(&account_id)),
        }
    }

    // Keys

    pub fn put_key(&self, spec: KeySpec) -> Result<(), AdminError> {
        require_id("accessKeyId", &spec.access_key_id)?;
        let now = self.now();
        self.lock().keys.put(spec, now);
        Ok(())
    }

    pub fn keys(&self) -> Vec<KeySpec> {
        self.lock().keys.list()
    }

    pub fn remove_key(&self, id: &str) -> Result<(), AdminError> {
        let removed = self.lock().keys.remove(id);
        found(removed.then_some(()), "key", id)
    }

    /// Gives a key a new secret, or replaces it with a new pair and revokes the old one.
    pub fn rotate_key(&self, id: &str, rotation: Rotation) -> Result<(), AdminError> {
        let now = self.now();
        let rotated = self.lock().keys.rotate(id, rotation, now);
        found(rotated.then_some(()), "key", id)
    }

    /// Revokes, activates or deactivates a key.
    pub fn set_key_status(&self, id: &str, status: KeyStatus) -> Result<(), AdminError> {
        self.change_key(id, |key| key.status = status)
    }

    /// Denies actions to a key; `*` stands for all.
    pub fn deny(&self, id: &str, actions: BTreeSet<String>) -> Result<(), AdminError> {
        self.change_key(id, |key| key.denied.extend(actions))
    }

    /// Removes denials; `*` removes all.
    pub fn allow(&self, id: &str, actions: BTreeSet<String>) -> Result<(), AdminError> {
        let all = actions.contains("*");
        self.change_key(id, |key| key.denied.retain(|action| !all && !actions.contains(action)))
    }

    fn change_key(&self, id: &str, change: impl FnOnce(&mut KeySpec)) -> Result<(), AdminError> {
        found(self.lock().keys.get_mut(id).map(change), "key", id)
    }

    // Roles

    pub fn put_role(&self, spec: RoleSpec) -> Result<(), AdminError> {
        require_id("role", &spec.role)?;
        if spec.max_duration_seconds < 1 {
            return Err(AdminError::Invalid("maxDurationSeconds must be at least 1".into()));
        }
        self.lock().roles.put(spec);
        Ok(())
    }

    pub fn roles(&self) -> Vec<RoleSpec> {
        self.lock().roles.list()
    }

    /// Removes a role. The keys that it granted remain.
    pub fn remove_role(&self, role: &str) -> Result<(), AdminError> {
        let removed = self.lock().roles.remove(role);
        found(removed.then_some(()), "role", role)
    }

    // Instances

    /// Creates an instance, without the history of one with the same id.
    pub fn put_instance(&self, spec: InstanceSpec) -> Result<(), AdminError> {
        require_id("instanceId", &spec.instance_id)?;
        let (mut state, now) = self.lock_advanced();
        state.world.put_instance(spec, now);
        Ok(())
    }

    /// Changes some fields, named as in the admin API; a `policy` among them is drift.
    pub fn patch_instance(&self, id: &str, patch: Value) -> Result<InstanceSpec, AdminError> {
        let (mut state, now) = self.lock_advanced();
        let old = found(state.world.instance(id), "instance", id)?;
        let drifts = patch.get("policy").is_some();
        let spec = InstanceSpec { instance_id: id.to_owned(), ..patched(&old.spec, patch)? };
        state.world.update_instance(spec.clone(), drifts, now);
        Ok(spec)
    }

    /// Removes an instance. Its backups remain.
    pub fn remove_instance(&self, id: &str) -> Result<(), AdminError> {
        let (mut state, _) = self.lock_advanced();
        found(state.world.remove_instance(id).then_some(()), "instance", id)
    }

    pub fn instance(&self, id: &str) -> Result<InstanceSpec, AdminError> {
        let (state, _) = self.lock_advanced();
        found(state.world.instance(id).map(|instance| instance.spec.clone()), "instance", id)
    }

    pub fn instances(&self) -> Vec<InstanceSpec> {
        self.lock_advanced().0.world.instances().cloned().collect()
    }

    /// Returns the policy in force and the pending changes.
    pub fn policy(&self, id: &str) -> Result<PolicyView, AdminError> {
        let (state, _) = self.lock_advanced();
        found(state.world.instance(id).map(|instance| instance.policy_view()), "instance", id)
    }

    /// Changes a policy without a Modify, as a user of the console would.
    pub fn set_policy(&self, id: &str, policy: Policy) -> Result<(), AdminError> {
        let (mut state, now) = self.lock_advanced();
        found(state.world.set_policy(id, policy, now).then_some(()), "instance", id)
    }

    // Backups

    pub fn put_backup(&self, spec: BackupSpec) -> Result<(), AdminError> {
        require_id("backupPointId", &spec.backup_point_id)?;
        let (mut state, now) = self.lock_advanced();
        state.world.put_backup(spec, now);
        Ok(())
    }

    pub fn patch_backup(&self, id: &str, patch: Value) -> Result<(), AdminError> {
        let (mut state, now) = self.lock_advanced();
        let old = found(state.world.backup(id), "backup", id)?;
        let moved = ["ageSeconds", "startTime"].iter().any(|name| patch.get(name).is_some());
        let kept_end = patch.get("endTime").is_some() || !moved;
        let mut spec = BackupSpec { backup_point_id: id.to_owned(), ..patched(old, patch)? };
        spec.end_time = spec.end_time.filter(|_| kept_end);
        state.world.put_backup(spec, now);
        Ok(())
    }

    pub fn remove_backup(&self, id: &str) -> Result<(), AdminError> {
        let (mut state, _) = self.lock_advanced();
        found(state.world.remove_backup(id).then_some(()), "backup", id)
    }

    /// Returns all backups that exist now, the newest first.
    pub fn backups(&self) -> Vec<BackupView> {
        let (state, now) = self.lock_advanced();
        state.world.backups(now)
    }

    // Faults

    /// Places a fault; returns its id.
    pub fn place_fault(&self, spec: FaultSpec) -> Result<u64, AdminError> {
        self.lock().faults.place(spec).map_err(|invalid_reason| AdminError::Invalid(invalid_reason.into()))
    }

    pub fn faults(&self) -> Vec<FaultState> {
        self.lock().faults.list()
    }

    pub fn remove_fault(&self, id: u64) -> Result<(), AdminError> {
        let removed = self.lock().faults.remove(id);
        found(removed.then_some(()), "fault", &id.to_string())
    }

    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    // Requests

    pub fn counters(&self) -> Counters {
        self.lock().ledger.counters()
    }

    /// Returns the last requests, the oldest first.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.lock().ledger.requests()
    }

    /// Returns a channel of all requests from now on, for callers that need more than the log keeps. Unread records
    /// accumulate.
    pub fn listen(&self) -> UnboundedReceiver<RequestRecord> {
        self.lock().ledger.listen()
    }

    /// Clears counters and requests.
    pub fn reset_counters(&self) {
        self.lock().ledger.reset();
    }
}

pub(crate) fn require_id(name: &str, id: &str) -> Result<(), AdminError> {
    if id.is_empty() {
        return Err(AdminError::Invalid(format!("{name} is required")));
    }
    Ok(())
}

pub(crate) fn found<T>(thing: Option<T>, kind: &str, id: &str) -> Result<T, AdminError> {
    thing.ok_or_else(|| AdminError::NotFound(format!("{kind} {id}")))
}

/// Merges a patch into the old value; null resets a field to its default.
pub(crate) fn patched<T: Serialize + DeserializeOwned>(old: &T, patch: Value) -> Result<T, AdminError> {
    let invalid = |error: serde_json::Error| AdminError::Invalid(error.to_string());
    let mut merged = serde_json::to_value(old).map_err(invalid)?;
    let (Some(fields), Value::Object(patch)) = (merged.as_object_mut(), patch) else {
        return Err(AdminError::Invalid("a patch is a JSON object".into()));
    };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(&name);
        } else {
            fields.insert(name, value);
        }
    }
    serde_json::from_value(merged).map_err(invalid)
}
