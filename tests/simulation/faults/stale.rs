//! The API server reports late, stale or nothing, or refuses; after the faults have ended, everything converges.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::fault_injection::{API_FAULTS, ApiFault};
use super::run::{RestartPolicy, ScenarioRun, in_own_runtime, stage};
use super::scenarios::{Scenario, each_scenario, suite};
use crate::harness::TestCluster;
use crate::shard::shard;

const MINUTE: Duration = Duration::from_secs(60);
/// Half of the time that faults continue after the last step; every other run restarts the controllers in the middle.
const FAULTS_AFTER_LAST_STEP: Duration = Duration::from_secs(12);
/// Upper bound on API requests per minute under faults. The 7 watches relist at most every 0.8 s each at first, and
/// each request has a few immediate retries.
const MAX_REQUESTS_PER_MINUTE: usize = 250;

/// Percentages of requests that meet a fault.
const LOW_PERCENT: u8 = 10;
const HIGH_PERCENT: u8 = 50;

/// Runs a scenario under faults; returns the most requests in any minute, and the time until all was well again.
fn run(scenario: &Scenario, kinds: &'static [ApiFault], percent: u8, seed: u64) -> (usize, Duration) {
    let names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
    let what = format!("{}, {percent} % {names:?}, seed {seed}", scenario.name);
    in_own_runtime(&what, seed, async {
        let mut cluster = stage(scenario);
        cluster.api.page(1);
        let mut rng = Rng::with_seed(seed);
        cluster.api.inject(move |seen| {
            let kind = &kinds[rng.usize(..kinds.len())];
            if rng.u8(..100) < percent { (kind.inject)(seen, &mut rng) } else { None }
        });
        let mut play = ScenarioRun::new(&mut cluster, RestartPolicy::default());
        play.act(scenario).await;
        play.pass(FAULTS_AFTER_LAST_STEP).await;
        if seed.is_multiple_of(2) {
            play.restart();
        }
        play.pass(FAULTS_AFTER_LAST_STEP).await;
        play.cluster.api.stop_injecting();
        let most = most_in_a_minute(play.cluster);
        assert!(
            most <= MAX_REQUESTS_PER_MINUTE,
            "{most} requests within a minute: {:?}",
            play.cluster.api.counts()
        );
        let took = play.run_until_idle(scenario).await;
        play.end().await;
        (most, took)
    })
}

fn most_in_a_minute(cluster: &TestCluster) -> usize {
    let seen: Vec<Instant> = cluster.api.seen().iter().map(|seen| seen.at).collect();
    let within = |from: usize| seen[from..].partition_point(|at| *at < seen[from] + MINUTE);
    (0..seen.len()).map(within).max().unwrap_or(0)
}

/// Index of the fault, percentage of requests that meet it, and random seed.
type Case = (usize, u8, u64);

/// Runs each fault alone.
fn each(scenario: &Scenario, cases: Vec<Case>) {
    let (mut most, mut longest) = (0, Duration::ZERO);
    for (kind, percent, seed) in shard(scenario.name, scenario.number, cases) {
        let (requests, took) = run(scenario, &API_FAULTS[kind..=kind], percent, seed);
        (most, longest) = (most.max(requests), longest.max(took));
    }
    println!("{}: at most {most} requests a minute, well after {longest:?}", scenario.name);
}

/// Runs each fault with both percentages.
fn each_fault(scenario: &Scenario) {
    let first = 2 * scenario.number * API_FAULTS.len();
    let cases = (0..2 * API_FAULTS.len())
        .map(|case| (case / 2, [LOW_PERCENT, HIGH_PERCENT][case % 2], (first + case) as u64));
    each(scenario, cases.collect());
}

/// Runs each fault with one of the percentages, alternating.
fn each_fault_alternating(scenario: &Scenario) {
    let first = scenario.number * API_FAULTS.len();
    let percent = |kind| [LOW_PERCENT, HIGH_PERCENT][(scenario.number + kind) % 2];
    each(scenario, (0..API_FAULTS.len()).map(|kind| (kind, percent(kind), (first + kind) as u64)).collect());
}

fn all_faults(scenario: &Scenario) {
    for (percent, seed) in [(LOW_PERCENT, 1_000), (HIGH_PERCENT, 2_000)] {
        let (most, longest) = run(scenario, &API_FAULTS, percent, seed + scenario.number as u64);
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
        suite! { each_trouble_from_creation_to_deletion: $($core)* => each_fault }
        suite! { each_trouble_in_other_lives: $($restrained)* $($surroundings)* $($ends)* => each_fault_alternating }
        suite! { all_troubles_at_once: $($core)* $($restrained)* $($surroundings)* $($ends)* => all_faults }
    };
}

each_scenario!(tests);
