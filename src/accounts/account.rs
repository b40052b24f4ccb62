//! One account: its client, the inputs that the client was made from, and the instance policies observed through it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::client_spec::ClientSpec;
use super::credentials_provider::RenewedCredentials;
use super::regions::Regions;
use super::registry::{AccountKey, LastSeen, Sharing};
use crate::api::account::CloudAccountSpec;
use crate::cloud::{Budget, Client, Credentials, Site, SizeLimits};
use crate::domain::{Instance, InstanceRef};
use crate::metrics::AccountMeter;
use crate::plan::account::{AccountMemory, VerificationState};
use crate::plan::after;
use crate::plan::inventory::{PolicyObservation, PolicySetting};

/// Grace period for a deleted Secret, within which nothing changes: some secret stores delete a Secret and create it
/// again.
const SECRET_GRACE_PERIOD: Duration = Duration::from_secs(10);

/// An account known to this process.
pub struct Account {
    pub key: AccountKey,
    pub uid: String,
    pub budget: Arc<Budget>,
    /// Metrics of the account's calls, including those to the STS.
    pub meter: AccountMeter,
    /// Request budget of the calls to the STS, which has limits of its own.
    pub(super) sts_budget: Arc<Budget>,
    /// Temporary credentials, locked while they are renewed.
    pub(super) temporary: tokio::sync::Mutex<RenewedCredentials>,
    /// Policies of instances as last observed through this account by any reader, by region and instance id.
    pub(super) policies: Mutex<HashMap<String, HashMap<Box<str>, PolicyObservation>>>,
    pub(super) regions: Regions,
    /// Page sizes that turned out to make this account's answers too large.
    pub(super) sizes: SizeLimits,
    /// Held while one inventory describes a policy.
    pub(super) describe_lock: tokio::sync::Mutex<()>,
    /// Held by the rejected call that reads the Secret again.
    pub(super) secret_reread_lock: tokio::sync::Mutex<()>,
    /// Number of such reads that have begun.
    pub(super) secret_rereads: AtomicU64,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    pub(super) memory: AccountMemory,
    pub(super) suspended: bool,
    /// Provider named in the spec; empty while the spec could not be read.
    pub(super) provider: &'static str,
    pub(super) client: Option<Client>,
    /// Inputs that the client was made from: a change of any of them makes a new client.
    pub(super) client_inputs: Option<ClientInputs>,
    pub(super) recipe: Option<ClientSpec>,
    /// Generation of the spec that the watch last delivered. It decreases when etcd is restored.
    pub(super) watched_generation: Option<i64>,
    /// Hint at the key id, as shown in the status.
    pub(super) hint: Option<String>,
    /// Expiry of the client's credentials.
    pub(super) expires: Option<Instant>,
    pub(super) sharing: Option<Sharing>,
    /// Time of the account's last change by any writer, as recorded by the API server; `secret_changed` is the
    /// Secret's.
    pub(super) changed: Option<Timestamp>,
    pub(super) secret_changed: Option<Timestamp>,
    /// Time since which the Secret of the credentials in use is missing.
    pub(super) secret_gone: Option<Timestamp>,
    pub(super) access_generation: u64,
}

/// Inputs that a client is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInputs {
    pub generation: i64,
    /// Fingerprint of the Secret's key; zeros without a Secret.
    pub source: [u8; 32],
}

impl State {
    /// Whether generation `this` of the spec is newer than `other`. A generation beyond the watched one belongs to a
    /// history that was lost.
    pub(super) fn is_later(&self, this: i64, other: i64) -> bool {
        this > other && self.watched_generation.is_none_or(|watched| this <= watched)
    }
}

pub(super) fn is_current(state: &State, credentials: &Credentials) -> bool {
    state
        .client
        .as_ref()
        .is_some_and(|client| client.credentials().fingerprint() == credentials.fingerprint())
}

/// Write access to an account's state within `Accounts::update`.
pub struct Change<'a> {
    pub(super) state: &'a mut State,
    pub(super) renewed: bool,
    /// Client to keep for deletions, and the time when its Secret was deleted, if that was before now.
    pub(super) lost: &'a mut Option<(Client, Option<Timestamp>)>,
}

