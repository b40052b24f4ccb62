//! Subscribers of shared listings, and those that a listing is due for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::plan::{after, since};

/// Debounce: an urgent listing starts once no subscriber has arrived for this long.
const ARRIVAL_DEBOUNCE: Duration = Duration::from_secs(2);
/// Maximum delay of an urgent listing after the first arrival.
const MAX_URGENT_DELAY: Duration = Duration::from_secs(10);

/// Subscription of a policy or an inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber<W, D> {
    /// Recipient of the results.
    pub mailbox: D,
    /// Selector: the instance id of a policy, or an inventory's [`super::InventorySelector`].
    pub what: W,
    /// Poll interval in force.
    pub interval: Duration,
    /// Interval of its spec.
    pub own: Duration,
    /// Calls to list for this subscriber alone.
    pub calls: u64,
    /// Time of its last listing.
    pub read: Option<Timestamp>,
    /// A listing is urgent: the subscriber is new, or its last listing is old.
    pub waits: bool,
}

/// All subscribers of one kind for an account in a region, by UID.
#[derive(Debug)]
pub struct SubscriberSet<W, D> {
    /// Boxed, since a map allocates about twice as many slots as entries.
    all: HashMap<Arc<str>, Box<Subscriber<W, D>>>,
    waiting: usize,
    /// First and last time at which a waiting subscriber arrived.
    arrivals: Option<(Timestamp, Timestamp)>,
}

impl<W, D> Default for SubscriberSet<W, D> {
    fn default() -> Self {
        Self { all: HashMap::new(), waiting: 0, arrivals: None }
    }
}

impl<W: PartialEq, D> SubscriberSet<W, D> {
    /// Adds or updates a subscriber; returns whether it is new or has another selector.
    pub fn subscribe(
        &mut self,
        uid: impl Into<Arc<str>>,
        subscriber: Subscriber<W, D>,
        now: Timestamp,
    ) -> bool {
        let uid = uid.into();
        if let Some(known) = self.all.get_mut(&uid).filter(|known| known.what == subscriber.what) {
            (known.interval, known.own, known.calls) =
                (subscriber.interval, subscriber.own, subscriber.calls);
            return false;
        }
        self.unsubscribe(&uid);
        if subscriber.waits {
            self.arrival(now);
        }
        self.all.insert(uid, Box::new(subscriber));
        true
    }

    fn arrival(&mut self, now: Timestamp) {
        self.waiting += 1;
        self.arrivals = Some((self.arrivals.map_or(now, |(first, _)| first), now));
    }

    fn departure(&mut self) {
        self.waiting -= 1;
        self.arrivals = self.arrivals.filter(|_| self.waiting > 0);
    }

