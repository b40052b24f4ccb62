use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::domain::condition::{self, Condition, types};
use crate::domain::{ConditionStatus, Failure, Kind, Outcome, Progress, Reason};
use crate::plan::{AccountReadiness, ReconcileEnv, after};

const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn wanted() -> DesiredInventory {
    DesiredInventory {
        generation: 1,
        created: at(-3600),
        suspended: false,
        interval: 10 * MINUTE,
        request: None,
        poll_offset: 7,
    }
}

fn open() -> ReconcileEnv {
    access_generation(1)
}

fn access_generation(access_generation: u64) -> ReconcileEnv {
    ReconcileEnv {
        readiness: AccountReadiness::Open,
        paused_until: None,
        competitor: None,
        access_generation: Some(access_generation),
    }
}

fn closed(reason: Reason) -> ReconcileEnv {
    ReconcileEnv { readiness: AccountReadiness::Closed(reason, "why".to_owned()), ..open() }
}

fn failure(kind: Kind) -> Failure {
    Failure {
        message: Some("words".to_owned()),
        ..Failure::by_code(kind, "DescribeCrossRegionBackups", "Code")
    }
}

fn fresh() -> Memory {
    Memory::new(&[], None, None, &wanted(), at(0), at(0))
}

fn reason(
    memory: &Memory,
    wanted: &DesiredInventory,
    stored: &[Condition],
    now: Timestamp,
) -> Option<(ConditionStatus, Reason, Progress)> {
    memory.outcome(wanted, &open(), stored, now).map(|o: Outcome| (o.status, o.reason, o.progress))
}

fn told(memory: &Memory, now: Timestamp) -> Vec<Condition> {
    let outcome = memory.outcome(&wanted(), &open(), &[], now).unwrap();
    condition::merge(&[], &[types::READY], &outcome, 1, now)
}

const LISTING: (ConditionStatus, Reason, Progress) =
    (ConditionStatus::Unknown, Reason::Listing, Progress::Reconciling);
const LISTED: (ConditionStatus, Reason, Progress) =
    (ConditionStatus::True, Reason::Listed, Progress::Settled);

#[test]
fn a_new_inventory_is_listing_until_the_first_listing_is_complete() {
    let mut memory = fresh();
    memory.notice(&wanted(), &access_generation(1), at(0));
    assert_eq!(memory.next_step(&wanted(), &open(), at(0)), NextAction::Call);
    assert_eq!(reason(&memory, &wanted(), &[], at(0)), Some(LISTING));
    memory.listed(&wanted(), at(5));
    assert_eq!(reason(&memory, &wanted(), &[], at(5)), Some(LISTED));
    let NextAction::Wait(Some(next)) = memory.next_step(&wanted(), &open(), at(5)) else {
        panic!("it waits")
    };
    assert!(next > at(5) && next <= after(at(5), 10 * MINUTE));
}

#[test]
fn after_a_start_a_recent_listing_keeps_its_turn() {
    let mut memory = fresh();
    memory.listed(&wanted(), at(0));
    let stored = told(&memory, at(0));
    let again = |as_of, generation| {
        let wanted = DesiredInventory { generation, ..wanted() };
        let memory = Memory::new(&stored, Some(1), None, &wanted, as_of, at(600));
        memory.next_step(&wanted, &open(), at(600))
    };
    assert!(matches!(again(at(300), 1), NextAction::Wait(Some(_))), "seen 5 minutes ago");
    assert_eq!(again(at(-1), 1), NextAction::Call, "seen longer ago than the interval");
    assert_eq!(again(at(300), 2), NextAction::Call, "another spec");
}

#[test]
fn a_listing_goes_on_after_what_passes_and_is_given_up_where_a_person_is_needed() {
    for (kind, given_up) in [
        (Kind::CloudUnavailable, false),
        (Kind::Throttled, false),
        (Kind::InstanceNotReady, false),
        (Kind::PermissionDenied, true),
        (Kind::InstanceNotFound, true),
        (Kind::InvalidRequest, true),
        (Kind::CredentialsRejected, true),
    ] {
        assert_eq!(fresh().failed(&wanted(), failure(kind), at(0), 0.5), given_up, "{kind:?}");
    }
}

