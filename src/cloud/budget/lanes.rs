//! Which lane is served next where both have somebody who waits.

use crate::cloud::{Caller, Lane};

use super::queue::{Place, Queue};

/// Polling gets at least every so manieth permit.
const POLL_AT_LEAST: usize = 5;

/// Those who wait, each in the lane of its caller.
pub struct Lanes<W> {
    fast: Queue<W>,
    slow: Queue<W>,
    /// Permits of the fast lane since the last of the slow one, as far as a poll waited for them.
    passed: usize,
}

impl<W> Default for Lanes<W> {
    fn default() -> Self {
        Self { fast: Queue::default(), slow: Queue::default(), passed: 0 }
    }
}

impl<W> Lanes<W> {
    pub fn push(&mut self, caller: &Caller, waiter: W) -> Place {
        self.lane(caller.lane()).push(caller, waiter)
    }

    /// `None` where its turn has been.
    pub fn remove(&mut self, place: &Place) -> Option<W> {
        self.lane(place.lane).remove(place)
    }

    pub fn is_empty(&self) -> bool {
        self.fast.is_empty() && self.slow.is_empty()
    }

    pub fn pop(&mut self) -> Option<W> {
        let polls = !self.slow.is_empty();
        if self.fast.is_empty() || polls && self.passed + 1 >= self.every() {
            self.passed = 0;
            return self.slow.pop();
        }
        // Nothing is owed to a poll for what went before it came.
        self.passed = if polls { self.passed + 1 } else { 0 };
        self.fast.pop()
    }

    /// Polling gets every so manieth permit: as often as one namespace with changes, so that each of these gets at most half,
    /// and other namespaces' polls do not wait for the changes of one.
    ///
    /// A namespace alone holds up nobody's polls but its own, so that its changes get most: 5 a second of 3 calls each are
    /// to fit into 20 requests a second, of which half would be too few.
    fn every(&self) -> usize {
        if self.fast.only_namespace().is_some_and(|alone| self.slow.only_namespace() == Some(alone)) {
            POLL_AT_LEAST
        } else {
            (self.fast.namespaces() + 1).min(POLL_AT_LEAST)
        }
    }

    fn lane(&mut self, lane: Lane) -> &mut Queue<W> {
        if matches!(lane, Lane::Poll | Lane::Listing) { &mut self.slow } else { &mut self.fast }
    }
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
