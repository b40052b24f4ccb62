//! How fast, and with how many calls at once, one account may ask its cloud, and whose call is the next.

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

/// The request budget of one account. Those who wait for it do so in two lanes, which share it where both have somebody. In
/// each they take turns: the namespaces first, within one of them its resources; the calls of one resource go in the order
/// of asking.
///
/// While anybody waits, one task drives: it alone watches the clock and what changes, and hands each permit to whom the
/// lanes name. So nobody else wakes before there is a permit for it, however many wait.
pub struct Budget {
    bucket: Mutex<Bucket>,
    waiting: Mutex<Waiting>,
    /// Tells the driver that there may be a reason to go on. It alone waits on it.
    changed: Notify,
    /// Calls in flight of all accounts of the process.
    process: Arc<Semaphore>,
    meter: AccountMeter,
    outages: Outages,
}

#[derive(Default)]
struct Waiting {
    lanes: Lanes<Take>,
    /// Whether there is a driver.
    driven: bool,
}

/// What is done with a permit. Never called or dropped while a lock is held: it may wake somebody, or leave a place.
type Take = Box<dyn FnOnce(Permit) + Send>;

impl Budget {
    /// Requests per second and burst, both at least 1; `process` bounds the calls in flight over all accounts.
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

    /// Has its waits and the calls that are made with it counted.
    pub fn counted(self, meter: AccountMeter) -> Self {
        Self { meter, ..self }
    }

    pub fn meter(&self) -> &AccountMeter {
        &self.meter
    }

    /// The hosts that the account's calls cannot connect to.
    pub fn outages(&self) -> &Outages {
        &self.outages
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

    /// Whether the cloud's throttling has held calls back at any time since then.
    pub fn was_paused_since(&self, since: Instant) -> bool {
        self.bucket().paused_until(since).is_some()
    }

    /// Waits for the right to send one request. The permit is held until its answer is there.
    pub async fn acquire(self: &Arc<Self>, caller: &Caller) -> Permit {
        if let Some(permit) = self.try_acquire(caller) {
            return permit.taken();
        }
        loop {
            let (sender, granted) = oneshot::channel();
            // Where nobody receives it any more, the permit is dropped, and so given back.
            let _place = self.when_granted(caller, move |permit| drop(sender.send(permit)));
            // A pause that began since it was granted holds it back as well.
            if let Ok(permit) = granted.await
                && self.paused_until().is_none()
            {
                return permit.taken();
            }
        }
    }

    /// The permit that the caller holds, unless the account is paused or it is another one's; else one that is there while
    /// nobody waits. It is given back where no call is made with it: see [`Caller::holding`].
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

    /// Takes a place among those who wait, without a task that does. At its turn the driver calls `take`, which must not
    /// block, with a permit. It is given back where no call is made with it: see [`Caller::holding`].
    ///
    /// A place takes 260 to 330 bytes, with the ticket. Its one allocation of its own is for what `take` captures.
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

    /// Hands out permits until nobody waits.
    async fn drive(self: Arc<Self>) {
        while self.is_awaited() {
            let Some(permit) = self.next().await else { continue };
            let take = self.waiting().lanes.pop();
            if let Some(take) = take {
                take(permit);
            }
        }
    }

    /// Whether somebody waits. Where nobody does, who comes next starts another driver.
    fn is_awaited(&self) -> bool {
        let mut waiting = self.waiting();
        waiting.driven = !waiting.lanes.is_empty();
        waiting.driven
    }

    /// The next permit, or `None` after a wait in which there was none. Only the driver asks for it.
    async fn next(self: &Arc<Self>) -> Option<Permit> {
        let next = self.bucket().next(Instant::now());
        match next {
            // Only now, so that an account that waits takes no room of the others.
            Next::Now => return self.permit(self.room().await?),
            Next::At(instant) => tokio::select! {
                () = sleep_until(instant) => {}
                () = self.changed.notified() => {}
            },
            Next::AfterAChange => self.changed.notified().await,
        }
        None
    }

    /// Room among the calls of all accounts, which who waits in turn for keeps its own turn; `None` once nobody waits here.
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

    /// A permit, if the bucket has one.
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

/// A place among those who wait. Dropped before its turn, it is left.
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