const UNAVAILABLE: (ConditionStatus, Reason, Progress) =
    (ConditionStatus::Unknown, Reason::CloudUnavailable, Progress::Reconciling);

#[test]
fn a_later_failure_is_told_when_the_facts_are_stale() {
    let mut memory = fresh();
    memory.listed(&wanted(), at(10));
    let stored = told(&memory, at(10));
    memory.failed(&wanted(), failure(Kind::CloudUnavailable), at(700), 0.5);
    assert_eq!(reason(&memory, &wanted(), &stored, at(700)), None, "nothing is written yet");
    assert_eq!(reason(&memory, &wanted(), &stored, at(10 + 1200)), Some(UNAVAILABLE));
    let NextAction::Wait(Some(timer)) = memory.next_step(&wanted(), &open(), at(700)) else {
        panic!("it waits")
    };
    assert!(timer <= at(10 + 1200));
    assert!(!memory.progressed(1, at(1211)), "only a complete listing makes it Listed again");
    assert_eq!(reason(&memory, &wanted(), &stored, at(1211)), Some(UNAVAILABLE));
    memory.listed(&wanted(), at(1300));
    assert_eq!(reason(&memory, &wanted(), &stored, at(1300)), Some(LISTED));
}

#[test]
fn of_a_first_listing_one_failure_among_many_answers_is_no_news() {
    let mut memory = fresh();
    memory.failed(&wanted(), failure(Kind::CloudUnavailable), at(1), 0.5);
    assert_eq!(reason(&memory, &wanted(), &[], at(1)), Some(UNAVAILABLE), "the first outcome is told");
    let stored = told(&memory, at(1));
    assert_eq!(reason(&memory, &wanted(), &stored, at(2)), Some(UNAVAILABLE));
    assert!(memory.progressed(1, at(3)), "Ready has to say that it is listing again");
    assert_eq!(reason(&memory, &wanted(), &stored, at(3)), Some(LISTING));
    let stored = told(&memory, at(3));
    for call in 2..100 {
        let now = at(i64::try_from(call).unwrap() * 10);
        memory.failed(&wanted(), failure(Kind::CloudUnavailable), now, 0.5);
        assert_eq!(reason(&memory, &wanted(), &stored, now), None, "{call}");
        memory.progressed(call, now);
    }
    memory.failed(&wanted(), failure(Kind::CloudUnavailable), at(1001), 0.5);
    memory.failed(&wanted(), failure(Kind::CloudUnavailable), at(1002), 0.5);
    assert_eq!(reason(&memory, &wanted(), &stored, at(1002)), Some(UNAVAILABLE), "it failed again");
}

#[test]
fn what_a_person_has_to_do_is_said_until_a_listing_is_complete() {
    let mut memory = fresh();
    memory.failed(&wanted(), failure(Kind::PermissionDenied), at(1), 0.5);
    let denied = (ConditionStatus::False, Reason::PermissionDenied, Progress::Stalled);
    let stored = told(&memory, at(1));
    // The next attempt gets to the same call, and then fails transiently.
    assert!(!memory.progressed(1, at(600)));
    assert_eq!(reason(&memory, &wanted(), &stored, at(600)), Some(denied));
    memory.failed(&wanted(), failure(Kind::CloudUnavailable), at(601), 0.5);
    assert_eq!(reason(&memory, &wanted(), &stored, at(601)), Some(denied));
    // A request alone changes nothing.
    let asked = DesiredInventory { request: Some("now".to_owned()), ..wanted() };
    memory.notice(&asked, &open(), at(602));
    assert_eq!(reason(&memory, &asked, &stored, at(602)), Some(denied));
    // A restart of the operator changes nothing either.
    let mut started = Memory::new(&stored, Some(1), None, &wanted(), at(601), at(700));
    assert_eq!(reason(&started, &wanted(), &stored, at(700)), None);
    started.progressed(1, at(701));
    assert_eq!(reason(&started, &wanted(), &stored, at(701)), None);
    started.listed(&wanted(), at(702));
    assert_eq!(reason(&started, &wanted(), &stored, at(702)), Some(LISTED));
}

