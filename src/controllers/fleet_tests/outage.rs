//! A way to the cloud that is closed for long: few calls meanwhile, and all policies are looked at soon after it opens.

use std::collections::HashSet;
use std::time::Duration;

use cloud_simulator::{Effect, FaultSpec};
use tokio::time::{Instant, sleep};

use crate::controllers::world::World;
use crate::controllers::world::figures::DESCRIBE;
use crate::controllers::world::fleet::Fleet;

/// Of docs/reliability.md: a probe every 20 s at the latest, whose predecessor may last for the whole `requestTimeout` of 10 s.
const LOOKED_AT: Duration = Duration::from_secs(35);
const MINUTE: Duration = Duration::from_secs(60);

/// Closes the way for half an hour. Gives the calls of its last ten minutes, and how long it took after its end until each policy had
/// been looked at.
async fn outage(fleet: &Fleet, effect: Effect) -> (usize, Duration) {
    let mut world = World::new();
    world.settle(std::slice::from_ref(fleet)).await;
    world.start(world.clock.now());
    sleep(MINUTE).await;
    world.cloud.place_fault(FaultSpec::new(effect).on_key(fleet.key())).unwrap();
    sleep(20 * MINUTE).await;
    let late = Instant::now();
    sleep(10 * MINUTE).await;
    let calls = world.calls_of(fleet, late).len();
    world.cloud.clear_faults();
    let open = Instant::now();
    let looked = |world: &World| {
        let calls = world.calls_of(fleet, open).into_iter().filter(|call| call.action == DESCRIBE);
        calls.map(|call| call.instance).collect::<HashSet<_>>().len()
    };
    world.until("all are looked at", 10 * MINUTE, |world| looked(world) == fleet.policies).await;
    let took = open.elapsed();
    world.until("all are Ready", MINUTE, |world| (0..fleet.policies).all(|n| world.is_ready(fleet, n))).await;
    world.stop().await;
    (calls, took)
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_every_policy_is_looked_at_within_the_documented_time() {
    let few = Fleet { policies: 1, backups: 1, in_sync: true, ..Fleet::DEFAULT };
    let many = Fleet { policies: 300, ..few };
    // Each tries every 150 s on average; a timeout takes 10 s, and four are under way at most.
    for (fleet, effect, most) in [
        (few, Effect::Reset, 100),
        (few, Effect::Hang { after_effect: false }, 100),
        (many, Effect::Reset, 1_500),
        (many, Effect::Hang { after_effect: false }, 300),
    ] {
        let told = format!("{} policies, {effect:?}", fleet.policies);
        let (calls, took) = outage(&fleet, effect).await;
        assert!(calls <= most, "{told}: {calls} calls in ten minutes");
        assert!(calls >= 30, "{told}: it is tried all the time, {calls}");
        assert!(took <= LOOKED_AT, "{told}: {took:?}");
    }
}
