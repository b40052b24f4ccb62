//! The accounts as this process knows them: what was made for each of them, and whether the cloud accepts it.

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
use crate::plan::account::{AccountMemory, Standing};
use crate::plan::{Gate, after, since};

/// The credentials of an account that is gone are kept so long, for deletions under way alone.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Requests of one account to the STS in a second: a small part of what any cloud allows.
const STS_RATE: u32 = 5;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountKey {
    /// Of a CloudAccount; `None`: a ClusterCloudAccount.
    pub namespace: Option<String>,
    pub name: String,
}

impl AccountKey {
    /// The account that a resource of this namespace refers to.
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

    /// Whether a resource of this namespace could refer to it at all.
    pub fn is_within_reach_of(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }
}

/// As its users are told of it, `CloudAccount prod`.
impl fmt::Display for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_shared() { "ClusterCloudAccount" } else { "CloudAccount" };
        write!(f, "{kind} {}", self.name)
    }
}

/// What clients are made with.
pub struct Means {
    pub secrets: Secrets,
    pub clock: Clock,
    pub rule: EndpointRule,
    pub transport: Transport,
    /// Where the Secrets of shared accounts are.
    pub own_namespace: String,
    pub identity: Identity,
    /// Cloud calls at once over all accounts.
    pub concurrency: usize,
    pub meters: Meters,
}

/// All accounts that are watched.
pub struct Accounts {
    pub(super) means: Means,
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
    last_seen: LastSeen,
    gone: Timestamp,
}

/// What remains for a while of an account, or a Secret, that is gone.
#[derive(Clone)]
pub struct LastSeen {
    pub key: AccountKey,
    pub uid: String,
    pub client: Client,
    /// Whom the account was shared with.
    pub sharing: Option<Sharing>,
}

