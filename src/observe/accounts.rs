//! The accounts as this process knows them: what was made for each of them, and whether the cloud accepts it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::recipe::Recipe;
use crate::clock::Clock;
use crate::cloud::{Budget, Client, Credentials, EndpointRule, Transport};
use crate::domain::{Failure, Instance, InstanceRef, Kind};
use crate::plan::account::{AccountMemory, Standing};
use crate::plan::inventory::{PolicyKnowledge, PolicyTold};
use crate::plan::{Gate, after, since};

/// The credentials of an account that is gone are kept so long, for deletions under way alone.
const REMEMBERED: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountKey {
    pub namespace: String,
    pub name: String,
}

/// All accounts that are watched.
pub struct Accounts {
    pub(super) kube: kube::Client,
    pub(super) clock: Clock,
    pub(super) rule: EndpointRule,
    pub(super) transport: Transport,
    in_flight: Arc<Semaphore>,
    /// Epochs are never used twice, also not by a later account of the same name.
    epochs: AtomicU64,
    known: Mutex<HashMap<AccountKey, Arc<Account>>>,
    departed: Mutex<HashMap<AccountKey, Departed>>,
    /// Told whenever an account's controller is to have a look at it.
    wake: Box<dyn Fn(&AccountKey) + Send + Sync>,
    /// Told whenever the resources of an account are to look again.
    changed: Box<dyn Fn(&AccountKey) + Send + Sync>,
}

struct Departed {
    client: Client,
    gone: Timestamp,
}

/// One account.
pub struct Account {
    pub key: AccountKey,
    pub uid: String,
    pub budget: Arc<Budget>,
    /// What was last seen of instances' policies with this account, whoever looked.
    policies: Mutex<HashMap<InstanceRef, PolicyKnowledge>>,
    /// Held by the one inventory that asks for a policy.
    pub(super) describing: tokio::sync::Mutex<()>,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    pub(super) memory: AccountMemory,
    pub(super) suspended: bool,
    /// `Volcengine` or `BytePlus`.
    pub(super) provider: &'static str,
    pub(super) client: Option<Client>,
    /// What the client was made from: it is made anew when any of it changes.
    pub(super) made_from: Option<MadeFrom>,
    pub(super) recipe: Option<Recipe>,
    pub(super) epoch: u64,
}

/// Everything that a client depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeFrom {
    pub generation: i64,
    pub credentials: [u8; 32],
}

/// What a resource needs to know of its account.
pub struct View {
    pub gate: Gate,
    pub epoch: u64,
    pub provider: &'static str,
    pub paused_until: Option<Timestamp>,
    /// A verification is due or under way.
    pub verifying: bool,
    /// The cloud accepted the account's last verification or call.
    pub verified: bool,
    pub account: Arc<Account>,
}

impl Accounts {
    /// `in_flight`: cloud calls at once over all accounts. `wake` and `changed` must not block.
    pub fn new(
        kube: kube::Client,
        clock: Clock,
        rule: EndpointRule,
        transport: Transport,
        in_flight: usize,
        wake: impl Fn(&AccountKey) + Send + Sync + 'static,
        changed: impl Fn(&AccountKey) + Send + Sync + 'static,
    ) -> Self {
        Self {
            kube,
            clock,
            rule,
            transport,
            in_flight: Arc::new(Semaphore::new(in_flight)),
            epochs: AtomicU64::new(1),
            known: Mutex::default(),
            departed: Mutex::default(),
            wake: Box::new(wake),
            changed: Box::new(changed),
        }
    }

