//! Queues of the controllers: the events and triggers that enqueue each object.

use std::sync::Arc;

use futures::channel::mpsc::UnboundedReceiver;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, select};
use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Config;
use kube::runtime::controller::Error as ControllerError;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Resource, ResourceExt};

use super::cached::Cached;
use super::guarded::Guarded;
use super::triggers::{Trigger, Triggers};
use super::watch::{SharedStream, Stored, Watched, in_batches};
use super::{Context, account, error_policy, inventory, policy, with_metrics};
use crate::accounts::AccountKey;
use crate::api::{BackupInventory, CrossRegionBackupPolicy};

pub fn policies(
    context: &Arc<Context>,
    policies: &Watched<Cached<CrossRegionBackupPolicy>>,
    triggers: UnboundedReceiver<Trigger>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> BoxFuture<'static, &'static str> {
    let feed = policies.begin(ready(context), |_| ());
    let references = references(&feed.store, triggers, policy::is_affected, |trigger| match trigger {
        Trigger::Policy(reference) => Some(reference),
        _ => None,
    });
    Controller::for_stream(feed.changes, feed.store)
        .with_config(Config::default().concurrency(context.max_policy_reconciles))
        .reconcile_on(select(feed.all, references))
        .graceful_shutdown_on(stop)
        .run(
            |object, context| with_metrics(object, context, policy::reconcile),
            error_policy,
            context.clone(),
        )
        .for_each(|result| async { log_queue_error("policy", result.map(|_| ())) })
        .map(|()| "policy")
        .boxed()
}

pub fn inventories(
    context: &Arc<Context>,
    inventories: &Watched<Cached<BackupInventory>>,
    triggers: UnboundedReceiver<Trigger>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> BoxFuture<'static, &'static str> {
    let feed = inventories.begin(ready(context), |_| ());
    let references = references(&feed.store, triggers, inventory::is_affected, |trigger| match trigger {
        Trigger::Inventory(reference) => Some(reference),
        _ => None,
    });
    Controller::for_stream(feed.changes, feed.store)
        .reconcile_on(select(feed.all, references))
        .graceful_shutdown_on(stop)
        .run(
            |object, context| with_metrics(object, context, inventory::reconcile),
            error_policy,
            context.clone(),
        )
        .for_each(|result| async { log_queue_error("inventory", result.map(|_| ())) })
        .map(|()| "inventory")
        .boxed()
}

pub fn accounts<K: account::Kind>(
    context: &Arc<Context>,
    accounts: &Watched<Guarded<K>>,
    secrets: BoxStream<'static, Guarded<PartialObjectMeta<Secret>>>,
    triggers: UnboundedReceiver<AccountKey>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> BoxFuture<'static, &'static str> {
    let known = context.accounts.clone();
    let feed = accounts.begin(ready(context), move |found| account::notice(&known, found));
    let (store, by_secret) = (feed.store.clone(), feed.store.clone());
    let references = triggers.filter_map(move |key| {
        let reference = ObjectRef::new(&key.name).within(key.namespace.as_deref().unwrap_or_default());
        std::future::ready(store.get(&reference).map(|found| ObjectRef::from_obj(&*found)))
    });
    // Metadata only: the data of a Secret is read by name when it is needed.
    let secrets = secrets.flat_map(move |secret| {
        let namespace = secret.namespace();
        let name = secret.name_any();
        // The Secrets of a shared account are in the one namespace that is watched for it.
        let is_near = |account: &Guarded<K>| {
            account.meta().namespace.is_none() || account.meta().namespace == namespace
        };
        let readers =
            by_secret.state_filter(|account| is_near(account) && account::uses_secret(account, &name));
        stream::iter(readers.into_iter().map(|account| ObjectRef::from_obj(&*account)))
    });
    Controller::for_stream(feed.changes, feed.store)
        .reconcile_on(select(feed.all, select(references, secrets)))
        .graceful_shutdown_on(stop)
        .run(
            |object, context| with_metrics(object, context, account::reconcile::<K>),
            error_policy,
            context.clone(),
        )
        .for_each(|result| async { log_queue_error("account", result.map(|_| ())) })
        .map(|()| "account")
        .boxed()
}

/// Returns the objects to enqueue: the `one` that a trigger names, or all that it affects.
fn references<O: Stored + Send + Sync>(
    store: &Store<O>,
    triggers: UnboundedReceiver<Trigger>,
    is_affected: fn(&O, &Trigger) -> bool,
    one: fn(&Trigger) -> Option<&ObjectRef<O>>,
) -> impl Stream<Item = ObjectRef<O>> + Send + 'static {
    let store = store.clone();
    triggers.flat_map_unordered(None, move |trigger| match one(&trigger) {
        Some(reference) => stream::iter(store.get(reference).map(|found| found.reference())).boxed(),
        None => {
            let found = store.state_filter(|object| is_affected(object, &trigger));
            in_batches(stream::iter(found).map(|object| object.reference())).boxed()
        }
    })
}

/// Delays the first reconcile: otherwise many would wait at once.
fn ready(context: &Arc<Context>) -> impl Future<Output = ()> + Send + 'static {
    let context = context.clone();
    async move { context.ready().await }
}

/// Enqueues the resources of namespaces whose labels change.
pub fn namespaces(
    context: &Arc<Context>,
    namespaces: SharedStream<Guarded<PartialObjectMeta<Namespace>>>,
    triggers: Triggers,
    stop: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<'static, &'static str> {
    let accounts = context.accounts.clone();
    select(namespaces, late_namespaces(context).boxed())
        .map(Ok::<_, watcher::Error>)
        .predicate_filter(predicates::labels, PredicateConfig::default())
        .filter_map(|namespace| std::future::ready(namespace.ok()))
        .take_until(stop)
        .for_each(move |namespace| {
            triggers.resources(&Trigger::Namespace(namespace.name_any()));
            accounts.namespace_access_changed();
            std::future::ready(())
        })
        .map(|()| "namespace")
        .boxed()
}

/// Returns the namespaces of a first list that completed too late, after reconciles of resources with shared accounts
/// were allowed to start without it. Other first lists trigger nothing, as every object is enqueued after them.
fn late_namespaces(
    context: &Arc<Context>,
) -> impl Stream<Item = Guarded<PartialObjectMeta<Namespace>>> + Send + 'static {
    let context = context.clone();
    let found = async move {
        context.ready().await;
        let Some(shared) = context.shared.as_ref().filter(|shared| !shared.is_synced()) else {
            return Vec::new();
        };
        shared.synced().await;
        shared.namespaces.state()
    };
    stream::once(found).flat_map(|found| stream::iter(found).map(|namespace| Guarded::clone(&namespace)))
}

/// Logs failures of the queue itself; reconciles and watches report their own.
fn log_queue_error<E: std::error::Error + 'static>(
    controller: &'static str,
    result: Result<(), ControllerError<E, watcher::Error>>,
) {
    match result {
        Ok(()) | Err(ControllerError::ObjectNotFound(_) | ControllerError::ReconcilerFailed(..)) => {}
        Err(error) => tracing::warn!(controller, %error, "the queue of a controller has failed"),
    }
}