impl Change<'_> {
    pub fn memory(&mut self) -> &mut AccountMemory {
        &mut self.state.memory
    }

    pub fn suspend(&mut self, suspended: bool) {
        self.state.suspended = suspended;
    }

    /// Stores the `ClientSpec`, so that the client can be made again.
    pub fn store_spec(&mut self, recipe: ClientSpec, secret_changed: Option<Timestamp>) {
        self.state.recipe = Some(recipe);
        self.state.secret_changed = secret_changed;
        self.state.secret_gone = None;
    }

    /// Stores the `ClientSpec` though no client could be made, so that calls can try it. Drops a client of another
    /// generation of the spec.
    pub fn store_unusable_spec(&mut self, recipe: ClientSpec) {
        if self.state.client_inputs.as_ref().is_some_and(|made| made.generation != recipe.generation) {
            self.state.client = None;
            self.state.client_inputs = None;
        }
        self.state.recipe = Some(recipe);
    }

    /// Expires the client's credentials, unless it was made from a later spec than `failed`.
    pub fn end(&mut self, failed: &ClientInputs) {
        if self.state.client_inputs.is_some() && !self.has_later_inputs(failed) {
            self.state.expires = Some(Instant::now());
        }
    }

    /// Sets the key hint that the status shows, and the expiry of the credentials.
    pub fn describe(&mut self, hint: Option<String>, expires: Option<Instant>) {
        self.state.hint = hint;
        self.state.expires = expires;
    }

    /// Whether the present client was made from a later spec.
    pub fn has_later_inputs(&self, client_inputs: &ClientInputs) -> bool {
        let present = self.state.client_inputs.as_ref().map(|present| present.generation);
        present.is_some_and(|present| self.state.is_later(present, client_inputs.generation))
    }

    /// Whether the present client was made from these inputs and signs with these credentials.
    pub fn signs_with(&self, client_inputs: &ClientInputs, credentials: &Credentials) -> bool {
        self.state.client_inputs.as_ref() == Some(client_inputs) && is_current(self.state, credentials)
    }

    /// Replaces the client. A client made from other inputs has to be verified; after a start, a verification that
    /// the status reports for this spec counts until a call shows otherwise.
    pub fn renew(&mut self, client: Client, client_inputs: ClientInputs, now: Timestamp) {
        if self.state.client_inputs.as_ref() == Some(&client_inputs) {
            self.state.client = Some(client);
            return;
        }
        self.renewed = true;
        let believed =
            self.state.client.is_none() && self.state.memory.verification == VerificationState::Verified;
        if !believed {
            self.state.memory.changed(now);
        }
        self.state.client = Some(client);
        self.state.client_inputs = Some(client_inputs);
    }

    /// Returns until when the credentials of a deleted Secret stay in use; `None` once that time is over, or if there
    /// are none of this generation of the spec.
    pub fn secret_grace_end(&mut self, generation: i64, now: Timestamp) -> Option<Timestamp> {
        let state = &mut *self.state;
        let is_of_spec = state.client_inputs.as_ref().is_some_and(|made| made.generation == generation);
        let is_live = state.expires.is_none_or(|expires| expires > Instant::now());
        state.client.as_ref().filter(|_| is_of_spec && is_live)?;
        // A clock that is set back must not postpone the end.
        let gone = state.secret_gone.map_or(now, |gone| gone.min(now));
        state.secret_gone = Some(gone);
        Some(after(gone, SECRET_GRACE_PERIOD)).filter(|until| *until > now)
    }

    /// Drops the client because nothing can be sent; keeps it for deletions if `remembered`.
    pub fn close(&mut self, verification: VerificationState, remembered: bool) {
        self.state.memory.blocked(verification);
        self.state.client_inputs = None;
        self.state.recipe = None;
        self.state.expires = None;
        let gone = self.state.secret_gone.take();
        let client = self.state.client.take();
        if remembered {
            *self.lost = client.map(|client| (client, gone));
        }
    }
}

