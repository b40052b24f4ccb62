//! Request budget of one cloud account: its rate limit, its limit on calls in flight, and the order in which waiting
//! calls are sent.

mod bucket;
#[cfg(test)]
mod fair_tests;
#[cfg(test)]
mod lane_tests;
mod lanes;
mod permit;
mod queue;
#[cfg(test)]
mod rate_tests;
#[cfg(test)]
mod tests;

use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};

use super::{Caller, Lane, Outages};
use crate::metrics::{AccountMeter, Priority};
use bucket::{Bucket, Next};
use lanes::Lanes;
use queue::Place;

pub use permit::Permit;

/// Request budget of one account. Follow-up calls go first. All other waiting calls queue as changes or as polls, which
/// share the budget while both have waiters. Each queue is round-robin over namespaces, then over the resources of a
/// namespace; the calls of one resource are FIFO.
///
/// While calls wait, one driver task watches the clock and the state of the bucket, and hands each permit to the next
/// waiter. No other task wakes before there is a permit for it, however many wait.
pub struct Budget {
    bucket: Mutex<Bucket>,
    waiting: Mutex<Waiting>,
    /// Wakes the driver, its only listener, when the state that it waits for may have changed.
    changed: Notify,
    /// Limit on the calls in flight over all accounts of the process.
    process: Arc<Semaphore>,
    meter: AccountMeter,
    outages: Outages,
}

#[derive(Default)]
struct Waiting {
    lanes: Lanes<Take>,
    /// Whether a driver task runs.
    driven: bool,
}

/// Callback that receives a waiter's permit. Never called or dropped while a lock is held: it may wake a task, or drop
/// a [`Ticket`], which takes the lock.
type Take = Box<dyn FnOnce(Permit) + Send>;

impl Budget {
    /// Creates a full budget. Requests per second and burst are at least 1; `process` bounds the calls in flight over
    /// all accounts.
    pub fn new(requests_per_second: u32, burst: u32, process: Arc<Semaphore>) -> Self {
        Self {
            bucket: Mutex::new(Bucket::new(requests_per_second, burst, Instant::now())),
            waiting: Mutex::default(),
            changed: Notify::new(),
            process,
            meter: AccountMeter::default(),
            outages: Outages::default(),
        }
    }

    /// Records the budget's waits and the calls made with it in `meter`.
    pub fn counted(self, meter: AccountMeter) -> Self {
        Self { meter, ..self }
    }

    pub fn meter(&self) -> &AccountMeter {
        &self.meter
    }

    /// Returns the hosts that the account's calls cannot connect to.
    pub fn outages(&self) -> &Outages {
        &self.outages
    }

    /// Applies a new rate and burst at once, also to waiting calls. A pause and the reduced share of the rate stay.
    pub fn reconfigure(&self, requests_per_second: u32, burst: u32) {
        self.bucket().reconfigure(requests_per_second, burst, Instant::now());
        self.changed.notify_one();
    }

    /// Returns the end of the current pause after throttling, during which no call of the account is sent.
    pub fn paused_until(&self) -> Option<Instant> {
        self.bucket().paused_until(Instant::now())
    }

    /// Returns whether a pause after throttling was in force at any time since `since`.
    pub fn was_paused_since(&self, since: Instant) -> bool {
        self.bucket().paused_until(since).is_some()
    }

    /// Waits for a permit to send one request. The caller holds it until the response has arrived.
    pub async fn acquire(self: &Arc<Self>, caller: &Caller) -> Permit {
        if let Some(permit) = self.try_acquire(caller) {
            return permit.taken();
        }
        loop {
            let (sender, granted) = oneshot::channel();
            // If the receiver is gone, `send` drops the permit, which returns its token.
            let _place = self.when_granted(caller, move |permit| drop(sender.send(permit)));
            // A pause that began after the grant holds this call back as well.
            if let Ok(permit) = granted.await
                && self.paused_until().is_none()
            {
                return permit.taken();
            }
        }
    }

