//! Queues of waiting calls by priority, and the choice between changes and polls while both wait.

use crate::cloud::{CallContext, Priority};

use super::queue::{Queue, QueuePosition};

/// Maximum n where polls get every nth permit, so that they get at least a fifth.
const MAX_PERMITS_PER_POLL: usize = 5;

/// All waiting calls of an account, each in the queue of its priority.
pub struct PriorityQueues<W> {
    /// Served before both other queues; each waiter with whether it counts as a poll.
    follow_ups: Queue<(W, bool)>,
    changes: Queue<W>,
    polls: Queue<W>,
    /// Permits granted to changes while polls waited, less those repaid by permits granted to polls since.
    poll_credit: usize,
}

impl<W> Default for PriorityQueues<W> {
    fn default() -> Self {
        Self {
            follow_ups: Queue::default(),
            changes: Queue::default(),
            polls: Queue::default(),
            poll_credit: 0,
        }
    }
}

impl<W> PriorityQueues<W> {
    pub fn push(&mut self, call_context: &CallContext, waiter: W) -> QueuePosition {
        match call_context.priority() {
            Priority::FollowUp { poll } => self.follow_ups.push(call_context, (waiter, poll)),
            Priority::InProgress | Priority::Change => self.changes.push(call_context, waiter),
            Priority::Listing | Priority::Poll => self.polls.push(call_context, waiter),
        }
    }

    /// Removes a waiter; `None` if it was popped before.
    pub fn remove(&mut self, position: &QueuePosition) -> Option<W> {
        match position.priority {
            Priority::FollowUp { .. } => self.follow_ups.remove(position).map(|(waiter, _)| waiter),
            Priority::InProgress | Priority::Change => self.changes.remove(position),
            Priority::Listing | Priority::Poll => self.polls.remove(position),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.follow_ups.is_empty() && self.changes.is_empty() && self.polls.is_empty()
    }

    pub fn pop(&mut self) -> Option<W> {
        if let Some((waiter, poll)) = self.follow_ups.pop() {
            self.record_grant(poll);
            return Some(waiter);
        }
        if self.changes.is_empty() {
            self.poll_credit = 0;
            return self.polls.pop();
        }
        let poll = !self.polls.is_empty() && self.poll_credit + 1 >= self.every();
        self.record_grant(poll);
        if poll { self.polls.pop() } else { self.changes.pop() }
    }

    /// Accounts for a granted permit.
    fn record_grant(&mut self, poll: bool) {
        self.poll_credit = match poll {
            true => self.poll_credit.saturating_sub(self.every() - 1),
            false if !self.polls.is_empty() => self.poll_credit + 1,
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
        if self.changes.only_namespace().is_some_and(|alone| self.polls.only_namespace() == Some(alone)) {
            MAX_PERMITS_PER_POLL
        } else {
            (self.changes.namespaces() + 1).min(MAX_PERMITS_PER_POLL)
        }
    }
}

#[cfg(test)]
#[path = "priority_queues_tests.rs"]
mod tests;
