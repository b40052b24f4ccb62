//! A write is refused as outdated, and no event says what has changed: because nothing has, or because it is late.

use std::time::Duration;

use super::play::{Comeback, Play, in_time_of_its_own, stage};
use super::scenarios::{core, ends};
use crate::controllers::world::api_server::{EVENT, Refusal, Spoilt};

#[test]
fn a_finalizer_whose_removal_is_refused_goes_all_the_same() {
    let scenario = core().into_iter().find(|scenario| scenario.name == "disabled").unwrap();
    in_time_of_its_own(scenario.name, 1, async {
        let mut world = stage(&scenario);
        let mut patches = 0;
        world.api.spoil(move |seen| {
            let is_finalizer = seen.verb == "patch" && seen.resource == "crossregionbackuppolicies";
            patches += usize::from(is_finalizer);
            let conflict = Refusal::new(409, "Conflict");
            // The first one adds it.
            (is_finalizer && patches == 2).then(|| Spoilt { refusal: Some(conflict), ..Spoilt::default() })
        });
        let mut play = Play::new(&mut world, Comeback::default());
        play.act(&scenario).await;
        play.comes_to_rest(&scenario).await;
        play.end().await;
    });
}

#[test]
fn a_policy_that_is_gone_is_not_written_to_again_and_again_until_the_watch_says_so() {
    let scenario = ends().into_iter().find(|scenario| scenario.name == "namesake").unwrap();
    in_time_of_its_own(scenario.name, 1, async {
        let mut world = stage(&scenario);
        let mut events = 0;
        world.api.spoil(move |seen| {
            let is_policy = seen.verb == EVENT && seen.resource == "crossregionbackuppolicies";
            events += usize::from(is_policy);
            // The first one tells that it was created.
            let delay = Duration::from_secs(20);
            (is_policy && events == 2).then(|| Spoilt { delay, ..Spoilt::default() })
        });
        let mut play = Play::new(&mut world, Comeback::default());
        play.act(&scenario).await;
        play.pass(Duration::from_secs(15)).await;
        let mut seen = play.world.api.seen();
        seen.retain(|seen| seen.resource.starts_with("crossregionbackuppolicies"));
        assert!(seen.len() <= 6, "{:?}", play.world.api.counts());
        play.comes_to_rest(&scenario).await;
        play.end().await;
    });
}
