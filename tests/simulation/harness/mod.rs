//! The test cluster: all controllers in virtual time, an in-process API server and the cloud simulator, fleets of
//! policies, and records of the requests to either side.

pub mod api_server;
pub mod cloud;
pub mod fleet;
pub mod history;
pub mod link;
pub mod measurements;

use std::future::pending;
use std::time::Duration;

use cloud_simulator::Simulator;
use futures::FutureExt;
use futures::channel::oneshot;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use api_server::ApiServer;
use cloud::{Arrivals, transport};
use cross_region_backup_operator::accounts::identity::Identity;
use cross_region_backup_operator::clock::Clock;
use cross_region_backup_operator::cloud::EndpointRule;
use cross_region_backup_operator::cluster::elector::{Leadership, Term, Timing};
use cross_region_backup_operator::cluster::events::Events;
use cross_region_backup_operator::controllers::{Settings, run};
use cross_region_backup_operator::metrics::Meters;
use cross_region_backup_operator::telemetry::health::Health;
use history::{EntryKind, History};
use link::ProcessLink;

pub const START: &str = "2026-11-22T12:00:00Z";
/// Namespace that the operator runs in.
pub const OWN_NAMESPACE: &str = "operator";
/// Default of the operator's `--concurrency` flag.
pub const CONCURRENCY: usize = 256;
/// Interval at which a test polls for its condition.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub struct TestCluster {
    pub api: ApiServer,
    pub cloud: Simulator,
    pub arrivals: Arrivals,
    pub clock: Clock,
    pub journal: History,
    /// Metrics of all processes together.
    pub meters: Meters,
    /// Number of processes started so far.
    started: usize,
    running: Option<Running>,
}

/// Returns a leadership that follows one last renewed at `previous_renewal`, and whose Lease is always renewed in time.
fn leadership(previous_renewal: Timestamp) -> Leadership {
    let timing = Timing::default();
    let term = move || Term::until(Instant::now() + timing.renew_deadline);
    let (sender, receiver) = watch::channel(term());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sleep(timing.renew) => drop(sender.send(term())),
                () = sender.closed() => return,
            }
        }
    });
    Leadership::new(receiver, Some(previous_renewal))
}

struct Running {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<anyhow::Result<()>>,
    wire: ProcessLink,
}

impl TestCluster {
    /// Returns an empty cluster; the runtime's time must be paused.
    pub fn new() -> Self {
        let start: Timestamp = START.parse().unwrap();
        let clock = Clock::from_tokio(start);
        let cloud = Simulator::new(cloud_simulator::Clock::from_tokio(start));
        let journal = History::default();
        Self {
            api: ApiServer::new(clock.clone(), journal.clone()),
            cloud,
            arrivals: Arrivals::default(),
            clock,
            journal,
            meters: Meters::default(),
            started: 0,
            running: None,
        }
    }

    /// Starts the controllers. `as_of` is the Lease's last renewal; without a Lease, the start time.
    pub fn start(&mut self, as_of: Timestamp) {
        self.start_when(std::future::ready(as_of));
    }

    /// Starts the controllers of a replica that acquires the Lease when `as_of` resolves, to the Lease's last renewal.
    pub fn start_when(&mut self, as_of: impl Future<Output = Timestamp> + Send + 'static) {
        let wire = self.wire();
        let settings = self.settings(&wire, self.api.client(&wire));
        let (stop, asked) = oneshot::channel();
        let mut as_of = Some(as_of.map(|as_of| Ok(leadership(as_of))).boxed());
        // There is no second leadership.
        let leading = move || as_of.take().unwrap_or_else(|| pending().boxed());
        let ended = tokio::spawn(run(settings, leading, asked.map(drop)));
        self.running = Some(Running { stop, ended, wire });
    }

    /// Returns the connections of one more process.
    pub fn wire(&mut self) -> ProcessLink {
        self.started += 1;
        let wire = ProcessLink::new(self.started, self.journal.clone());
        wire.note(|| EntryKind::Started);
        wire
    }

    /// Returns the controllers' settings for a process that reaches the API server through `kube`.
    pub fn settings(&self, wire: &ProcessLink, kube: kube::Client) -> Settings {
        Settings {
            events: Events::new(kube.clone(), "operator-0".to_owned(), self.clock.clone()),
            watching: kube.clone(),
            kube,
            clock: self.clock.clone(),
            rule: EndpointRule::new(&[]).unwrap(),
            transport: transport(self.cloud.clone(), self.arrivals.clone(), wire.clone()),
            namespaces: Vec::new(),
            own_namespace: OWN_NAMESPACE.to_owned(),
            identity: Identity::default(),
            read_only: false,
            concurrency: CONCURRENCY,
            interval_override: None,
            meters: self.meters.clone(),
            health: Health::default(),
        }
    }

    /// Stops the controllers as SIGTERM does. API server and cloud retain their state.
    pub async fn stop(&mut self) {
        if let Some(Running { stop, ended, .. }) = self.running.take() {
            let _ = stop.send(());
            ended.await.unwrap().unwrap();
        }
    }

    /// Kills the controllers at once, in the middle of any operation.
    pub fn kill(&mut self) {
        if let Some(Running { stop, wire, .. }) = self.running.take() {
            wire.kill();
            // The process is cut off, so its exit cannot be observed; stopping it saves the computation.
            let _ = stop.send(());
        }
    }

    /// Resolves when the controllers were killed at a crash point.
    pub fn killed(&self) -> impl Future<Output = ()> + use<> {
        let wire = self.running.as_ref().map(|running| running.wire.clone());
        async move {
            match wire {
                Some(wire) => wire.cut().await,
                None => pending().await,
            }
        }
    }

    /// Polls until `is_so` holds.
    ///
    /// # Panics
    /// If it does not hold within `most`, or the controllers have ended.
    pub async fn until(&self, what: &str, most: Duration, mut is_so: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + most;
        while !is_so(self) {
            assert!(Instant::now() < end, "within {most:?} not: {what}");
            assert!(
                self.running.as_ref().is_none_or(|r| !r.ended.is_finished()),
                "the controllers have ended"
            );
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Clears the recorded requests to API server and cloud.
    pub fn clear_records(&self) {
        self.api.clear_records();
        self.arrivals.clear_records();
    }
}
