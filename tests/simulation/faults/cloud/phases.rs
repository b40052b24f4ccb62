//! Runs the phases of policies' lives on many accounts at once: each account fails in its own way for a while, then the
//! faults end and everything converges.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::faults::FaultCase;
use crate::faults::checker::objects::{Policy, Setting};
use crate::faults::convergence::check_as_wanted;
use crate::harness::TestCluster;
use crate::harness::fleet::{API, Fleet, OTHER_TARGET, TARGET};
use crate::harness::history::Entry;
use crate::harness::measurements::{Change, Delays};
use cross_region_backup_operator::api::RECONCILE_REQUESTED_AT;

/// Resync interval: each policy is polled once in it.
pub const INTERVAL: Duration = Duration::from_secs(300);
/// Time within which all is well after the faults have ended: the longest backoff, and the interval after which a
/// policy that needs a person is polled again, are five minutes each.
pub const RECOVERY_TIMEOUT: Duration = Duration::from_secs(330);
/// Time from the end of the faults to the next phase.
const PAUSE: Duration = Duration::from_secs(345);
const POLL_INTERVAL: Duration = Duration::from_secs(15);
/// Time until another replica takes over a Lease.
const LEASE: SignedDuration = SignedDuration::from_secs(15);

/// Phase of the policies' lives; calls fail during it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The controllers start, and all policies are created.
    Creation,
    /// Polling only; another actor has changed some instances.
    Polling,
    /// All policies are changed.
    Changes,
    /// The controllers restart, and some policies were changed meanwhile.
    Restart,
    /// All policies are deleted, and disable their instances.
    Deletion,
}

pub const PHASES: [Phase; 5] =
    [Phase::Creation, Phase::Polling, Phase::Changes, Phase::Restart, Phase::Deletion];

impl Phase {
    /// Returns how long calls fail.
    pub fn window(self) -> Duration {
        match self {
            Self::Polling => INTERVAL,
            _ => Duration::from_secs(150),
        }
    }
}

/// Calls of one account in one phase.
#[derive(Clone, Debug, Default)]
pub struct AccountCalls {
    /// Calls during the fault, by action.
    pub calls: BTreeMap<String, usize>,
    /// Number of failed calls.
    pub met: u64,
}

impl AccountCalls {
    pub fn total(&self) -> usize {
        self.calls.values().sum()
    }
}

/// Latencies of the healthy account's changes.
#[derive(Clone, Debug)]
pub struct Waits {
    pub to_cloud: Delays,
    pub to_ready: Delays,
}

/// Result of a run.
pub struct PhasesResult {
    pub fleets: Vec<Fleet>,
    /// By phase, one entry per account.
    pub seen: BTreeMap<Phase, Vec<AccountCalls>>,
    /// By phase, for those that change policies.
    pub waits: BTreeMap<Phase, Waits>,
    /// Longest time until all was well again.
    pub recovered: Duration,
    /// Number of instances that were not disabled, by account and reason.
    pub left: Vec<BTreeMap<String, usize>>,
    pub entries: Vec<Entry>,
    /// Start of the history.
    pub start: (Instant, Timestamp),
}

/// A cluster whose first account never fails; each other account has the fault of its [`FaultCase`].
pub struct PhasesRun<'a> {
    cells: &'a [FaultCase],
    fleets: Vec<Fleet>,
    cluster: TestCluster,
    seed: u64,
}

impl<'a> PhasesRun<'a> {
    pub fn new(cells: &'a [FaultCase], policies: usize, seed: u64) -> Self {
        let cluster = TestCluster::new();
        cluster.journal.start_recording();
        let fleets: Vec<_> = (0..=cells.len()).map(|number| fleet(number, policies)).collect();
        for fleet in &fleets {
            cluster.install(fleet);
        }
        Self { cells, fleets, cluster, seed }
    }

    pub async fn play(mut self) -> PhasesResult {
        let start = (Instant::now(), self.cluster.clock.now());
        let (mut seen, mut waits, mut recovered) = (BTreeMap::new(), BTreeMap::new(), Duration::ZERO);
        for phase in PHASES {
            let (of_phase, changes, took) = self.pass(phase).await;
            if !changes.is_empty() {
                let to_cloud = self.cluster.delays_to_cloud(&changes);
                waits.insert(phase, Waits { to_cloud, to_ready: self.cluster.delays_to_ready(&changes) });
            }
            seen.insert(phase, of_phase);
            recovered = recovered.max(took);
        }
        let left = self.left();
        self.cluster.kill();
        sleep(Duration::from_millis(1)).await;
        let entries = self.cluster.journal.entries();
        PhasesResult { fleets: self.fleets, seen, waits, recovered, left, entries, start }
    }

