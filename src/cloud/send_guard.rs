//! Bounds one change of the cloud: when its requests may be sent, how long they may be in flight, and whether one may
//! have taken effect.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use tokio::time::Instant;

/// Decides whether a request may be sent: called after the budget has granted it, right before it is sent.
type MaySend = Box<dyn Fn() -> bool + Send + Sync>;
/// Gets the time of the first request; a request in flight is cancelled when the returned future resolves.
type Cancelled = Box<dyn Fn(Instant) -> BoxFuture<'static, ()> + Send + Sync>;

/// Guard of all requests of one attempt at a change. Waits for the budget, or for credentials, do not count.
pub struct SendGuard {
    may_send: MaySend,
    cancelled: Cancelled,
    progress: Mutex<SendProgress>,
}

/// State of an attempt.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendProgress {
    /// Time at which its first request was sent.
    pub first_sent: Option<Instant>,
    pub in_flight: bool,
    /// The guard refused the last request.
    pub refused: bool,
    /// A request was sent whose outcome is unknown.
    pub may_have_applied: bool,
}

impl SendGuard {
    pub fn new(
        may_send: impl Fn() -> bool + Send + Sync + 'static,
        cancelled: impl Fn(Instant) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        let (may_send, cancelled) = (Box::new(may_send), Box::new(cancelled));
        Self { may_send, cancelled, progress: Mutex::default() }
    }

    pub fn progress(&self) -> SendProgress {
        *self.lock()
    }

    /// Returns whether a request may be sent now, and records a refusal.
    pub(super) fn admits(&self) -> bool {
        let admits = (self.may_send)();
        self.lock().refused = !admits;
        admits
    }

    /// Sends a request; `is_certain` decides whether its outcome is known. `None` if it was cancelled.
    pub(super) async fn send<T>(
        &self,
        request: impl Future<Output = T>,
        is_certain: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        let now = Instant::now();
        let (first_sent, before) = {
            let mut progress = self.lock();
            let before = std::mem::replace(&mut progress.may_have_applied, true);
            progress.in_flight = true;
            (*progress.first_sent.get_or_insert(now), before)
        };
        let outcome = tokio::select! {
            biased;
            () = (self.cancelled)(first_sent) => None,
            outcome = request => Some(outcome),
        };
        let mut progress = self.lock();
        progress.in_flight = false;
        if outcome.as_ref().is_some_and(is_certain) {
            progress.may_have_applied = before;
        }
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, SendProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::time::{sleep, sleep_until};

    use super::*;

    /// Returns a guard that cancels requests 10 s after the first one was sent.
    fn guard() -> (SendGuard, Arc<AtomicBool>) {
        let open = Arc::new(AtomicBool::new(true));
        let may_send = open.clone();
        let ten = |first: Instant| sleep_until(first + Duration::from_secs(10)).boxed();
        (SendGuard::new(move || may_send.load(Ordering::Relaxed), ten), open)
    }

    #[tokio::test(start_paused = true)]
    async fn time_counts_from_the_first_request_and_what_was_not_sent_has_no_effect() {
        let (guard, open) = guard();
        sleep(Duration::from_secs(60)).await;
        open.store(false, Ordering::Relaxed);
        assert!(!guard.admits() && guard.progress().refused);
        assert!(guard.progress().first_sent.is_none() && !guard.progress().may_have_applied);
        open.store(true, Ordering::Relaxed);
        assert!(guard.admits() && !guard.progress().refused);
        let slow = async {
            sleep(Duration::from_secs(6)).await;
            assert!(guard.progress().in_flight && guard.progress().may_have_applied);
        };
        assert_eq!(guard.send(slow, |()| true).await, Some(()));
        assert!(!guard.progress().in_flight && !guard.progress().may_have_applied, "the outcome is certain");
        let began = Instant::now();
        assert_eq!(guard.send(pending::<()>(), |()| true).await, None);
        assert_eq!(began.elapsed(), Duration::from_secs(4));
        assert!(guard.progress().may_have_applied);
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_without_an_answer_keeps_the_attempt_in_doubt() {
        let (guard, _) = guard();
        for (certain, in_doubt) in [(true, false), (false, true), (true, true)] {
            assert_eq!(guard.send(ready(7), |_| certain).await, Some(7));
            assert_eq!(guard.progress().may_have_applied, in_doubt);
        }
    }
}
