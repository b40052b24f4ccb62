//! One account as this process knows it: its client, what that was made from, and what was seen through it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::accounts::{AccountKey, LastSeen, Sharing};
use super::recipe::Recipe;
use super::regions::Regions;
use super::supply::Temporary;
use crate::api::account::CloudAccountSpec;
use crate::cloud::{Budget, Client, Credentials, Site, SizeLimits};
use crate::domain::{Instance, InstanceRef};
use crate::metrics::AccountMeter;
use crate::plan::account::{AccountMemory, Standing};
use crate::plan::after;
use crate::plan::inventory::{PolicyKnowledge, PolicyTold};

/// A Secret that is gone for less than this changes nothing: some secret stores delete it and create it again.
const SECRET_GRACE: Duration = Duration::from_secs(10);

/// One account.
pub struct Account {
    pub key: AccountKey,
    pub uid: String,
    pub budget: Arc<Budget>,
    /// Counts its calls, those to the STS as well.
    pub meter: AccountMeter,
    /// Of calls to the STS, which has limits of its own.
    pub(super) sts_budget: Arc<Budget>,
    /// Held by the one that renews them.
    pub(super) temporary: tokio::sync::Mutex<Temporary>,
    /// What was last seen of instances' policies with this account, whoever looked: by region and instance id.
    pub(super) policies: Mutex<HashMap<String, HashMap<Box<str>, PolicyKnowledge>>>,
    pub(super) regions: Regions,
    /// What its answers turned out to be too large for.
    pub(super) sizes: SizeLimits,
    /// Held by the one inventory that asks for a policy.
    pub(super) describing: tokio::sync::Mutex<()>,
    /// Held by the one rejected call that reads the Secret again.
    pub(super) reading: tokio::sync::Mutex<()>,
    /// How often that has begun.
    pub(super) readings: AtomicU64,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    pub(super) memory: AccountMemory,
    pub(super) suspended: bool,
    /// As its spec names it; empty as long as that could not be read.
    pub(super) provider: &'static str,
    pub(super) client: Option<Client>,
    /// What the client was made from: it is made anew when any of it changes.
    pub(super) made_from: Option<MadeFrom>,
    pub(super) recipe: Option<Recipe>,
    /// Of the spec that the watch last brought. It goes back where etcd is restored.
    pub(super) watched_generation: Option<i64>,
    /// Of the key id, as status shows it.
    pub(super) hint: Option<String>,
    /// When the client's credentials end.
    pub(super) expires: Option<Instant>,
    pub(super) sharing: Option<Sharing>,
    /// When account and Secret were last changed by anybody, as the API server noted it.
    pub(super) changed: Option<Timestamp>,
    pub(super) secret_changed: Option<Timestamp>,
    /// Since when the Secret is gone whose credentials are in use.
    pub(super) secret_gone: Option<Timestamp>,
    pub(super) epoch: u64,
}

/// Everything that a client depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeFrom {
    pub generation: i64,
    /// The fingerprint of the Secret's key; zeros where there is none.
    pub source: [u8; 32],
}

impl State {
    /// Whether the generation `this` of the spec came after `other`. One beyond what the watch brought is of a history that was lost.
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

/// An account's state while it is changed.
pub struct Change<'a> {
    pub(super) state: &'a mut State,
    pub(super) renewed: bool,
    /// The client to be remembered for deletions, and when its Secret went, if that was before now.
    pub(super) lost: &'a mut Option<(Client, Option<Timestamp>)>,
}

