//! The API server reports late, stale or nothing, or refuses; after the faults have ended, everything converges.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::play::{Comeback, Play, in_time_of_its_own, stage};
use super::scenarios::{Scenario, each_scenario, suite};
use super::trouble::{KINDS, Kind};
use crate::harness::World;
use crate::shard::shard;

const MINUTE: Duration = Duration::from_secs(60);
/// Half of the time that faults continue after the last step; every other run restarts the controllers in the middle.
const AFTERWARDS: Duration = Duration::from_secs(12);
/// Upper bound on API requests per minute under faults. The 7 watches relist at most every 0.8 s each at first, and
/// each request has a few immediate retries.
const A_MINUTE: usize = 250;

/// Percentages of requests that meet a fault.
const SOME: u8 = 10;
const MANY: u8 = 50;

/// Runs a scenario under faults; returns the most requests in any minute, and the time until all was well again.
fn run(scenario: &Scenario, kinds: &'static [Kind], percent: u8, seed: u64) -> (usize, Duration) {
    let names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
    let what = format!("{}, {percent} % {names:?}, seed {seed}", scenario.name);
    in_time_of_its_own(&what, seed, async {
        let mut world = stage(scenario);
        world.api.page(1);
        let mut rng = Rng::with_seed(seed);
        world.api.spoil(move |seen| {
            let kind = &kinds[rng.usize(..kinds.len())];
            if rng.u8(..100) < percent { (kind.spoil)(seen, &mut rng) } else { None }
        });
        let mut play = Play::new(&mut world, Comeback::default());
        play.act(scenario).await;
        play.pass(AFTERWARDS).await;
        if seed.is_multiple_of(2) {
            play.restart();
        }
        play.pass(AFTERWARDS).await;
        play.world.api.heal();
        let most = most_in_a_minute(play.world);
        assert!(most <= A_MINUTE, "{most} requests within a minute: {:?}", play.world.api.counts());
        let took = play.comes_to_rest(scenario).await;
        play.end().await;
        (most, took)
    })
}

fn most_in_a_minute(world: &World) -> usize {
    let seen: Vec<Instant> = world.api.seen().iter().map(|seen| seen.at).collect();
    let within = |from: usize| seen[from..].partition_point(|at| *at < seen[from] + MINUTE);
    (0..seen.len()).map(within).max().unwrap_or(0)
}

/// Index of the fault, percentage of requests that meet it, and random seed.
type Case = (usize, u8, u64);

/// Runs each fault alone.
fn each(scenario: &Scenario, cases: Vec<Case>) {
    let (mut most, mut longest) = (0, Duration::ZERO);
    for (kind, percent, seed) in shard(scenario.name, scenario.number, cases) {
        let (requests, took) = run(scenario, &KINDS[kind..=kind], percent, seed);
        (most, longest) = (most.max(requests), longest.max(took));
    }
    println!("{}: at most {most} requests a minute, well after {longest:?}", scenario.name);
}

/// Runs each fault with both percentages.
fn each_trouble(scenario: &Scenario) {
    let first = 2 * scenario.number * KINDS.len();
    let cases = (0..2 * KINDS.len()).map(|case| (case / 2, [SOME, MANY][case % 2], (first + case) as u64));
    each(scenario, cases.collect());
}

/// Runs each fault with one of the percentages, alternating.
fn each_trouble_in_turn(scenario: &Scenario) {
    let first = scenario.number * KINDS.len();
    let percent = |kind| [SOME, MANY][(scenario.number + kind) % 2];
    each(scenario, (0..KINDS.len()).map(|kind| (kind, percent(kind), (first + kind) as u64)).collect());
}

fn all_troubles(scenario: &Scenario) {
    for (percent, seed) in [(SOME, 1_000), (MANY, 2_000)] {
        let (most, longest) = run(scenario, &KINDS, percent, seed + scenario.number as u64);
        println!("{}, {percent} %: at most {most} requests a minute, well after {longest:?}", scenario.name);
    }
}

/// One test for each scenario whose outcome does not depend on data that the API server has not reported yet.
macro_rules! tests {
    (
        core { $($core:ident)* }
        restrained { $($restrained:ident)* }
        surroundings { $($surroundings:ident)* }
        ends { $($ends:ident)* }
        needing_the_latest { $($latest:ident)* }
    ) => {
        suite! { each_trouble_from_creation_to_deletion: $($core)* => each_trouble }
        suite! { each_trouble_in_other_lives: $($restrained)* $($surroundings)* $($ends)* => each_trouble_in_turn }
        suite! { all_troubles_at_once: $($core)* $($restrained)* $($surroundings)* $($ends)* => all_troubles }
    };
}

each_scenario!(tests);
