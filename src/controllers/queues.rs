//! The queues: which events and wakes bring an object to its reconcile.

use std::sync::Arc;

use futures::channel::mpsc::UnboundedReceiver;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, select};
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Error as ControllerError;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Api, Resource, ResourceExt};

use super::cached::Cached;
use super::wakes::{Wake, Wakes};
use super::watch::{Guarded, Watched};
use super::{Context, account, inventory, policy, retry};
use crate::api::{BackupInventory, CrossRegionBackupPolicy};
use crate::observe::AccountKey;

pub fn policies(
    context: &Arc<Context>,
    policies: Watched<Cached<CrossRegionBackupPolicy>>,
    wakes: UnboundedReceiver<Wake>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> BoxFuture<'static, &'static str> {
    let (store, missed) = (policies.store.clone(), policies.missed());
    let references = wakes.flat_map(move |wake| {
        let found = match &wake {
            Wake::Policy(reference) => store.get(reference).into_iter().collect(),
            wake => store.state_filter(|p| policy::is_concerned(p, wake)),
        };
        futures::stream::iter(found.into_iter().map(|p| ObjectRef::from_obj(&*p)))
    });
    Controller::for_stream(policies.stream, policies.store)
        .reconcile_on(select(missed, references))
        .graceful_shutdown_on(stop)
        .run(policy::reconcile, retry, context.clone())
        .for_each(|result| async { log_queue_error("policy", result.map(|_| ())) })
        .map(|()| "policy")
        .boxed()
}

pub fn inventories(
    context: &Arc<Context>,
    inventories: Watched<Cached<BackupInventory>>,
    wakes: UnboundedReceiver<Wake>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> BoxFuture<'static, &'static str> {
    let (store, missed) = (inventories.store.clone(), inventories.missed());
    let references = wakes.flat_map(move |wake| {
        let found = match &wake {
            Wake::Inventory(reference) => store.get(reference).into_iter().collect(),
            wake => store.state_filter(|i| inventory::is_concerned(i, wake)),
        };
        futures::stream::iter(found.into_iter().map(|i| ObjectRef::from_obj(&*i)))
    });
    Controller::for_stream(inventories.stream, inventories.store)
        .reconcile_on(select(missed, references))
        .graceful_shutdown_on(stop)
        .run(inventory::reconcile, retry, context.clone())
        .for_each(|result| async { log_queue_error("inventory", result.map(|_| ())) })
        .map(|()| "inventory")
        .boxed()
}

pub fn accounts<K: account::Kind>(
    context: &Arc<Context>,
    accounts: Watched<Guarded<K>>,
    secrets: Api<PartialObjectMeta<Secret>>,
    wakes: UnboundedReceiver<AccountKey>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> BoxFuture<'static, &'static str> {
    let (store, missed) = (accounts.store.clone(), accounts.missed());
    let by_secret = accounts.store.clone();
    let references = wakes.filter_map(move |key| {
        let reference = ObjectRef::new(&key.name).within(key.namespace.as_deref().unwrap_or_default());
        std::future::ready(store.get(&reference).map(|found| ObjectRef::from_obj(&*found)))
    });
    Controller::for_stream(accounts.stream, accounts.store)
        // Metadata alone: what a Secret holds is read by name when it is needed.
        .watches(secrets, watcher::Config::default(), move |secret| {
            let namespace = secret.namespace();
            let name = secret.name_any();
            // A shared account's Secrets are those of the one namespace that is watched for it.
            let is_near = |account: &Guarded<K>| {
                account.meta().namespace.is_none() || account.meta().namespace == namespace
            };
            by_secret
                .state_filter(|account| is_near(account) && account::reads(account, &name))
                .into_iter()
                .map(|account| ObjectRef::from_obj(&*account))
        })
        .reconcile_on(select(missed, references))
        .graceful_shutdown_on(stop)
        .run(account::reconcile::<K>, retry, context.clone())
        .for_each(|result| async { log_queue_error("account", result.map(|_| ())) })
        .map(|()| "account")
        .boxed()
}

/// Wakes the resources of namespaces whose labels change.
pub fn namespaces(
    context: &Arc<Context>,
    namespaces: BoxStream<'static, Result<PartialObjectMeta<Namespace>, watcher::Error>>,
    wakes: Wakes,
    stop: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<'static, &'static str> {
    let accounts = context.accounts.clone();
    namespaces
        .predicate_filter(predicates::labels, PredicateConfig::default())
        .take_until(stop)
        .for_each(move |namespace| {
            match namespace {
                Ok(namespace) => {
                    wakes.resources(&Wake::Namespace(namespace.name_any()));
                    accounts.admissions_changed();
                }
                Err(error) => tracing::warn!(%error, "the watch of namespaces has failed"),
            }
            std::future::ready(())
        })
        .map(|()| "namespace")
        .boxed()
}

/// Reconciles report their own failures; what is left are the watch's, which heal with its backoff.
fn log_queue_error<E: std::fmt::Display + std::fmt::Debug + std::error::Error + 'static>(
    controller: &'static str,
    result: Result<(), ControllerError<E, watcher::Error>>,
) {
    match result {
        Ok(()) | Err(ControllerError::ObjectNotFound(_)) => {}
        Err(error) => tracing::warn!(controller, %error, "the queue of a controller has failed"),
    }
}
