//! A watch that has to begin anew learns from a list what has changed meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::sleep;

use crate::controllers::world::World;
use crate::controllers::world::api_server::{EVENT, Refusal, Spoilt};
use crate::controllers::world::fleet::{Fleet, OTHER_TARGET};

/// Many more than a queue takes in at once.
const FLEET: Fleet = Fleet { policies: 400, backups: 1, in_sync: true, ..Fleet::DEFAULT };
const CHANGED: usize = 100;

#[tokio::test(start_paused = true)]
async fn what_only_a_list_tells_is_acted_on_at_once() {
    let mut world = World::new();
    world.settle(&[FLEET]).await;
    world.start(world.clock.now());
    sleep(Duration::from_secs(5)).await;
    let is_gone = Arc::new(AtomicBool::new(true));
    let gone = is_gone.clone();
    world.api.spoil(move |seen| {
        let is_first =
            seen.verb == EVENT && seen.resource == "crossregionbackuppolicies" && gone.swap(false, Relaxed);
        is_first.then(|| Spoilt { refusal: Some(Refusal::new(410, "Expired")), ..Spoilt::default() })
    });
    for number in 0..CHANGED {
        world.retarget(&FLEET, number, OTHER_TARGET);
    }
    // Their own turns come within ten minutes.
    let all = |world: &World| (0..CHANGED).all(|number| world.is_ready(&FLEET, number));
    world.until("all changes are acted on", Duration::from_secs(30), all).await;
    assert!(!is_gone.load(Relaxed), "the watch has begun anew");
    world.stop().await;
}
