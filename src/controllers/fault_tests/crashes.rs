//! The controllers are killed before, during and after each of their interactions with the outside, and come back.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::SignedDuration;

use super::oracle::events::all_told;
use super::play::{Comeback, Play, in_time_of_its_own, stage};
use super::scenarios::{Scenario, core, ends, restrained, surroundings};
use crate::controllers::world::journal::Stage;

/// The controllers have read everything.
const STARTED: Duration = Duration::from_millis(400);

/// Every policy has its turn within an interval, and a little of what comes of it.
const TURN: Duration = Duration::from_secs(61);

/// At once; and when another replica has waited for the Lease.
const COMEBACKS: [Comeback; 2] = [
    Comeback { after: Duration::ZERO, renewed_before: SignedDuration::ZERO, and_again: None },
    Comeback {
        after: Duration::from_secs(17),
        renewed_before: SignedDuration::from_secs(19),
        and_again: None,
    },
];

/// Every way to be killed there, or one of them in turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ways {
    All,
    InTurn,
}

const WAYS: [(Stage, Comeback); 3] =
    [(Stage::Before, COMEBACKS[0]), (Stage::After, COMEBACKS[1]), (Stage::Under, COMEBACKS[0])];

/// Plays it, killed at that point; returns the interactions that are its own: after those of the start, until all is well.
fn run(scenario: &Scenario, point: Option<(usize, Stage)>, comeback: Comeback) -> RangeInclusive<usize> {
    let what = format!("{}, killed at {point:?}, {comeback:?}", scenario.name);
    in_time_of_its_own(&what, 1, async {
        let mut world = stage(scenario);
        if let Some((number, stage)) = point {
            world.journal.strike(number, stage);
        }
        let mut play = Play::new(&mut world, comeback);
        play.pass(STARTED).await;
        let first = play.world.journal.interactions() + 1;
        play.act(scenario).await;
        play.pass(TURN).await;
        let last = play.world.journal.interactions();
        play.spare();
        play.comes_to_rest(scenario).await;
        all_told(&play.world.journal.entries()).unwrap();
        play.end().await;
        first..=last
    })
}

fn every_point(scenarios: &[Scenario], ways: Ways) {
    for scenario in scenarios {
        let own = run(scenario, None, COMEBACKS[0]);
        let mut points = 0;
        for number in own.clone() {
            for (turn, (stage, comeback)) in WAYS.into_iter().enumerate() {
                if ways == Ways::All || number % WAYS.len() == turn {
                    run(scenario, Some((number, stage)), comeback);
                    points += 1;
                }
            }
        }
        println!("{}: interactions {own:?}, killed {points} times", scenario.name);
    }
}

/// What a start asks is the same in every life.
#[test]
fn a_start() {
    let scenario = &core()[0];
    let own = run(scenario, None, COMEBACKS[0]);
    for number in 1..*own.start() {
        for (stage, comeback) in WAYS {
            run(scenario, Some((number, stage)), comeback);
        }
    }
    println!("a start: {} interactions, each killed {} times", own.start() - 1, WAYS.len());
}

#[test]
fn from_creation_to_deletion() {
    every_point(&core(), Ways::All);
}

#[test]
fn what_is_left_alone() {
    every_point(&restrained(), Ways::InTurn);
}

#[test]
fn what_a_policy_depends_on() {
    every_point(&surroundings(), Ways::InTurn);
}

#[test]
fn deletions_and_what_follows() {
    every_point(&ends(), Ways::InTurn);
}

#[test]
fn again_and_again() {
    let mut runs = 0;
    for scenario in core().into_iter().chain(restrained()).chain(surroundings()).chain(ends()) {
        // A start takes some 20 interactions.
        for interactions in [22, 27, 34] {
            let comeback = Comeback { and_again: Some(interactions), ..COMEBACKS[0] };
            run(&scenario, Some((interactions, Stage::Before)), comeback);
            runs += 1;
        }
    }
    println!("killed again and again in {runs} runs");
}
