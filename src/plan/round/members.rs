//! Subscribers of shared listings, and those that a listing is due for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::plan::{after, since};

/// Debounce: an urgent listing starts once no subscriber has arrived for this long.
const SETTLING: Duration = Duration::from_secs(2);
/// Maximum delay of an urgent listing after the first arrival.
const PATIENCE: Duration = Duration::from_secs(10);

/// Subscription of a policy or an inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<W, D> {
    /// Recipient of the results.
    pub desk: D,
    /// Selector: the instance id of a policy, or an inventory's [`super::Tap`].
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
pub struct Members<W, D> {
    /// Boxed, since a map allocates about twice as many slots as entries.
    all: HashMap<Arc<str>, Box<Member<W, D>>>,
    waiting: usize,
    /// First and last time at which a waiting subscriber arrived.
    came: Option<(Timestamp, Timestamp)>,
}

impl<W, D> Default for Members<W, D> {
    fn default() -> Self {
        Self { all: HashMap::new(), waiting: 0, came: None }
    }
}

impl<W: PartialEq, D> Members<W, D> {
    /// Adds or updates a subscriber; returns whether it is new or has another selector.
    pub fn join(&mut self, uid: impl Into<Arc<str>>, member: Member<W, D>, now: Timestamp) -> bool {
        let uid = uid.into();
        if let Some(known) = self.all.get_mut(&uid).filter(|known| known.what == member.what) {
            (known.interval, known.own, known.calls) = (member.interval, member.own, member.calls);
            return false;
        }
        self.leave(&uid);
        if member.waits {
            self.comes(now);
        }
        self.all.insert(uid, Box::new(member));
        true
    }

    fn comes(&mut self, now: Timestamp) {
        self.waiting += 1;
        self.came = Some((self.came.map_or(now, |(first, _)| first), now));
    }

    fn goes(&mut self) {
        self.waiting -= 1;
        self.came = self.came.filter(|_| self.waiting > 0);
    }