    /// Runs one phase; returns the calls of each account, the changes of the first, and the time until all was well.
    async fn pass(&mut self, phase: Phase) -> (Vec<AccountCalls>, Vec<Change>, Duration) {
        self.cluster.clear_records();
        for (number, (cell, fleet)) in self.failing().enumerate() {
            cell.begin(&self.cluster, fleet, self.seed * 1_000_000 + (number * 10 + phase as usize) as u64);
        }
        let start = Instant::now();
        let changes = self.act(phase).await;
        sleep(phase.window().saturating_sub(start.elapsed())).await;
        let seen = self.seen();
        self.cluster.cloud.clear_faults();
        self.failing().for_each(|(cell, fleet)| cell.end(&self.cluster, fleet));
        let end = Instant::now();
        let took = self.wait_until_converged(phase).await;
        sleep(PAUSE.saturating_sub(end.elapsed())).await;
        (seen, changes, took)
    }

    async fn act(&mut self, phase: Phase) -> Vec<Change> {
        let fleets = self.fleets.clone();
        match phase {
            Phase::Creation => {
                self.cluster.start(self.cluster.clock.now());
                sleep(Duration::from_secs(1)).await;
                for fleet in &fleets {
                    self.create(fleet);
                }
                Vec::new()
            }
            Phase::Polling => {
                self.verify();
                for (fleet, number) in every_fourth(&fleets) {
                    let drifted = cloud_simulator::Policy::to_region(OTHER_TARGET);
                    self.cluster.cloud.set_policy(&fleet.instance(number), drifted).unwrap();
                }
                Vec::new()
            }
            Phase::Changes => {
                self.verify();
                let change = |(fleet, number)| (fleet, self.cluster.retarget(fleet, number, OTHER_TARGET));
                of_first(each(&fleets).map(change))
            }
            Phase::Restart => {
                self.cluster.stop().await;
                let change = |(fleet, number)| (fleet, self.cluster.retarget(fleet, number, TARGET));
                let changes = of_first(every_fourth(&fleets).map(change));
                self.cluster.start(self.cluster.clock.now() - LEASE);
                self.verify();
                changes
            }
            Phase::Deletion => {
                self.verify();
                each(&fleets).for_each(|(fleet, number)| self.cluster.api.delete(&fleet.path(number)));
                Vec::new()
            }
        }
    }

    fn create(&self, fleet: &Fleet) {
        for number in 0..fleet.policies {
            let mut policy = fleet.manifest(number);
            policy["spec"]["deletionPolicy"] = json!("Disable");
            self.cluster.api.create(&fleet.collection(number), policy);
        }
    }

    /// Requests a verification of each account by annotation.
    fn verify(&self) {
        let annotations = json!({RECONCILE_REQUESTED_AT: self.cluster.clock.now().to_string()});
        for fleet in &self.fleets {
            let path = format!("{API}/namespaces/{}/cloudaccounts/{}", fleet.namespace(0), fleet.name);
            self.cluster.api.patch(&path, &json!({"metadata": {"annotations": annotations}}));
        }
    }

    /// Returns the failing accounts, with their faults.
    fn failing(&self) -> impl Iterator<Item = (&FaultCase, &Fleet)> {
        self.cells.iter().zip(&self.fleets[1..])
    }

    fn seen(&self) -> Vec<AccountCalls> {
        let mut by_key: HashMap<String, AccountCalls> = HashMap::new();
        for arrival in self.cluster.arrivals.all() {
            *by_key.entry(arrival.key).or_default().calls.entry(arrival.action).or_default() += 1;
        }
        for fault in self.cluster.cloud.faults() {
            by_key.entry(fault.spec.access_key_id.unwrap_or_default()).or_default().met += fault.fired;
        }
        self.fleets.iter().map(|fleet| by_key.remove(&fleet.key()).unwrap_or_default()).collect()
    }

