//! The controllers: each gathers (observe), plans (pure), acts (IO), and reports (IO, always).

mod account;
mod alarms;
mod around;
mod cached;
mod context;
mod failed_writes;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod fleet_tests;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod inventory;
mod load;
mod memories;
mod metrics;
mod packed;
pub mod policy;
mod queues;
mod requests;
mod rounds;
pub mod sharing;
mod unreadable;
mod wakes;
mod watch;
#[cfg(test)]
mod world;

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::channel::mpsc::unbounded;
use futures::future::{BoxFuture, join_all, select_all};
use futures::stream::select_all as select_all_streams;
use futures::{FutureExt, StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::api::{CloudAccount, ClusterCloudAccount};
use crate::clock::Clock;
use crate::cloud::{EndpointRule, Transport};
use crate::cluster::elector::Leadership;
use crate::cluster::events::Events;
use crate::cluster::list_watch::Caches;
use crate::cluster::secrets::Secrets;
use crate::cluster::status::{Applied, StatusError, apply_status, replace_status};
use crate::metrics::{Ended, Meters};
use crate::observe::identity::Identity;
use crate::observe::{Accounts, Means};
use crate::telemetry::health::Health;
use around::surroundings;
pub use context::Context;
use failed_writes::{FailedWrites, Part};
use memories::Memories;
use metrics::{Noted, Sources};
use policy::Claims;
use rounds::Rounds;
use sharing::{Admission, Purpose, Shared};
use wakes::{Wake, scopes};
use watch::{Awaits, Guarded, Stored, touched_metadata, watched, watched_labels};

/// How long shared accounts are awaited at the start, and any account by its resources before they say that it is not known.
const PATIENCE: Duration = Duration::from_secs(10);
/// Writes at the same time.
const WRITES: usize = 16;
/// Policies whose turns may be under way besides those with a cloud call in flight: they write, or wait to. After thousands were
/// created all of them would, with all that a turn holds.
const WAITING: u16 = 4 * WRITES as u16;
/// A turn that was overtaken, by a write of somebody else above all, is taken again so soon.
const OVERTAKEN: Duration = Duration::from_millis(100);
/// What is gone says the watch, which may be late: until then nothing is left to do.
const GONE: Duration = Duration::from_secs(30);
/// How long reconciles that are under way may go on after the process was asked to stop.
const GRACE: Duration = Duration::from_secs(10);

/// What the controllers are given.
pub struct Settings {
    pub kube: kube::Client,
    pub clock: Clock,
    pub rule: EndpointRule,
    pub transport: Transport,
    pub events: Events,
    /// Empty: all.
    pub namespaces: Vec<String>,
    /// The operator's own, where the Secrets of shared accounts are.
    pub own_namespace: String,
    pub identity: Identity,
    pub read_only: bool,
    /// Cloud calls in flight over all accounts.
    pub concurrency: usize,
    pub interval_override: Option<Duration>,
    pub meters: Meters,
    pub health: Health,
}

/// Watches at once, so that everything is known when `leading` resolves; then runs the controllers until `stop` resolves.
/// Reconciles that are under way then are ended first.
///
/// # Errors
/// The Lease could not be had or was lost, or a controller has ended by itself, which none should.
pub async fn run(
    settings: Settings,
    leading: impl Future<Output = anyhow::Result<Leadership>>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let stop = stop.shared();
    let began = settings.clock.now();
    let (shared_wake, shared_wakes) = unbounded();
    let (wakes, scopes) = scopes(&settings.namespaces, shared_wake);
    let accounts = {
        let (wake, changed) = (wakes.clone(), wakes.clone());
        let means = Means {
            secrets: Secrets::Cluster(settings.kube.clone()),
            clock: settings.clock.clone(),
            rule: settings.rule,
            transport: settings.transport,
            own_namespace: settings.own_namespace.clone(),
            identity: settings.identity,
            concurrency: settings.concurrency,
            meters: settings.meters.clone(),
        };
        Arc::new(Accounts::new(
            means,
            move |key| wake.account(key),
            move |key| changed.resources(&Wake::Account(key.clone())),
        ))
    };
    let caches = Caches::new(settings.clock.clone());
    let mut streams = Vec::new();
    let (mut policy_stores, mut inventory_stores, mut account_stores) = (Vec::new(), Vec::new(), Vec::new());
    let mut synced = Vec::new();
    let (gone_policy, mut gone_policies) = unbounded();
    let (gone_inventory, mut gone_inventories) = unbounded();
    let (gone_account, mut gone_accounts) = unbounded();
    for scope in &scopes {
        let namespace = scope.namespace.as_deref();
        let awaits = Awaits { health: &settings.health, caches: &caches, namespace };
        let policies = watched(api(&settings.kube, namespace), gone_policy.clone(), awaits);
        let inventories = watched(api(&settings.kube, namespace), gone_inventory.clone(), awaits);
        let known = accounts.clone();
        let mut accounts =
            watched::<Guarded<CloudAccount>>(api(&settings.kube, namespace), gone_account.clone(), awaits);
        accounts.stream = accounts.stream.inspect_ok(move |found| account::notice(&known, found)).boxed();
        policy_stores.push(policies.store.clone());
        inventory_stores.push(inventories.store.clone());
        account_stores.push(accounts.store.clone());
        // Not the inventories: where that kind is not installed, or may not be read, as in the middle of an upgrade, policies
        // are looked after all the same.
        synced.extend([accounts.synced.clone(), policies.synced.clone()]);
        streams.push((policies, inventories, accounts));
    }
    let mut sharing = None;
    if settings.namespaces.is_empty() {
        let known = accounts.clone();
        let awaits = Awaits { health: &settings.health, caches: &caches, namespace: None };
        let mut accounts = watched::<Guarded<ClusterCloudAccount>>(
            Api::all(settings.kube.clone()),
            gone_account.clone(),
            awaits,
        );
        accounts.stream = accounts.stream.inspect_ok(move |found| account::notice(&known, found)).boxed();
        let namespaces = watched_labels(&settings.kube, awaits);
        let shared = Shared {
            accounts: accounts.store.clone(),
            namespaces: namespaces.store.clone(),
            synced: [accounts.synced.clone(), namespaces.synced.clone()],
        };
        sharing = Some((shared, accounts, namespaces.stream));
    }
    let (noted, leads) = (Arc::new(Noted::default()), Arc::new(OnceLock::new()));
    let sources = Sources {
        policies: policy_stores.clone(),
        inventories: inventory_stores.clone(),
        accounts: account_stores.clone(),
        shared: sharing.as_ref().map(|(shared, ..)| shared.accounts.clone()),
        known: accounts.clone(),
        interval_override: settings.interval_override,
        noted: noted.clone(),
        leadership: leads.clone(),
    };
    settings.health.started();
    let clock = settings.clock.clone();
    settings.meters.look_up(move |out| sources.write(out, clock.now()));
    let mut standing_by = Vec::new();
    for (policies, inventories, accounts) in &mut streams {
        standing_by.extend([policies.stand_by(), inventories.stand_by(), accounts.stand_by()]);
    }
    if let Some((_, accounts, namespaces)) = &mut sharing {
        standing_by.extend([accounts.stand_by(), namespaces.map(drop).boxed()]);
    }
    let leadership = tokio::select! {
        biased;
        leadership = leading => leadership?,
        () = stop.clone() => return Ok(()),
        // What is lost meanwhile was never remembered.
        () = select_all_streams(standing_by).for_each(|()| {
            for gone in [&mut gone_policies, &mut gone_inventories, &mut gone_accounts] {
                while gone.try_recv().is_ok() {}
            }
            std::future::ready(())
        }) => anyhow::bail!("the watches have ended"),
    };
    caches.take_lead();
    leads.get_or_init(|| leadership.clone());
    let context = Arc::new(Context {
        meters: settings.meters,
        noted,
        started: settings.clock.now(),
        caches: caches.clone(),
        shared: sharing.as_ref().map(|(shared, ..)| shared.clone()),
        kube: settings.kube,
        clock: settings.clock,
        events: settings.events,
        as_of: leadership.previous_renewal().unwrap_or(began),
        leadership: leadership.clone(),
        read_only: settings.read_only,
        interval_override: settings.interval_override,
        accounts,
        policy_stores,
        inventory_stores,
        account_stores,
        synced,
        policies: Memories::default(),
        inventories: Memories::default(),
        account_requests: account::Handled::default(),
        claims: Claims::new({
            let wakes = wakes.clone();
            move |named| wakes.policy(named)
        }),
        rounds: Rounds::default(),
        wakes: wakes.clone(),
        alarms: Arc::default(),
        turns: u16::try_from(settings.concurrency).unwrap_or(u16::MAX).saturating_add(WAITING),
        writes: Semaphore::new(WRITES),
        failed_writes: FailedWrites::default(),
        seeded: tokio::sync::OnceCell::new(),
        stopping: tokio::sync::watch::Sender::new(false),
    });

    let mut tasks: Vec<BoxFuture<'static, &'static str>> = Vec::new();
    for (scope, (policies, inventories, accounts)) in scopes.into_iter().zip(streams) {
        tasks.push(queues::policies(&context, policies, scope.policy_wakes, stop.clone()));
        tasks.push(queues::inventories(&context, inventories, scope.inventory_wakes, stop.clone()));
        let namespace = scope.namespace.as_deref();
        let awaits = Awaits { health: &settings.health, caches: &caches, namespace };
        let secrets = touched_metadata(api::<PartialObjectMeta<Secret>>(&context.kube, namespace), awaits);
        tasks.push(queues::accounts(&context, accounts, secrets, scope.account_wakes, stop.clone()));
    }
    tasks.push({
        let (context, stop) = (context.clone(), stop.clone());
        async move {
            tokio::select! {
                () = stop => "alarm",
                () = context.alarms.ring(|named| context.wakes.policy(named)) => "alarm",
            }
        }
        .boxed()
    });
    if let Some((_, accounts, namespaces)) = sharing {
        let namespace = Some(&*settings.own_namespace);
        let awaits = Awaits { health: &settings.health, caches: &caches, namespace };
        let secrets = touched_metadata(api::<PartialObjectMeta<Secret>>(&context.kube, namespace), awaits);
        tasks.push(queues::accounts(&context, accounts, secrets, shared_wakes, stop.clone()));
        tasks.push(queues::namespaces(&context, namespaces, wakes, stop.clone()));
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
        () = leadership.lost() => Err(anyhow::anyhow!("the Lease was lost; another replica takes over")),
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

/// A reconcile that could do nothing but write to the API server, and could not.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NotReported(#[from] StatusError);

/// A change that the API server did not take is tried again after a growing pause, and not by all at the same time.
fn retry<O: Stored>(object: Arc<O>, NotReported(error): &NotReported, context: Arc<Context>) -> Action {
    Action::requeue(context.failed_writes.failed(&O::kind(&()), object.meta(), Part::Status, error))
}

/// A reconcile, counted.
async fn counted<O: Stored, F>(
    object: Arc<O>,
    context: Arc<Context>,
    reconcile: impl FnOnce(Arc<O>, Arc<Context>) -> F,
) -> Result<Action, NotReported>
where
    F: Future<Output = Result<(Action, Ended), NotReported>>,
{
    let (meters, begun) = (context.meters.clone(), Instant::now());
    let result = reconcile(object, context).await;
    let ended = result.as_ref().map_or(Ended::Passing, |(_, ended)| *ended);
    meters.reconciled(&O::kind(&()), ended, begun.elapsed());
    result.map(|(action, _)| action)
}

/// From one of the places to write: makes `wanted` the object's status, also where somebody else has added fields to it, which an apply leaves to them.
async fn write_status<K, S>(
    context: &Context,
    api: &Api<K>,
    object: &K,
    wanted: &S,
    status_of: impl Fn(&K) -> Option<&S>,
) -> Result<Applied<K>, StatusError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
    S: Serialize + PartialEq,
{
    let status = serde_json::to_value(wanted).map_err(kube::Error::SerdeError)?;
    let applied = match apply_status(api, object, status.clone()).await {
        Ok(Applied::Written(object)) if status_of(&object).is_some_and(|found| found != wanted) => {
            let found = serde_json::to_value(status_of(&object)).map_err(kube::Error::SerdeError)?;
            replace_status(api, &object, &found, &status).await
        }
        applied => applied,
    };
    match &applied {
        Ok(Applied::Written(_)) => context.meters.wrote_status(&K::kind(&())),
        Ok(Applied::Stale(Some(found))) => context.refused(object, found),
        _ => {}
    }
    applied
}

/// The place of a resource's turns within its interval: its own, and always the same.
fn phase(uid: &str) -> u64 {
    crate::plan::hash_of(uid)
}

fn requeue(until: Option<Timestamp>, now: Timestamp) -> Action {
    match until {
        Some(until) => Action::requeue(crate::plan::since(now, until).max(Duration::from_millis(1))),
        None => Action::await_change(),
    }
}
