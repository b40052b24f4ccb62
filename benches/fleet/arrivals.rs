//! Records the arrival times of calls at the simulated cloud.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cloud_simulator::Simulator;
use jiff::{SignedDuration, Timestamp};

pub const MODIFY: &str = "ModifyCrossRegionBackupPolicy";

/// Window lengths over which the request budget is checked, in seconds.
const WINDOWS: [f64; 10] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0];

#[derive(Clone, Debug)]
pub struct Arrival {
    pub at: Timestamp,
    pub action: String,
    pub instance: Option<String>,
    key: Option<String>,
}

/// All calls since the start, in order of arrival.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Mutex<Vec<Arrival>>>);

impl Arrivals {
    /// Records until the simulator ends, and keeps only the needed fields of each request: there are many.
    pub fn of(cloud: &Simulator) -> Self {
        let arrivals = Self::default();
        let (kept, mut requests) = (arrivals.clone(), cloud.listen());
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                kept.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arrival {
                    at: request.at,
                    action: request.action.unwrap_or_default(),
                    instance: request.instance_id,
                    key: request.access_key_id,
                });
            }
        });
        arrivals
    }

    /// Returns the calls signed with this key that arrived in the window, in order of arrival.
    pub fn within(&self, key: &str, from: Timestamp, to: Timestamp) -> Vec<Arrival> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |a: &&Arrival| from <= a.at && a.at < to && a.key.as_deref() == Some(key);
        let mut found: Vec<_> = all.iter().filter(wanted).cloned().collect();
        found.sort_by_key(|arrival| arrival.at);
        found
    }
}

pub fn by_action(arrivals: &[Arrival]) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for arrival in arrivals {
        *counted.entry(arrival.action.clone()).or_default() += 1;
    }
    counted
}

/// Returns the largest number of calls that arrived within any one second.
pub fn most_in_a_second(arrivals: &[Arrival]) -> usize {
    most_within(arrivals, 1.0)
}

/// Returns by how many requests the fullest window exceeds the budget; negative where none does.
pub fn excess(arrivals: &[Arrival], rate: f64, burst: f64) -> f64 {
    let excess = |window: f64| most_within(arrivals, window) as f64 - (rate * window + burst);
    WINDOWS.into_iter().map(excess).fold(f64::NEG_INFINITY, f64::max)
}

fn most_within(arrivals: &[Arrival], seconds: f64) -> usize {
    let window = SignedDuration::from_secs_f64(seconds);
    let mut first = 0;
    let mut most = 0;
    for (last, arrival) in arrivals.iter().enumerate() {
        while arrival.at.duration_since(arrivals[first].at) >= window {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}