impl Change<'_> {
    pub fn memory(&mut self) -> &mut AccountMemory {
        &mut self.state.memory
    }

    pub fn suspend(&mut self, suspended: bool) {
        self.state.suspended = suspended;
    }

    /// Keeps how the client is made, so that it can be made again.
    pub fn keep(&mut self, recipe: Recipe, secret_changed: Option<Timestamp>) {
        self.state.recipe = Some(recipe);
        self.state.secret_changed = secret_changed;
        self.state.secret_gone = None;
    }

    /// Keeps how a client is made although none could be: calls try it themselves. One of an earlier spec ends here.
    pub fn retire(&mut self, recipe: Recipe) {
        if self.state.made_from.as_ref().is_some_and(|made| made.generation != recipe.generation) {
            self.state.client = None;
            self.state.made_from = None;
        }
        self.state.recipe = Some(recipe);
    }

    /// Nothing more is signed with the client, unless it was made from a later spec than what has failed.
    pub fn end(&mut self, failed: &MadeFrom) {
        if self.state.made_from.is_some() && !self.is_made_from_later(failed) {
            self.state.expires = Some(Instant::now());
        }
    }

    /// What is told of the credentials, and when they end.
    pub fn describe(&mut self, hint: Option<String>, expires: Option<Instant>) {
        self.state.hint = hint;
        self.state.expires = expires;
    }

    /// Whether the present client was made from a later spec.
    pub fn is_made_from_later(&self, made_from: &MadeFrom) -> bool {
        let present = self.state.made_from.as_ref().map(|present| present.generation);
        present.is_some_and(|present| self.state.is_later(present, made_from.generation))
    }

    /// Whether the present client was made from this and signs with these.
    pub fn signs_with(&self, made_from: &MadeFrom, credentials: &Credentials) -> bool {
        self.state.made_from.as_ref() == Some(made_from) && is_current(self.state, credentials)
    }

    /// Replaces the client. One made from something else is to be verified; after a start, what status says of this spec is
    /// believed until a call shows otherwise.
    pub fn renew(&mut self, client: Client, made_from: MadeFrom, now: Timestamp) {
        if self.state.made_from.as_ref() == Some(&made_from) {
            self.state.client = Some(client);
            return;
        }
        self.renewed = true;
        let believed = self.state.client.is_none() && self.state.memory.standing == Standing::Verified;
        if !believed {
            self.state.memory.changed(now);
        }
        self.state.client = Some(client);
        self.state.made_from = Some(made_from);
    }

    /// The Secret is gone: until when the credentials last seen stay in use. `None`: that time is over, or there are none of
    /// this generation of the spec.
    pub fn spare(&mut self, generation: i64, now: Timestamp) -> Option<Timestamp> {
        let state = &mut *self.state;
        let is_of_spec = state.made_from.as_ref().is_some_and(|made| made.generation == generation);
        let is_live = state.expires.is_none_or(|expires| expires > Instant::now());
        state.client.as_ref().filter(|_| is_of_spec && is_live)?;
        // A clock that is set back must not put the end off.
        let gone = state.secret_gone.map_or(now, |gone| gone.min(now));
        state.secret_gone = Some(gone);
        Some(after(gone, SECRET_GRACE)).filter(|until| *until > now)
    }

    /// Nothing can be sent: the client goes, and is remembered for deletions where `remembered`.
    pub fn close(&mut self, standing: Standing, remembered: bool) {
        self.state.memory.blocked(standing);
        self.state.made_from = None;
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
    /// The client, unless its credentials have ended.
    pub(super) fn live_client(&self) -> Option<Client> {
        let state = lock(&self.state);
        let ended = state.expires.is_some_and(|expires| expires <= Instant::now());
        state.client.clone().filter(|_| !ended)
    }

    pub(super) fn last_seen(&self, client: Client, sharing: Option<Sharing>) -> LastSeen {
        LastSeen { key: self.key.clone(), uid: self.uid.clone(), client, sharing }
    }

    /// Gives the budget the spec's rate, in requests per second, which it returns.
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

    /// The generation of the spec that the client was made from.
    pub fn generation(&self) -> Option<i64> {
        lock(&self.state).made_from.as_ref().map(|made| made.generation)
    }

    /// When account or Secret was last changed by anybody, in the API server's whole seconds.
    pub fn changed(&self) -> Option<Timestamp> {
        let state = lock(&self.state);
        state.changed.max(state.secret_changed)
    }

    /// Takes in when the account was last changed, as the API server noted it.
    pub fn note_change(&self, changed: Option<Timestamp>) {
        lock(&self.state).changed = changed;
    }

    /// Where its calls go, once its spec was read.
    pub fn site(&self) -> Option<Site> {
        lock(&self.state).recipe.as_ref().map(|recipe| recipe.site)
    }

    /// First and last characters of the key id in use.
    pub fn hint(&self) -> Option<String> {
        lock(&self.state).hint.clone()
    }

    /// Remembers what was seen of an instance's policy just now.
    pub fn note_policy(&self, instance: InstanceRef, seen: PolicyKnowledge) {
        lock(&self.policies).entry(instance.region).or_default().insert(instance.id.into(), seen);
    }

    /// Remembers what a stored status tells of an instance's policy, unless something is known already.
    pub fn recall_policy(&self, instance: InstanceRef, told: PolicyKnowledge) {
        lock(&self.policies).entry(instance.region).or_default().entry(instance.id.into()).or_insert(told);
    }

    pub fn policy_known(&self, instance: &InstanceRef) -> Option<PolicyKnowledge> {
        lock(&self.policies).get(&instance.region)?.get(instance.id.as_str()).copied()
    }

    /// By instance id.
    pub fn policies_known(&self, region: &str) -> HashMap<String, PolicyKnowledge> {
        let policies = lock(&self.policies);
        policies.get(region).into_iter().flatten().map(|(id, known)| (id.to_string(), *known)).collect()
    }

    /// Forgets the policies of a region's instances that are not among these.
    pub fn keep_policies(&self, region: &str, instances: &[Instance]) {
        let ids: HashSet<_> = instances.iter().map(|instance| instance.id.as_str()).collect();
        if let Some(policies) = lock(&self.policies).get_mut(region) {
            policies.retain(|id, _| ids.contains(&**id));
        }
    }

    /// Other credentials may be allowed to describe what the ones before were not.
    pub(super) fn forget_unknown_policies(&self) {
        for policies in lock(&self.policies).values_mut() {
            policies.retain(|_, known| known.policy != PolicyTold::Unknown);
        }
    }

    pub(super) fn recipe(&self) -> Option<Recipe> {
        lock(&self.state).recipe.clone()
    }

    /// Whether it signs with credentials that an STS has issued.
    pub(super) fn is_temporary(&self) -> bool {
        lock(&self.state).recipe.as_ref().is_some_and(Recipe::is_temporary)
    }

    pub fn memory(&self) -> AccountMemory {
        lock(&self.state).memory.clone()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
