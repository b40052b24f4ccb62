//! Which hosts of an account cannot be connected to, and when one of them can be again.
//!
//! A resource whose call had no connection waits for up to 5 minutes. That is right for each of them, and too long once the way is
//! open again. So one call to each such host is made every 10 to 20 s, and a connection wakes all that failed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two probes of a host, by chance.
const PROBE_EARLIEST: Duration = Duration::from_secs(10);
const PROBE_LATEST: Duration = Duration::from_secs(20);
/// A shorter outage changes nothing: backoffs are short by then, and a host that takes every other connection would leave none at all.
const BRIEF: Duration = Duration::from_secs(10);

/// The hosts to which the account's last call had no connection.
#[derive(Default)]
pub struct Outages(Mutex<State>);

#[derive(Default)]
struct State {
    hosts: HashMap<String, Outage>,
    news: Reachability,
}

struct Outage {
    began: Instant,
    /// A region whose calls go there.
    region: String,
    /// Once it is more than a brief one.
    next_probe: Option<Instant>,
}

/// What has changed for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reachability {
    #[default]
    Same,
    /// There has been no connection to a host for a while: it is to be probed.
    Lost,
    /// There is a connection again, after more than a brief outage.
    Regained,
}

impl Outages {
    /// A call to this host ended, and had a connection or none.
    pub(super) fn ended(&self, host: &str, region: &str, connected: bool) {
        let now = Instant::now();
        let State { hosts, news } = &mut *self.state();
        if connected {
            if hosts.remove(host).is_some_and(|outage| outage.next_probe.is_some()) {
                *news = Reachability::Regained;
            }
            return;
        }
        let begun = || Outage { began: now, region: region.to_owned(), next_probe: None };
        let outage = hosts.entry(host.to_owned()).or_insert_with(begun);
        if outage.next_probe.is_none() && now - outage.began >= BRIEF {
            outage.next_probe = Some(now + pause());
            *news = Reachability::Lost;
        }
    }

    /// What has changed since this was asked.
    pub fn news(&self) -> Reachability {
        std::mem::take(&mut self.state().news)
    }

    /// The regions whose hosts are to be probed now; the next probe of each is planned.
    pub fn due(&self) -> Vec<String> {
        let now = Instant::now();
        let mut state = self.state();
        let due = state.hosts.values_mut().filter(|outage| outage.next_probe.is_some_and(|at| at <= now));
        due.map(|outage| {
            outage.next_probe = Some(now + pause());
            outage.region.clone()
        })
        .collect()
    }

    /// When the next probe is due.
    pub fn next(&self) -> Option<Instant> {
        self.state().hosts.values().filter_map(|outage| outage.next_probe).min()
    }

    /// Other hosts are asked from now on.
    pub fn clear(&self) {
        self.state().hosts.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause() -> Duration {
    PROBE_EARLIEST + (PROBE_LATEST - PROBE_EARLIEST).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn ended(outages: &Outages, host: &str, region: &str, connected: bool) -> Reachability {
        outages.ended(host, region, connected);
        outages.news()
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_without_a_connection_is_probed_until_there_is_one() {
        let outages = Outages::default();
        assert_eq!(ended(&outages, "a", "cn-beijing", true), Reachability::Same);
        assert_eq!(outages.next(), None);
        assert_eq!(ended(&outages, "a", "cn-beijing", false), Reachability::Same);
        assert_eq!(outages.next(), None);
        advance(BRIEF).await;
        assert_eq!(ended(&outages, "a", "cn-shanghai", false), Reachability::Lost);
        assert_eq!(ended(&outages, "a", "cn-beijing", false), Reachability::Same);
        assert_eq!(ended(&outages, "b", "cn-guangzhou", true), Reachability::Same, "another host");
        for _ in 0..5 {
            assert!(outages.due().is_empty());
            let pause = outages.next().unwrap() - Instant::now();
            assert!((PROBE_EARLIEST..=PROBE_LATEST).contains(&pause), "{pause:?}");
            advance(pause).await;
            assert_eq!(outages.due(), ["cn-beijing"]);
        }
        assert_eq!(ended(&outages, "a", "cn-beijing", true), Reachability::Regained);
        assert_eq!(ended(&outages, "a", "cn-beijing", true), Reachability::Same);
        assert_eq!(outages.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_connects_now_and_then_wakes_nobody() {
        let outages = Outages::default();
        for _ in 0..100 {
            assert_eq!(ended(&outages, "a", "cn-beijing", false), Reachability::Same);
            advance(BRIEF - Duration::from_millis(1)).await;
            assert_eq!(ended(&outages, "a", "cn-beijing", false), Reachability::Same);
            assert_eq!(ended(&outages, "a", "cn-beijing", true), Reachability::Same);
        }
    }
}
