//! Who manages an instance is known before the first turn: its own may be the last of many.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::controllers::world::World;
use crate::controllers::world::figures::MODIFY;
use crate::controllers::world::fleet::{Fleet, OTHER_TARGET};

/// So many that some have their first turn long after others have made three calls.
const FLEET: Fleet = Fleet { policies: 2_000, backups: 1, in_sync: true, ..Fleet::DEFAULT };

/// For each policy a younger one, which wants another target and has lost.
fn contest(world: &World) {
    for number in 0..FLEET.policies {
        let mut younger = FLEET.manifest(number);
        younger["metadata"]["name"] = json!(format!("younger-{number:05}"));
        younger["spec"]["crossBackupRegion"] = json!(OTHER_TARGET);
        younger["status"] = world.api.get(&FLEET.path(number))["status"].clone();
        for condition in younger["status"]["conditions"].as_array_mut().unwrap() {
            if condition["type"] == "Ready" || condition["type"] == "Synced" {
                condition["status"] = json!("False");
                condition["reason"] = json!("Conflict");
            }
        }
        world.api.create(&FLEET.collection(number), younger);
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_lost_modifies_nothing_after_a_start() {
    let mut world = World::new();
    world.settle(&[FLEET]).await;
    sleep(Duration::from_secs(2)).await;
    contest(&world);
    let start = Instant::now();
    world.start(world.clock.now());
    sleep(Duration::from_secs(5)).await;
    let calls = world.calls(&FLEET, start);
    assert!(!calls.is_empty() && !calls.contains_key(MODIFY), "{calls:?}");
    world.stop().await;
}
