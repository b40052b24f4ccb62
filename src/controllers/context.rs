//! Settings, clients and state that all reconciles of a term share.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::backup_lister::BackupLister;
use super::cached::Cached;
use super::failed_writes::FailedWrites;
use super::guarded::Guarded;
use super::metrics::MetricsState;
use super::policy::Claims;
use super::requeue_timers::RequeueTimers;
use super::sharing::{Admission, Denial, Purpose, Shared};
use super::state_store::StateStore;
use super::triggers::Triggers;
use super::watch::Synced;
use super::{ACCOUNT_WAIT_TIMEOUT, account, inventory, policy};
use crate::accounts::{Account, AccountKey, Accounts, account_just_changed};
use crate::api::account::{AnyAccount, CloudAccountSpec};
use crate::api::{BackupInventory, CloudAccount, CrossRegionBackupPolicy};
use crate::clock::Clock;
use crate::cloud::{CallContext, PreSendCheck};
use crate::cluster::elector::Leadership;
use crate::cluster::events::Events;
use crate::cluster::list_watch::ListFreshness;
use crate::cluster::resource_version;
use crate::metrics::Meters;

/// Settings, clients and state that all reconciles of a term share.
pub struct Context {
    pub(super) kube: kube::Client,
    pub(super) clock: Clock,
    pub(super) events: Events,
    pub(super) meters: Meters,
    pub(super) metrics_state: Arc<MetricsState>,
    pub(super) leadership: Leadership,
    pub(super) read_only: bool,
    pub(super) interval_override: Option<Duration>,
    /// Time at which the facts in stored statuses were true.
    pub(super) as_of: Timestamp,
    pub(super) accounts: Arc<Accounts>,
    pub(super) policy_stores: Vec<Store<Cached<CrossRegionBackupPolicy>>>,
    pub(super) inventory_stores: Vec<Store<Cached<BackupInventory>>>,
    pub(super) account_stores: Vec<Store<Guarded<CloudAccount>>>,
    /// `None` if the operator is limited to namespaces.
    pub(super) shared: Option<Shared>,
    pub(super) started: Timestamp,
    pub(super) freshness: ListFreshness,
    pub(super) synced: Vec<Synced>,
    pub(super) policies: StateStore<policy::PolicyEntry>,
    pub(super) inventories: StateStore<inventory::Slot>,
    pub(super) account_requests: account::HandledRequests,
    pub(super) claims: Claims,
    pub(super) backup_lister: BackupLister,
    pub(super) triggers: Triggers,
    /// Maximum number of concurrent policy reconciles.
    pub(super) max_policy_reconciles: u16,
    pub(super) timers: Arc<RequeueTimers>,
    /// Limits concurrent writes of statuses and Events: each takes a connection of its own to the API server, whose
    /// responses to Lease renewals must not wait for thousands of writes.
    pub(super) writes: Semaphore,
    /// Failed writes, until they succeed.
    pub(super) failed_writes: FailedWrites,
    pub(super) seeded: tokio::sync::OnceCell<()>,
    pub(super) stopping: tokio::sync::watch::Sender<bool>,
}

impl Context {
    /// Waits until accounts and policies have synced, then seeds the ownership index: before that, every account would
    /// look as if it did not exist. The wait for shared accounts is limited: if the kind is not installed or may not be
    /// read, as in the middle of an upgrade, all other resources are reconciled.
    pub(super) async fn ready(&self) {
        self.seeded
            .get_or_init(|| async {
                for synced in &self.synced {
                    synced.wait().await;
                }
                if let Some(shared) = &self.shared {
                    let _ = timeout(ACCOUNT_WAIT_TIMEOUT, shared.synced()).await;
                }
                policy::seed_claims(self);
            })
            .await;
    }

    /// Relists every kind if a write of `object` was refused as outdated although the API server holds `found`, of an
    /// earlier resourceVersion: the API server is behind what was read before.
    pub(super) fn refused<K: Resource<DynamicType = ()>>(&self, object: &K, found: &K) {
        let [known, found] = [object, found]
            .map(|object| object.meta().resource_version.as_deref().and_then(resource_version));
        if found.is_some() && found < known {
            self.freshness
                .invalidate(&K::kind(&()), "a write was refused by an earlier resourceVersion than known");
        }
    }