#[test]
fn after_a_start_a_failure_that_passes_is_said_until_a_call_is_answered() {
    let mut before = fresh();
    before.failed(&wanted(), failure(Kind::CloudUnavailable), at(1), 0.5);
    let stored = told(&before, at(1));
    let mut memory = Memory::new(&stored, Some(1), None, &wanted(), at(1), at(2));
    assert_eq!(reason(&memory, &wanted(), &stored, at(2)), None);
    memory.progressed(1, at(3));
    assert_eq!(reason(&memory, &wanted(), &stored, at(3)), Some(LISTING));
}

#[test]
fn a_listed_inventory_that_fails_is_not_listed_because_a_request_is_made() {
    let mut memory = fresh();
    memory.listed(&wanted(), at(0));
    memory.failed(&wanted(), failure(Kind::PermissionDenied), at(600), 0.5);
    let asked = DesiredInventory { request: Some("now".to_owned()), ..wanted() };
    memory.notice(&asked, &open(), at(601));
    assert_eq!(memory.next_step(&asked, &open(), at(601)), NextAction::Call);
    assert!(matches!(reason(&memory, &asked, &[], at(601)), Some((ConditionStatus::False, ..))));
}

#[test]
fn a_request_is_answered_by_a_listing_that_begins_after_it() {
    let mut memory = fresh();
    let asked = |value: &str| DesiredInventory { request: Some(value.to_owned()), ..wanted() };
    memory.listing_started(memory.request.pending.clone(), at(0));
    memory.notice(&asked("one"), &open(), at(1));
    memory.listed(&asked("one"), at(2));
    assert_eq!(memory.handled, None, "it was under way before the request");
    assert_eq!(memory.next_step(&asked("one"), &open(), at(2)), NextAction::Call);
    memory.listing_started(memory.request.pending.clone(), at(0));
    // Each listing serves the request made before its start, regardless of later ones.
    memory.notice(&asked("two"), &open(), at(3));
    memory.listed(&asked("two"), at(4));
    assert_eq!(memory.handled.as_deref(), Some("one"));
    assert_eq!(memory.next_step(&asked("two"), &open(), at(4)), NextAction::Call);
    memory.listing_started(memory.request.pending.clone(), at(0));
    memory.listed(&asked("two"), at(5));
    assert_eq!(memory.handled.as_deref(), Some("two"));
    assert!(matches!(memory.next_step(&asked("two"), &open(), at(5)), NextAction::Wait(Some(_))));
}

#[test]
fn a_listing_that_begins_anew_proves_nothing_before_it_got_further() {
    let mut memory = fresh();
    let quick = DesiredInventory { interval: MINUTE, ..wanted() };
    memory.progressed(1, at(1));
    memory.failed(&quick, failure(Kind::CloudUnavailable), at(2), 0.5);
    let mut stored = told(&memory, at(121));
    for minute in 3..60 {
        // The first call is answered, the second one never.
        let news = memory.progressed(1, at(60 * minute));
        memory.failed(&quick, failure(Kind::CloudUnavailable), at(60 * minute + 1), 0.5);
        assert!(!news);
        assert_eq!(reason(&memory, &quick, &stored, at(60 * minute + 1)), Some(UNAVAILABLE));
        stored = told(&memory, at(60 * minute + 1));
    }
    assert!(memory.progressed(2, at(3601)));
    assert_eq!(reason(&memory, &quick, &stored, at(3601)), Some(LISTING));
}

