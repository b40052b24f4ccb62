//! Thousands of policies are polled and changed, on accounts of which each fails in its own way and one is healthy.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::check::factor;
use super::faults::{ACTIONS, Class, Fault, FaultCase, all, mixed};
use super::phases::{INTERVAL, RECOVERY_TIMEOUT, Waits, check_converged, fleet};
use crate::faults::run::in_own_runtime;
use crate::harness::fleet::{Fleet, OTHER_TARGET};
use crate::harness::measurements::{Change, DESCRIBE, MODIFY};
use crate::harness::{CONCURRENCY, TestCluster};

/// Policies of each account.
const POLICIES: usize = 75;
/// Default request budget of an account.
const RATE: u32 = 20;
/// One in this many policies is changed during the faults, and another one afterwards.
const CHANGED: usize = 5;
const PAUSE: Duration = Duration::from_secs(5);
/// Interval at which the check whether all is well is repeated.
const POLL_INTERVAL: Duration = Duration::from_secs(15);
/// Time for the last changes to take effect.
const A_WHILE: Duration = Duration::from_secs(60);
/// Additional latency allowed to the healthy account next to failing ones.
const ALLOWED_DELAY: Duration = Duration::from_millis(100);
/// Additional latency allowed to a burst of changes on an account that has failed before.
const ALLOWED_RECOVERY_DELAY: Duration = Duration::from_secs(1);
/// Random seed.
const SEED: u64 = 1000;
const PERCENTS: [u8; 3] = [1, 10, 50];
/// Allowed excess of one account's calls over its class's factor.
const ALLOWED_FACTOR: f64 = 1.1;

