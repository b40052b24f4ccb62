//! Request budget of one cloud account: its rate limit, its limit on calls in flight, and the order in which waiting
//! calls are sent.

mod bucket;
#[cfg(test)]
mod fairness_tests;
mod permit;
mod priority_queues;
mod queue;
#[cfg(test)]
mod rate_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod waiter_tests;

use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};

use super::{CallContext, Outages, Priority};
use crate::metrics::{AccountMeter, PriorityLabel};
use bucket::{Bucket, NextCall};
use priority_queues::PriorityQueues;
use queue::QueuePosition;

pub use permit::Permit;

/// Request budget of one account. Follow-up calls go first. All other waiting calls queue as changes or as polls, which
/// share the budget while both have waiters. Each queue is round-robin over namespaces, then over the resources of a
/// namespace; the calls of one resource are FIFO.
///
/// While calls wait, one driver task watches the clock and the state of the bucket, and hands each permit to the next
/// waiter. No other task wakes before there is a permit for it, however many wait.
pub struct Budget {
    bucket: Mutex<Bucket>,
    waiting: Mutex<WaitState>,
    /// Wakes the driver, its only listener, when the state that it waits for may have changed.
    changed: Notify,
    /// Limit on the calls in flight over all accounts of the process.
    process: Arc<Semaphore>,
    meter: AccountMeter,
    outages: Outages,
}

#[derive(Default)]
struct WaitState {
    lanes: PriorityQueues<OnGrant>,
    /// Whether a driver task runs.
    has_driver: bool,
}

/// Callback that receives a waiter's permit. Never called or dropped while a lock is held: it may wake a task, or drop
/// a [`Waiter`], which takes the lock.
type OnGrant = Box<dyn FnOnce(Permit) + Send>;

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
    pub fn with_meter(self, meter: AccountMeter) -> Self {
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
    pub async fn acquire(self: &Arc<Self>, call_context: &CallContext) -> Permit {
        if let Some(permit) = self.try_acquire(call_context) {
            return permit.mark_used();
        }
        loop {
            let (sender, granted) = oneshot::channel();
            // If the receiver is gone, `send` drops the permit, which returns its token.
            let _place = self.when_granted(call_context, move |permit| drop(sender.send(permit)));
            // A pause that began after the grant holds this call back as well.
            if let Ok(permit) = granted.await
                && self.paused_until().is_none()
            {
                return permit.mark_used();
            }
        }
    }

    /// Returns the permit that the caller holds, unless the account is paused or the permit belongs to another
    /// account's budget; otherwise a free permit, if no call waits. A permit with which no call is made returns its
    /// token: see [`CallContext::with_permit`].
    pub fn try_acquire(self: &Arc<Self>, call_context: &CallContext) -> Option<Permit> {
        let held = call_context.take_permit();
        if held.as_ref().is_some_and(|held| held.belongs_to(self)) && self.paused_until().is_none() {
            return held;
        }
        drop(held);
        if !self.waiting().lanes.is_empty() || !matches!(self.bucket().next(Instant::now()), NextCall::Now) {
            return None;
        }
        let permit = self.permit(self.process.clone().try_acquire_owned().ok()?)?;
        self.meter.record_wait(priority_label(call_context), Duration::ZERO);
        Some(permit)
    }

    /// Queues a waiter that needs no task of its own: when its turn comes, the driver calls `take` with a permit.
    /// `take` must not block. A permit with which no call is made returns its token: see [`CallContext::with_permit`].
    ///
    /// A waiter takes 260 to 330 bytes, the returned handle included. Its only separate allocation is for what `take`
    /// captures.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn when_granted(
        self: &Arc<Self>,
        call_context: &CallContext,
        take: impl FnOnce(Permit) + Send + 'static,
    ) -> Waiter {
        let (meter, priority_label, since) =
            (self.meter.clone(), priority_label(call_context), Instant::now());
        let take = Box::new(move |permit| {
            meter.record_wait(priority_label, since.elapsed());
            take(permit);
        });
        let mut waiting = self.waiting();
        let position = waiting.lanes.push(call_context, take);
        let has_driver = mem::replace(&mut waiting.has_driver, true);
        drop(waiting);
        if !has_driver {
            tokio::spawn(self.clone().drive());
        }
        Waiter { budget: self.clone(), position }
    }

    /// Hands out permits until no call waits.
    async fn drive(self: Arc<Self>) {
        while self.has_waiters() {
            let Some(permit) = self.next().await else { continue };
            let take = self.waiting().lanes.pop();
            if let Some(take) = take {
                take(permit);
            }
        }
    }

    /// Returns whether a call waits. If none does, the driver ends, and the next waiter starts a new one.
    fn has_waiters(&self) -> bool {
        let mut waiting = self.waiting();
        waiting.has_driver = !waiting.lanes.is_empty();
        waiting.has_driver
    }

    /// Waits for the next permit; `None` means that the wait ended without one. Only the driver calls it.
    async fn next(self: &Arc<Self>) -> Option<Permit> {
        let next = self.bucket().next(Instant::now());
        match next {
            // Acquired last, so that an account that waits for its rate takes no slot from the others.
            NextCall::Now => return self.permit(self.slot().await?),
            NextCall::At(instant) => tokio::select! {
                () = sleep_until(instant) => {}
                () = self.changed.notified() => {}
            },
            NextCall::OnChange => self.changed.notified().await,
        }
        None
    }

    /// Waits for a slot among the calls in flight of all accounts, keeping its position in that semaphore's queue;
    /// `None` once no call of this account waits.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let mut slot = pin!(self.process.clone().acquire_owned());
        loop {
            tokio::select! {
                biased;
                slot = &mut slot => return slot.ok(),
                () = self.changed.notified() => if self.waiting().lanes.is_empty() {
                    return None;
                },
            }
        }
    }

    /// Takes a token, if the bucket has one.
    fn permit(self: &Arc<Self>, slot: OwnedSemaphorePermit) -> Option<Permit> {
        let flight = self.bucket().take(Instant::now())?;
        Some(Permit::new(self.clone(), flight, slot))
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, WaitState> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn priority_label(call_context: &CallContext) -> PriorityLabel {
    match call_context.priority() {
        Priority::FollowUp { .. } | Priority::InProgress | Priority::Change => PriorityLabel::Change,
        Priority::Listing | Priority::Poll => PriorityLabel::Poll,
    }
}

/// A call that waits for a permit. Dropping it before the grant removes the call from the queue.
#[must_use = "a place is left when its ticket is dropped"]
pub struct Waiter {
    budget: Arc<Budget>,
    position: QueuePosition,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.budget.waiting();
        let left = waiting.lanes.remove(&self.position);
        let last = left.is_some() && waiting.lanes.is_empty();
        drop(waiting);
        if last {
            self.budget.changed.notify_one();
        }
    }
}