#[test]
fn a_refused_region_is_said_over_a_start() {
    let mut before = fresh();
    before.failed(&wanted(), failure(Kind::EndpointNotAllowed), at(1), 0.5);
    let stored = told(&before, at(1));
    before.notice(&wanted(), &access_generation(1), at(2));
    before.notice(&wanted(), &access_generation(2), at(3));
    assert!(matches!(reason(&before, &wanted(), &stored, at(3)), Some((_, Reason::EndpointNotAllowed, _))));
    let mut memory = Memory::new(&stored, Some(1), None, &wanted(), at(1), at(4));
    memory.progressed(1, at(5));
    assert_eq!(reason(&memory, &wanted(), &stored, at(5)), None);
    // A failure caused by the account is resolved with it.
    let mut memory = Memory::new(&stored, Some(1), None, &wanted(), at(1), at(4));
    memory.notice(&wanted(), &closed(Reason::EndpointNotAllowed), at(5));
    memory.notice(&wanted(), &open(), at(6));
    assert_eq!(reason(&memory, &wanted(), &stored, at(6)), Some(LISTING));
}

#[test]
fn a_rejected_key_is_not_said_any_longer_than_the_account_says_it() {
    let mut memory = fresh();
    memory.notice(&wanted(), &access_generation(1), at(0));
    memory.failed(&wanted(), failure(Kind::CredentialsRejected), at(1), 0.5);
    memory.notice(&wanted(), &access_generation(2), at(2));
    let stored = told(&memory, at(2));
    assert_eq!(memory.next_step(&wanted(), &access_generation(2), at(2)), NextAction::Call);
    assert_eq!(reason(&memory, &wanted(), &stored, at(2)), Some(LISTING));
}

#[test]
fn an_account_that_lets_calls_through_again_is_listed_anew() {
    let mut memory = fresh();
    memory.listed(&wanted(), at(0));
    memory.notice(&wanted(), &closed(Reason::AccountNotFound), at(1));
    let gone = memory.outcome(&wanted(), &closed(Reason::AccountNotFound), &told(&memory, at(0)), at(1));
    let stored = condition::merge(&[], &[types::READY], &gone.unwrap(), 1, at(1));
    memory.failure = Some(failure(Kind::CloudUnavailable));
    assert!(memory.notice(&wanted(), &open(), at(2)), "a listing under way is another account's");
    assert_eq!(memory.next_step(&wanted(), &open(), at(2)), NextAction::Call);
    assert_eq!(reason(&memory, &wanted(), &stored, at(2)), Some(LISTING));
    memory.failed(&wanted(), failure(Kind::CloudUnavailable), at(3), 0.5);
    assert_eq!(reason(&memory, &wanted(), &stored, at(3)), Some(UNAVAILABLE));
}

#[test]
fn what_needs_a_person_is_told_at_once() {
    let mut memory = fresh();
    memory.listed(&wanted(), at(0));
    let stored = told(&memory, at(0));
    memory.failed(&wanted(), failure(Kind::PermissionDenied), at(600), 0.5);
    let denied = (ConditionStatus::False, Reason::PermissionDenied, Progress::Stalled);
    assert_eq!(reason(&memory, &wanted(), &stored, at(600)), Some(denied));
    let outcome = memory.outcome(&wanted(), &open(), &stored, at(600)).unwrap();
    assert_eq!(outcome.message(), "DescribeCrossRegionBackups: Code: words");
}

#[test]
fn an_instance_may_come_into_being_for_ten_minutes() {
    let young = DesiredInventory { created: at(0), ..wanted() };
    let mut memory = Memory::new(&[], None, None, &young, at(0), at(0));
    memory.failed(&young, failure(Kind::InstanceNotFound), at(1), 1.0);
    let told = |progress| Some((ConditionStatus::False, Reason::InstanceNotFound, progress));
    assert_eq!(reason(&memory, &young, &[], at(599)), told(Progress::Reconciling));
    assert_eq!(reason(&memory, &young, &[], at(600)), told(Progress::Stalled));
    let NextAction::Wait(Some(next)) = memory.next_step(&young, &open(), at(1)) else { panic!("it waits") };
    assert!(next <= at(61));
    memory.next = at(10_000);
    assert_eq!(
        memory.next_step(&young, &open(), at(2)),
        NextAction::Wait(Some(at(600))),
        "the timer of Stalled"
    );
}

