//! How fast, and with how many calls at once, one account may ask its cloud, and whose call is the next.

mod bucket;
#[cfg(test)]
mod fair_tests;
mod queue;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};

use super::Caller;
use bucket::{Bucket, Next};
use queue::Queue;

/// The request budget of one account. Those who wait for it take turns: the namespaces first, within one of them its
/// resources; the calls of one resource go in the order of asking.
///
/// One of those who wait has the turn, whoever it is. It alone watches the clock and what changes, and grants a permit to
/// whom the queue names, until it is granted one itself and leaves the turn to another. So nobody else wakes before there
/// is a permit for it, however many wait.
pub struct Budget {
    bucket: Mutex<Bucket>,
    queue: Mutex<Queue<oneshot::Sender<Permit>>>,
    turn: tokio::sync::Mutex<()>,
    /// Tells the one that has the turn that there may be a reason to go on. It alone waits on it.
    changed: Notify,
    /// Calls in flight of all accounts of the process.
    process: Arc<Semaphore>,
}

impl Budget {
    /// Requests per second and burst, both at least 1; `process` bounds the calls in flight over all accounts.
    pub fn new(requests_per_second: u32, burst: u32, process: Arc<Semaphore>) -> Self {
        Self {
            bucket: Mutex::new(Bucket::new(requests_per_second, burst, Instant::now())),
            queue: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            process,
        }
    }

    /// Applies another rate and burst at once, also to those who wait. Pause and share stay.
    pub fn reconfigure(&self, requests_per_second: u32, burst: u32) {
        self.bucket().reconfigure(requests_per_second, burst, Instant::now());
        self.changed.notify_one();
    }

    /// Until when the cloud's throttling holds every call of the account back.
    pub fn paused_until(&self) -> Option<Instant> {
        self.bucket().paused_until(Instant::now())
    }

    /// Waits for the right to send one request. The permit is held until its answer is there.
    pub async fn acquire(self: &Arc<Self>, caller: &Caller) -> Permit {
        loop {
            let permit = self.granted(caller).await;
            // A pause that began since it was granted holds it back as well.
            if self.paused_until().is_none() {
                return permit.taken();
            }
        }
    }

    /// Waits in the queue for a permit.
    async fn granted(self: &Arc<Self>, caller: &Caller) -> Permit {
        let (sender, mut granted) = oneshot::channel();
        let _place = Place { budget: self, caller, ticket: self.queue().push(caller, sender) };
        let _turn = tokio::select! {
            biased;
            Ok(permit) = &mut granted => return permit,
            turn = self.turn.lock() => turn,
        };
        loop {
            if let Ok(permit) = granted.try_recv() {
                return permit;
            }
            let permit = self.next().await;
            if let Some(unclaimed) = self.grant(permit) {
                return unclaimed;
            }
        }
    }

    /// The next permit, as soon as there is one. Only the one that has the turn asks for it.
    async fn next(self: &Arc<Self>) -> Permit {
        loop {
            let next = self.bucket().next(Instant::now());
            match next {
                Next::Now => {
                    // Only now, so that an account that waits takes no room of the others. Nobody closes the semaphore.
                    let process = self.process.clone().acquire_owned().await.ok();
                    if let Some(epoch) = self.bucket().take(Instant::now()) {
                        return Permit { budget: self.clone(), epoch, unused: true, _process: process };
                    }
                }
                Next::At(instant) => tokio::select! {
                    () = sleep_until(instant) => {}
                    () = self.changed.notified() => {}
                },
                Next::AfterAChange => self.changed.notified().await,
            }
        }
    }

    /// Gives the permit to the next in the queue that still wants it; gives it back where nobody does.
    fn grant(&self, mut permit: Permit) -> Option<Permit> {
        loop {
            let next = self.queue().pop();
            let Some(next) = next else { return Some(permit) };
            match next.send(permit) {
                Ok(()) => return None,
                Err(refused) => permit = refused,
            }
        }
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Permit>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue, which who gives up waiting leaves.
struct Place<'a> {
    budget: &'a Budget,
    caller: &'a Caller,
    ticket: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let left = self.budget.queue().remove(self.caller, self.ticket);
        // Not while the queue is locked: it may wake somebody.
        drop(left);
    }
}

/// The right to one request in flight. What its answer was is told by one of the methods; dropped without, as when
/// the caller gave up or there was no connection, it only ends the flight.
pub struct Permit {
    budget: Arc<Budget>,
    epoch: u64,
    /// Nothing was sent with it: who it was granted to may be gone before it takes it.
    unused: bool,
    _process: Option<OwnedSemaphorePermit>,
}

impl Permit {
    fn taken(mut self) -> Self {
        self.unused = false;
        self
    }

    /// Nothing is sent after all, so that it costs nothing of the rate.
    pub fn give_back(mut self) {
        self.unused = true;
    }

    /// The cloud worked on the request, whatever it then said.
    pub fn accepted(self) {
        self.budget.bucket().accepted(self.epoch);
    }

    /// An answer came in time, but tells nothing of the rate: the cloud is unavailable.
    pub fn answered(self) {
        self.budget.bucket().answered();
    }

    /// The cloud said that requests come too fast, and how long to wait, if it did.
    pub fn throttled(self, retry_after: Option<Duration>) {
        self.budget.bucket().throttled(self.epoch, retry_after, Instant::now());
    }

    /// No answer came in time.
    pub fn timed_out(self) {
        self.budget.bucket().timed_out();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.bucket().landed(self.unused.then_some(self.epoch), Instant::now());
        self.budget.changed.notify_one();
    }
}
