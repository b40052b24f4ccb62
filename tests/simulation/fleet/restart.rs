//! A restart and a change of leader cost no more than continuous operation.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::harness::TestCluster;
use crate::harness::fleet::{Fleet, OTHER_TARGET};
use crate::harness::measurements::{BACKUPS, DESCRIBE, MODIFY, spans};

/// The budget is no limit: the schedule alone spreads the calls.
const FLEET: Fleet = Fleet { policies: 10_000, backups: 1, in_sync: true, ..Fleet::DEFAULT };
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
/// Rate of describes: one per policy in ten minutes.
const A_SECOND: f64 = 10_000.0 / 600.0;

/// Returns the bound on the largest of several random counts with this mean: 5 standard deviations above it.
fn at_most(mean: f64) -> usize {
    (mean + 5.0 * mean.sqrt()) as usize
}

/// Runs the controllers for `minutes` from a start `before` after the last renewal, and checks that calls are spread
/// evenly.
async fn runs_evenly(cluster: &mut TestCluster, minutes: u32, before: SignedDuration) {
    cluster.clear_records();
    let start = Instant::now();
    cluster.start(cluster.clock.now() - before);
    sleep(minutes * MINUTE).await;
    let end = Instant::now();
    let calls = cluster.calls_of(&FLEET, start);
    assert!(calls.iter().all(|call| call.action != MODIFY));
    assert_eq!(cluster.writes().len(), 0, "{:?}", cluster.api.counts());
    // One describe per policy in ten minutes, and the pages of a listing, each spread on its own.
    for (action, least) in [(DESCRIBE, 0.9 * 60.0 * A_SECOND), (BACKUPS, 0.0)] {
        let mut of_action = calls.clone();
        of_action.retain(|call| call.action == action);
        let by_minute = spans(&of_action, start, end, MINUTE);
        let others = by_minute[1..].iter().sum::<usize>() as f64 / f64::from(minutes - 1);
        assert!(others >= least, "{action} goes on: {by_minute:?}");
        assert!(by_minute[0] <= at_most(others.max(1.0)), "{action}: {by_minute:?}");
        let mut by_second = spans(&of_action, start, end, SECOND);
        let mean = by_second.iter().sum::<usize>() as f64 / by_second.len() as f64;
        by_second.sort();
        assert!(
            by_second[by_second.len() - 1] <= at_most(mean.max(1.0)),
            "{action}, mean {mean}: {by_second:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_and_a_change_of_leader_make_no_burst_and_write_nothing() {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    runs_evenly(&mut cluster, 3, SignedDuration::ZERO).await;
    cluster.stop().await;
    // Another replica takes over when the Lease has expired.
    runs_evenly(&mut cluster, 2, SignedDuration::from_secs(15)).await;
}

#[tokio::test(start_paused = true)]
async fn who_stands_by_has_read_everything_when_it_takes_over() {
    let fleet = Fleet { policies: 300, ..FLEET };
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[fleet]).await;
    let (clock, (lead, leads)) = (cluster.clock.clone(), oneshot::channel::<()>());
    let start = Instant::now();
    cluster.start_when(async move {
        let _ = leads.await;
        clock.now() - SignedDuration::from_secs(15)
    });
    sleep(5 * MINUTE).await;
    assert!(cluster.calls_of(&fleet, start).is_empty(), "it leaves the cloud to the one that leads");
    assert_eq!(cluster.writes().len(), 0);
    // Changed during standby.
    let change = cluster.retarget(&fleet, 7, OTHER_TARGET);
    sleep(SECOND).await;
    cluster.clear_records();
    let took_over = Instant::now();
    lead.send(()).unwrap();
    sleep(2 * MINUTE).await;
    let counts = cluster.api.counts();
    // One list, in pages of 25.
    assert_eq!(counts["list crossregionbackuppolicies"], 12, "whoever takes the lead trusts no older list");
    assert!(cluster.is_ready(&fleet, 7), "{counts:?}");
    assert!(cluster.delays_to_cloud(&[change]).percentile(99) < 3 * SECOND);
    assert_eq!(cluster.status_writes().len(), 1, "the others are as they were");
    let looks = cluster.calls(&fleet, took_over)[DESCRIBE];
    assert!((20..=100).contains(&looks), "{looks} looks in two of ten minutes");
}
