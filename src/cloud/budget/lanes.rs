//! Queues of waiting calls by priority, and the choice between changes and polls while both wait.

use crate::cloud::{Caller, Lane};

use super::queue::{Place, Queue};

/// Maximum n where polls get every nth permit, so that they get at least a fifth.
const POLL_AT_LEAST: usize = 5;

/// All waiting calls of an account, each in the queue of its priority.
pub struct Lanes<W> {
    /// Served before both other queues; each waiter with whether it counts as a poll.
    follow_ups: Queue<(W, bool)>,
    fast: Queue<W>,
    slow: Queue<W>,
    /// Permits granted to changes while polls waited, less those repaid by permits granted to polls since.
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

    /// Removes a waiter; `None` if it was popped before.
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

    /// Accounts for a granted permit.
    fn went(&mut self, poll: bool) {
        self.passed = match poll {
            true => self.passed.saturating_sub(self.every() - 1),
            false if !self.slow.is_empty() => self.passed + 1,
            // Polls get no credit for permits granted before they waited.
            false => 0,
        };
    }

    /// Returns n, where polls get every nth permit: polls get as much as one namespace with changes, so that a
    /// namespace with changes gets at most half, and the polls of other namespaces do not wait for its changes.
    ///
    /// A single namespace delays no polls but its own, so that its changes get most permits: 5 changes a second of 3
    /// calls each must fit into 20 requests a second, of which half would be too few.
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
