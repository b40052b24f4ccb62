//! The API server tells what is late, old or nothing at all, and refuses; then it is well again, and so is everything.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use super::play::{Comeback, Play, in_time_of_its_own, stage};
use super::scenarios::{Scenario, core, ends, restrained, surroundings};
use super::trouble::{KINDS, Kind};
use crate::controllers::world::World;

const MINUTE: Duration = Duration::from_secs(60);
/// After the last step trouble goes on for twice so long, with a restart in the midst of it in every other run.
const AFTERWARDS: Duration = Duration::from_secs(12);
/// The most requests to the API server within a minute of trouble. There are 7 watches, which each list anew at most every
/// 0.8 s at first, and a few retries of each request follow at once.
const A_MINUTE: usize = 250;

/// Which of the requests meet trouble, of a hundred.
const SOME: u8 = 10;
const MANY: u8 = 50;

/// Plays it in trouble; returns the most requests within a minute, and after how long all was well again.
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

/// Each kind alone in each scenario.
fn each(scenarios: &[Scenario], percents: impl Fn(usize) -> &'static [u8]) {
    let (mut runs, mut most, mut longest) = (0, 0, Duration::ZERO);
    for (row, scenario) in scenarios.iter().enumerate() {
        for column in 0..KINDS.len() {
            for percent in percents(row + column) {
                let (requests, took) = run(scenario, &KINDS[column..=column], *percent, runs);
                (runs, most, longest) = (runs + 1, most.max(requests), longest.max(took));
            }
        }
    }
    println!("{runs} runs, at most {most} requests a minute, well after {longest:?}");
}

#[test]
fn each_trouble_from_creation_to_deletion() {
    each(&core(), |_| &[SOME, MANY]);
}

#[test]
fn each_trouble_in_other_lives() {
    each(&others(), |number| if number % 2 == 0 { &[SOME] } else { &[MANY] });
}

#[test]
fn all_troubles_at_once() {
    let (mut most, mut longest) = (0, Duration::ZERO);
    let scenarios: Vec<_> = core().into_iter().chain(others()).collect();
    for (number, scenario) in scenarios.iter().enumerate() {
        for (percent, seed) in [(SOME, 1_000), (MANY, 2_000)] {
            let (requests, took) = run(scenario, &KINDS, percent, seed + number as u64);
            (most, longest) = (most.max(requests), longest.max(took));
        }
    }
    println!("{} runs, at most {most} requests a minute, well after {longest:?}", 2 * scenarios.len());
}

/// Where nothing but what was told decides whether the instance may be modified.
fn others() -> Vec<Scenario> {
    let all = restrained().into_iter().chain(surroundings()).chain(ends());
    all.filter(|scenario| !scenario.needs_the_latest).collect()
}