#[test]
fn another_spec_or_account_ends_a_listing_under_way() {
    let mut memory = fresh();
    assert!(!memory.notice(&wanted(), &access_generation(1), at(0)));
    assert!(!memory.notice(&wanted(), &access_generation(1), at(1)));
    assert!(memory.notice(&wanted(), &access_generation(2), at(2)), "another account's verdict or Secret");
    memory.listed(&wanted(), at(3));
    let spec = DesiredInventory { generation: 2, ..wanted() };
    assert!(memory.notice(&spec, &access_generation(2), at(4)));
    assert_eq!(memory.next_step(&spec, &open(), at(4)), NextAction::Call);
    assert_eq!(reason(&memory, &spec, &[], at(4)), Some(LISTING), "what was listed is another spec's");
    memory.listed(&spec, at(5));
    let asked = DesiredInventory { request: Some("now".to_owned()), ..spec };
    assert!(!memory.notice(&asked, &access_generation(2), at(6)), "a listing under way may end first");
    assert_eq!(memory.next_step(&asked, &open(), at(6)), NextAction::Call);
    assert_eq!(memory.handled, None);
    memory.failed(&asked, failure(Kind::CloudUnavailable), at(7), 0.5);
    assert_eq!(memory.handled.as_deref(), Some("now"), "also when it failed");
    assert!(!memory.notice(&asked, &access_generation(2), at(8)), "it was acted on");
}

#[test]
fn a_listed_inventory_is_not_listed_anew_for_other_credentials() {
    let mut memory = fresh();
    memory.notice(&wanted(), &access_generation(1), at(0));
    memory.listed(&wanted(), at(1));
    memory.notice(&wanted(), &access_generation(2), at(2));
    assert!(matches!(memory.next_step(&wanted(), &open(), at(2)), NextAction::Wait(Some(_))));
    memory.failed(&wanted(), failure(Kind::PermissionDenied), at(3), 0.5);
    memory.notice(&wanted(), &access_generation(3), at(4));
    assert_eq!(
        memory.next_step(&wanted(), &open(), at(4)),
        NextAction::Call,
        "they may be allowed what the others were not"
    );
}

#[test]
fn a_status_that_was_emptied_is_listed_again() {
    let mut memory = fresh();
    memory.lost(at(0));
    memory.listed(&wanted(), at(1));
    memory.lost(at(2));
    assert_eq!(memory.next_step(&wanted(), &open(), at(2)), NextAction::Call);
    assert_eq!(reason(&memory, &wanted(), &[], at(2)), Some(LISTING));
}

#[test]
fn the_account_and_suspension_come_first() {
    let memory = fresh();
    let suspended = DesiredInventory { suspended: true, ..wanted() };
    let expected = (ConditionStatus::Unknown, Reason::Suspended, Progress::Settled);
    assert_eq!(reason(&memory, &suspended, &[], at(0)), Some(expected));
    assert_eq!(memory.next_step(&suspended, &open(), at(0)), NextAction::Wait(None));

    let closed = closed(Reason::CredentialsRejected);
    let outcome = memory.outcome(&wanted(), &closed, &[], at(0)).unwrap();
    assert_eq!((outcome.reason, outcome.progress), (Reason::CredentialsRejected, Progress::Stalled));
    assert!(matches!(memory.next_step(&wanted(), &closed, at(0)), NextAction::Wait(_)));

    let pending = ReconcileEnv { readiness: AccountReadiness::Pending(at(10)), ..open() };
    assert_eq!(memory.outcome(&wanted(), &pending, &[], at(0)), None);
    assert_eq!(memory.next_step(&wanted(), &pending, at(0)), NextAction::Wait(Some(at(10))));

    let paused = ReconcileEnv { paused_until: Some(at(30)), ..open() };
    assert_eq!(memory.next_step(&wanted(), &paused, at(0)), NextAction::Wait(Some(at(30))));
}

