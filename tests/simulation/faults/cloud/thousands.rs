//! Thousands of policies that are polled and changed, at accounts of which each fails in its own way and one is well.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::faults::{ACTIONS, Cell, Class, Fault, all, mixed};
use super::judge::factor;
use super::phases::{INTERVAL, PATIENCE, Waits, fleet, is_well};
use crate::faults::play::in_time_of_its_own;
use crate::harness::figures::{Change, DESCRIBE, MODIFY};
use crate::harness::fleet::{Fleet, OTHER_TARGET};
use crate::harness::{CONCURRENCY, World};

/// Of each account.
const POLICIES: usize = 75;
/// The default of an account's budget.
const RATE: u32 = 20;
/// One policy of so many is changed while calls fail, and another one afterwards.
const CHANGED: usize = 5;
const PAUSE: Duration = Duration::from_secs(5);
/// How often it is looked whether all is well.
const STEP: Duration = Duration::from_secs(15);
/// What comes of the last changes.
const A_WHILE: Duration = Duration::from_secs(60);
/// What the account that is well may wait longer beside the others.
const NOTICED: Duration = Duration::from_millis(100);
/// What a burst of changes may take longer at an account that failed, when all is well again.
const LEFT_OVER: Duration = Duration::from_secs(1);
/// Of chance.
const SEED: u64 = 1000;
const PERCENTS: [u8; 3] = [1, 10, 50];
/// By which one account's calls may lie above the factor of its class.
const CHANCE: f64 = 1.1;

