use std::collections::{BTreeMap, HashMap};

use super::*;
use proptest::prelude::*;

fn change(namespace: &str, resource: usize) -> CallContext {
    CallContext::new(namespace, &format!("{namespace}{resource}"))
}

fn poll(namespace: &str, resource: usize) -> CallContext {
    change(namespace, resource).with_priority(Priority::Poll)
}

/// Returns the callers in the order of service; each waits again as soon as it is served.
fn served(callers: Vec<CallContext>, times: usize) -> Vec<(Priority, String)> {
    let mut lanes = PriorityQueues::default();
    for call_context in callers {
        lanes.push(&call_context, call_context.clone());
    }
    let mut next = || {
        let call_context = lanes.pop().unwrap();
        lanes.push(&call_context, call_context.clone());
        (call_context.priority(), call_context.namespace().to_string())
    };
    (0..times).map(|_| next()).collect()
}

/// Counts how often each was served, of 60 permits.
fn shares(callers: Vec<CallContext>) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for (priority, namespace) in served(callers, 60) {
        *shares.entry(format!("{priority:?} {namespace}")).or_default() += 1;
    }
    shares
}

fn expected<const N: usize>(shares: [(&str, usize); N]) -> BTreeMap<String, usize> {
    shares.into_iter().map(|(who, count)| (who.to_owned(), count)).collect()
}

#[test]
fn a_listing_for_many_has_every_other_turn_of_its_namespace() {
    let listing = || change("p", 0).with_priority(Priority::Listing);
    let polls: Vec<_> = (1..50).map(|resource| poll("p", resource)).collect();
    let one = polls.iter().cloned().chain([listing()]).collect();
    assert_eq!(shares(one), expected([("Listing p", 30), ("Poll p", 30)]));
    let others = polls.into_iter().chain([listing(), poll("q", 1)]).collect();
    assert_eq!(shares(others), expected([("Listing p", 15), ("Poll p", 15), ("Poll q", 30)]));
    assert_eq!(shares(vec![listing()]), expected([("Listing p", 60)]));
}

#[test]
fn polling_gets_as_much_as_a_namespace_with_changes_and_at_least_a_fifth() {
    let polls = || vec![poll("p", 1), poll("p", 2)];
    let with = |namespaces: &[&str]| {
        let changes = namespaces.iter().map(|namespace| change(namespace, 1));
        shares(polls().into_iter().chain(changes).collect())
    };
    assert_eq!(with(&["a"]), expected([("Change a", 30), ("Poll p", 30)]));
    assert_eq!(with(&["a", "b"]), expected([("Change a", 20), ("Change b", 20), ("Poll p", 20)]));
    let five = with(&["a", "b", "c", "d", "e"]);
    assert_eq!(five["Poll p"], 12);
    assert!(five.values().all(|count| (9..=12).contains(count)), "{five:?}");
}

#[test]
fn a_teams_own_changes_hold_up_its_own_polling_and_no_other() {
    let own = vec![change("a", 1), poll("a", 2)];
    assert_eq!(shares(own.clone()), expected([("Change a", 48), ("Poll a", 12)]));
    let with_others = own.into_iter().chain([poll("b", 1)]).collect();
    assert_eq!(shares(with_others), expected([("Change a", 30), ("Poll a", 15), ("Poll b", 15)]));
}

#[test]
fn a_lane_gets_all_while_the_other_is_empty_and_saves_nothing_up() {
    let mut lanes = PriorityQueues::default();
    let (fast, slow) = (change("a", 1), poll("b", 1));
    for _ in 0..100 {
        lanes.push(&fast, "change");
        assert_eq!(lanes.pop(), Some("change"));
        lanes.push(&slow, "poll");
        assert_eq!(lanes.pop(), Some("poll"));
    }
    (0..100).for_each(|_| drop(lanes.push(&slow, "poll")));
    (0..50).for_each(|_| assert_eq!(lanes.pop(), Some("poll")));
    (0..100).for_each(|_| drop(lanes.push(&fast, "change")));
    assert_eq!([lanes.pop(), lanes.pop(), lanes.pop()], [Some("change"), Some("poll"), Some("change")]);
    while lanes.pop().is_some() {}
    (0..100).for_each(|_| drop(lanes.push(&fast, "change")));
    (0..50).for_each(|_| assert_eq!(lanes.pop(), Some("change")));
    (0..100).for_each(|_| drop(lanes.push(&slow, "poll")));
    assert_eq!([lanes.pop(), lanes.pop(), lanes.pop()], [Some("change"), Some("poll"), Some("change")]);
}