    /// The account of that name and UID; made where there is none, or where the one known had another UID.
    /// `verified`: whether the stored status says so of the present spec.
    pub fn enter(&self, key: &AccountKey, uid: &str, provider: &'static str, verified: bool) -> Arc<Account> {
        let mut known = lock(&self.known);
        if let Some(account) = known.get(key).filter(|a| a.uid == uid) {
            let mut state = lock(&account.state);
            // One that could not be read at first.
            if state.provider.is_empty() {
                state.provider = provider;
            }
            drop(state);
            return account.clone();
        }
        let account = Arc::new(Account {
            key: key.clone(),
            uid: uid.to_owned(),
            budget: Arc::new(Budget::new(1, 1, self.in_flight.clone())),
            policies: Mutex::default(),
            describing: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                memory: AccountMemory::new(verified, self.clock.now()),
                suspended: false,
                provider,
                client: None,
                made_from: None,
                recipe: None,
                epoch: self.epochs.fetch_add(1, Ordering::Relaxed),
            }),
        });
        known.insert(key.clone(), account.clone());
        account
    }

    /// The account was deleted. A namesake that has taken its place already stays.
    pub fn leave(&self, key: &AccountKey, uid: &str) {
        let account = {
            let mut known = lock(&self.known);
            if known.get(key).is_some_and(|account| account.uid != uid) {
                return;
            }
            known.remove(key)
        };
        if let Some(client) = account.and_then(|a| lock(&a.state).client.take()) {
            self.remember(key, client);
        }
        (self.changed)(key);
    }

    /// Names and UIDs.
    pub fn keys(&self) -> Vec<(AccountKey, String)> {
        lock(&self.known).values().map(|account| (account.key.clone(), account.uid.clone())).collect()
    }

    /// What its resources need to know; `None` as long as its controller has not had it.
    pub fn view(&self, key: &AccountKey) -> Option<View> {
        let account = lock(&self.known).get(key)?.clone();
        let now = self.clock.now();
        let paused_until = account
            .budget
            .paused_until()
            .map(|until| after(now, until.saturating_duration_since(tokio::time::Instant::now())));
        let mut state = lock(&account.state);
        state.memory.never_ahead_of(now);
        let gate = match state.memory.gate(&key.name, state.suspended, now) {
            // After a start the client is there as soon as the Secret was read.
            Gate::Open if state.client.is_none() => Gate::Pending(after(now, Duration::from_secs(10))),
            gate => gate,
        };
        let verifying = state.memory.is_due(now);
        let verified = state.memory.standing == Standing::Verified;
        let view = View {
            gate,
            epoch: state.epoch,
            provider: state.provider,
            paused_until,
            verifying,
            verified,
            account: account.clone(),
        };
        drop(state);
        Some(view)
    }

    /// Asks for a verification now, on behalf of a resource.
    pub fn request_verification(&self, key: &AccountKey) {
        if let Some(account) = lock(&self.known).get(key) {
            lock(&account.state).memory.next_verification = Some(self.clock.now());
        }
        (self.wake)(key);
    }

    /// Changes what is known of an account, and tells its resources where that opens, closes or renews their way.
    pub fn update<T>(&self, account: &Account, change: impl FnOnce(&mut Change<'_>) -> T) -> T {
        let now = self.clock.now();
        let mut state = lock(&account.state);
        state.memory.never_ahead_of(now);
        let before = state.memory.gate("", state.suspended, now);
        let had_client = state.client.is_some();
        let mut lost = None;
        let mut change_of = Change { state: &mut state, renewed: false, lost: &mut lost };
        let result = change(&mut change_of);
        let renewed = change_of.renewed && had_client;
        let first = change_of.renewed && !had_client;
        let gate = state.memory.gate("", state.suspended, now);
        if renewed {
            account.forget_unknown_policies();
        }
        if renewed || before != gate {
            state.epoch = self.epochs.fetch_add(1, Ordering::Relaxed);
        }
        drop(state);
        if let Some(client) = lost {
            self.remember(&account.key, client);
        }
        if renewed || first || before != gate {
            (self.changed)(&account.key);
        }
        result
    }

    /// Has the account's controller look at it.
    pub(super) fn wake(&self, key: &AccountKey) {
        (self.wake)(key);
    }

    /// Tells the account's resources to look at what became of it, although nothing about it changed.
    pub fn tell(&self, key: &AccountKey) {
        (self.changed)(key);
    }

    fn remember(&self, key: &AccountKey, client: Client) {
        let now = self.clock.now();
        let mut departed = lock(&self.departed);
        departed.retain(|_, d| since(d.gone, now) < REMEMBERED);
        departed.insert(key.clone(), Departed { client, gone: now });
    }

    /// The client last used for an account, or a Secret, that is gone: for 5 minutes, for deletions alone.
    pub fn last_seen(&self, key: &AccountKey) -> Option<Client> {
        let now = self.clock.now();
        let mut departed = lock(&self.departed);
        departed.retain(|_, d| since(d.gone, now) < REMEMBERED);
        departed.get(key).map(|d| d.client.clone())
    }

    /// A call was accepted with this client.
    pub(super) fn accepted(&self, account: &Account, credentials: &Credentials) {
        let news = {
            let state = lock(&account.state);
            is_current(&state, credentials) && !state.memory.is_proven()
        };
        let now = self.clock.now();
        if news {
            self.update(account, |change| change.memory().accepted(now));
            (self.wake)(&account.key);
        } else {
            let mut state = lock(&account.state);
            if is_current(&state, credentials) {
                state.memory.last_good = Some(now);
            }
        }
    }

    /// A call was rejected, also after the Secret was read again.
    pub(super) fn rejected(&self, account: &Account, credentials: &Credentials, failure: &Failure) {
        let current = is_current(&lock(&account.state), credentials);
        if current && failure.kind == Kind::CredentialsRejected {
            let now = self.clock.now();
            self.update(account, |change| change.memory().refused(failure, None, now, fastrand::f64()));
            (self.wake)(&account.key);
        }
    }
}

