//! Records with a watch when each policy becomes Ready: polling would cost more than what is measured.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cross_region_backup_operator::api::CrossRegionBackupPolicy;
use futures::StreamExt;
use jiff::Timestamp;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::time::{Instant, sleep};

/// Interval of the checks in [`Readiness::since`]. It does not affect the recorded times, which the watch task takes.
const PAUSE: Duration = Duration::from_millis(100);

/// Last generation that became Ready, and when the watch reported it, by policy name.
type Seen = BTreeMap<String, (i64, Timestamp)>;

#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<Seen>>);

impl Readiness {
    /// Watches until the process ends.
    pub fn of(policies: Api<CrossRegionBackupPolicy>) -> Self {
        let readiness = Self::default();
        let watched = readiness.clone();
        tokio::spawn(async move {
            let mut changes =
                watcher(policies, watcher::Config::default()).default_backoff().applied_objects().boxed();
            while let Some(change) = changes.next().await {
                let Ok(policy) = change else { continue };
                let Some(generation) = ready_generation(&policy) else { continue };
                let mut seen = watched.seen();
                let last = seen.entry(policy.name_any()).or_default();
                if last.0 < generation {
                    *last = (generation, Timestamp::now());
                }
            }
        });
        readiness
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all these generations, or later ones, are Ready, at most for `limit`; returns when each became Ready, `None`
    /// where it is not yet.
    pub async fn since(&self, wanted: &[(String, i64)], limit: Duration) -> Vec<Option<Timestamp>> {
        let deadline = Instant::now() + limit;
        loop {
            let since: Vec<_> = {
                let seen = self.seen();
                let ready = |(name, generation): &(String, i64)| {
                    seen.get(name).filter(|(last, _)| last >= generation).map(|(_, at)| *at)
                };
                wanted.iter().map(ready).collect()
            };
            if since.iter().all(Option::is_some) || Instant::now() >= deadline {
                return since;
            }
            sleep(PAUSE).await;
        }
    }
}

fn ready_generation(policy: &CrossRegionBackupPolicy) -> Option<i64> {
    let (generation, status) = (policy.metadata.generation?, policy.status.as_ref()?);
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready")?;
    let present = [status.observed_generation, ready.observed_generation] == [Some(generation); 2];
    (present && ready.status == "True").then_some(generation)
}