    async fn wait_until_converged(&self, phase: Phase) -> Duration {
        let start = Instant::now();
        let mut waiting: Vec<_> = each(&self.fleets).collect();
        loop {
            if phase == Phase::Deletion {
                waiting = self.still_there(waiting);
            } else {
                waiting.retain(|(fleet, number)| check_converged(&self.cluster, fleet, *number).is_err());
            }
            let Some((fleet, number)) = waiting.first() else { return start.elapsed() };
            assert!(
                start.elapsed() < RECOVERY_TIMEOUT,
                "{phase:?}: {} policies are not well {RECOVERY_TIMEOUT:?} after {}: {:?}",
                waiting.len(),
                self.why(fleet),
                check_converged(&self.cluster, fleet, *number),
            );
            sleep(POLL_INTERVAL).await;
        }
    }

    fn why(&self, fleet: &Fleet) -> String {
        let cell = self.failing().find(|(_, failing)| failing.name == fleet.name);
        cell.map_or("no fault".to_owned(), |(cell, _)| cell.label())
    }

    fn still_there<'f>(&self, waiting: Vec<(&'f Fleet, usize)>) -> Vec<(&'f Fleet, usize)> {
        let all = self.cluster.api.all("crossregionbackuppolicies");
        let names: HashSet<_> =
            all.iter().map(|policy| policy["metadata"]["name"].as_str().unwrap()).collect();
        waiting.into_iter().filter(|(fleet, number)| names.contains(fleet.policy(*number).as_str())).collect()
    }

    /// Counts the instances that are active although their policies are deleted, by account and reason of the Event.
    fn left(&self) -> Vec<BTreeMap<String, usize>> {
        let mut event_reasons = HashMap::<String, String>::new();
        for event in self.cluster.api.all("events") {
            let reason = event["reason"].as_str().unwrap_or_default();
            if reason.starts_with("Disable") {
                event_reasons.insert(
                    event["regarding"]["name"].as_str().unwrap_or_default().to_owned(),
                    reason.to_owned(),
                );
            }
        }
        let of = |fleet: &Fleet| {
            let mut left = BTreeMap::new();
            for number in 0..fleet.policies {
                if self.cluster.cloud.policy(&fleet.instance(number)).unwrap().current.active {
                    let why = event_reasons.get(&fleet.policy(number)).cloned().unwrap_or_default();
                    *left.entry(why).or_default() += 1;
                }
            }
            left
        };
        self.fleets.iter().map(of).collect()
    }
}

/// Checks a policy of the fleet.
///
/// # Errors
/// The first deviation found.
pub fn check_converged(cluster: &TestCluster, fleet: &Fleet, number: usize) -> Result<(), String> {
    let policy = Policy::read(&Bytes::from(cluster.api.get(&fleet.path(number)).to_string()));
    let held = cluster.cloud.policy(&fleet.instance(number)).unwrap().current;
    let held = Setting { active: held.active, target: held.region };
    check_as_wanted(&policy, &held).map_err(|why| format!("{why}; it is {policy:?}, the cloud has {held:?}"))
}

/// Returns the account with this number.
pub fn fleet(number: usize, policies: usize) -> Fleet {
    let letter = |n: usize| char::from(b'a' + u8::try_from(n % 26).unwrap());
    let name: String = [number / 26, number].map(letter).iter().collect();
    // The leak is small: tests and their accounts are few.
    let name = &*name.leak();
    let account = 2_100_000_001 + number as u64;
    Fleet { name, account, policies, backups: 1, interval: "5m", ..Fleet::DEFAULT }
}

fn each(fleets: &[Fleet]) -> impl Iterator<Item = (&Fleet, usize)> {
    fleets.iter().flat_map(|fleet| (0..fleet.policies).map(move |number| (fleet, number)))
}

fn every_fourth(fleets: &[Fleet]) -> impl Iterator<Item = (&Fleet, usize)> {
    each(fleets).filter(|(_, number)| number % 4 == 0)
}

/// Makes all changes; returns those of the first account.
fn of_first<'a>(changes: impl Iterator<Item = (&'a Fleet, Change)>) -> Vec<Change> {
    let (mut kept, mut first) = (Vec::new(), None);
    for (fleet, change) in changes {
        if *first.get_or_insert(fleet.name) == fleet.name {
            kept.push(change);
        }
    }
    kept
}
