//! Tracks the hosts of an account that cannot be connected to, and when to probe them.
//!
//! A resource whose call had no connection backs off for up to 5 minutes. That is right for each of them, and too long
//! once the host is reachable again. So each such host gets one call every 10 to 20 s, and a connection triggers all
//! resources that failed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Range of the random interval between two probes of a host.
const PROBE_INTERVAL_MIN: Duration = Duration::from_secs(10);
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(20);
/// Duration from which an outage counts. After a shorter one backoffs are still short, and a host that accepts every
/// other connection would cancel them all.
const MIN_OUTAGE: Duration = Duration::from_secs(10);

/// Hosts to which the account's last call had no connection.
#[derive(Default)]
pub struct Outages(Mutex<State>);

#[derive(Default)]
struct State {
    hosts: HashMap<String, Outage>,
    take_change: Reachability,
}

struct Outage {
    began: Instant,
    /// A region whose calls go to the host.
    region: String,
    /// `None` while the outage is brief.
    next_probe: Option<Instant>,
}

/// Change of reachability that the account's other resources need to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reachability {
    #[default]
    Unchanged,
    /// A host has had no connection for a while and has to be probed.
    Lost,
    /// A host is reachable again after more than a brief outage.
    Regained,
}

impl Outages {
    /// Records the end of a call to this host, with or without a connection.
    pub(super) fn call_ended(&self, host: &str, region: &str, connected: bool) {
        let now = Instant::now();
        let State { hosts, take_change } = &mut *self.state();
        if connected {
            if hosts.remove(host).is_some_and(|outage| outage.next_probe.is_some()) {
                *take_change = Reachability::Regained;
            }
            return;
        }
        let begun = || Outage { began: now, region: region.to_owned(), next_probe: None };
        let outage = hosts.entry(host.to_owned()).or_insert_with(begun);
        if outage.next_probe.is_none() && now - outage.began >= MIN_OUTAGE {
            outage.next_probe = Some(now + probe_interval());
            *take_change = Reachability::Lost;
        }
    }

    /// Returns the change since the last query, and clears it.
    pub fn take_change(&self) -> Reachability {
        std::mem::take(&mut self.state().take_change)
    }

    /// Returns the regions whose hosts are due for a probe, and schedules the next probe of each.
    pub fn due(&self) -> Vec<String> {
        let now = Instant::now();
        let mut state = self.state();
        let due = state.hosts.values_mut().filter(|outage| outage.next_probe.is_some_and(|at| at <= now));
        due.map(|outage| {
            outage.next_probe = Some(now + probe_interval());
            outage.region.clone()
        })
        .collect()
    }

    /// Returns when the next probe is due.
    pub fn next(&self) -> Option<Instant> {
        self.state().hosts.values().filter_map(|outage| outage.next_probe).min()
    }

    /// Forgets all hosts, because calls go to other ones from now on.
    pub fn clear(&self) {
        self.state().hosts.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn probe_interval() -> Duration {
    PROBE_INTERVAL_MIN + (PROBE_INTERVAL_MAX - PROBE_INTERVAL_MIN).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn call_ended(outages: &Outages, host: &str, region: &str, connected: bool) -> Reachability {
        outages.call_ended(host, region, connected);
        outages.take_change()
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_without_a_connection_is_probed_until_there_is_one() {
        let outages = Outages::default();
        assert_eq!(call_ended(&outages, "a", "cn-beijing", true), Reachability::Unchanged);
        assert_eq!(outages.next(), None);
        assert_eq!(call_ended(&outages, "a", "cn-beijing", false), Reachability::Unchanged);
        assert_eq!(outages.next(), None);
        advance(MIN_OUTAGE).await;
        assert_eq!(call_ended(&outages, "a", "cn-shanghai", false), Reachability::Lost);
        assert_eq!(call_ended(&outages, "a", "cn-beijing", false), Reachability::Unchanged);
        assert_eq!(call_ended(&outages, "b", "cn-guangzhou", true), Reachability::Unchanged, "another host");
        for _ in 0..5 {
            assert!(outages.due().is_empty());
            let probe_interval = outages.next().unwrap() - Instant::now();
            assert!(
                (PROBE_INTERVAL_MIN..=PROBE_INTERVAL_MAX).contains(&probe_interval),
                "{probe_interval:?}"
            );
            advance(probe_interval).await;
            assert_eq!(outages.due(), ["cn-beijing"]);
        }
        assert_eq!(call_ended(&outages, "a", "cn-beijing", true), Reachability::Regained);
        assert_eq!(call_ended(&outages, "a", "cn-beijing", true), Reachability::Unchanged);
        assert_eq!(outages.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_connects_now_and_then_wakes_nobody() {
        let outages = Outages::default();
        for _ in 0..100 {
            assert_eq!(call_ended(&outages, "a", "cn-beijing", false), Reachability::Unchanged);
            advance(MIN_OUTAGE - Duration::from_millis(1)).await;
            assert_eq!(call_ended(&outages, "a", "cn-beijing", false), Reachability::Unchanged);
            assert_eq!(call_ended(&outages, "a", "cn-beijing", true), Reachability::Unchanged);
        }
    }
}
