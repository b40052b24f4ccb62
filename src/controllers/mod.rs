//! The controllers: each gathers (observe), plans (pure), acts (IO), and reports (IO, always).

mod account;
mod inventory;
mod memories;
mod policy;
mod requests;
mod unreadable;
mod watch;

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::future::{BoxFuture, join_all, select_all};
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Error as ControllerError};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::api::{BackupInventory, CloudAccount, CrossRegionBackupPolicy};
use crate::clock::Clock;
use crate::cloud::{EndpointRule, Transport};
use crate::cluster::elector::Leadership;
use crate::cluster::events::Events;
use crate::cluster::status::{Applied, apply_status, replace_status};
use crate::domain::Reason;
use crate::observe::{AccountKey, Accounts, View};
use crate::plan::{Gate, Surroundings, after};
use memories::Memories;
use policy::Claims;
use watch::{Guarded, watched};

/// How long reconciles that are under way may go on after the process was asked to stop.
const GRACE: Duration = Duration::from_secs(10);

/// What the controllers are given.
pub struct Settings {
    pub kube: kube::Client,
    pub clock: Clock,
    pub rule: EndpointRule,
    pub transport: Transport,
    pub events: Events,
    pub leadership: Leadership,
    /// Empty: all.
    pub namespaces: Vec<String>,
    pub read_only: bool,
    /// Cloud calls in flight over all accounts.
    pub concurrency: usize,
    pub interval_override: Option<Duration>,
    /// When the facts in stored statuses were true.
    pub as_of: Timestamp,
}

/// What every reconcile can use.
pub struct Context {
    kube: kube::Client,
    clock: Clock,
    events: Events,
    leadership: Leadership,
    read_only: bool,
    interval_override: Option<Duration>,
    as_of: Timestamp,
    accounts: Arc<Accounts>,
    policy_stores: Vec<Store<Guarded<CrossRegionBackupPolicy>>>,
    inventory_stores: Vec<Store<Guarded<BackupInventory>>>,
    account_stores: Vec<Store<Guarded<CloudAccount>>>,
    synced: Vec<tokio::sync::watch::Receiver<bool>>,
    policies: Memories<policy::Slot>,
    inventories: Memories<inventory::Slot>,
    account_requests: account::Handled,
    claims: Claims,
    seeded: tokio::sync::OnceCell<()>,
    stopping: tokio::sync::watch::Sender<bool>,
}

impl Context {
    /// Waits until accounts and policies have synced and the instances' managers are known: before that, every account
    /// would look as if it did not exist.
    async fn ready(&self) {
        self.seeded
            .get_or_init(|| async {
                for synced in &self.synced {
                    // It fails only where the watch has ended, and the process with it.
                    let _ = synced.clone().wait_for(|synced| *synced).await;
                }
                policy::seed_claims(self);
            })
            .await;
    }

    /// Resolves when the process is asked to stop: what only reads is left then.
    async fn stopping(&self) {
        // The sender lives as long as this.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    fn account(&self, key: &AccountKey) -> Option<Arc<Guarded<CloudAccount>>> {
        let reference = ObjectRef::new(&key.name).within(&key.namespace);
        self.account_stores.iter().find_map(|store| store.get(&reference))
    }

    fn policies_of(&self, key: &AccountKey) -> Vec<Arc<Guarded<CrossRegionBackupPolicy>>> {
        self.policy_stores.iter().flat_map(|s| s.state_filter(|p| policy::uses(p, key))).collect()
    }

    fn inventories_of(&self, key: &AccountKey) -> Vec<Arc<Guarded<BackupInventory>>> {
        self.inventory_stores.iter().flat_map(|s| s.state_filter(|i| inventory::uses(i, key))).collect()
    }
}

/// What wakes a policy besides its own changes.
enum Wake {
    Account(AccountKey),
    Policy(ObjectRef<Guarded<CrossRegionBackupPolicy>>),
}

