//! Watches of the process, which outlive its leadership terms: a standby replica keeps their stores up to date.

use std::sync::Arc;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::stream::{BoxStream, select_all};
use kube::Api;
use kube::runtime::reflector::Store;

use super::cached::Cached;
use super::guarded::Guarded;
use super::metrics::{Noted, Sources};
use super::sharing::Shared;
use super::wakes::watched_namespaces;
use super::watch::{
    Awaits, Gone, Namespaces, SharedStream, Stored, Synced, Watched, watched, watched_labels,
};
use super::{Settings, api};
use crate::api::{BackupInventory, CloudAccount, ClusterCloudAccount, CrossRegionBackupPolicy};
use crate::cluster::elector::Leadership;
use crate::cluster::list_watch::Caches;
use crate::observe::Accounts;

pub struct Watches {
    pub caches: Caches,
    pub scopes: Vec<WatchedScope>,
    /// `None` if the operator is limited to namespaces.
    pub shared: Option<WatchedShared>,
    pub gone: AllGone,
}

/// Watches of one watch scope: a namespace, or all of them.
pub struct WatchedScope {
    pub namespace: Option<String>,
    pub policies: Watched<Cached<CrossRegionBackupPolicy>>,
    pub inventories: Watched<Cached<BackupInventory>>,
    pub accounts: Watched<Guarded<CloudAccount>>,
}

/// Watches of the objects that namespaces share.
pub struct WatchedShared {
    pub accounts: Watched<Guarded<ClusterCloudAccount>>,
    pub namespaces: Namespaces,
}

/// Deletions that the watches of each kind report.
pub struct AllGone {
    pub policies: UnboundedReceiver<Gone>,
    pub inventories: UnboundedReceiver<Gone>,
    pub accounts: UnboundedReceiver<Gone>,
}

impl Watches {
    pub fn begin(settings: &Settings) -> Self {
        let ((policies, gone_policies), (inventories, gone_inventories), (accounts, gone_accounts)) =
            (unbounded(), unbounded(), unbounded());
        let kube = &settings.watching;
        let caches = Caches::new(settings.clock.clone());
        let scopes = watched_namespaces(&settings.namespaces);
        let scopes = scopes.into_iter().map(|namespace| {
            let within = namespace.as_deref();
            let awaits = Awaits { health: &settings.health, caches: &caches, namespace: within };
            WatchedScope {
                policies: watched(api(kube, within), policies.clone(), awaits),
                inventories: watched(api(kube, within), inventories.clone(), awaits),
                accounts: watched(api(kube, within), accounts.clone(), awaits),
                namespace,
            }
        });
        let scopes = scopes.collect();
        let shared = settings.namespaces.is_empty().then(|| shared(settings, &caches, accounts.clone()));
        let gone =
            AllGone { policies: gone_policies, inventories: gone_inventories, accounts: gone_accounts };
        Self { caches, scopes, shared, gone }
    }

    /// Keeps the stores up to date while this replica has no other state. Returns if the watches have ended, which they
    /// never should.
    pub async fn stand_by(&mut self) {
        fn read<'a, T: Send + 'static>(stream: &SharedStream<T>) -> BoxStream<'a, ()> {
            stream.clone().map(drop).boxed()
        }
        let mut streams: Vec<BoxStream<'_, ()>> = Vec::new();
        for scope in &self.scopes {
            streams.extend([
                read(&scope.policies.stream),
                read(&scope.inventories.stream),
                read(&scope.accounts.stream),
            ]);
        }
        if let Some(shared) = &self.shared {
            streams.extend([read(&shared.accounts.stream), read(&shared.namespaces.stream)]);
        }
        let AllGone { policies, inventories, accounts } = &mut self.gone;
        streams.extend([policies, inventories, accounts].map(|gone| gone.by_ref().map(drop).boxed()));
        select_all(streams).for_each(|()| std::future::ready(())).await;
    }

    pub fn policy_stores(&self) -> Vec<Store<Cached<CrossRegionBackupPolicy>>> {
        stores(&self.scopes, |scope| &scope.policies)
    }

    pub fn inventory_stores(&self) -> Vec<Store<Cached<BackupInventory>>> {
        stores(&self.scopes, |scope| &scope.inventories)
    }

    pub fn account_stores(&self) -> Vec<Store<Guarded<CloudAccount>>> {
        stores(&self.scopes, |scope| &scope.accounts)
    }

    pub fn shared(&self) -> Option<Shared> {
        self.shared.as_ref().map(|WatchedShared { accounts, namespaces }| Shared {
            accounts: accounts.store.clone(),
            namespaces: namespaces.store.clone(),
            synced: [accounts.synced.clone(), namespaces.synced.clone()],
        })
    }

    /// Returns the lists that a first reconcile waits for. Inventories are not among them: if that kind is not
    /// installed, or may not be read, as in the middle of an upgrade, policies are reconciled all the same.
    pub fn synced(&self) -> Vec<Synced> {
        let of = |scope: &WatchedScope| [scope.accounts.synced.clone(), scope.policies.synced.clone()];
        self.scopes.iter().flat_map(of).collect()
    }

    /// Publishes on `/metrics` the objects that the watches hold, and the state of a term, if there is one.
    pub fn look_up(
        &self,
        settings: &Settings,
        noted: Arc<Noted>,
        known: Option<Arc<Accounts>>,
        leadership: Option<Leadership>,
    ) {
        let sources = Sources {
            policies: self.policy_stores(),
            inventories: self.inventory_stores(),
            accounts: self.account_stores(),
            shared: self.shared.as_ref().map(|shared| shared.accounts.store.clone()),
            known,
            interval_override: settings.interval_override,
            noted,
            leadership,
        };
        let clock = settings.clock.clone();
        settings.meters.look_up(move |out| sources.write(out, clock.now()));
    }
}

fn shared(settings: &Settings, caches: &Caches, gone: UnboundedSender<Gone>) -> WatchedShared {
    let awaits = Awaits { health: &settings.health, caches, namespace: None };
    WatchedShared {
        accounts: watched(Api::all(settings.watching.clone()), gone, awaits),
        namespaces: watched_labels(&settings.watching, awaits),
    }
}

fn stores<O: Stored>(scopes: &[WatchedScope], of: fn(&WatchedScope) -> &Watched<O>) -> Vec<Store<O>> {
    scopes.iter().map(|scope| of(scope).store.clone()).collect()
}