fn cell(name: &str, actions: &[&'static str], percent: u8) -> FaultCase {
    let fault = all().into_iter().find(|fault| fault.name == name).unwrap();
    FaultCase { fault, actions: actions.to_vec(), percent }
}

fn cells(percent: u8) -> Vec<FaultCase> {
    let cell = |name, actions| cell(name, actions, percent);
    let passing: Vec<_> = all().into_iter().filter(|fault| fault.class == Class::Passing).collect();
    let mix =
        |name, faults: &[Fault]| FaultCase { fault: mixed(name, faults), actions: ACTIONS.to_vec(), percent };
    vec![
        cell("503", &[DESCRIBE]),
        cell("hang", &[DESCRIBE]),
        cell("lost answer", &[MODIFY]),
        cell("429", &[DESCRIBE, MODIFY]),
        cell("429, Retry-After 3", &[DESCRIBE]),
        cell("AccessDenied", &[DESCRIBE]),
        cell("ParamError", &[MODIFY]),
        mix("all that pass", &passing),
        mix("everything", &all()),
    ]
}

struct Measurements {
    /// Calls during the faults, by account and action.
    calls: Vec<BTreeMap<String, usize>>,
    /// Latencies of the healthy account.
    waits: Waits,
    recovered: Duration,
    /// Longest latency to the cloud after recovery, by account.
    afterwards: Vec<Duration>,
}

struct Crowd {
    cluster: TestCluster,
    fleets: Vec<Fleet>,
}

impl Crowd {
    /// Creates the accounts, of which the first is healthy, and starts the controllers.
    async fn new(accounts: usize) -> Self {
        let in_sync = |number| Fleet { in_sync: true, requests_per_second: RATE, ..fleet(number, POLICIES) };
        let fleets: Vec<_> = (0..accounts).map(in_sync).collect();
        let mut cluster = TestCluster::new();
        cluster.install_in_sync(&fleets).await;
        cluster.start(cluster.clock.now());
        sleep(PAUSE).await;
        Self { cluster, fleets }
    }

    /// Changes one policy of each account.
    fn change(&self, number: usize) -> Vec<Change> {
        self.fleets.iter().map(|fleet| self.cluster.retarget(fleet, number, OTHER_TARGET)).collect()
    }

    /// Runs one interval in which calls fail; returns the calls by account, and the healthy account's latencies.
    async fn run_with_faults(&self, cells: &[FaultCase]) -> (Vec<BTreeMap<String, usize>>, Waits) {
        self.cluster.clear_records();
        let start = Instant::now();
        for (number, (cell, fleet)) in cells.iter().zip(&self.fleets[1..]).enumerate() {
            cell.begin(&self.cluster, fleet, SEED + number as u64);
        }
        let mut changes = Vec::new();
        for number in (0..POLICIES).step_by(CHANGED) {
            changes.extend(self.change(number).into_iter().next());
            sleep(PAUSE).await;
        }
        sleep(INTERVAL.saturating_sub(start.elapsed())).await;
        self.cluster.cloud.clear_faults();
        let calls = self.fleets.iter().map(|fleet| self.cluster.calls(fleet, start)).collect();
        let to_cloud = self.cluster.delays_to_cloud(&changes);
        (calls, Waits { to_cloud, to_ready: self.cluster.delays_to_ready(&changes) })
    }

    /// Waits until every policy is as wanted and reports it; returns how long that took.
    async fn recover(&self) -> Duration {
        let start = Instant::now();
        let mut waiting: Vec<_> =
            self.fleets.iter().flat_map(|fleet| (0..POLICIES).map(move |number| (fleet, number))).collect();
        loop {
            waiting.retain(|(fleet, number)| check_converged(&self.cluster, fleet, *number).is_err());
            let Some((fleet, number)) = waiting.first() else { return start.elapsed() };
            let why = check_converged(&self.cluster, fleet, *number);
            assert!(
                start.elapsed() < RECOVERY_TIMEOUT,
                "{} are not well, one of {}: {why:?}",
                waiting.len(),
                fleet.name
            );
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Returns how long a burst of changes takes, by account.
    async fn burst(&self) -> Vec<Duration> {
        self.cluster.clear_records();
        let numbers = (1..POLICIES).step_by(CHANGED);
        let mut of_each: Vec<Vec<Change>> = self.fleets.iter().map(|_| Vec::new()).collect();
        for number in numbers {
            of_each.iter_mut().zip(self.change(number)).for_each(|(of_one, change)| of_one.push(change));
        }
        sleep(A_WHILE).await;
        of_each.iter().map(|changes| self.cluster.delays_to_cloud(changes).percentile(100)).collect()
    }
}

async fn figures(cells: &[FaultCase]) -> Measurements {
    let mut crowd = Crowd::new(cells.len() + 1).await;
    let (calls, waits) = crowd.run_with_faults(cells).await;
    let recovered = crowd.recover().await;
    let afterwards = crowd.burst().await;
    crowd.cluster.stop().await;
    Measurements { calls, waits, recovered, afterwards }
}

/// Checks that the healthy account's changes take no longer than without failing accounts.
fn is_not_slowed_down(beside: &Waits, alone: &Waits) {
    for (now, before) in [(&beside.to_cloud, &alone.to_cloud), (&beside.to_ready, &alone.to_ready)] {
        let (now, before) = (now.percentile(99), before.percentile(99));
        println!("an account that is well: {now:?} beside sick ones, {before:?} alone");
        assert!(now <= before + ALLOWED_DELAY, "{now:?} beside sick accounts, {before:?} alone");
    }
}

#[test]
#[ignore = "long: make test-extended"]
fn thousands_of_policies() {
    let alone = in_own_runtime("an account alone", SEED, figures(&[]));
    let cells: Vec<_> = PERCENTS.into_iter().flat_map(cells).collect();
    let beside = in_own_runtime("thousands of policies", SEED, figures(&cells));
    println!("{} policies, all well after {:?}", (cells.len() + 1) * POLICIES, beside.recovered);
    is_not_slowed_down(&beside.waits, &alone.waits);
    let [well, as_before] = [&beside.calls[0], &alone.calls[0]];
    for action in well.keys().chain(as_before.keys()) {
        let [now, before] = [well, as_before].map(|calls| calls.get(action).copied().unwrap_or_default());
        assert!(now.abs_diff(before) <= 3, "{action}: {now} beside sick accounts, {before} alone");
    }
    let total = |calls: &BTreeMap<String, usize>| calls.values().sum::<usize>() as f64;
    for ((cell, calls), afterwards) in cells.iter().zip(&beside.calls[1..]).zip(&beside.afterwards[1..]) {
        let seen = total(calls) / total(well);
        println!("{}: ×{seen:.2}, afterwards {afterwards:?}", cell.label());
        let most = factor(cell.fault.class, cell.percent) * ALLOWED_FACTOR;
        assert!(seen <= most, "{}: {calls:?}, and of the one that is well {well:?}", cell.label());
        let without = beside.afterwards[0];
        assert!(
            *afterwards <= without + ALLOWED_RECOVERY_DELAY,
            "{}: {afterwards:?} although all is well, {without:?} of one that was",
            cell.label()
        );
    }
}

/// Returns the latencies of a healthy account, next to one whose policies are all changed at once while half of its
/// describes hang.
async fn beside_hanging(policies: usize) -> Waits {
    let well = Fleet { in_sync: true, requests_per_second: RATE, ..fleet(0, POLICIES) };
    let hanging = Fleet { in_sync: true, ..fleet(1, policies) };
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[well, hanging]).await;
    cluster.start(cluster.clock.now());
    sleep(PAUSE).await;
    cell("hang", &[DESCRIBE], 50).begin(&cluster, &hanging, SEED);
    for number in 0..policies {
        cluster.retarget(&hanging, number, OTHER_TARGET);
    }
    let mut changes = Vec::new();
    for number in 0..POLICIES {
        changes.push(cluster.retarget(&well, number, OTHER_TARGET));
        sleep(Duration::from_millis(500)).await;
    }
    sleep(A_WHILE).await;
    let waits =
        Waits { to_cloud: cluster.delays_to_cloud(&changes), to_ready: cluster.delays_to_ready(&changes) };
    cluster.stop().await;
    waits
}

#[test]
fn many_calls_that_hang_leave_room_to_others() {
    let alone = in_own_runtime("beside an idle account", SEED, beside_hanging(1));
    // More than the process's concurrency.
    let beside = in_own_runtime("beside calls that hang", SEED, beside_hanging(2 * CONCURRENCY));
    is_not_slowed_down(&beside, &alone);
}
