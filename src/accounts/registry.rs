//! Registry of the accounts: the client and the credentials of each one, and whether the cloud accepts them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::account::{Account, Change, State, is_current, lock};
use super::identity::Identity;
use super::regions::Regions;
use crate::api::account::{AllowedNamespaces, Permissions};
use crate::api::policy::{AccountKind, AccountRef};
use crate::clock::Clock;
use crate::cloud::{Budget, Client, Credentials, EndpointRule, SizeLimits, Transport};
use crate::cluster::secrets::Secrets;
use crate::domain::{Failure, Kind};
use crate::metrics::{AccountMeter, Meters};
use crate::plan::account::{AccountMemory, VerificationState};
use crate::plan::{AccountReadiness, after, since};

/// How long the client of a deleted account or Secret is kept; only deletions under way use it.
const DELETED_CLIENT_RETENTION: Duration = Duration::from_secs(300);
/// Request rate of one account to the STS, per second: a small part of any cloud's limit.
const STS_RATE: u32 = 5;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountKey {
    /// Namespace of a CloudAccount; `None` for a ClusterCloudAccount.
    pub namespace: Option<String>,
    pub name: String,
}

impl AccountKey {
    /// Returns the key of the account that a resource in this namespace refers to.
    pub fn of(reference: &AccountRef, namespace: Option<String>) -> Self {
        let namespace = match reference.kind {
            AccountKind::CloudAccount => Some(namespace.unwrap_or_default()),
            AccountKind::ClusterCloudAccount => None,
        };
        Self { namespace, name: reference.name.clone() }
    }

    pub fn is_shared(&self) -> bool {
        self.namespace.is_none()
    }

    /// Whether a resource in this namespace can refer to the account: a CloudAccount only serves its own namespace.
    pub fn is_usable_from(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }
}

/// Formats the account as it appears in messages: `CloudAccount prod`.
impl fmt::Display for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_shared() { "ClusterCloudAccount" } else { "CloudAccount" };
        write!(f, "{kind} {}", self.name)
    }
}

/// Dependencies shared by the clients of all accounts.
pub struct Deps {
    pub secrets: Secrets,
    pub clock: Clock,
    pub rule: EndpointRule,
    pub transport: Transport,
    /// Namespace of the Secrets of shared accounts.
    pub own_namespace: String,
    pub identity: Identity,
    /// Upper bound on concurrent cloud calls over all accounts.
    pub concurrency: usize,
    pub meters: Meters,
}

/// All watched accounts.
pub struct Accounts {
    pub(super) deps: Deps,
    in_flight: Arc<Semaphore>,
    /// Next access generation. No value is used twice, not even for a later account of the same name.
    next_access_generation: AtomicU64,
    known: Mutex<HashMap<AccountKey, Arc<Account>>>,
    deleted: Mutex<HashMap<AccountKey, DeletedAccount>>,
    /// Enqueues a reconcile of the account.
    trigger_account: Box<dyn Fn(&AccountKey) + Send + Sync>,
    /// Enqueues a reconcile of the resources of an account.
    changed: Box<dyn Fn(&AccountKey) + Send + Sync>,
}

struct DeletedAccount {
    last_seen: LastSeen,
    gone: Timestamp,
}

/// Client of a deleted account, or of one whose Secret was deleted; kept for a while.
#[derive(Clone)]
pub struct LastSeen {
    pub key: AccountKey,
    pub uid: String,
    pub client: Client,
    /// Namespaces that the account was shared with.
    pub sharing: Option<Sharing>,
}

/// Namespaces that may use an account, and their permissions.
pub type Sharing = (AllowedNamespaces, Permissions);

/// State of an account that its resources depend on.
pub struct AccountView {
    pub readiness: AccountReadiness,
    pub access_generation: u64,
    pub provider: &'static str,
    pub paused_until: Option<Timestamp>,
    /// A verification is due or under way.
    pub verifying: bool,
    /// The cloud accepted the account's last verification or call.
    pub verified: bool,
    pub account: Arc<Account>,
}