    pub fn leave(&mut self, uid: &str) {
        if self.all.remove(uid).is_some_and(|member| member.waits) {
            self.goes();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn get(&self, uid: &str) -> Option<&Member<W, D>> {
        self.all.get(uid).map(|member| &**member)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Member<W, D>)> {
        self.all.iter().map(|(uid, member)| (uid, &**member))
    }

    /// Returns the number of waiting subscribers.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Marks a subscriber as waiting for an urgent listing.
    pub fn want(&mut self, uid: &str, now: Timestamp) {
        let Some(member) = self.all.get_mut(uid) else { return };
        if !std::mem::replace(&mut member.waits, true) {
            self.comes(now);
        }
    }

    /// Stops waiting: the subscriber lists separately, or its listing failed and is retried or left to the next poll.
    pub fn give_up(&mut self, uid: &str) {
        let Some(member) = self.all.get_mut(uid) else { return };
        if std::mem::take(&mut member.waits) {
            self.goes();
        }
    }

    /// Records a listing that serves the subscriber, which stops waiting.
    pub fn was_read(&mut self, uid: &str, at: Timestamp) {
        self.give_up(uid);
        self.was_served(uid, at);
    }

    /// Records a listing without touching a newer request: the subscriber stopped waiting for this one at its start.
    pub fn was_served(&mut self, uid: &str, at: Timestamp) {
        if let Some(member) = self.all.get_mut(uid) {
            member.read = member.read.max(Some(at));
        }
    }

    pub fn shortest(&self) -> Option<Duration> {
        self.all.values().map(|member| member.interval).min()
    }

    /// Returns the shortest interval of the subscribers' specs.
    pub fn shortest_own(&self) -> Option<Duration> {
        self.all.values().map(|member| member.own).min()
    }

    /// Returns the start of the next urgent listing.
    pub fn hurried(&self) -> Option<Timestamp> {
        self.came.map(|(first, last)| after(last, SETTLING).min(after(first, PATIENCE)))
    }

    /// Returns the subscribers that a listing is due for: waiting ones and, unless it is `hurried`, those whose
    /// interval has elapsed. Polls follow the shortest interval of all subscribers; one with a longer interval joins
    /// every nth poll.
    pub fn due(&self, hurried: bool, shortest: Duration, now: Timestamp) -> Vec<Arc<str>> {
        let is_due = |member: &Member<W, D>| {
            let turn = member.read.is_none_or(|read| since(read, now) + shortest / 2 >= member.interval);
            member.waits || turn && !hurried
        };
        self.all.iter().filter(|(_, member)| is_due(member)).map(|(uid, _)| uid.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::pace::next_turn;
    use crate::plan::round;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn member(interval: u64, read: Option<i64>) -> Member<String, ()> {
        Member {
            desk: (),
            what: "redis-a".to_owned(),
            interval: Duration::from_secs(interval),
            own: Duration::from_secs(interval),
            calls: 1,
            read: read.map(at),
            waits: read.is_none(),
        }
    }

    fn next(members: &Members<String, ()>, now: Timestamp) -> Option<(Timestamp, bool)> {
        round::next(0, members.shortest(), members.hurried(), None, now)
    }

    fn due(members: &Members<String, ()>, hurried: bool, now: Timestamp) -> Vec<String> {
        let due = members.due(hurried, members.shortest().unwrap(), now);
        let mut due: Vec<_> = due.iter().map(|uid| uid.to_string()).collect();
        due.sort();
        due
    }

    #[test]
    fn those_who_come_together_are_read_together_and_nobody_waits_for_long() {
        let mut members = Members::default();
        assert_eq!(next(&members, at(0)), None, "nobody is there");
        for tenth in 0..5 {
            members.join(format!("u{tenth}"), member(600, None), at(tenth));
        }
        assert_eq!(next(&members, at(4)), Some((at(6), true)), "2 s after the last one");
        for more in 5..20 {
            members.join(format!("u{more}"), member(600, None), at(more));
        }
        assert_eq!(next(&members, at(19)), Some((at(19), true)), "10 s after the first one, which is over");
        for uid in due(&members, true, at(19)) {
            members.was_read(&uid, at(19));
        }
        assert_eq!(next(&members, at(20)), Some((next_turn(0, Duration::from_secs(600), at(20)), false)));
    }

    #[test]
    fn whoever_wants_one_is_read_with_those_who_do_and_is_counted_once() {
        let mut members = Members::default();
        for uid in ["a", "b", "c"] {
            members.join(uid, member(600, Some(0)), at(1));
        }
        assert_eq!(members.waiting(), 0);
        for (uid, when) in [("a", 10), ("a", 11), ("b", 11)] {
            members.want(uid, at(when));
        }
        assert_eq!((members.waiting(), next(&members, at(11))), (2, Some((at(13), true))));
        assert_eq!(due(&members, true, at(12)), ["a", "b"]);
        members.was_read("a", at(12));
        members.give_up("b");
        members.leave("c");
        members.join("c", member(600, Some(0)), at(12));
        assert!(!next(&members, at(12)).unwrap().1);
        assert!(!members.join("c", member(60, Some(0)), at(13)), "known");
        assert_eq!(members.shortest(), Some(Duration::from_secs(60)));
    }

    #[test]
    fn whoever_waits_for_another_one_than_it_is_served_with_goes_on_waiting() {
        let mut members = Members::default();
        members.join("a", member(600, None), at(0));
        members.give_up("a");
        members.want("a", at(5));
        members.was_served("a", at(1));
        assert_eq!((members.get("a").unwrap().read, members.waiting()), (Some(at(1)), 1));
        assert!(members.join("a", Member { what: "redis-b".to_owned(), ..member(600, Some(1)) }, at(6)));
        assert_eq!(members.waiting(), 0, "it wants something else, and does not wait for that");
    }

    #[test]
    fn each_has_its_own_interval_at_the_turns_of_the_shortest() {
        let mut members = Members::default();
        members.join("often", member(60, Some(0)), at(0));
        members.join("seldom", member(600, Some(0)), at(0));
        let mut reads = 0;
        for turn in 1..=100 {
            let read = due(&members, false, at(turn * 60));
            assert!(read.contains(&"often".to_owned()));
            reads += usize::from(read.contains(&"seldom".to_owned()));
            for uid in read {
                members.was_read(&uid, at(turn * 60));
            }
        }
        assert_eq!(reads, 10);
    }
}