    /// Returns the permit that the caller holds, unless the account is paused or the permit belongs to another
    /// account's budget; otherwise a free permit, if no call waits. A permit with which no call is made returns its
    /// token: see [`Caller::holding`].
    pub fn try_acquire(self: &Arc<Self>, caller: &Caller) -> Option<Permit> {
        let held = caller.take_held();
        if held.as_ref().is_some_and(|held| held.is_of(self)) && self.paused_until().is_none() {
            return held;
        }
        drop(held);
        if !self.waiting().lanes.is_empty() || !matches!(self.bucket().next(Instant::now()), Next::Now) {
            return None;
        }
        let permit = self.permit(self.process.clone().try_acquire_owned().ok()?)?;
        self.meter.waited(priority(caller), Duration::ZERO);
        Some(permit)
    }

    /// Queues a waiter that needs no task of its own: when its turn comes, the driver calls `take` with a permit.
    /// `take` must not block. A permit with which no call is made returns its token: see [`Caller::holding`].
    ///
    /// A waiter takes 260 to 330 bytes, the returned handle included. Its only separate allocation is for what `take`
    /// captures.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn when_granted(
        self: &Arc<Self>,
        caller: &Caller,
        take: impl FnOnce(Permit) + Send + 'static,
    ) -> Ticket {
        let (meter, priority, since) = (self.meter.clone(), priority(caller), Instant::now());
        let take = Box::new(move |permit| {
            meter.waited(priority, since.elapsed());
            take(permit);
        });
        let mut waiting = self.waiting();
        let place = waiting.lanes.push(caller, take);
        let driven = mem::replace(&mut waiting.driven, true);
        drop(waiting);
        if !driven {
            tokio::spawn(self.clone().drive());
        }
        Ticket { budget: self.clone(), place }
    }

    /// Hands out permits until no call waits.
    async fn drive(self: Arc<Self>) {
        while self.is_awaited() {
            let Some(permit) = self.next().await else { continue };
            let take = self.waiting().lanes.pop();
            if let Some(take) = take {
                take(permit);
            }
        }
    }

    /// Returns whether a call waits. If none does, the driver ends, and the next waiter starts a new one.
    fn is_awaited(&self) -> bool {
        let mut waiting = self.waiting();
        waiting.driven = !waiting.lanes.is_empty();
        waiting.driven
    }

    /// Waits for the next permit; `None` means that the wait ended without one. Only the driver calls it.
    async fn next(self: &Arc<Self>) -> Option<Permit> {
        let next = self.bucket().next(Instant::now());
        match next {
            // Acquired last, so that an account that waits for its rate takes no slot from the others.
            Next::Now => return self.permit(self.room().await?),
            Next::At(instant) => tokio::select! {
                () = sleep_until(instant) => {}
                () = self.changed.notified() => {}
            },
            Next::AfterAChange => self.changed.notified().await,
        }
        None
    }

    /// Waits for a slot among the calls in flight of all accounts, keeping its position in that semaphore's queue;
    /// `None` once no call of this account waits.
    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        let mut room = pin!(self.process.clone().acquire_owned());
        loop {
            tokio::select! {
                biased;
                room = &mut room => return room.ok(),
                () = self.changed.notified() => if self.waiting().lanes.is_empty() {
                    return None;
                },
            }
        }
    }

    /// Takes a token, if the bucket has one.
    fn permit(self: &Arc<Self>, room: OwnedSemaphorePermit) -> Option<Permit> {
        let flight = self.bucket().take(Instant::now())?;
        Some(Permit::new(self.clone(), flight, room))
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn priority(caller: &Caller) -> Priority {
    match caller.lane() {
        Lane::FollowUp { .. } | Lane::Begun | Lane::Change => Priority::Change,
        Lane::Listing | Lane::Poll => Priority::Poll,
    }
}

/// A call that waits for a permit. Dropping it before the grant removes the call from the queue.
#[must_use = "a place is left when its ticket is dropped"]
pub struct Ticket {
    budget: Arc<Budget>,
    place: Place,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut waiting = self.budget.waiting();
        let left = waiting.lanes.remove(&self.place);
        let last = left.is_some() && waiting.lanes.is_empty();
        drop(waiting);
        if last {
            self.budget.changed.notify_one();
        }
    }
}
