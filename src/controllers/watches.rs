//! Watches of the process, which outlive its leadership terms: a standby replica keeps their stores up to date.

use std::sync::Arc;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::stream::{BoxStream, select_all};
use kube::Api;
use kube::runtime::reflector::Store;

use super::cached::Cached;
use super::guarded::Guarded;
use super::metrics::{MetricsState, Sources};
use super::sharing::Shared;
use super::triggers::watch_scopes;
use super::watch::{
    Deleted, Namespaces, SharedStream, Stored, Synced, WatchSettings, Watched, watched, watched_labels,
};
use super::{Settings, api};
use crate::accounts::Accounts;
use crate::api::{BackupInventory, CloudAccount, ClusterCloudAccount, CrossRegionBackupPolicy};
use crate::cluster::elector::Leadership;
use crate::cluster::list_watch::ListFreshness;

pub struct Watches {
    pub freshness: ListFreshness,
    pub scopes: Vec<WatchedScope>,
    /// `None` if the operator is limited to namespaces.
    pub shared: Option<WatchedShared>,
    pub gone: Deletions,
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
pub struct Deletions {
    pub policies: UnboundedReceiver<Deleted>,
    pub inventories: UnboundedReceiver<Deleted>,
    pub accounts: UnboundedReceiver<Deleted>,
}

impl Watches {
    pub fn begin(settings: &Settings) -> Self {
        let ((policies, gone_policies), (inventories, gone_inventories), (accounts, gone_accounts)) =
            (unbounded(), unbounded(), unbounded());
        let kube = &settings.watching;
        let freshness = ListFreshness::new(settings.clock.clone());
        let scopes = watch_scopes(&settings.namespaces);
        let scopes = scopes.into_iter().map(|namespace| {
            let within = namespace.as_deref();
            let awaits = WatchSettings { health: &settings.health, freshness: &freshness, namespace: within };
            WatchedScope {
                policies: watched(api(kube, within), policies.clone(), awaits),
                inventories: watched(api(kube, within), inventories.clone(), awaits),
                accounts: watched(api(kube, within), accounts.clone(), awaits),
                namespace,
            }
        });
        let scopes = scopes.collect();
        let shared = settings.namespaces.is_empty().then(|| shared(settings, &freshness, accounts.clone()));
        let gone =
            Deletions { policies: gone_policies, inventories: gone_inventories, accounts: gone_accounts };
        Self { freshness, scopes, shared, gone }
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
        let Deletions { policies, inventories, accounts } = &mut self.gone;
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
        metrics_state: Arc<MetricsState>,
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
            metrics_state,
            leadership,
        };
        let clock = settings.clock.clone();
        settings.meters.set_source(move |out| sources.write(out, clock.now()));
    }
}

fn shared(settings: &Settings, freshness: &ListFreshness, gone: UnboundedSender<Deleted>) -> WatchedShared {
    let awaits = WatchSettings { health: &settings.health, freshness, namespace: None };
    WatchedShared {
        accounts: watched(Api::all(settings.watching.clone()), gone, awaits),
        namespaces: watched_labels(&settings.watching, awaits),
    }
}

fn stores<O: Stored>(scopes: &[WatchedScope], of: fn(&WatchedScope) -> &Watched<O>) -> Vec<Store<O>> {
    scopes.iter().map(|scope| of(scope).store.clone()).collect()
}
