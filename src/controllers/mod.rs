//! Controllers: each reconcile observes, plans (pure), acts (IO), and always reports (IO).

mod account;
mod backup_lister;
pub mod cached;
mod compressed;
mod context;
mod environment;
mod failed_writes;
pub mod guarded;
pub mod inventory;
mod metrics;
pub mod policy;
mod queues;
mod quota_demand;
mod requests;
mod requeue_timers;
pub mod sharing;
mod state_store;
mod term;
mod triggers;
pub mod unreadable;
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

use crate::accounts::identity::Identity;
use crate::clock::Clock;
use crate::cloud::{EndpointRule, Transport};
use crate::cluster::elector::Leadership;
use crate::cluster::events::Events;
use crate::cluster::status::{Applied, StatusError, apply_status, replace_status};
use crate::metrics::{Meters, ReconcileResult};
use crate::telemetry::health::Health;
pub use context::Context;
use environment::environment;
use failed_writes::Part;
use guarded::Guarded;
use sharing::{Admission, Purpose};
use term::Ended;
use triggers::Trigger;
use watch::Stored;
use watches::Watches;

/// Time that the start waits for shared accounts, and resources for any account before they report it as unknown.
const ACCOUNT_WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of concurrent writes of statuses and Events.
const MAX_CONCURRENT_WRITES: usize = 16;
/// Policy reconciles that may run besides those with a cloud call in flight: they write, or wait to. After the creation
/// of thousands of policies all of them would wait, each with the memory of a reconcile.
const MAX_WAITING_RECONCILES: u16 = 4 * MAX_CONCURRENT_WRITES as u16;
/// Requeue delay after a conflict, mostly with the write of another client.
const CONFLICT_REQUEUE: Duration = Duration::from_millis(100);
/// Requeue delay after a 404; the watch will report the deletion.
const NOT_FOUND_REQUEUE: Duration = Duration::from_secs(30);
/// Time for reconciles in progress to finish after the process was asked to stop: the rest of the 2 s in which the
/// process ends is for releasing the Lease.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(1_200);

/// Settings and clients of the controllers.
pub struct Settings {
    pub kube: kube::Client,
    /// Client for lists and watches. It must make no retries of its own, as watches have a backoff.
    pub watching: kube::Client,
    pub clock: Clock,
    pub rule: EndpointRule,
    pub transport: Transport,
    pub events: Events,
    /// Namespaces to watch; empty: all.
    pub namespaces: Vec<String>,
    /// The operator's own namespace, which holds the Secrets of shared accounts.
    pub own_namespace: String,
    pub identity: Identity,
    pub read_only: bool,
    /// Maximum number of cloud calls in flight over all accounts.
    pub concurrency: usize,
    pub interval_override: Option<Duration>,
    pub meters: Meters,
    pub health: Health,
}

/// Starts the watches at once, so that the stores are complete when this process becomes the leader. Runs the
/// controllers whenever `leading` resolves, until that leadership is lost, and then stands by for the next one; a term
/// keeps nothing of an earlier one but the stores of the watches. `stop` ends it; reconciles in progress may then go on
/// for `SHUTDOWN_GRACE`.
///
/// # Errors
/// The Lease could not be acquired, or a controller has ended by itself, which none should.
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

/// Returns the API for the objects of one namespace, or of all.
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

/// A reconcile that had nothing to do but to write to the API server, and failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NotReported(#[from] StatusError);

/// Requeues a failed write after a growing delay with jitter.
fn error_policy<O: Stored>(
    object: Arc<O>,
    NotReported(error): &NotReported,
    context: Arc<Context>,
) -> Action {
    Action::requeue(context.failed_writes.failed(&O::kind(&()), object.meta(), Part::Status, error))
}

/// Runs a reconcile, and counts it in the metrics.
async fn with_metrics<O: Stored, F>(
    object: Arc<O>,
    context: Arc<Context>,
    reconcile: impl FnOnce(Arc<O>, Arc<Context>) -> F,
) -> Result<Action, NotReported>
where
    F: Future<Output = Result<(Action, ReconcileResult), NotReported>>,
{
    let (meters, begun) = (context.meters.clone(), Instant::now());
    let result = reconcile(object, context).await;
    let ended = result.as_ref().map_or(ReconcileResult::Transient, |(_, ended)| *ended);
    meters.record_reconcile(&O::kind(&()), ended, begun.elapsed());
    result.map(|(action, _)| action)
}

/// Makes `wanted` the status of the object, even if another writer has added fields to it, which an apply leaves to
/// that writer. The caller holds a permit for the write.
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
        Ok(Applied::Written(_)) => context.meters.record_status_write(&K::kind(&())),
        Ok(Applied::Stale(Some(found))) => context.refused(object, found),
        _ => {}
    }
    applied
}

/// Returns the number that gives a resource its poll offset within its interval; it never changes.
fn poll_offset(uid: &str) -> u64 {
    crate::plan::hash_of(uid)
}

fn requeue(until: Option<Timestamp>, now: Timestamp) -> Action {
    match until {
        Some(until) => Action::requeue(crate::plan::since(now, until).max(Duration::from_millis(1))),
        None => Action::await_change(),
    }
}