/// One watched scope: its ends of the channels that wake its controllers.
struct Scope {
    namespace: Option<String>,
    policy_wakes: UnboundedReceiver<Wake>,
    inventory_wakes: UnboundedReceiver<AccountKey>,
    account_wakes: UnboundedReceiver<AccountKey>,
}

#[derive(Clone, Default)]
struct Wakes {
    policies: Vec<UnboundedSender<Wake>>,
    inventories: Vec<UnboundedSender<AccountKey>>,
    accounts: Vec<UnboundedSender<AccountKey>>,
}

impl Wakes {
    fn account(&self, key: &AccountKey) {
        for sender in &self.accounts {
            // A receiver that is gone belongs to a controller that has ended.
            let _ = sender.unbounded_send(key.clone());
        }
    }

    fn resources_of(&self, key: &AccountKey) {
        for sender in &self.policies {
            let _ = sender.unbounded_send(Wake::Account(key.clone()));
        }
        for sender in &self.inventories {
            let _ = sender.unbounded_send(key.clone());
        }
    }

    fn policy(&self, reference: &ObjectRef<Guarded<CrossRegionBackupPolicy>>) {
        for sender in &self.policies {
            let _ = sender.unbounded_send(Wake::Policy(reference.clone()));
        }
    }
}

/// Runs the controllers until `stop` resolves; reconciles that are under way then are ended first.
///
/// # Errors
/// A controller has ended by itself, which none should.
pub async fn run(settings: Settings, stop: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
    let stop = stop.shared();
    let (wakes, scopes) = scopes(&settings.namespaces);
    let accounts = {
        let (wake, changed) = (wakes.clone(), wakes.clone());
        Arc::new(Accounts::new(
            settings.kube.clone(),
            settings.clock.clone(),
            settings.rule,
            settings.transport,
            settings.concurrency,
            move |key| wake.account(key),
            move |key| changed.resources_of(key),
        ))
    };
    let mut streams = Vec::new();
    let (mut policy_stores, mut inventory_stores, mut account_stores) = (Vec::new(), Vec::new(), Vec::new());
    let mut synced = Vec::new();
    let (gone_policy, mut gone_policies) = unbounded();
    let (gone_inventory, mut gone_inventories) = unbounded();
    let (gone_account, mut gone_accounts) = unbounded();
    for scope in &scopes {
        let policies = watched(api(&settings.kube, scope.namespace.as_deref()), gone_policy.clone());
        let inventories = watched(api(&settings.kube, scope.namespace.as_deref()), gone_inventory.clone());
        let accounts = watched(api(&settings.kube, scope.namespace.as_deref()), gone_account.clone());
        policy_stores.push(policies.store.clone());
        inventory_stores.push(inventories.store.clone());
        account_stores.push(accounts.store.clone());
        // Not the inventories: where that kind is not installed, or may not be read, as in the middle of an upgrade, policies
        // are looked after all the same.
        synced.extend([accounts.synced.clone(), policies.synced.clone()]);
        streams.push((policies, inventories, accounts));
    }
    let context = Arc::new(Context {
        kube: settings.kube,
        clock: settings.clock,
        events: settings.events,
        leadership: settings.leadership,
        read_only: settings.read_only,
        interval_override: settings.interval_override,
        as_of: settings.as_of,
        accounts,
        policy_stores,
        inventory_stores,
        account_stores,
        synced,
        policies: Memories::default(),
        inventories: Memories::default(),
        account_requests: account::Handled::default(),
        claims: Claims::new(move |reference| wakes.policy(reference)),
        seeded: tokio::sync::OnceCell::new(),
        stopping: tokio::sync::watch::Sender::new(false),
    });

    let mut tasks: Vec<BoxFuture<'static, &'static str>> = Vec::new();
    for (scope, (policies, inventories, accounts)) in scopes.into_iter().zip(streams) {
        tasks.push(run_policies(&context, policies, scope.policy_wakes, stop.clone()));
        tasks.push(run_inventories(&context, inventories, scope.inventory_wakes, stop.clone()));
        let secrets = api::<PartialObjectMeta<Secret>>(&context.kube, scope.namespace.as_deref());
        tasks.push(run_accounts(&context, accounts, secrets, scope.account_wakes, stop.clone()));
    }
    let forgetting = context.clone();
    let forget = async move {
        loop {
            tokio::select! {
                Some(gone) = gone_policies.next() => policy::forget(&forgetting, gone),
                Some(gone) = gone_inventories.next() => inventory::forget(&forgetting, gone),
                Some(gone) = gone_accounts.next() => account::forget(&forgetting, gone),
                else => return "watch",
            }
        }
    };
    let mut tasks: Vec<_> = tasks.into_iter().chain([forget.boxed()]).map(tokio::spawn).collect();
    let result = tokio::select! {
        biased;
        () = stop => {
            context.stopping.send_replace(true);
            // Without its controllers, the one that forgets would never end.
            tasks.pop().iter().for_each(JoinHandle::abort);
            if timeout(GRACE, join_all(&mut tasks)).await.is_err() {
                tracing::warn!("some calls did not end in time; what became of them the next look will tell");
            }
            Ok(())
        }
        (ended, _, _) = select_all(&mut tasks) => match ended {
            Ok(name) => Err(anyhow::anyhow!("the {name} controller has ended")),
            Err(error) => Err(anyhow::anyhow!("a controller has ended: {error}")),
        },
    };
    tasks.iter().for_each(JoinHandle::abort);
    result
}

