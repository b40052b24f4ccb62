//! Permit for one request to a cloud; reports the outcome of the request to the rate limit.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Budget;
use super::bucket::TakenToken;

/// Permit for one request in flight. One of the methods reports the outcome; dropped without one, as when the caller
/// gave up or the connection failed, it only releases the slot.
pub struct Permit {
    budget: Arc<Budget>,
    flight: TakenToken,
    /// Whether no request was sent with it: the waiter may be gone before it takes its permit.
    unused: bool,
    _slot: OwnedSemaphorePermit,
}

impl Permit {
    pub(super) fn new(budget: Arc<Budget>, flight: TakenToken, slot: OwnedSemaphorePermit) -> Self {
        Self { budget, flight, unused: true, _slot: slot }
    }

    /// Marks the permit as used by a request, unless it is given back later.
    pub(super) fn mark_used(self) -> Self {
        self.unused(false)
    }

    /// Marks the permit as unused until a request uses it.
    pub(in crate::cloud) fn mark_unused(self) -> Self {
        self.unused(true)
    }

    fn unused(mut self, unused: bool) -> Self {
        self.unused = unused;
        self
    }

    pub(super) fn belongs_to(&self, budget: &Arc<Budget>) -> bool {
        Arc::ptr_eq(&self.budget, budget)
    }

    /// Returns the permit without a request, so that it costs nothing of the rate.
    pub fn give_back(self) {
        drop(self.mark_unused());
    }

    /// Reports that the cloud processed the request, with success or with an error.
    pub fn accepted(self) {
        let sent = self.mark_used();
        sent.budget.bucket().accepted(sent.flight.pause_epoch);
    }

    /// Reports a response in time that carries no information about the rate: the cloud is unavailable.
    pub fn answered(self) {
        self.mark_used().budget.bucket().answered();
    }

    /// Reports that the cloud throttled the request, with the delay that it asked for, if any.
    pub fn throttled(self, retry_after: Option<Duration>) {
        let sent = self.mark_used();
        sent.budget.bucket().throttled(sent.flight.pause_epoch, retry_after, Instant::now());
    }

    /// Reports that no response arrived in time.
    pub fn timed_out(self) {
        self.mark_used().budget.bucket().timed_out();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.bucket().release(self.flight, self.unused, Instant::now());
        self.budget.changed.notify_one();
    }
}
