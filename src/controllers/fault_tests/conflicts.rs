//! A single write is refused as a conflict, although nothing has changed: no event wakes the policy then.

use super::play::{Comeback, Play, in_time_of_its_own, stage};
use super::scenarios::core;
use crate::controllers::world::api_server::{Refusal, Spoilt};

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