    pub fn unsubscribe(&mut self, uid: &str) {
        if self.all.remove(uid).is_some_and(|subscriber| subscriber.waits) {
            self.departure();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn get(&self, uid: &str) -> Option<&Subscriber<W, D>> {
        self.all.get(uid).map(|subscriber| &**subscriber)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Subscriber<W, D>)> {
        self.all.iter().map(|(uid, subscriber)| (uid, &**subscriber))
    }

    /// Returns the number of waiting subscribers.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Marks a subscriber as waiting for an urgent listing.
    pub fn request_urgent(&mut self, uid: &str, now: Timestamp) {
        let Some(subscriber) = self.all.get_mut(uid) else { return };
        if !std::mem::replace(&mut subscriber.waits, true) {
            self.arrival(now);
        }
    }

    /// Stops waiting: the subscriber lists separately, or its listing failed and is retried or left to the next poll.
    pub fn stop_waiting(&mut self, uid: &str) {
        let Some(subscriber) = self.all.get_mut(uid) else { return };
        if std::mem::take(&mut subscriber.waits) {
            self.departure();
        }
    }

    /// Records a listing that serves the subscriber, which stops waiting.
    pub fn record_listing(&mut self, uid: &str, at: Timestamp) {
        self.stop_waiting(uid);
        self.record_shared_listing(uid, at);
    }

    /// Records a listing without touching a newer request: the subscriber stopped waiting for this one at its start.
    pub fn record_shared_listing(&mut self, uid: &str, at: Timestamp) {
        if let Some(subscriber) = self.all.get_mut(uid) {
            subscriber.read = subscriber.read.max(Some(at));
        }
    }

    pub fn shortest(&self) -> Option<Duration> {
        self.all.values().map(|subscriber| subscriber.interval).min()
    }

    /// Returns the shortest interval of the subscribers' specs.
    pub fn shortest_own(&self) -> Option<Duration> {
        self.all.values().map(|subscriber| subscriber.own).min()
    }

    /// Returns the start of the next urgent listing.
    pub fn urgent(&self) -> Option<Timestamp> {
        self.arrivals.map(|(first, last)| after(last, ARRIVAL_DEBOUNCE).min(after(first, MAX_URGENT_DELAY)))
    }

    /// Returns the subscribers that a listing is due for: waiting ones and, unless it is `hurried`, those whose
    /// interval has elapsed. Polls follow the shortest interval of all subscribers; one with a longer interval joins
    /// every nth poll.
    pub fn due(&self, urgent: bool, shortest: Duration, now: Timestamp) -> Vec<Arc<str>> {
        let is_due = |subscriber: &Subscriber<W, D>| {
            let turn =
                subscriber.read.is_none_or(|read| since(read, now) + shortest / 2 >= subscriber.interval);
            subscriber.waits || turn && !urgent
        };
        self.all.iter().filter(|(_, subscriber)| is_due(subscriber)).map(|(uid, _)| uid.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::polling::next_poll;
    use crate::plan::shared_listing;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn subscriber(interval: u64, read: Option<i64>) -> Subscriber<String, ()> {
        Subscriber {
            mailbox: (),
            what: "redis-a".to_owned(),
            interval: Duration::from_secs(interval),
            own: Duration::from_secs(interval),
            calls: 1,
            read: read.map(at),
            waits: read.is_none(),
        }
    }

    fn next(subscribers: &SubscriberSet<String, ()>, now: Timestamp) -> Option<(Timestamp, bool)> {
        shared_listing::next(0, subscribers.shortest(), subscribers.urgent(), None, now)
    }

    fn due(subscribers: &SubscriberSet<String, ()>, urgent: bool, now: Timestamp) -> Vec<String> {
        let due = subscribers.due(urgent, subscribers.shortest().unwrap(), now);
        let mut due: Vec<_> = due.iter().map(|uid| uid.to_string()).collect();
        due.sort();
        due
    }

    #[test]
    fn those_who_come_together_are_read_together_and_nobody_waits_for_long() {
        let mut subscribers = SubscriberSet::default();
        assert_eq!(next(&subscribers, at(0)), None, "nobody is there");
        for tenth in 0..5 {
            subscribers.subscribe(format!("u{tenth}"), subscriber(600, None), at(tenth));
        }
        assert_eq!(next(&subscribers, at(4)), Some((at(6), true)), "2 s after the last one");
        for more in 5..20 {
            subscribers.subscribe(format!("u{more}"), subscriber(600, None), at(more));
        }
        assert_eq!(
            next(&subscribers, at(19)),
            Some((at(19), true)),
            "10 s after the first one, which is over"
        );
        for uid in due(&subscribers, true, at(19)) {
            subscribers.record_listing(&uid, at(19));
        }
        assert_eq!(next(&subscribers, at(20)), Some((next_poll(0, Duration::from_secs(600), at(20)), false)));
    }

    #[test]
    fn whoever_wants_one_is_read_with_those_who_do_and_is_counted_once() {
        let mut subscribers = SubscriberSet::default();
        for uid in ["a", "b", "c"] {
            subscribers.subscribe(uid, subscriber(600, Some(0)), at(1));
        }
        assert_eq!(subscribers.waiting(), 0);
        for (uid, when) in [("a", 10), ("a", 11), ("b", 11)] {
            subscribers.request_urgent(uid, at(when));
        }
        assert_eq!((subscribers.waiting(), next(&subscribers, at(11))), (2, Some((at(13), true))));
        assert_eq!(due(&subscribers, true, at(12)), ["a", "b"]);
        subscribers.record_listing("a", at(12));
        subscribers.stop_waiting("b");
        subscribers.unsubscribe("c");
        subscribers.subscribe("c", subscriber(600, Some(0)), at(12));
        assert!(!next(&subscribers, at(12)).unwrap().1);
        assert!(!subscribers.subscribe("c", subscriber(60, Some(0)), at(13)), "known");
        assert_eq!(subscribers.shortest(), Some(Duration::from_secs(60)));
    }

    #[test]
    fn whoever_waits_for_another_one_than_it_is_served_with_goes_on_waiting() {
        let mut subscribers = SubscriberSet::default();
        subscribers.subscribe("a", subscriber(600, None), at(0));
        subscribers.stop_waiting("a");
        subscribers.request_urgent("a", at(5));
        subscribers.record_shared_listing("a", at(1));
        assert_eq!((subscribers.get("a").unwrap().read, subscribers.waiting()), (Some(at(1)), 1));
        assert!(subscribers.subscribe(
            "a",
            Subscriber { what: "redis-b".to_owned(), ..subscriber(600, Some(1)) },
            at(6)
        ));
        assert_eq!(subscribers.waiting(), 0, "it wants something else, and does not wait for that");
    }

    #[test]
    fn each_has_its_own_interval_at_the_turns_of_the_shortest() {
        let mut subscribers = SubscriberSet::default();
        subscribers.subscribe("often", subscriber(60, Some(0)), at(0));
        subscribers.subscribe("seldom", subscriber(600, Some(0)), at(0));
        let mut reads = 0;
        for turn in 1..=100 {
            let read = due(&subscribers, false, at(turn * 60));
            assert!(read.contains(&"often".to_owned()));
            reads += usize::from(read.contains(&"seldom".to_owned()));
            for uid in read {
                subscribers.record_listing(&uid, at(turn * 60));
            }
        }
        assert_eq!(reads, 10);
    }
}