impl Account {
    /// Returns the client, unless its credentials have expired.
    pub(super) fn live_client(&self) -> Option<Client> {
        let state = lock(&self.state);
        let ended = state.expires.is_some_and(|expires| expires <= Instant::now());
        state.client.clone().filter(|_| !ended)
    }

    pub(super) fn last_seen(&self, client: Client, sharing: Option<Sharing>) -> LastSeen {
        LastSeen { key: self.key.clone(), uid: self.uid.clone(), client, sharing }
    }

    /// Sets the request budget to the spec's rate, in requests per second, and returns that rate.
    pub fn configure_budget(&self, spec: &CloudAccountSpec) -> u32 {
        let budget = spec.request_budget.clone().unwrap_or_default();
        let rate = budget.requests_per_second.unwrap_or_else(|| spec.provider.default_requests_per_second());
        let burst = budget.burst.unwrap_or_else(|| (rate / 4).max(1));
        let positive = |number: i32| u32::try_from(number).unwrap_or(1).max(1);
        self.budget.reconfigure(positive(rate), positive(burst));
        positive(rate)
    }

    pub fn has_client(&self) -> bool {
        self.live_client().is_some()
    }

    /// Returns the generation of the spec that the client was made from.
    pub fn generation(&self) -> Option<i64> {
        lock(&self.state).client_inputs.as_ref().map(|made| made.generation)
    }

    /// Returns when the account or its Secret was last changed by any writer, in the API server's whole seconds.
    pub fn changed(&self) -> Option<Timestamp> {
        let state = lock(&self.state);
        state.changed.max(state.secret_changed)
    }

    /// Records when the account was last changed, as recorded by the API server.
    pub fn record_change(&self, changed: Option<Timestamp>) {
        lock(&self.state).changed = changed;
    }

    /// Returns the site of the account's calls; `None` until its spec was read.
    pub fn site(&self) -> Option<Site> {
        lock(&self.state).recipe.as_ref().map(|recipe| recipe.site)
    }

    /// Returns the first and last characters of the key id in use.
    pub fn hint(&self) -> Option<String> {
        lock(&self.state).hint.clone()
    }

    /// Records the observed policy of an instance.
    pub fn record_policy(&self, instance: InstanceRef, seen: PolicyObservation) {
        lock(&self.policies).entry(instance.region).or_default().insert(instance.id.into(), seen);
    }

    /// Loads the policy of an instance from a stored status, unless one is known already.
    pub fn load_policy(&self, instance: InstanceRef, told: PolicyObservation) {
        lock(&self.policies).entry(instance.region).or_default().entry(instance.id.into()).or_insert(told);
    }

    pub fn known_policy(&self, instance: &InstanceRef) -> Option<PolicyObservation> {
        lock(&self.policies).get(&instance.region)?.get(instance.id.as_str()).copied()
    }

    /// Returns the known policies of a region, by instance id.
    pub fn known_policies(&self, region: &str) -> HashMap<String, PolicyObservation> {
        let policies = lock(&self.policies);
        policies.get(region).into_iter().flatten().map(|(id, known)| (id.to_string(), *known)).collect()
    }

    /// Drops the policies of a region's instances that are not in `instances`.
    pub fn retain_policies(&self, region: &str, instances: &[Instance]) {
        let ids: HashSet<_> = instances.iter().map(|instance| instance.id.as_str()).collect();
        if let Some(policies) = lock(&self.policies).get_mut(region) {
            policies.retain(|id, _| ids.contains(&**id));
        }
    }

    /// Drops the policies that could not be described: other credentials may be permitted to.
    pub(super) fn forget_unknown_policies(&self) {
        for policies in lock(&self.policies).values_mut() {
            policies.retain(|_, known| known.policy != PolicySetting::Unknown);
        }
    }

    pub(super) fn recipe(&self) -> Option<ClientSpec> {
        lock(&self.state).recipe.clone()
    }

    /// Whether the account signs with credentials issued by an STS.
    pub(super) fn is_temporary(&self) -> bool {
        lock(&self.state).recipe.as_ref().is_some_and(ClientSpec::is_temporary)
    }

    pub fn memory(&self) -> AccountMemory {
        lock(&self.state).memory.clone()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
