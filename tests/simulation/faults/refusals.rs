//! Status writes that are refused for a while, or whose response is lost: they are retried soon, but not without a
//! pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;

use super::liveness::is_well;
use super::oracle::events::all_told;
use super::play::{Comeback, Play, in_time_of_its_own, stage};
use super::scenarios::Scenario;
use super::steps::Step;
use crate::harness::World;
use crate::harness::api_server::{Refusal, Reply, Spoilt};
use crate::harness::figures::STATUS;

const REFUSED: Duration = Duration::from_secs(10);
const STATUSES: [&str; 3] = [STATUS, "backupinventories/status", "cloudaccounts/status"];

fn writes(world: &World, status: &str) -> usize {
    world.api.seen().iter().filter(|seen| seen.verb == "patch" && seen.resource == status).count()
}

/// Returns the number of attempts to write a kind's status while it is refused; `soon` after that, all is well.
fn tries(status: &'static str, refusal: Refusal, soon: Duration) -> usize {
    let scenario = Scenario::named("created");
    in_time_of_its_own(&format!("{status} is refused: {refusal:?}"), 1, async {
        let mut world = stage(&scenario);
        world.api.spoil(move |seen| {
            let is_met = seen.verb == "patch" && seen.resource == status;
            is_met.then(|| Spoilt { refusal: Some(refusal.clone()), ..Spoilt::default() })
        });
        let mut play = Play::new(&mut world, Comeback::default());
        Step::CreateInventory.happen(play.world);
        play.act(&scenario).await;
        play.pass(REFUSED).await;
        let tries = writes(play.world, status);
        assert!(is_well(play.world).is_err());
        play.world.api.heal();
        play.pass(soon).await;
        is_well(play.world).unwrap();
        play.end().await;
        tries
    })
}

#[test]
fn one_that_is_outdated_is_told_soon() {
    for status in STATUSES {
        let tries = tries(status, Refusal::new(409, "Conflict"), Duration::from_millis(1_500));
        // At most ten per second.
        assert!((5..=105).contains(&tries), "{status}: {tries}");
    }
}

#[test]
fn one_that_fails_is_made_again_after_a_second_at_the_soonest() {
    for status in STATUSES {
        let tries = tries(status, Refusal::new(500, "InternalError"), Duration::from_secs(7));
        assert!((2..=11).contains(&tries), "{status}: {tries}");
    }
}

#[test]
fn what_nobody_heard_of_is_told_by_an_event_all_the_same() {
    let scenario = Scenario::named("created");
    for reply in [Reply::Lost, Reply::Half, Reply::Silent] {
        in_time_of_its_own(&format!("{reply:?}"), 1, async {
            let mut world = stage(&scenario);
            let is_first = Arc::new(AtomicBool::new(true));
            let met = is_first.clone();
            world.api.spoil(move |seen| {
                let is_met = seen.verb == "patch" && seen.resource == STATUS && met.swap(false, Relaxed);
                is_met.then(|| Spoilt { reply, ..Spoilt::default() })
            });
            let mut play = Play::new(&mut world, Comeback::default());
            play.act(&scenario).await;
            play.comes_to_rest(&scenario).await;
            assert!(!is_first.load(Relaxed));
            all_told(&play.world.journal.entries()).unwrap();
            play.end().await;
        });
    }
}

#[test]
fn how_a_deletion_ends_is_told_once_although_the_finalizer_cannot_be_removed() {
    let scenario = Scenario::named("disabled");
    in_time_of_its_own(scenario.name, 1, async {
        let mut world = stage(&scenario);
        let mut play = Play::new(&mut world, Comeback::default());
        let (last, before) = scenario.steps.split_last().unwrap();
        for (pause, step) in before {
            play.pass(Duration::from_millis(*pause)).await;
            step.happen(play.world);
        }
        play.pass(Duration::from_millis(last.0)).await;
        play.world.api.spoil(|seen| {
            let is_finalizer = seen.verb == "patch" && seen.resource == "crossregionbackuppolicies";
            is_finalizer
                .then(|| Spoilt { refusal: Some(Refusal::new(500, "InternalError")), ..Spoilt::default() })
        });
        last.1.happen(play.world);
        play.pass(REFUSED).await;
        play.world.api.heal();
        // The checker detects an Event that is emitted twice.
        play.comes_to_rest(&scenario).await;
        let told =
            play.world.api.all("events").into_iter().filter(|event| event["reason"] == "DisabledOnDelete");
        assert_eq!(told.map(|event| event["series"].clone()).collect::<Vec<_>>(), [json!(null)]);
        play.end().await;
    });
}