impl Accounts {
    /// Creates an empty registry. Both callbacks must not block.
    pub fn new(
        deps: Deps,
        trigger_account: impl Fn(&AccountKey) + Send + Sync + 'static,
        changed: impl Fn(&AccountKey) + Send + Sync + 'static,
    ) -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(deps.concurrency)),
            deps,
            next_access_generation: AtomicU64::new(1),
            known: Mutex::default(),
            deleted: Mutex::default(),
            trigger_account: Box::new(trigger_account),
            changed: Box::new(changed),
        }
    }

    /// Returns the account with this name and UID; creates it if none is known, or if the known one has another UID.
    /// `verified`: whether the stored status reports the present spec as verified.
    pub fn register(
        &self,
        key: &AccountKey,
        uid: &str,
        provider: &'static str,
        verified: bool,
    ) -> Arc<Account> {
        let mut known = lock(&self.known);
        if let Some(account) = known.get(key).filter(|a| a.uid == uid) {
            let mut state = lock(&account.state);
            // The spec could not be read when the account was created.
            if state.provider.is_empty() {
                state.provider = provider;
                account.meter.set_provider(provider);
            }
            drop(state);
            return account.clone();
        }
        let meter = AccountMeter::new(self.deps.meters.clone());
        meter.set_provider(provider);
        let budget =
            |rate| Arc::new(Budget::new(rate, rate, self.in_flight.clone()).with_meter(meter.clone()));
        let account = Arc::new(Account {
            key: key.clone(),
            uid: uid.to_owned(),
            budget: budget(1),
            sts_budget: budget(STS_RATE),
            meter: meter.clone(),
            temporary: tokio::sync::Mutex::default(),
            policies: Mutex::default(),
            regions: Regions::default(),
            sizes: SizeLimits::default(),
            describe_lock: tokio::sync::Mutex::default(),
            secret_reread_lock: tokio::sync::Mutex::default(),
            secret_rereads: AtomicU64::new(0),
            state: Mutex::new(State {
                memory: AccountMemory::new(verified, self.deps.clock.now()),
                suspended: false,
                provider,
                client: None,
                client_inputs: None,
                recipe: None,
                watched_generation: None,
                hint: None,
                expires: None,
                sharing: None,
                changed: None,
                secret_changed: None,
                secret_gone: None,
                access_generation: self.next_access_generation.fetch_add(1, Ordering::Relaxed),
            }),
        });
        known.insert(key.clone(), account.clone());
        account
    }

    /// Removes a deleted account. A new account of the same name that has replaced it already stays.
    pub fn unregister(&self, key: &AccountKey, uid: &str) {
        let account = {
            let mut known = lock(&self.known);
            if known.get(key).is_some_and(|account| account.uid != uid) {
                return;
            }
            known.remove(key)
        };
        if let Some(account) = account {
            let mut state = lock(&account.state);
            // A reconcile that still runs with this account must not make another client.
            state.recipe = None;
            if let Some(client) = state.client.take() {
                let now = self.deps.clock.now();
                self.keep_deleted(account.last_seen(client, state.sharing.clone()), now);
            }
        }
        (self.changed)(key);
    }

    /// Returns all known accounts.
    pub fn all(&self) -> Vec<Arc<Account>> {
        lock(&self.known).values().cloned().collect()
    }

    /// Returns the keys and UIDs of all known accounts.
    pub fn keys(&self) -> Vec<(AccountKey, String)> {
        lock(&self.known).values().map(|account| (account.key.clone(), account.uid.clone())).collect()
    }

    /// Returns the account's state for its resources; `None` until its controller has registered it.
    pub fn view(&self, key: &AccountKey) -> Option<AccountView> {
        let account = lock(&self.known).get(key)?.clone();
        let now = self.deps.clock.now();
        let paused_until = account
            .budget
            .paused_until()
            .map(|until| after(now, until.saturating_duration_since(tokio::time::Instant::now())));
        let mut state = lock(&account.state);
        state.memory.clamp_to_clock(now);
        let readiness = match state.memory.readiness(&key.to_string(), key.is_shared(), state.suspended, now)
        {
            // After a start the client exists once the Secret was read or the STS has answered.
            AccountReadiness::Open if state.recipe.is_none() => {
                AccountReadiness::Pending(after(now, Duration::from_secs(10)))
            }
            readiness => readiness,
        };
        let verifying = state.memory.is_verifying(now);
        let verified = state.memory.verification == VerificationState::Verified;
        let view = AccountView {
            readiness,
            access_generation: state.access_generation,
            provider: state.provider,
            paused_until,
            verifying,
            verified,
            account: account.clone(),
        };
        drop(state);
        Some(view)
    }

    /// Requests a verification now, for a resource.
    pub fn request_verification(&self, key: &AccountKey) {
        if let Some(account) = lock(&self.known).get(key) {
            lock(&account.state).memory.request_verification(self.deps.clock.now());
        }
        (self.trigger_account)(key);
    }

    /// Applies `change` to an account's state. Enqueues its resources if its readiness or its client changed.
    pub fn update<T>(&self, account: &Account, change: impl FnOnce(&mut Change<'_>) -> T) -> T {
        let now = self.deps.clock.now();
        let mut state = lock(&account.state);
        state.memory.clamp_to_clock(now);
        let shared = account.key.is_shared();
        let before = state.memory.readiness("", shared, state.suspended, now);
        let had_client = state.client.is_some();
        let mut lost = None;
        let mut change_of = Change { state: &mut state, renewed: false, lost: &mut lost };
        let result = change(&mut change_of);
        let renewed = change_of.renewed && had_client;
        let first = change_of.renewed && !had_client;
        let readiness = state.memory.readiness("", shared, state.suspended, now);
        let lost = lost.map(|(client, gone)| (account.last_seen(client, state.sharing.clone()), gone));
        if renewed {
            account.forget_unknown_policies();
        }
        if renewed || before != readiness {
            state.access_generation = self.next_access_generation.fetch_add(1, Ordering::Relaxed);
        }
        drop(state);
        if let Some((last_seen, gone)) = lost {
            self.keep_deleted(last_seen, gone.unwrap_or(now));
        }
        if renewed || first || before != readiness {
            (self.changed)(&account.key);
        }
        result
    }

    /// Returns the shortest interval that the account's request budget, and the duration of listings, allow for all
    /// its resources.
    pub fn min_interval(&self, key: &AccountKey) -> Duration {
        let account = lock(&self.known).get(key).cloned();
        account.map_or(Duration::ZERO, |account| lock(&account.state).memory.min_interval())
    }

    /// Returns the shortest interval that the account's request budget alone allows, whatever the duration of
    /// listings.
    pub fn budget_min_interval(&self, key: &AccountKey) -> Duration {
        let account = lock(&self.known).get(key).cloned();
        account.map_or(Duration::ZERO, |account| lock(&account.state).memory.budget_min_interval())
    }

    /// Handles a resource of the account that was added, was deleted, or changed its requirements.
    pub fn resources_changed(&self, key: &AccountKey) {
        let Some(account) = lock(&self.known).get(key).cloned() else { return };
        if lock(&account.state).memory.resources_changed(self.deps.clock.now()) {
            (self.trigger_account)(key);
        }
    }

    /// Handles a change of the namespaces that may use shared accounts.
    pub fn namespace_access_changed(&self) {
        let known: Vec<_> = lock(&self.known).keys().filter(|key| key.is_shared()).cloned().collect();
        for key in known {
            self.resources_changed(&key);
        }
    }

    /// Handles deleted resources: the remaining ones may be polled more often.
    pub fn resources_deleted(&self) {
        let known: Vec<_> = lock(&self.known).values().cloned().collect();
        for account in known {
            if lock(&account.state).memory.min_interval() > Duration::ZERO {
                self.resources_changed(&account.key);
            }
        }
    }

    /// Records which namespaces a known account is shared with, and a suspension, which only its controller lifts.
    /// Enqueues the account's resources if either changed.
    pub fn record_sharing(&self, key: &AccountKey, uid: &str, sharing: Option<Sharing>, suspended: bool) {
        let account = lock(&self.known).get(key).filter(|account| account.uid == uid).cloned();
        let Some(account) = account else { return };
        let news = std::mem::replace(&mut lock(&account.state).sharing, sharing.clone()) != sharing;
        if suspended {
            self.update(&account, |change| change.suspend(true));
        }
        if news {
            (self.changed)(key);
        }
    }

    /// Records the generation of a known account as delivered by the watch.
    pub fn record_generation(&self, key: &AccountKey, uid: &str, generation: Option<i64>) {
        let account = lock(&self.known).get(key).filter(|account| account.uid == uid).cloned();
        if let Some(account) = account {
            lock(&account.state).watched_generation = generation;
        }
    }

    /// Whether the account with this UID is known and not suspended.
    pub fn is_active(&self, key: &AccountKey, uid: &str) -> bool {
        let account = lock(&self.known).get(key).filter(|account| account.uid == uid).cloned();
        account.is_some_and(|account| !lock(&account.state).suspended)
    }

    /// Enqueues a reconcile of the account.
    pub(super) fn trigger_account(&self, key: &AccountKey) {
        (self.trigger_account)(key);
    }

    /// Enqueues the account's resources to observe its state, although nothing about it changed here.
    pub fn trigger_resources(&self, key: &AccountKey) {
        (self.changed)(key);
    }

    /// Handles a host of the account that is reachable again: failed calls are retried now, and not after their
    /// backoff.
    pub(super) fn host_reachable_again(&self, account: &Account) {
        lock(&account.state).access_generation = self.next_access_generation.fetch_add(1, Ordering::Relaxed);
        (self.changed)(&account.key);
    }

    fn keep_deleted(&self, last_seen: LastSeen, gone: Timestamp) {
        let now = self.deps.clock.now();
        let mut deleted = lock(&self.deleted);
        deleted.retain(|_, d| since(d.gone, now) < DELETED_CLIENT_RETENTION);
        deleted.insert(last_seen.key.clone(), DeletedAccount { last_seen, gone });
    }

    /// Returns the client last used for a deleted account, or with a deleted Secret. It is kept for 5 minutes, for
    /// deletions only.
    pub fn last_seen(&self, key: &AccountKey) -> Option<LastSeen> {
        let now = self.deps.clock.now();
        let mut deleted = lock(&self.deleted);
        deleted.retain(|_, d| since(d.gone, now) < DELETED_CLIENT_RETENTION);
        deleted.get(key).map(|d| d.last_seen.clone())
    }

    /// Records that the cloud accepted a call with these credentials.
    pub(super) fn accepted(&self, account: &Account, credentials: &Credentials) {
        let news = {
            let state = lock(&account.state);
            is_current(&state, credentials) && !state.memory.is_proven()
        };
        let now = self.deps.clock.now();
        if news {
            self.update(account, |change| change.memory().accepted(now));
            (self.trigger_account)(&account.key);
        } else {
            let mut state = lock(&account.state);
            if is_current(&state, credentials) {
                state.memory.last_good = Some(now);
            }
        }
    }

    /// Records a call that was rejected even after the Secret was read again.
    pub(super) fn rejected(&self, account: &Account, credentials: &Credentials, failure: &Failure) {
        let current = is_current(&lock(&account.state), credentials);
        if current && failure.kind == Kind::CredentialsRejected {
            self.refused(account, failure);
        }
    }

    /// Records that the cloud issued no credentials, or rejected them; the account's controller reports that, and
    /// retries.
    pub(super) fn refused(&self, account: &Account, failure: &Failure) {
        let now = self.deps.clock.now();
        self.update(account, |change| {
            let memory = change.memory();
            // Many callers may get the same answer of the STS, which counts once.
            let awaited = memory.next_verification.is_some_and(|at| at > now);
            if failure.kind == Kind::CredentialsRejected || !awaited {
                memory.refused(failure, None, now, fastrand::f64());
            }
        });
        (self.trigger_account)(&account.key);
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
