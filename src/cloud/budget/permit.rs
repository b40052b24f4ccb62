//! The right to one request, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Budget;
use super::bucket::Flight;

/// The right to one request in flight. What its answer was is told by one of the methods; dropped without, as when the
/// caller gave up or there was no connection, it only ends the flight.
pub struct Permit {
    budget: Arc<Budget>,
    flight: Flight,
    /// Nothing was sent with it: who it was granted to may be gone before it takes it.
    unused: bool,
    _room: OwnedSemaphorePermit,
}

impl Permit {
    pub(super) fn new(budget: Arc<Budget>, flight: Flight, room: OwnedSemaphorePermit) -> Self {
        Self { budget, flight, unused: true, _room: room }
    }

    /// A request is sent with it, unless it is given back.
    pub(super) fn taken(self) -> Self {
        self.unused(false)
    }

    /// Nothing is sent with it until it is taken.
    pub(in crate::cloud) fn untaken(self) -> Self {
        self.unused(true)
    }

    fn unused(mut self, unused: bool) -> Self {
        self.unused = unused;
        self
    }

    pub(super) fn is_of(&self, budget: &Arc<Budget>) -> bool {
        Arc::ptr_eq(&self.budget, budget)
    }

    /// Nothing is sent after all, so that it costs nothing of the rate.
    pub fn give_back(self) {
        drop(self.untaken());
    }

    /// The cloud worked on the request, whatever it then said.
    pub fn accepted(self) {
        let sent = self.taken();
        sent.budget.bucket().accepted(sent.flight.epoch);
    }

    /// An answer came in time, but tells nothing of the rate: the cloud is unavailable.
    pub fn answered(self) {
        self.taken().budget.bucket().answered();
    }

    /// The cloud said that requests come too fast, and how long to wait, if it did.
    pub fn throttled(self, retry_after: Option<Duration>) {
        let sent = self.taken();
        sent.budget.bucket().throttled(sent.flight.epoch, retry_after, Instant::now());
    }

    /// No answer came in time.
    pub fn timed_out(self) {
        self.taken().budget.bucket().timed_out();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.bucket().landed(self.flight, self.unused, Instant::now());
        self.budget.changed.notify_one();
    }
}
