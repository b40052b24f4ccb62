//! Requeue timers of policies that wait for nothing else. kube's own queue could requeue them, but holds two references
//! to each object, in a map and a slab: several times the memory that a timer takes here.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::domain::ObjectKey;

#[derive(Default)]
pub struct RequeueTimers {
    set: Mutex<BTreeSet<(Instant, Arc<ObjectKey>)>>,
    /// Notified when a timer is set that fires before all others.
    sooner: Notify,
}

/// Timer of one policy; dropping it cancels it.
#[must_use = "a timer that is dropped does not fire"]
pub struct RequeueTimer {
    timers: Arc<RequeueTimers>,
    at: Instant,
    object_key: Arc<ObjectKey>,
}

impl Drop for RequeueTimer {
    fn drop(&mut self) {
        self.timers.lock().remove(&(self.at, self.object_key.clone()));
    }
}

impl RequeueTimers {
    pub fn set(self: &Arc<Self>, object_key: &Arc<ObjectKey>, after: Duration) -> RequeueTimer {
        let now = Instant::now();
        // The cap of kube's queue, which would not wait longer either.
        let at = now + after.min(Duration::from_secs(180 * 24 * 3600));
        let mut set = self.lock();
        let is_first = set.first().is_none_or(|(first, _)| at < *first);
        set.insert((at, object_key.clone()));
        drop(set);
        if is_first {
            self.sooner.notify_one();
        }
        RequeueTimer { timers: self.clone(), at, object_key: object_key.clone() }
    }

    /// Calls `trigger` for each timer that is due; never returns.
    pub async fn fire(&self, trigger: impl Fn(&ObjectKey)) {
        loop {
            let first = self.lock().first().map(|(at, _)| *at);
            let due = async {
                match first {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.sooner.notified() => continue,
                () = due => {}
            }
            let now = Instant::now();
            while let Some(object_key) = self.due(now) {
                trigger(&object_key);
            }
        }
    }

    fn due(&self, now: Instant) -> Option<Arc<ObjectKey>> {
        let mut set = self.lock();
        let is_due = set.first().is_some_and(|(at, _)| *at <= now);
        if is_due { set.pop_first().map(|(_, object_key)| object_key) } else { None }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(Instant, Arc<ObjectKey>)>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_rings_at_its_time_unless_it_was_dropped_before() {
        let timers = Arc::new(RequeueTimers::default());
        let rung = Arc::new(Mutex::new(Vec::new()));
        let (ringing, told, began) = (timers.clone(), rung.clone(), Instant::now());
        let task = tokio::spawn(async move {
            ringing
                .fire(|object_key| {
                    told.lock().unwrap().push((object_key.name().to_string(), began.elapsed().as_secs()))
                })
                .await;
        });
        let set =
            |name: &str, seconds| timers.set(&ObjectKey::new(name, "a", name), Duration::from_secs(seconds));
        let (_late, twin, _same) = (set("late", 60), set("twin", 60), set("same", 60));
        sleep(Duration::from_secs(1)).await;
        let _soon = set("soon", 10);
        let dropped = set("dropped", 5);
        drop((dropped, twin));
        sleep(Duration::from_secs(100)).await;
        let _again = set("again", 0);
        sleep(Duration::from_secs(1)).await;
        let expected = [("soon", 11), ("late", 60), ("same", 60), ("again", 101)];
        assert_eq!(*rung.lock().unwrap(), expected.map(|(name, at)| (name.to_owned(), at)));
        assert!(timers.lock().is_empty());
        task.abort();
    }
}
