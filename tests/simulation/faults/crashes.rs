//! The controllers are killed before, during and after each of their interactions with the outside, and restarted.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::SignedDuration;

use super::checker::events::all_reported;
use super::run::{RestartPolicy, ScenarioRun, in_own_runtime, stage};
use super::scenarios::{Scenario, each_scenario, suite};
use crate::harness::history::CrashPoint;
use crate::shard::shard;

/// Time within which the controllers have read everything.
const STARTUP_TIME: Duration = Duration::from_millis(400);

/// One interval, in which every policy is polled, and a second for the consequences.
const SCENARIO_WINDOW: Duration = Duration::from_secs(61);

/// An immediate restart; and a takeover by another replica that has waited for the Lease.
const RESTART_POLICIES: [RestartPolicy; 2] = [
    RestartPolicy { after: Duration::ZERO, renewed_before: SignedDuration::ZERO, kill_again_after: None },
    RestartPolicy {
        after: Duration::from_secs(17),
        renewed_before: SignedDuration::from_secs(19),
        kill_again_after: None,
    },
];

/// Whether a crash point is tried in every way, or in one of them in rotation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ways {
    All,
    InTurn,
}

const WAYS: [(CrashPoint, RestartPolicy); 3] = [
    (CrashPoint::Before, RESTART_POLICIES[0]),
    (CrashPoint::After, RESTART_POLICIES[1]),
    (CrashPoint::InFlight, RESTART_POLICIES[0]),
];

/// Runs a scenario with a crash point; returns the scenario's own interactions: those after the start, until [`SCENARIO_WINDOW`]
/// after the last step.
fn run(
    scenario: &Scenario,
    point: Option<(usize, CrashPoint)>,
    restart_policy: RestartPolicy,
) -> RangeInclusive<usize> {
    let what = format!("{}, killed at {point:?}, {restart_policy:?}", scenario.name);
    in_own_runtime(&what, 1, async {
        let mut cluster = stage(scenario);
        if let Some((number, stage)) = point {
            cluster.journal.crash_point(number, stage);
        }
        let mut play = ScenarioRun::new(&mut cluster, restart_policy);
        play.pass(STARTUP_TIME).await;
        let first = play.cluster.journal.interactions() + 1;
        play.act(scenario).await;
        play.pass(SCENARIO_WINDOW).await;
        let last = play.cluster.journal.interactions();
        play.clear_crash_point();
        play.run_until_idle(scenario).await;
        all_reported(&play.cluster.journal.entries()).unwrap();
        play.end().await;
        first..=last
    })
}

/// Runs a scenario once per crash point, in each of the ways.
fn every_point(scenario: &Scenario, ways: Ways) {
    let own = run(scenario, None, RESTART_POLICIES[0]);
    let of_way = |(turn, way)| {
        let numbers = own.clone().filter(move |number| ways == Ways::All || number % WAYS.len() == turn);
        numbers.map(move |number| (number, way))
    };
    let points: Vec<_> = WAYS.into_iter().enumerate().flat_map(of_way).collect();
    println!("{}: interactions {own:?}", scenario.name);
    for (number, (stage, restart_policy)) in shard(scenario.name, scenario.number, points) {
        run(scenario, Some((number, stage)), restart_policy);
    }
}

fn killed_in_all_ways(scenario: &Scenario) {
    every_point(scenario, Ways::All);
}

fn killed_in_one_way_in_turn(scenario: &Scenario) {
    every_point(scenario, Ways::InTurn);
}

/// The interactions of a start are the same in every scenario.
#[test]
fn a_start() {
    let scenario = Scenario::named("created");
    let own = run(&scenario, None, RESTART_POLICIES[0]);
    let of_way = |way| (1..*own.start()).map(move |number| (number, way));
    let points: Vec<_> = WAYS.into_iter().flat_map(of_way).collect();
    for (number, (stage, restart_policy)) in shard("a start", 0, points) {
        run(&scenario, Some((number, stage)), restart_policy);
    }
}

fn killed_again_and_again(scenario: &Scenario) {
    // A start takes some 20 interactions.
    for interactions in shard(scenario.name, scenario.number, vec![22, 27, 34]) {
        let restart_policy = RestartPolicy { kill_again_after: Some(interactions), ..RESTART_POLICIES[0] };
        run(scenario, Some((interactions, CrashPoint::Before)), restart_policy);
    }
}

/// Generates one test per scenario.
macro_rules! tests {
    (
        core { $($core:ident)* }
        restrained { $($restrained:ident)* }
        surroundings { $($surroundings:ident)* }
        ends { $($ends:ident)* }
        needing_the_latest { $($latest:ident)* }
    ) => {
        suite! { from_creation_to_deletion: $($core)* => killed_in_all_ways }
        suite! { what_is_left_alone: $($restrained)* $($latest)* => killed_in_one_way_in_turn }
        suite! { what_a_policy_depends_on: $($surroundings)* => killed_in_one_way_in_turn }
        suite! { deletions_and_what_follows: $($ends)* => killed_in_one_way_in_turn }
        suite! {
            again_and_again: $($core)* $($restrained)* $($latest)* $($surroundings)* $($ends)* => killed_again_and_again
        }
    };
}

each_scenario!(tests);
