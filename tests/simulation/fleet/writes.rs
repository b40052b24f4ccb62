//! Writes to the API server are few, and respect Retry-After.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::harness::World;
use crate::harness::api_server::{Refusal, Spoilt};
use crate::harness::figures::STATUS;
use crate::harness::fleet::{Fleet, OTHER_TARGET, TARGET};

const FLEET: Fleet = Fleet { in_sync: true, ..Fleet::DEFAULT };
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn many_changes_of_one_policy_cost_few_writes_and_the_last_one_holds() {
    let mut world = World::new();
    world.settle(&[FLEET]).await;
    world.start(world.clock.now());
    sleep(MINUTE).await;
    world.forget();
    for number in 0..20 {
        world.retarget(&FLEET, 0, if number % 2 == 0 { TARGET } else { OTHER_TARGET });
        sleep(Duration::from_millis(10)).await;
    }
    world.until("it is Ready", MINUTE, |world| world.is_ready(&FLEET, 0)).await;
    sleep(MINUTE).await;
    assert_eq!(world.cloud.policy(&FLEET.instance(0)).unwrap().current.region, OTHER_TARGET);
    assert!(world.is_ready(&FLEET, 0));
    let written: Vec<_> = world.status_writes().iter().map(|write| write.at).collect();
    assert!(written.len() <= 3, "{written:?}");
}

/// Refuses the first status write with `seconds` of Retry-After, and checks the retry.
async fn a_refused_write_waits(seconds: u64) {
    let mut world = World::new();
    world.settle(&[FLEET]).await;
    world.start(world.clock.now());
    sleep(MINUTE).await;
    world.forget();
    let met = AtomicBool::new(false);
    world.api.spoil(move |seen| {
        let refusal = Refusal { retry_after: Some(seconds), ..Refusal::new(429, "TooManyRequests") };
        let first = seen.resource == STATUS && !met.swap(true, Ordering::Relaxed);
        first.then(|| Spoilt { refusal: Some(refusal), ..Spoilt::default() })
    });
    world.retarget(&FLEET, 0, OTHER_TARGET);
    world.until("it is Ready", MINUTE, |world| world.is_ready(&FLEET, 0)).await;
    let mut writes = world.api.seen();
    writes.retain(|seen| seen.resource == STATUS);
    let codes: Vec<_> = writes.iter().map(|write| write.code).collect();
    let waited = writes[1].at.duration_since(writes[0].at);
    assert!(waited >= Duration::from_secs(seconds), "{waited:?}, {codes:?}");
    assert_eq!(codes, [429, 200]);
    assert!(waited <= Duration::from_secs(seconds + 6), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_api_server_puts_off_waits_as_long_as_it_says() {
    a_refused_write_waits(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_put_off_for_longer_than_a_call_may_take_waits_as_long_all_the_same() {
    a_refused_write_waits(30).await;
}