/// The objects of one namespace, or of all.
fn api<K>(kube: &kube::Client, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(kube.clone(), namespace),
        None => Api::all(kube.clone()),
    }
}

fn scopes(namespaces: &[String]) -> (Wakes, Vec<Scope>) {
    let mut wakes = Wakes::default();
    let mut wanted: Vec<Option<String>> = namespaces.iter().cloned().map(Some).collect();
    wanted.sort();
    wanted.dedup();
    if wanted.is_empty() {
        wanted.push(None);
    }
    let scopes = wanted
        .into_iter()
        .map(|namespace| {
            let (policy, policy_wakes) = unbounded();
            let (inventory, inventory_wakes) = unbounded();
            let (account, account_wakes) = unbounded();
            wakes.policies.push(policy);
            wakes.inventories.push(inventory);
            wakes.accounts.push(account);
            Scope { namespace, policy_wakes, inventory_wakes, account_wakes }
        })
        .collect();
    (wakes, scopes)
}

fn run_policies(
    context: &Arc<Context>,
    policies: watch::Watched<CrossRegionBackupPolicy>,
    wakes: UnboundedReceiver<Wake>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> BoxFuture<'static, &'static str> {
    let store = policies.store.clone();
    let references = wakes.flat_map(move |wake| {
        let found = match wake {
            Wake::Policy(reference) => store.get(&reference).into_iter().collect(),
            Wake::Account(key) => store.state_filter(|p| policy::uses(p, &key)),
        };
        futures::stream::iter(found.into_iter().map(|p| ObjectRef::from_obj(&*p)))
    });
    Controller::for_stream(policies.stream, policies.store)
        .reconcile_on(references)
        .graceful_shutdown_on(stop)
        .run(policy::reconcile, retry, context.clone())
        .for_each(|result| async { log_queue_error("policy", result.map(|_| ())) })
        .map(|()| "policy")
        .boxed()
}

fn run_inventories(
    context: &Arc<Context>,
    inventories: watch::Watched<BackupInventory>,
    wakes: UnboundedReceiver<AccountKey>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> BoxFuture<'static, &'static str> {
    let store = inventories.store.clone();
    let references = wakes.flat_map(move |key| {
        let found = store.state_filter(|i| inventory::uses(i, &key));
        futures::stream::iter(found.into_iter().map(|i| ObjectRef::from_obj(&*i)))
    });
    Controller::for_stream(inventories.stream, inventories.store)
        .reconcile_on(references)
        .graceful_shutdown_on(stop)
        .run(inventory::reconcile, retry, context.clone())
        .for_each(|result| async { log_queue_error("inventory", result.map(|_| ())) })
        .map(|()| "inventory")
        .boxed()
}

fn run_accounts(
    context: &Arc<Context>,
    accounts: watch::Watched<CloudAccount>,
    secrets: Api<PartialObjectMeta<Secret>>,
    wakes: UnboundedReceiver<AccountKey>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> BoxFuture<'static, &'static str> {
    let store = accounts.store.clone();
    let by_secret = accounts.store.clone();
    let references = wakes.filter_map(move |key| {
        let reference = ObjectRef::new(&key.name).within(&key.namespace);
        std::future::ready(store.get(&reference).map(|_| reference))
    });
    Controller::for_stream(accounts.stream, accounts.store)
        // Metadata alone: what a Secret holds is read by name when it is needed.
        .watches(secrets, watcher::Config::default(), move |secret| {
            let namespace = secret.namespace();
            let name = secret.name_any();
            by_secret
                .state_filter(|account| account::reads(account, namespace.as_deref(), &name))
                .into_iter()
                .map(|account| ObjectRef::from_obj(&*account))
        })
        .reconcile_on(references)
        .graceful_shutdown_on(stop)
        .run(account::reconcile, retry, context.clone())
        .for_each(|result| async { log_queue_error("account", result.map(|_| ())) })
        .map(|()| "account")
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

/// A reconcile that could not write to the API server.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotReported(String);

/// A change that the API server did not take is tried again soon, and not by all at the same time.
fn retry<K: Resource<DynamicType = ()>>(object: Arc<K>, error: &NotReported, _: Arc<Context>) -> Action {
    let meta = object.meta();
    tracing::warn!(
        kind = %K::kind(&()),
        namespace = meta.namespace.as_deref(),
        name = meta.name.as_deref(),
        %error,
        "the API server did not take a change"
    );
    Action::requeue(Duration::from_secs_f64(1.0 + 4.0 * fastrand::f64()))
}

/// Makes `wanted` the object's status, also where somebody else has added fields to it, which an apply leaves to them.
async fn write_status<K, S>(
    api: &Api<K>,
    object: &K,
    wanted: &S,
    status_of: impl Fn(&K) -> Option<&S>,
) -> Result<Applied<K>, NotReported>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
    S: Serialize + PartialEq,
{
    let failed = |error: &dyn std::fmt::Display| NotReported(error.to_string());
    let status = serde_json::to_value(wanted).map_err(|error| failed(&error))?;
    let applied = match apply_status(api, object, status.clone()).await {
        Ok(Applied::Written(object)) if status_of(&object).is_some_and(|found| found != wanted) => {
            let found = serde_json::to_value(status_of(&object)).map_err(|error| failed(&error))?;
            replace_status(api, &object, &found, &status).await
        }
        applied => applied,
    };
    applied.map_err(|error| failed(&error))
}

/// What surrounds a resource of this account, without its rivals; and the account, where it is known.
fn surroundings(context: &Context, key: &AccountKey, now: Timestamp) -> (Surroundings, Option<View>) {
    let exists = context.account(key).is_some();
    let view = context.accounts.view(key).filter(|_| exists);
    let gate = match &view {
        Some(view) => view.gate.clone(),
        None if exists => Gate::Pending(after(now, Duration::from_secs(10))),
        None => {
            let text = format!("CloudAccount {} does not exist in this namespace", key.name);
            Gate::Closed(Reason::AccountNotFound, text)
        }
    };
    let around = Surroundings {
        gate,
        paused_until: view.as_ref().and_then(|view| view.paused_until),
        rival: None,
        epoch: view.as_ref().map(|view| view.epoch),
    };
    (around, view)
}

/// The place of a resource's turns within its interval: its own, and always the same.
fn phase(uid: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    hasher.finish()
}

fn requeue(until: Option<Timestamp>, now: Timestamp) -> Action {
    match until {
        Some(until) => Action::requeue(crate::plan::since(now, until).max(Duration::from_millis(1))),
        None => Action::await_change(),
    }
}
