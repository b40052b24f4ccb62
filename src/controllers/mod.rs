//! The controllers: each gathers (observe), plans (pure), acts (IO), and reports (IO, always).

mod account;
mod alarms;
mod around;
pub mod cached;
mod context;
mod failed_writes;
pub mod guarded;
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
mod term;
pub mod unreadable;
mod wakes;
mod watch;
mod watches;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::cloud::{EndpointRule, Transport};
use crate::cluster::elector::Leadership;
use crate::cluster::events::Events;
use crate::cluster::status::{Applied, StatusError, apply_status, replace_status};
use crate::metrics::{Ended as TurnEnded, Meters};
use crate::observe::identity::Identity;
use crate::telemetry::health::Health;
use around::surroundings;
pub use context::Context;
use failed_writes::Part;
use guarded::Guarded;
use sharing::{Admission, Purpose};
use term::Ended;
use wakes::Wake;
use watch::Stored;
use watches::Watches;

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
/// How long reconciles that are under way may go on after the process was asked to stop: what is left of the 2 s in which it ends is
/// for giving the Lease up.
const GRACE: Duration = Duration::from_millis(1_200);

/// What the controllers are given.
pub struct Settings {
    pub kube: kube::Client,
    /// What lists and watches: it must not retry by itself, as watches have a backoff of their own.
    pub watching: kube::Client,
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

/// Watches at once, so that everything is known when this process leads. Leads whenever `leading` resolves, until that leadership is
/// over, and stands by for the next one; a term remembers nothing of an earlier one but what the watches hold.
/// `stop` ends it; reconciles that are under way then may go on for `GRACE`.
///
/// # Errors
/// The Lease could not be had, or a controller has ended by itself, which none should.
pub async fn run<L>(
    settings: Settings,
    mut leading: impl FnMut() -> L,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> anyhow::Result<()>
where
    L: Future<Output = anyhow::Result<Leadership>>,
{
    let stop = stop.shared();
    let mut watches = Watches::begin(&settings);
    settings.health.started();
    loop {
        let began = settings.clock.now();
        watches.look_up(&settings, Arc::default(), None, None);
        let leadership = tokio::select! {
            biased;
            () = stop.clone() => return Ok(()),
            leadership = leading() => leadership?,
            () = watches.stand_by() => anyhow::bail!("the watches have ended"),
        };
        match term::lead(&settings, &mut watches, leadership, began, stop.clone()).await? {
            Ended::Stopped => return Ok(()),
            Ended::Lost => {}
        }
    }
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
    F: Future<Output = Result<(Action, TurnEnded), NotReported>>,
{
    let (meters, begun) = (context.meters.clone(), Instant::now());
    let result = reconcile(object, context).await;
    let ended = result.as_ref().map_or(TurnEnded::Passing, |(_, ended)| *ended);
    meters.reconciled(&O::kind(&()), ended, begun.elapsed());
    result.map(|(action, _)| action)
}

/// From one of the places to write: makes `wanted` the object's status, also where somebody else has added fields to it, which an apply leaves to them.
async fn write_status<K, S>(
    context: &Context,
    api: &Api<Guarded<K>>,
    object: &Guarded<K>,
    wanted: &S,
    status_of: impl Fn(&K) -> Option<&S>,
) -> Result<Applied<Guarded<K>>, StatusError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
    S: Serialize + PartialEq,
{
    let status = serde_json::to_value(wanted).map_err(kube::Error::SerdeError)?;
    let applied = match apply_status(api, object, status.clone()).await {
        Ok(Applied::Written(Guarded(Ok(object))))
            if status_of(&object).is_some_and(|found| found != wanted) =>
        {
            replace_status(api, &Guarded(Ok(object)), &status).await
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