/// The namespaces that may use an account, and what for.
pub type Sharing = (AllowedNamespaces, Permissions);

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
    /// `wake` and `changed` must not block.
    pub fn new(
        means: Means,
        wake: impl Fn(&AccountKey) + Send + Sync + 'static,
        changed: impl Fn(&AccountKey) + Send + Sync + 'static,
    ) -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(means.concurrency)),
            means,
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
                account.meter.is_of(provider);
            }
            drop(state);
            return account.clone();
        }
        let meter = AccountMeter::new(self.means.meters.clone());
        meter.is_of(provider);
        let budget = |rate| Arc::new(Budget::new(rate, rate, self.in_flight.clone()).counted(meter.clone()));
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
            describing: tokio::sync::Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            readings: AtomicU64::new(0),
            state: Mutex::new(State {
                memory: AccountMemory::new(verified, self.means.clock.now()),
                suspended: false,
                provider,
                client: None,
                made_from: None,
                recipe: None,
                watched_generation: None,
                hint: None,
                expires: None,
                sharing: None,
                changed: None,
                secret_changed: None,
                secret_gone: None,
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
        if let Some(account) = account {
            let mut state = lock(&account.state);
            // Who is in the middle of a turn with it makes no other client.
            state.recipe = None;
            if let Some(client) = state.client.take() {
                let now = self.means.clock.now();
                self.remember(account.last_seen(client, state.sharing.clone()), now);
            }
        }
        (self.changed)(key);
    }

    /// All that are known.
    pub fn all(&self) -> Vec<Arc<Account>> {
        lock(&self.known).values().cloned().collect()
    }

    /// Names and UIDs.
    pub fn keys(&self) -> Vec<(AccountKey, String)> {
        lock(&self.known).values().map(|account| (account.key.clone(), account.uid.clone())).collect()
    }

    /// What its resources need to know; `None` as long as its controller has not had it.
    pub fn view(&self, key: &AccountKey) -> Option<View> {
        let account = lock(&self.known).get(key)?.clone();
        let now = self.means.clock.now();
        let paused_until = account
            .budget
            .paused_until()
            .map(|until| after(now, until.saturating_duration_since(tokio::time::Instant::now())));
        let mut state = lock(&account.state);
        state.memory.never_ahead_of(now);
        let gate = match state.memory.gate(&key.to_string(), key.is_shared(), state.suspended, now) {
            // After a start the client is there as soon as the Secret was read, or the STS has answered.
            Gate::Open if state.recipe.is_none() => Gate::Pending(after(now, Duration::from_secs(10))),
            gate => gate,
        };
        let verifying = state.memory.is_verifying(now);
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
            lock(&account.state).memory.ask(self.means.clock.now());
        }
        (self.wake)(key);
    }

    /// Changes what is known of an account, and tells its resources where that opens, closes or renews their way.
    pub fn update<T>(&self, account: &Account, change: impl FnOnce(&mut Change<'_>) -> T) -> T {
        let now = self.means.clock.now();
        let mut state = lock(&account.state);
        state.memory.never_ahead_of(now);
        let shared = account.key.is_shared();
        let before = state.memory.gate("", shared, state.suspended, now);
        let had_client = state.client.is_some();
        let mut lost = None;
        let mut change_of = Change { state: &mut state, renewed: false, lost: &mut lost };
        let result = change(&mut change_of);
        let renewed = change_of.renewed && had_client;
        let first = change_of.renewed && !had_client;
        let gate = state.memory.gate("", shared, state.suspended, now);
        let lost = lost.map(|(client, gone)| (account.last_seen(client, state.sharing.clone()), gone));
        if renewed {
            account.forget_unknown_policies();
        }
        if renewed || before != gate {
            state.epoch = self.epochs.fetch_add(1, Ordering::Relaxed);
        }
        drop(state);
        if let Some((last_seen, gone)) = lost {
            self.remember(last_seen, gone.unwrap_or(now));
        }
        if renewed || first || before != gate {
            (self.changed)(&account.key);
        }
        result
    }

    /// The shortest interval that the account's budget, and the time that listings take, allow for all its resources.
    pub fn floor(&self, key: &AccountKey) -> Duration {
        let account = lock(&self.known).get(key).cloned();
        account.map_or(Duration::ZERO, |account| lock(&account.state).memory.floor())
    }

    /// The same without regard to how long listings take.
    pub fn budget_floor(&self, key: &AccountKey) -> Duration {
        let account = lock(&self.known).get(key).cloned();
        account.map_or(Duration::ZERO, |account| lock(&account.state).memory.budget_floor())
    }

    /// A resource of the account has come, gone, or changed what it asks for.
    pub fn resources_changed(&self, key: &AccountKey) {
        let Some(account) = lock(&self.known).get(key).cloned() else { return };
        if lock(&account.state).memory.resources_changed(self.means.clock.now()) {
            (self.wake)(key);
        }
    }

    /// Other namespaces may use shared accounts than before.
    pub fn admissions_changed(&self) {
        let known: Vec<_> = lock(&self.known).keys().filter(|key| key.is_shared()).cloned().collect();
        for key in known {
            self.resources_changed(&key);
        }
    }

    /// Resources have gone: those that are left may be looked at more often.
    pub fn resources_gone(&self) {
        let known: Vec<_> = lock(&self.known).values().cloned().collect();
        for account in known {
            if lock(&account.state).memory.floor() > Duration::ZERO {
                self.resources_changed(&account.key);
            }
        }
    }

    /// Whom an account that is known is shared with, and whether it is suspended, which its controller lifts; its resources are
    /// told where that is news.
    pub fn notice(&self, key: &AccountKey, uid: &str, sharing: Option<Sharing>, suspended: bool) {
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

    /// The generation of an account that is known, as the watch brought it.
    pub fn notice_generation(&self, key: &AccountKey, uid: &str, generation: Option<i64>) {
        let account = lock(&self.known).get(key).filter(|account| account.uid == uid).cloned();
        if let Some(account) = account {
            lock(&account.state).watched_generation = generation;
        }
    }

    /// Whether this very account is there, and not suspended.
    pub fn serves(&self, key: &AccountKey, uid: &str) -> bool {
        let account = lock(&self.known).get(key).filter(|account| account.uid == uid).cloned();
        account.is_some_and(|account| !lock(&account.state).suspended)
    }

    /// Has the account's controller look at it.
    pub(super) fn wake(&self, key: &AccountKey) {
        (self.wake)(key);
    }

    /// Tells the account's resources to look at what became of it, although nothing about it changed.
    pub fn tell(&self, key: &AccountKey) {
        (self.changed)(key);
    }

    /// A host of the account can be connected to again: what failed meanwhile is tried now, and not at the end of its backoff.
    pub(super) fn reconnected(&self, account: &Account) {
        lock(&account.state).epoch = self.epochs.fetch_add(1, Ordering::Relaxed);
        (self.changed)(&account.key);
    }

    fn remember(&self, last_seen: LastSeen, gone: Timestamp) {
        let now = self.means.clock.now();
        let mut departed = lock(&self.departed);
        departed.retain(|_, d| since(d.gone, now) < REMEMBERED);
        departed.insert(last_seen.key.clone(), Departed { last_seen, gone });
    }

    /// What was last used for an account, or a Secret, that is gone: for 5 minutes, for deletions alone.
    pub fn last_seen(&self, key: &AccountKey) -> Option<LastSeen> {
        let now = self.means.clock.now();
        let mut departed = lock(&self.departed);
        departed.retain(|_, d| since(d.gone, now) < REMEMBERED);
        departed.get(key).map(|d| d.last_seen.clone())
    }

    /// A call was accepted with this client.
    pub(super) fn accepted(&self, account: &Account, credentials: &Credentials) {
        let news = {
            let state = lock(&account.state);
            is_current(&state, credentials) && !state.memory.is_proven()
        };
        let now = self.means.clock.now();
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
            self.refused(account, failure);
        }
    }

    /// The cloud gave no credentials, or took none: its controller tells, and tries again.
    pub(super) fn refused(&self, account: &Account, failure: &Failure) {
        let now = self.means.clock.now();
        self.update(account, |change| {
            let memory = change.memory();
            // Many callers may be given the same answer of the STS, which counts once.
            let awaited = memory.next_verification.is_some_and(|at| at > now);
            if failure.kind == Kind::CredentialsRejected || !awaited {
                memory.refused(failure, None, now, fastrand::f64());
            }
        });
        (self.wake)(&account.key);
    }
}

#[cfg(test)]
#[path = "accounts_tests.rs"]
mod tests;