#[test]
fn what_has_begun_goes_before_its_namespaces_changes_and_not_before_anothers() {
    let mut lanes = PriorityQueues::default();
    for (call_context, name) in [
        (change("a", 1), "a1"),
        (change("a", 2), "a2"),
        (change("b", 1), "b1"),
        (change("b", 2), "b2"),
        (change("a", 3).with_priority(Priority::InProgress), "a3 begun"),
        (change("a", 1).with_priority(Priority::InProgress), "a1 begun"),
        (change("a", 3).with_priority(Priority::InProgress), "a3 begun again"),
    ] {
        lanes.push(&call_context, name);
    }
    let served: Vec<_> = std::iter::from_fn(|| lanes.pop()).collect();
    assert_eq!(served, ["a3 begun", "b1", "a1 begun", "b2", "a3 begun again", "a1", "a2"]);
}

#[test]
fn what_follows_an_answer_goes_before_all_and_polls_are_owed_for_it() {
    let mut lanes = PriorityQueues::default();
    let follow_up = |namespace: &str, poll| change(namespace, 9).with_priority(Priority::FollowUp { poll });
    for namespace in ["a", "b", "c"] {
        (0..4).for_each(|_| drop(lanes.push(&change(namespace, 1), "change")));
    }
    (0..9).for_each(|number| drop(lanes.push(&poll("p", number), "poll")));
    (0..3).for_each(|_| drop(lanes.push(&follow_up("a", false), "next")));
    let mut served = |times: usize| (0..times).map(|_| lanes.pop().unwrap()).collect::<Vec<_>>();
    assert_eq!(served(5), ["next", "next", "next", "poll", "change"], "every fourth is a poll's");
    let position = lanes.push(&follow_up("b", true), "left");
    assert_eq!(lanes.remove(&position), Some("left"));
    lanes.push(&follow_up("b", true), "next of a poll");
    let mut served = |times: usize| (0..times).map(|_| lanes.pop().unwrap()).collect::<Vec<_>>();
    assert_eq!(served(5), ["next of a poll", "change", "change", "change", "poll"], "it was its lane's turn");
}

#[test]
fn changes_go_on_beside_polls_each_of_which_brings_calls() {
    let mut lanes = PriorityQueues::default();
    (0..10).for_each(|number| drop(lanes.push(&poll("p", number), (Priority::Poll, number))));
    (0..100).for_each(|number| drop(lanes.push(&change("a", number), (Priority::Change, number))));
    let mut changes = 0;
    for _ in 0..200 {
        let (priority, number) = lanes.pop().unwrap();
        changes += usize::from(priority == Priority::Change);
        if priority == Priority::Poll {
            let next = Priority::FollowUp { poll: true };
            (0..3).for_each(|_| drop(lanes.push(&poll("p", number).with_priority(next), (next, number))));
            lanes.push(&poll("p", number), (Priority::Poll, number));
        }
    }
    assert!((40..=100).contains(&changes), "{changes} of 200");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A change continues with two calls in progress, and then starts again.
    #[test]
    fn nobody_waits_for_more_than_its_turns(
        callers in prop::collection::btree_set((0..4usize, 0..4usize, any::<bool>()), 1..20),
    ) {
        let call_context = |(namespace, resource, polls): (usize, usize, bool)| {
            let call_context = change(&format!("n{namespace}"), resource);
            if polls { call_context.with_priority(Priority::Poll) } else { call_context }
        };
        let mut lanes = PriorityQueues::default();
        for &who in &callers {
            lanes.push(&call_context(who), (who, 0));
        }
        // At least every fifth permit goes to either queue; of those, each of four namespaces gets a quarter, and each
        // of its four resources a quarter of that. A change takes three permits.
        let most = 5 * 4 * 4 * 3;
        let mut last: HashMap<_, _> = callers.iter().map(|&who| (who, 0)).collect();
        for number in 0..1000 {
            let (who, calls) = lanes.pop().unwrap();
            let waited = number - last.insert(who, number).unwrap();
            prop_assert!(waited <= most, "{:?} at {}", who, number);
            let (next, priority) = match (who.2, calls) {
                (true, _) => (0, Priority::Poll),
                (false, 2) => (0, Priority::Change),
                (false, before) => (before + 1, Priority::InProgress),
            };
            lanes.push(&call_context(who).with_priority(priority), (who, next));
        }
        prop_assert!(last.values().all(|last| 1000 - last <= most), "{last:?}");
    }
}
