//! A user's change does not wait for the polling of ten thousand other policies, and polling goes on.

use std::time::Duration;

use cloud_simulator::{Effect, FaultSpec, ThrottleStyle};
use jiff::SignedDuration;
use tokio::time::{Instant, sleep};

use crate::harness::TestCluster;
use crate::harness::fleet::{Fleet, OTHER_TARGET};
use crate::harness::measurements::{BACKUPS, Change, DESCRIBE, Delays, largest_excess, spans};

const RATE: u32 = 20;
/// Default burst, a quarter of the rate.
const BURST: f64 = 5.0;
const FLEET: Fleet =
    Fleet { policies: 10_000, backups: 1, requests_per_second: RATE, in_sync: true, ..Fleet::DEFAULT };
/// Timers have whole milliseconds.
const ROUNDING: f64 = 0.05;
const SPAN: Duration = Duration::from_secs(5);

/// Number of changes, and the interval between them.
struct Cadence {
    changes: usize,
    every: Duration,
}

struct Measurements {
    to_cloud: Delays,
    to_ready: Delays,
    /// Used share of the budget.
    used: f64,
    /// Largest excess of requests over the rate in any window.
    excess: f64,
    /// Smallest share of polling in any span: describes of unchanged policies, and pages of the listing.
    polls: f64,
}

/// Runs fleets whose policies are all due, and changes another policy of the first fleet at each step of the cadence.
async fn change(cluster: &mut TestCluster, cadence: Cadence) -> Measurements {
    // The last renewal is so old that every policy is due at once: there is work for the whole time.
    let begin = Instant::now();
    cluster.start(cluster.clock.now() - SignedDuration::from_hours(2));
    sleep(SPAN).await;
    let start = Instant::now();
    let mut changes = Vec::<Change>::new();
    for number in 0..cadence.changes {
        changes.push(cluster.retarget(&FLEET, 17 + 97 * number, OTHER_TARGET));
        sleep(cadence.every).await;
    }
    let end = Instant::now();
    sleep(2 * SPAN).await;
    let changed: Vec<_> = (0..cadence.changes).map(|number| FLEET.instance(17 + 97 * number)).collect();
    let names: Vec<_> = (0..cadence.changes).map(|number| FLEET.policy(17 + 97 * number)).collect();
    let writes = cluster.status_writes().iter().filter(|write| names.contains(&write.name)).count();
    assert_eq!(writes, cadence.changes, "a change is told in one write");
    let calls = cluster.calls_of(&FLEET, start);
    let mut polls = calls.clone();
    polls.retain(|call| {
        call.action == BACKUPS || call.action == DESCRIBE && !changed.contains(&call.instance)
    });
    let all = spans(&calls, start, end, SPAN);
    let of_polls = spans(&polls, start, end, SPAN);
    let expected = f64::from(RATE) * end.duration_since(start).as_secs_f64();
    Measurements {
        to_cloud: cluster.delays_to_cloud(&changes),
        to_ready: cluster.delays_to_ready(&changes),
        used: all.iter().sum::<usize>() as f64 / expected,
        excess: largest_excess(&cluster.calls_of(&FLEET, begin), RATE.into()),
        polls: of_polls.iter().zip(&all).map(|(p, a)| *p as f64 / *a as f64).fold(1.0, f64::min),
    }
}

fn are_good(figures: &Measurements) {
    let Measurements { to_cloud, to_ready, used, excess, polls } = figures;
    let told = format!(
        "to the cloud {:?}, Ready {:?}; used {used:.3}, excess {excess:.3}, polls {polls:.3}",
        [to_cloud.percentile(50), to_cloud.percentile(99)],
        [to_ready.percentile(50), to_ready.percentile(99)],
    );
    assert!(*excess <= BURST + ROUNDING, "the budget is kept to in every window: {told}");
    assert!(*used >= 0.95, "the budget is used while there is work: {told}");
    assert!(*polls >= 0.2, "the others are looked at all the time: {told}");
    assert!(to_cloud.percentile(99) < Duration::from_secs(1), "{told}");
    assert!(to_ready.percentile(99) < Duration::from_secs(2), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_change_reaches_the_cloud_within_a_second_though_ten_thousand_wait_to_be_polled() {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    let cadence = Cadence { changes: 60, every: Duration::from_millis(1700) };
    are_good(&change(&mut cluster, cadence).await);
}

#[tokio::test(start_paused = true)]
async fn five_changes_a_second_are_as_quick_and_polling_goes_on() {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    let cadence = Cadence { changes: 100, every: Duration::from_millis(200) };
    are_good(&change(&mut cluster, cadence).await);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_throttled_and_one_that_hangs_slow_no_other_down() {
    let bad = Fleet { policies: 300, backups: 1, requests_per_second: 100, in_sync: true, ..Fleet::DEFAULT };
    let throttled = Fleet { name: "throttled", account: 2_100_000_002, ..bad };
    let hanging = Fleet { name: "hanging", account: 2_100_000_003, ..bad };
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET, throttled, hanging]).await;
    let refused = Effect::Throttle { style: ThrottleStyle::Flow429, retry_after: None };
    cluster.cloud.place_fault(FaultSpec::new(refused).on_key(throttled.key())).unwrap();
    let silent = Effect::Hang { after_effect: false };
    cluster.cloud.place_fault(FaultSpec::new(silent).on_key(hanging.key())).unwrap();
    let begin = Instant::now();
    let cadence = Cadence { changes: 30, every: Duration::from_millis(1700) };
    are_good(&change(&mut cluster, cadence).await);
    for fleet in [throttled, hanging] {
        assert!(!cluster.calls_of(&fleet, begin).is_empty(), "{} was not asked", fleet.name);
    }
}