fn is_current(state: &State, credentials: &Credentials) -> bool {
    state.made_from.as_ref().is_some_and(|made| made.credentials == credentials.fingerprint())
}

/// An account's state while it is changed.
pub struct Change<'a> {
    state: &'a mut State,
    renewed: bool,
    lost: &'a mut Option<Client>,
}

impl Change<'_> {
    pub fn memory(&mut self) -> &mut AccountMemory {
        &mut self.state.memory
    }

    pub fn suspend(&mut self, suspended: bool) {
        self.state.suspended = suspended;
    }

    /// Keeps how the client is made, so that it can be made again.
    pub fn keep(&mut self, recipe: Recipe) {
        self.state.recipe = Some(recipe);
    }

    /// Whether the present client was made from this.
    pub fn is_made_from(&self, made_from: &MadeFrom) -> bool {
        self.state.made_from.as_ref() == Some(made_from)
    }

    /// Replaces the client. The new one is to be verified; after a start, what status says of this spec is believed
    /// until a call shows otherwise.
    pub fn renew(&mut self, client: Client, made_from: MadeFrom, now: Timestamp) {
        self.renewed = true;
        let believed = self.state.client.is_none() && self.state.memory.standing == Standing::Verified;
        if !believed {
            self.state.memory.changed(now);
        }
        self.state.client = Some(client);
        self.state.made_from = Some(made_from);
    }

    /// Nothing can be sent: the client goes, and is remembered for deletions where `remembered`.
    pub fn close(&mut self, standing: Standing, remembered: bool) {
        self.state.memory.blocked(standing);
        self.state.made_from = None;
        let client = self.state.client.take();
        if remembered {
            *self.lost = client;
        }
    }
}

impl Account {
    pub fn client(&self) -> Option<Client> {
        lock(&self.state).client.clone()
    }

    /// Remembers what was seen of an instance's policy just now.
    pub fn note_policy(&self, instance: InstanceRef, seen: PolicyKnowledge) {
        lock(&self.policies).insert(instance, seen);
    }

    /// Remembers what a stored status tells of an instance's policy, unless something is known already.
    pub fn recall_policy(&self, instance: InstanceRef, told: PolicyKnowledge) {
        lock(&self.policies).entry(instance).or_insert(told);
    }

    pub fn policy_known(&self, instance: &InstanceRef) -> Option<PolicyKnowledge> {
        lock(&self.policies).get(instance).copied()
    }

    /// By instance id.
    pub fn policies_known(&self, region: &str) -> HashMap<String, PolicyKnowledge> {
        let policies = lock(&self.policies);
        policies
            .iter()
            .filter(|(at, _)| at.region == region)
            .map(|(at, known)| (at.id.clone(), *known))
            .collect()
    }

    /// Forgets the policies of a region's instances that are not among these.
    pub fn keep_policies(&self, region: &str, instances: &[Instance]) {
        let ids: HashSet<_> = instances.iter().map(|instance| instance.id.as_str()).collect();
        lock(&self.policies).retain(|at, _| at.region != region || ids.contains(at.id.as_str()));
    }

    /// Other credentials may be allowed to describe what the ones before were not.
    fn forget_unknown_policies(&self) {
        lock(&self.policies).retain(|_, known| known.policy != PolicyTold::Unknown);
    }

    pub(super) fn recipe(&self) -> Option<Recipe> {
        lock(&self.state).recipe.clone()
    }

    pub fn memory(&self) -> AccountMemory {
        lock(&self.state).memory.clone()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "accounts_tests.rs"]
mod tests;