#[test]
fn a_clock_that_is_set_back_puts_nothing_off() {
    let mut memory = fresh();
    memory.listed(&wanted(), at(100_000));
    memory.notice(&wanted(), &access_generation(1), at(0));
    let NextAction::Wait(Some(next)) = memory.next_step(&wanted(), &open(), at(0)) else {
        panic!("it waits")
    };
    assert!(next <= after(at(0), 10 * MINUTE));
    assert_eq!(memory.last_good, Some(at(0)));
}

#[test]
fn a_shared_listing_is_hurried_only_where_somebody_waits_for_it() {
    let mut memory = fresh();
    assert!(memory.is_urgent(&wanted(), at(0)), "nothing was listed yet");
    memory.listed(&wanted(), at(10));
    let turn = at(10 + 600);
    assert_eq!(memory.next_step(&wanted(), &open(), turn), NextAction::Call);
    assert!(!memory.is_urgent(&wanted(), turn), "it comes at the turn of all");
    let NextAction::Wait(Some(next)) = memory.await_shared_listing(&wanted(), turn) else {
        panic!("it waits")
    };
    assert!(next > turn && next <= after(turn, 10 * MINUTE));
    memory.shared_listing_arrived(at(700));
    assert_eq!(memory.next_step(&wanted(), &open(), at(700)), NextAction::Call, "it has come");
    assert!(memory.is_urgent(&wanted(), at(10 + 1201)), "none has come for long");

    memory.failed(&wanted(), failure(Kind::CloudUnavailable), at(20), 0.5);
    assert!(memory.is_urgent(&wanted(), at(21)), "that may be over");
    memory.listed(&wanted(), at(22));
    memory.failed(&wanted(), failure(Kind::PermissionDenied), at(23), 0.5);
    assert!(!memory.is_urgent(&wanted(), at(3000)), "that takes a person");
    let asked = DesiredInventory { request: Some("now".to_owned()), ..wanted() };
    memory.notice(&asked, &open(), at(24));
    assert!(memory.is_urgent(&asked, at(24)), "somebody asks");
}

#[test]
fn who_waits_for_a_person_is_looked_at_again_every_hour() {
    let seldom = DesiredInventory { interval: 24 * 60 * MINUTE, ..wanted() };
    let mut memory = fresh();
    assert_eq!(memory.pace(&seldom), seldom.interval);
    memory.failed(&seldom, failure(Kind::PermissionDenied), at(0), 0.5);
    assert_eq!((memory.pace(&seldom), memory.pace(&wanted())), (60 * MINUTE, wanted().interval));
}

#[test]
fn a_shared_listing_answers_what_was_asked_before_it_began() {
    let asked = DesiredInventory { request: Some("two".to_owned()), ..wanted() };
    let mut memory = fresh();
    memory.notice(&asked, &open(), at(0));
    memory.listing_started(Some("one".to_owned()), at(0));
    memory.listed(&asked, at(1));
    assert_eq!(memory.handled.as_deref(), Some("one"));
    assert!(memory.is_urgent(&asked, at(1)) && memory.next_step(&asked, &open(), at(1)) == NextAction::Call);
}

#[test]
fn a_listing_slower_than_its_interval_stays_listed_where_one_call_of_the_next_fails() {
    let often = DesiredInventory { interval: MINUTE, ..wanted() };
    let listed = |took: i64| {
        let mut memory = fresh();
        memory.listing_started(None, at(0));
        memory.listed(&often, at(took));
        memory.listing_started(None, at(took + 60));
        memory.failed(&often, failure(Kind::CloudUnavailable), at(took + 130), 0.5);
        memory
    };
    let ready = [Condition {
        kind: types::READY.to_owned(),
        status: ConditionStatus::True,
        reason: Reason::Listed.as_str().to_owned(),
        message: String::new(),
        observed_generation: 1,
        last_transition: at(0),
    }];
    assert_eq!(reason(&listed(300), &often, &ready, at(430)), None, "it goes on being listed");
    assert!(matches!(reason(&listed(300), &often, &ready, at(900)), Some((_, Reason::CloudUnavailable, _))));
    assert!(matches!(reason(&listed(5), &often, &ready, at(135)), Some((_, Reason::CloudUnavailable, _))));
}