    /// Whether policies and accounts are being relisted, as they may have changed without a watch event.
    pub(super) fn is_relisting(&self) -> bool {
        !self.synced.iter().all(Synced::is_up_to_date)
    }

    /// Acquires a permit for a write.
    pub(super) async fn write_permit(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes the semaphore.
        self.writes.acquire().await.ok()
    }

    /// Resolves when the process is asked to stop: read-only work is then abandoned.
    pub(super) async fn stopping(&self) {
        // The sender lives as long as `self`.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Returns the account as last delivered by the watch.
    pub(super) fn account(&self, key: &AccountKey) -> Option<StoredAccount> {
        match &key.namespace {
            Some(namespace) => {
                let reference = ObjectRef::new(&key.name).within(namespace);
                self.account_stores
                    .iter()
                    .find_map(|store| store.get(&reference))
                    .map(|found| StoredAccount::of(&found))
            }
            None => self
                .shared
                .as_ref()?
                .accounts
                .get(&ObjectRef::new(&key.name))
                .map(|found| StoredAccount::of(&found)),
        }
    }

    /// Returns the call context of a resource. Its check, right before each call, is that this account (same UID)
    /// exists and is not suspended, and that the resource may use it.
    pub(super) fn call_context(
        &self,
        account: &Account,
        namespace: &str,
        uid: &str,
        purpose: Purpose,
    ) -> CallContext {
        CallContext::new(namespace, uid).with_check(self.check(account, namespace, purpose))
    }

    pub(super) fn check(&self, account: &Account, namespace: &str, purpose: Purpose) -> PreSendCheck {
        self.check_any(account, vec![(namespace.to_owned(), purpose)])
    }

    /// Returns the check of a call for several users, at least one of which must be allowed to use the account.
    pub(super) fn check_any(&self, account: &Account, users: Vec<(String, Purpose)>) -> PreSendCheck {
        let (accounts, shared) = (self.accounts.clone(), self.shared.clone());
        let (key, account_uid) = (account.key.clone(), account.uid.clone());
        Arc::new(move || {
            let admits = |shared: &Shared| {
                let mut users = users.iter();
                users.any(|(own, purpose)| shared.admits(&key.name, own, *purpose) == Admission::Allowed)
            };
            let admitted = !key.is_shared() || shared.as_ref().is_some_and(admits);
            let is_active = accounts.is_active(&key, &account_uid);
            if admitted && is_active { Ok(()) } else { Err(account_just_changed("")) }
        })
    }

    /// Whether resources of this namespace may use the account for this purpose.
    pub(super) fn admission(&self, key: &AccountKey, namespace: &str, purpose: Purpose) -> Admission {
        match &self.shared {
            _ if !key.is_shared() => Admission::Allowed,
            Some(shared) => shared.admits(&key.name, namespace, purpose),
            None => Admission::Denied(Denial::Limited),
        }
    }

    pub(super) fn policies_of(&self, key: &AccountKey) -> Vec<Arc<Cached<CrossRegionBackupPolicy>>> {
        self.policy_stores.iter().flat_map(|s| s.state_filter(|p| policy::uses(p, key))).collect()
    }

    pub(super) fn inventories_of(&self, key: &AccountKey) -> Vec<Arc<Cached<BackupInventory>>> {
        self.inventory_stores.iter().flat_map(|s| s.state_filter(|i| inventory::uses(i, key))).collect()
    }
}

/// The stored object of an account.
pub(super) struct StoredAccount {
    /// `None`: the account cannot be parsed.
    pub(super) spec: Option<CloudAccountSpec>,
}

impl StoredAccount {
    fn of<K: AnyAccount>(account: &Guarded<K>) -> Self {
        Self { spec: account.0.as_ref().ok().map(|account| account.settings().clone()) }
    }
}
