//! Measurements of a run: its cost in requests, and the latency of changes.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::TestCluster;
use super::api_server::RecordedRequest;
use super::cloud::Arrival;
use super::fleet::{Fleet, ready_generation};

pub const DESCRIBE: &str = "DescribeCrossRegionBackupPolicy";
pub const MODIFY: &str = "ModifyCrossRegionBackupPolicy";
pub const REGIONS: &str = "DescribeAvailableCrossRegion";
pub const BACKUPS: &str = "DescribeCrossRegionBackups";
pub const VERIFY: &str = "DescribeDBInstances";
pub const STATUS: &str = "crossregionbackuppolicies/status";

/// One user's change of one policy.
pub struct Change {
    at: Instant,
    policy: String,
    instance: String,
    generation: i64,
}

/// Latencies of changes, in ascending order; `Duration::MAX` for a change that never took effect.
#[derive(Clone, Debug)]
pub struct Delays(Vec<Duration>);

impl Delays {
    fn new(mut delays: Vec<Duration>) -> Self {
        delays.sort();
        Self(delays)
    }

    /// Returns the latency that `percent` of the changes do not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0[rank - 1]
    }
}

impl TestCluster {
    /// Changes the target region of a policy.
    pub fn retarget(&self, fleet: &Fleet, number: usize, target: &str) -> Change {
        let policy = self.api.patch(&fleet.path(number), &json!({"spec": {"crossBackupRegion": target}}));
        Change {
            at: Instant::now(),
            policy: fleet.policy(number),
            instance: fleet.instance(number),
            generation: policy["metadata"]["generation"].as_i64().unwrap(),
        }
    }

    /// Returns the time from each change until its Modify reached the cloud.
    pub fn delays_to_cloud(&self, changes: &[Change]) -> Delays {
        let mut modifies = HashMap::<String, Vec<Instant>>::new();
        for arrival in self.arrivals.all().into_iter().filter(|a| a.action == MODIFY) {
            modifies.entry(arrival.instance).or_default().push(arrival.at);
        }
        delays(changes, |change| modifies.get(&change.instance)?.iter().find(|at| **at >= change.at).copied())
    }

    /// Returns the time from each change until its status was Ready.
    pub fn delays_to_ready(&self, changes: &[Change]) -> Delays {
        let mut ready_at = HashMap::<String, Vec<(Instant, i64)>>::new();
        for write in self.status_writes() {
            let policy: Value = serde_json::from_slice(&write.object).unwrap();
            if let Some(generation) = ready_generation(&policy) {
                ready_at.entry(write.name).or_default().push((write.at, generation));
            }
        }
        delays(changes, |change| {
            let ready = |ready_at: &&(Instant, i64)| ready_at.1 >= change.generation;
            ready_at.get(&change.policy)?.iter().find(ready).map(|(at, _)| *at)
        })
    }

    /// Returns the successful writes of policy statuses, in order.
    pub fn status_writes(&self) -> Vec<RecordedRequest> {
        let mut seen = self.api.seen();
        seen.retain(|seen| seen.resource == STATUS && seen.is_write() && seen.code == 200);
        seen
    }

    /// Returns the writes to the API server.
    pub fn writes(&self) -> Vec<RecordedRequest> {
        let mut seen = self.api.seen();
        seen.retain(RecordedRequest::is_write);
        seen
    }

    /// Returns the number of an account's cloud requests since a moment, by action.
    pub fn calls(&self, fleet: &Fleet, since: Instant) -> BTreeMap<String, usize> {
        let mut calls = BTreeMap::new();
        for arrival in self.calls_of(fleet, since) {
            *calls.entry(arrival.action).or_default() += 1;
        }
        calls
    }

    pub fn calls_of(&self, fleet: &Fleet, since: Instant) -> Vec<Arrival> {
        let mut calls = self.arrivals.since(since);
        let key = fleet.key();
        calls.retain(|arrival| arrival.key == key);
        calls
    }
}

fn delays(changes: &[Change], end: impl Fn(&Change) -> Option<Instant>) -> Delays {
    let delay = |change: &Change| end(change).map_or(Duration::MAX, |end| end.duration_since(change.at));
    Delays::new(changes.iter().map(delay).collect())
}

/// Returns the number of requests in each `span` from `start` to `end`.
pub fn spans(arrivals: &[Arrival], start: Instant, end: Instant, span: Duration) -> Vec<usize> {
    let mut counts = vec![0; end.duration_since(start).as_millis().div_ceil(span.as_millis()) as usize];
    for arrival in arrivals.iter().filter(|a| (start..end).contains(&a.at)) {
        counts[(arrival.at.duration_since(start).as_millis() / span.as_millis()) as usize] += 1;
    }
    counts
}

/// Returns the largest excess of requests over `rate` (per second) in any window; it must not exceed the burst.
pub fn largest_excess(arrivals: &[Arrival], rate: f64) -> f64 {
    // The window from request i to request j holds j - i + 1 requests: the excess is the largest rise of (number - rate
    // * time).
    let Some(first) = arrivals.first() else { return 0.0 };
    let (mut lowest, mut largest) = (f64::INFINITY, 0.0_f64);
    for (number, arrival) in arrivals.iter().enumerate() {
        let expected = rate * arrival.at.duration_since(first.at).as_secs_f64();
        lowest = lowest.min(number as f64 - expected);
        largest = largest.max(number as f64 + 1.0 - expected - lowest);
    }
    largest
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::harness::fleet::OTHER_TARGET;

    fn at(milliseconds: &[u64]) -> Vec<Arrival> {
        let start = Instant::now();
        let arrival = |ms: &u64| Arrival {
            at: start + Duration::from_millis(*ms),
            action: DESCRIBE.to_owned(),
            instance: String::new(),
            key: String::new(),
        };
        milliseconds.iter().map(arrival).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_is_measured_against_rate_and_burst() {
        // A burst of three, then ten a second; then one too many in between.
        assert_eq!(largest_excess(&at(&[0, 0, 0, 100, 200, 300]), 10.0), 3.0);
        assert_eq!(largest_excess(&at(&[0, 0, 0, 100, 200, 200, 300]), 10.0), 4.0);
        assert_eq!(largest_excess(&at(&[0, 1000, 2000, 2000]), 10.0), 2.0);
        let all = at(&[0, 1, 5, 9]);
        let end = all[0].at + Duration::from_millis(10);
        assert_eq!(spans(&all, all[0].at, end, Duration::from_millis(5)), [2, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_delays_of_a_change_end_with_its_modify_and_with_its_status() {
        let fleet = Fleet { in_sync: true, ..Fleet::DEFAULT };
        let mut cluster = TestCluster::new();
        cluster.install_in_sync(&[fleet]).await;
        cluster.start(cluster.clock.now());
        sleep(Duration::from_secs(10)).await;
        let first = [cluster.retarget(&fleet, 0, OTHER_TARGET)];
        sleep(Duration::from_secs(10)).await;
        let (to_cloud, to_ready) = (cluster.delays_to_cloud(&first), cluster.delays_to_ready(&first));
        assert!(to_cloud.percentile(99) < to_ready.percentile(99));
        assert!(to_ready.percentile(99) < Duration::from_secs(1));
        cluster.stop().await;
        let unseen = [cluster.retarget(&fleet, 0, "cn-shanghai")];
        assert_eq!(cluster.delays_to_cloud(&unseen).percentile(50), Duration::MAX);
    }
}
