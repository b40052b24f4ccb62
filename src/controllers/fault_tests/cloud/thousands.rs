//! Thousands of policies that are polled and changed, at accounts of which each fails in its own way and one is well.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::faults::{ACTIONS, Cell, Class, Fault, all, mixed};
use super::phases::{INTERVAL, PATIENCE, Waits, fleet};
use crate::controllers::fault_tests::play::in_time_of_its_own;
use crate::controllers::world::World;
use crate::controllers::world::figures::{DESCRIBE, MODIFY};
use crate::controllers::world::fleet::{Fleet, OTHER_TARGET};

/// Of each account.
const POLICIES: usize = 150;
/// One policy of so many is changed while calls fail.
const CHANGED: usize = 5;
/// What the account that is well may wait longer beside the others.
const NOTICED: Duration = Duration::from_millis(100);
/// The most calls of an account, over those of the one that is well: each call is made once more where it fails, and after a
/// change that failed a look comes first.
const FACTORS: [(u8, f64); 2] = [(10, 1.3), (50, 2.6)];

fn cells(percent: u8) -> Vec<Cell> {
    let cell = |name: &str, actions: &[&'static str]| Cell {
        fault: Fault::one(name),
        actions: actions.to_vec(),
        percent,
    };
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
    waits: Waits,
    recovered: Duration,
}

/// Polls and changes the policies of these accounts for one interval, and waits until all is well. The first account is well.
async fn figures(cells: &[Cell]) -> Figures {
    let fleet = |number| Fleet { in_sync: true, ..fleet(number, POLICIES) };
    let fleets: Vec<_> = (0..=cells.len()).map(fleet).collect();
    let mut world = World::new();
    world.settle(&fleets).await;
    world.start(world.clock.now());
    sleep(Duration::from_secs(5)).await;
    world.forget();
    let start = Instant::now();
    for (number, (cell, fleet)) in cells.iter().zip(&fleets[1..]).enumerate() {
        cell.begin(&world, fleet, number as u64);
    }
    let mut changes = Vec::new();
    for number in (0..POLICIES).step_by(CHANGED) {
        let changed: Vec<_> =
            fleets.iter().map(|fleet| world.retarget(fleet, number, OTHER_TARGET)).collect();
        changes.extend(changed.into_iter().next());
        sleep(Duration::from_secs(2)).await;
    }
    sleep(INTERVAL.saturating_sub(start.elapsed())).await;
    let calls = fleets.iter().map(|fleet| world.calls(fleet, start)).collect();
    world.cloud.clear_faults();
    let end = Instant::now();
    for fleet in &fleets {
        for number in 0..POLICIES {
            let left = PATIENCE.saturating_sub(end.elapsed());
            world.until("all are Ready", left, |world| world.is_ready(fleet, number)).await;
        }
    }
    let (recovered, to_cloud) = (end.elapsed(), world.delays_to_cloud(&changes));
    let waits = Waits { to_cloud, to_ready: world.delays_to_ready(&changes) };
    world.stop().await;
    Figures { calls, waits, recovered }
}

#[test]
fn thousands_of_policies() {
    let alone = in_time_of_its_own("an account alone", 1, figures(&[]));
    let cells: Vec<_> = FACTORS.iter().flat_map(|(percent, _)| cells(*percent)).collect();
    let beside = in_time_of_its_own("thousands of policies", 1, figures(&cells));
    println!("{} policies, all well after {:?}", (cells.len() + 1) * POLICIES, beside.recovered);
    let [well, as_before] = [&beside.calls[0], &alone.calls[0]];
    for action in well.keys().chain(as_before.keys()) {
        let [now, before] = [well, as_before].map(|calls| calls.get(action).copied().unwrap_or_default());
        assert!(now.abs_diff(before) <= 3, "{action}: {now} beside sick accounts, {before} alone");
    }
    let waits =
        [(&beside.waits.to_cloud, &alone.waits.to_cloud), (&beside.waits.to_ready, &alone.waits.to_ready)];
    for (now, before) in waits {
        let (now, before) = (now.percentile(99), before.percentile(99));
        assert!(now <= before + NOTICED, "{now:?} beside sick accounts, {before:?} alone");
    }
    let total = |calls: &BTreeMap<String, usize>| calls.values().sum::<usize>() as f64;
    for (cell, calls) in cells.iter().zip(&beside.calls[1..]) {
        let factor = total(calls) / total(well);
        println!("{}: ×{factor:.2}", cell.told());
        let most = FACTORS.iter().find(|(percent, _)| *percent == cell.percent).unwrap().1;
        let most = if cell.fault.class == Class::NeedsPerson { 1.1 } else { most };
        assert!(factor <= most, "{}: {calls:?}, and of the one that is well {well:?}", cell.told());
    }
}