fn cell(name: &str, actions: &[&'static str], percent: u8) -> Cell {
    let fault = all().into_iter().find(|fault| fault.name == name).unwrap();
    Cell { fault, actions: actions.to_vec(), percent }
}

fn cells(percent: u8) -> Vec<Cell> {
    let cell = |name, actions| cell(name, actions, percent);
    let passing: Vec<_> = all().into_iter().filter(|fault| fault.class == Class::Passing).collect();
    let mix =
        |name, faults: &[Fault]| Cell { fault: mixed(name, faults), actions: ACTIONS.to_vec(), percent };
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

struct Figures {
    /// Of each account, by action, while calls fail.
    calls: Vec<BTreeMap<String, usize>>,
    /// Of the account that is well.
    waits: Waits,
    recovered: Duration,
    /// The longest that a change took to the cloud when all was well again, of each account.
    afterwards: Vec<Duration>,
}

struct Crowd {
    world: World,
    fleets: Vec<Fleet>,
}

impl Crowd {
    /// The first account is well.
    async fn new(accounts: usize) -> Self {
        let in_sync = |number| Fleet { in_sync: true, requests_per_second: RATE, ..fleet(number, POLICIES) };
        let fleets: Vec<_> = (0..accounts).map(in_sync).collect();
        let mut world = World::new();
        world.settle(&fleets).await;
        world.start(world.clock.now());
        sleep(PAUSE).await;
        Self { world, fleets }
    }

    /// A policy of each account is changed.
    fn change(&self, number: usize) -> Vec<Change> {
        self.fleets.iter().map(|fleet| self.world.retarget(fleet, number, OTHER_TARGET)).collect()
    }

    /// What happens in an interval in which calls fail.
    async fn suffer(&self, cells: &[Cell]) -> (Vec<BTreeMap<String, usize>>, Waits) {
        self.world.forget();
        let start = Instant::now();
        for (number, (cell, fleet)) in cells.iter().zip(&self.fleets[1..]).enumerate() {
            cell.begin(&self.world, fleet, SEED + number as u64);
        }
        let mut changes = Vec::new();
        for number in (0..POLICIES).step_by(CHANGED) {
            changes.extend(self.change(number).into_iter().next());
            sleep(PAUSE).await;
        }
        sleep(INTERVAL.saturating_sub(start.elapsed())).await;
        self.world.cloud.clear_faults();
        let calls = self.fleets.iter().map(|fleet| self.world.calls(fleet, start)).collect();
        let to_cloud = self.world.delays_to_cloud(&changes);
        (calls, Waits { to_cloud, to_ready: self.world.delays_to_ready(&changes) })
    }

    /// Until every policy is as wanted, and says so.
    async fn recover(&self) -> Duration {
        let start = Instant::now();
        let mut waiting: Vec<_> =
            self.fleets.iter().flat_map(|fleet| (0..POLICIES).map(move |number| (fleet, number))).collect();
        loop {
            waiting.retain(|(fleet, number)| is_well(&self.world, fleet, *number).is_err());
            let Some((fleet, number)) = waiting.first() else { return start.elapsed() };
            let why = is_well(&self.world, fleet, *number);
            assert!(
                start.elapsed() < PATIENCE,
                "{} are not well, one of {}: {why:?}",
                waiting.len(),
                fleet.name
            );
            sleep(STEP).await;
        }
    }

    /// How long a burst of changes takes, of each account.
    async fn burst(&self) -> Vec<Duration> {
        self.world.forget();
        let numbers = (1..POLICIES).step_by(CHANGED);
        let mut of_each: Vec<Vec<Change>> = self.fleets.iter().map(|_| Vec::new()).collect();
        for number in numbers {
            of_each.iter_mut().zip(self.change(number)).for_each(|(of_one, change)| of_one.push(change));
        }
        sleep(A_WHILE).await;
        of_each.iter().map(|changes| self.world.delays_to_cloud(changes).percentile(100)).collect()
    }
}

async fn figures(cells: &[Cell]) -> Figures {
    let mut crowd = Crowd::new(cells.len() + 1).await;
    let (calls, waits) = crowd.suffer(cells).await;
    let recovered = crowd.recover().await;
    let afterwards = crowd.burst().await;
    crowd.world.stop().await;
    Figures { calls, waits, recovered, afterwards }
}

/// Whether the account that is well waits no longer for its changes than it did alone.
fn is_not_slowed_down(beside: &Waits, alone: &Waits) {
    for (now, before) in [(&beside.to_cloud, &alone.to_cloud), (&beside.to_ready, &alone.to_ready)] {
        let (now, before) = (now.percentile(99), before.percentile(99));
        println!("an account that is well: {now:?} beside sick ones, {before:?} alone");
        assert!(now <= before + NOTICED, "{now:?} beside sick accounts, {before:?} alone");
    }
}

#[test]
#[ignore = "long: make test-extended"]
fn thousands_of_policies() {
    let alone = in_time_of_its_own("an account alone", SEED, figures(&[]));
    let cells: Vec<_> = PERCENTS.into_iter().flat_map(cells).collect();
    let beside = in_time_of_its_own("thousands of policies", SEED, figures(&cells));
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
        println!("{}: ×{seen:.2}, afterwards {afterwards:?}", cell.told());
        let most = factor(cell.fault.class, cell.percent) * CHANCE;
        assert!(seen <= most, "{}: {calls:?}, and of the one that is well {well:?}", cell.told());
        let without = beside.afterwards[0];
        assert!(
            *afterwards <= without + LEFT_OVER,
            "{}: {afterwards:?} although all is well, {without:?} of one that was",
            cell.told()
        );
    }
}

/// The changes of an account that is well, beside one of which all policies are changed at once while half of its looks hang.
async fn beside_hanging(policies: usize) -> Waits {
    let well = Fleet { in_sync: true, requests_per_second: RATE, ..fleet(0, POLICIES) };
    let hanging = Fleet { in_sync: true, ..fleet(1, policies) };
    let mut world = World::new();
    world.settle(&[well, hanging]).await;
    world.start(world.clock.now());
    sleep(PAUSE).await;
    cell("hang", &[DESCRIBE], 50).begin(&world, &hanging, SEED);
    for number in 0..policies {
        world.retarget(&hanging, number, OTHER_TARGET);
    }
    let mut changes = Vec::new();
    for number in 0..POLICIES {
        changes.push(world.retarget(&well, number, OTHER_TARGET));
        sleep(Duration::from_millis(500)).await;
    }
    sleep(A_WHILE).await;
    let waits =
        Waits { to_cloud: world.delays_to_cloud(&changes), to_ready: world.delays_to_ready(&changes) };
    world.stop().await;
    waits
}

#[test]
fn many_calls_that_hang_leave_room_to_others() {
    let alone = in_time_of_its_own("beside an idle account", SEED, beside_hanging(1));
    // More than there is room for in the process.
    let beside = in_time_of_its_own("beside calls that hang", SEED, beside_hanging(2 * CONCURRENCY));
    is_not_slowed_down(&beside, &alone);
}
