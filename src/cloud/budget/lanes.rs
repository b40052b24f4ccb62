//! Which lane is served next where both have somebody who waits.

use crate::cloud::{Caller, Lane};

use super::queue::{Place, Queue};

/// Polling gets at least every so manieth permit.
const POLL_AT_LEAST: usize = 5;

/// Those who wait, each in the lane of its caller.
pub struct Lanes<W> {
    /// Before both lanes; each with whether it counts as a poll.
    follow_ups: Queue<(W, bool)>,
    fast: Queue<W>,
    slow: Queue<W>,
    /// Permits of the fast lane that polls waited for, less those that polls have had for them since.
    passed: usize,
}

impl<W> Default for Lanes<W> {
    fn default() -> Self {
        Self { follow_ups: Queue::default(), fast: Queue::default(), slow: Queue::default(), passed: 0 }
    }
}

impl<W> Lanes<W> {
    pub fn push(&mut self, caller: &Caller, waiter: W) -> Place {
        match caller.lane() {
            Lane::FollowUp { poll } => self.follow_ups.push(caller, (waiter, poll)),
            Lane::Begun | Lane::Change => self.fast.push(caller, waiter),
            Lane::Listing | Lane::Poll => self.slow.push(caller, waiter),
        }
    }

    /// `None` where its turn has been.
    pub fn remove(&mut self, place: &Place) -> Option<W> {
        match place.lane {
            Lane::FollowUp { .. } => self.follow_ups.remove(place).map(|(waiter, _)| waiter),
            Lane::Begun | Lane::Change => self.fast.remove(place),
            Lane::Listing | Lane::Poll => self.slow.remove(place),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.follow_ups.is_empty() && self.fast.is_empty() && self.slow.is_empty()
    }

    pub fn pop(&mut self) -> Option<W> {
        if let Some((waiter, poll)) = self.follow_ups.pop() {
            self.went(poll);
            return Some(waiter);
        }
        if self.fast.is_empty() {
            self.passed = 0;
            return self.slow.pop();
        }
        let poll = !self.slow.is_empty() && self.passed + 1 >= self.every();
        self.went(poll);
        if poll { self.slow.pop() } else { self.fast.pop() }
    }

    /// A permit of either lane goes to somebody.
    fn went(&mut self, poll: bool) {
        self.passed = match poll {
            true => self.passed.saturating_sub(self.every() - 1),
            false if !self.slow.is_empty() => self.passed + 1,
            // Nothing is owed to a poll for what went before it came.
            false => 0,
        };
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
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
