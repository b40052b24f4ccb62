//! Deletions with `deletionPolicy: Disable` against a fake cloud and a fake clock.

use std::time::Duration;

use jiff::Timestamp;

use super::deletion::{self, AccountAccess, FinalizeStep, Release, switched_off};
use super::memory::Memory;
use super::{AccountReadiness, CompetingPolicy, Desired, Effect, ReconcileEnv, after, since};
use crate::domain::{Change, Facts, Failure, Kind, PolicyState, Reason};

const START: i64 = 1_800_000_000;
/// Maximum age of the describe before a Modify.
const FRESH: Duration = Duration::from_secs(30);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

fn failure(kind: Kind, code: &str) -> Option<Failure> {
    Some(Failure::by_code(kind, "Act", code))
}

fn closed(reason: Reason) -> AccountReadiness {
    AccountReadiness::Closed(reason, "why".to_owned())
}

/// A policy that was in sync, and was deleted at second 0.
struct World {
    now: Timestamp,
    active: bool,
    /// Whether an accepted change takes effect.
    visible: bool,
    describe_fails: Option<Failure>,
    modify_fails: Option<Failure>,
    reach: AccountAccess,
    env: ReconcileEnv,
    desired: Desired,
    memory: Memory,
    calls: Vec<&'static str>,
    described: Option<Timestamp>,
}

impl World {
    fn new() -> Self {
        let mut desired = Desired {
            generation: 1,
            created: at(-10_000),
            change: Change { active: true, cross_backup_region: Some("cn-shanghai".to_owned()) },
            manages: true,
            suspended: false,
            disable_on_delete: true,
            deleted: true,
            interval: Duration::from_secs(600),
            objective: None,
            limit: 10,
            request: None,
            poll_offset: 7_000,
        };
        let mut memory = Memory::new(Facts::default(), &desired, at(-10), at(-10));
        let state =
            PolicyState { active: true, cross_backup_region: Some("cn-shanghai".to_owned()), ttl_days: None };
        memory.described(&desired, Ok(state), at(-10), 1.0);
        desired.generation = 2;
        Self {
            now: at(0),
            active: true,
            visible: true,
            describe_fails: None,
            modify_fails: None,
            reach: AccountAccess::Open,
            env: ReconcileEnv {
                readiness: AccountReadiness::Open,
                paused_until: None,
                competitor: None,
                access_generation: Some(1),
            },
            desired,
            memory,
            calls: Vec::new(),
            described: None,
        }
    }

    /// Runs steps until the policy waits or is released.
    fn turn(&mut self) -> Result<Release, Option<Timestamp>> {
        for _ in 0..64 {
            let (now, desired) = (self.now, switched_off(&self.desired));
            self.memory.notice(&desired, self.env.access_generation, now);
            deletion::notice(&mut self.memory, self.reach, now);
            match deletion::next(&desired, &self.env, &self.memory, self.reach, now) {
                FinalizeStep::Describe => {
                    self.calls.push("describe");
                    let state = PolicyState { active: self.active, ..PolicyState::default() };
                    let answer = self.describe_fails.clone().map_or(Ok(state), Err);
                    self.described = answer.is_ok().then_some(now);
                    self.memory.described(&desired, answer, now, 1.0);
                    deletion::described(&mut self.memory);
                }
                FinalizeStep::Modify => {
                    self.calls.push("modify");
                    let described = self.described.take().expect("a Modify that no Describe has preceded");
                    assert!(since(described, now) <= FRESH);
                    match self.modify_fails.clone() {
                        Some(failure) => self.memory.not_accepted(
                            &desired,
                            &desired.change,
                            failure.clone(),
                            Effect::of(&failure),
                            now,
                            1.0,
                        ),
                        None => {
                            self.active &= !self.visible;
                            self.memory.accepted(&desired, &desired.change, None, now);
                        }
                    }
                }
                FinalizeStep::Wait(until) => return Err(until),
                FinalizeStep::Release(release) => return Ok(release),
            }
        }
        panic!("a turn does not end: {:?}", self.calls);
    }

    /// Runs until `seconds`; returns the release and its second.
    fn live(&mut self, seconds: i64) -> Option<(Release, i64)> {
        let end = at(seconds);
        loop {
            match self.turn() {
                Ok(release) => return Some((release, self.now.as_second() - START)),
                Err(Some(until)) if until <= end => {
                    assert!(until > self.now, "a turn asks to be woken in the past");
                    self.now = until;
                }
                Err(_) => {
                    self.now = end;
                    return None;
                }
            }
        }
    }

    fn count(&self, call: &str) -> usize {
        self.calls.iter().filter(|name| **name == call).count()
    }
}

fn abandoned(why: &str, second: i64) -> Option<(Release, i64)> {
    Some((Release::Abandoned(why.to_owned()), second))
}

#[test]
fn it_is_switched_off_once_and_seen_off() {
    let mut w = World::new();
    assert_eq!(w.live(0), Some((Release::Disabled, 0)));
    assert_eq!(w.calls, ["describe", "modify", "describe"]);
    let mut w = World::new();
    w.active = false;
    assert_eq!(w.live(0), Some((Release::Disabled, 0)));
    assert_eq!(w.calls, ["describe"]);
}

#[test]
fn what_would_not_modify_is_released_without_a_call() {
    type Setting = fn(&mut World);
    let settings: [(Setting, &str); 9] = [
        (|w| w.desired.manages = false, "the policy only observes"),
        (|w| w.desired.suspended = true, "the policy is suspended"),
        (|w| w.env.readiness = closed(Reason::Suspended), "Suspended: why"),
        (|w| w.env.readiness = closed(Reason::EndpointNotAllowed), "EndpointNotAllowed: why"),
        (|w| w.env.readiness = closed(Reason::NotSupported), "NotSupported: why"),
        (
            |w| w.env.competitor = Some(CompetingPolicy { name: Some("elder".to_owned()) }),
            "another policy: elder",
        ),
        (
            |w| w.env.competitor = Some(CompetingPolicy { name: None }),
            "another policy: one of another namespace",
        ),
        (
            |w| {
                w.desired.suspended = true;
                w.reach = AccountAccess::Hopeless;
            },
            "the policy is suspended",
        ),
        (
            |w| {
                w.env.readiness = closed(Reason::EndpointNotAllowed);
                w.reach = AccountAccess::Waiting;
            },
            "EndpointNotAllowed",
        ),
    ];
    for (setting, words) in settings {
        let mut w = World::new();
        setting(&mut w);
        match w.live(0) {
            Some((Release::Skipped(why), 0)) => assert!(why.contains(words), "{why}"),
            other => panic!("{words}: {other:?}"),
        }
        assert!(w.calls.is_empty(), "{words}: {:?}", w.calls);
    }
}

#[test]
fn retain_releases_whatever_else_holds() {
    for reach in [AccountAccess::Open, AccountAccess::Waiting, AccountAccess::Hopeless] {
        let mut w = World::new();
        w.reach = reach;
        w.describe_fails = failure(Kind::CloudUnavailable, "timeout");
        assert_eq!(w.live(100), None);
        w.desired.disable_on_delete = false;
        w.desired.generation += 1;
        assert_eq!(w.live(100), Some((Release::Retained, 100)));
        assert_eq!(w.count("modify"), 0);
    }
}

#[test]
fn what_passes_is_retried_for_as_long_as_it_lasts() {
    for kind in [Kind::CloudUnavailable, Kind::Throttled, Kind::InstanceNotReady] {
        for at_modify in [false, true] {
            let mut w = World::new();
            let fails = failure(kind, "Code");
            if at_modify {
                w.modify_fails = fails;
            } else {
                w.describe_fails = fails;
            }
            assert_eq!(w.live(7_200), None, "{kind:?}");
            let tries = w.count(if at_modify { "modify" } else { "describe" });
            assert!((20..=60).contains(&tries), "{kind:?}: {tries}");
            (w.describe_fails, w.modify_fails) = (None, None);
            assert!(matches!(w.live(7_600), Some((Release::Disabled, _))), "{kind:?}");
        }
    }
}

#[test]
fn a_pause_of_the_account_is_respected() {
    let mut w = World::new();
    w.env.paused_until = Some(at(90));
    assert_eq!(w.live(60), None);
    assert!(w.calls.is_empty());
    assert_eq!(w.live(100), Some((Release::Disabled, 90)));
}

#[test]
fn a_difference_that_was_seen_before_a_pause_is_looked_at_again() {
    for (pause, calls) in [(20, &["modify", "describe"][..]), (40, &["describe", "modify", "describe"])] {
        let mut w = World::new();
        // Moves the regular poll behind the test.
        w.desired.poll_offset = 500_000;
        let off = switched_off(&w.desired);
        let on =
            PolicyState { active: true, cross_backup_region: Some("cn-shanghai".to_owned()), ttl_days: None };
        w.memory.notice(&off, w.env.access_generation, at(0));
        w.memory.described(&off, Ok(on), at(0), 1.0);
        deletion::described(&mut w.memory);
        w.described = Some(at(0));
        w.env.paused_until = Some(at(pause));
        assert_eq!(w.live(100), Some((Release::Disabled, pause)));
        assert_eq!(w.calls, calls);
    }
}

#[test]
fn hopeless_answers_are_asked_again_and_given_up_after_five_minutes() {
    for (kind, code) in [
        (Kind::PermissionDenied, "AccessDenied"),
        (Kind::CredentialsRejected, "InvalidAccessKey"),
        (Kind::InvalidRequest, "ParamError"),
    ] {
        for at_modify in [false, true] {
            let mut w = World::new();
            let fails = failure(kind, code);
            if at_modify {
                w.modify_fails = fails;
            } else {
                w.describe_fails = fails;
            }
            assert_eq!(w.live(1_000), abandoned(&format!("Act: {code}"), 300));
            let tries = w.count(if at_modify { "modify" } else { "describe" });
            assert!((9..=12).contains(&tries), "{kind:?}: {tries}");
        }
    }
}

#[test]
fn the_five_minutes_begin_with_the_first_hopeless_answer() {
    let mut w = World::new();
    w.describe_fails = failure(Kind::CloudUnavailable, "timeout");
    assert_eq!(w.live(1_000), None);
    w.describe_fails = failure(Kind::PermissionDenied, "AccessDenied");
    let Some((Release::Abandoned(why), second)) = w.live(3_000) else { panic!("it is not given up") };
    assert_eq!(why, "Act: AccessDenied");
    assert!((1_300..=1_600).contains(&second), "{second}");
}

#[test]
fn what_is_put_right_in_time_is_disabled() {
    let mut w = World::new();
    w.describe_fails = failure(Kind::PermissionDenied, "AccessDenied");
    assert_eq!(w.live(250), None);
    w.describe_fails = None;
    assert!(matches!(w.live(290), Some((Release::Disabled, 250..=280))));
    let mut w = World::new();
    (w.reach, w.env.readiness) = (AccountAccess::Hopeless, closed(Reason::CredentialsRejected));
    assert_eq!(w.live(250), None);
    assert!(w.calls.is_empty());
    (w.reach, w.env.readiness, w.env.access_generation) =
        (AccountAccess::Open, AccountReadiness::Open, Some(2));
    assert_eq!(w.live(290), Some((Release::Disabled, 250)));
}

#[test]
fn three_changes_that_never_show_are_given_up() {
    let mut w = World::new();
    w.visible = false;
    let Some((Release::Abandoned(why), second)) = w.live(3_000) else { panic!("it is not given up") };
    assert_eq!(why, "the change never became visible");
    // Three confirmations of 61 s each, then five minutes.
    assert!((480..=500).contains(&second), "{second}");
    assert!((3..=14).contains(&w.count("modify")), "{}", w.count("modify"));
    let mut w = World::new();
    w.visible = false;
    assert_eq!(w.live(400), None);
    w.active = false;
    assert!(matches!(w.live(470), Some((Release::Disabled, _))));
}

#[test]
fn an_instance_that_does_not_exist_needs_nothing() {
    for at_modify in [false, true] {
        let mut w = World::new();
        let fails = failure(Kind::InstanceNotFound, "InstanceNotExist");
        if at_modify {
            w.modify_fails = fails;
        } else {
            w.describe_fails = fails;
        }
        assert_eq!(w.live(10), Some((Release::Skipped("the instance does not exist".to_owned()), 0)));
    }
}

#[test]
fn what_the_cloud_does_not_support_is_released_by_its_answer() {
    let mut w = World::new();
    let refusal = failure(Kind::NotSupported, "InvalidOperator").unwrap();
    w.modify_fails = Some(Failure { message: Some("words".to_owned()), ..refusal });
    assert_eq!(w.live(10), Some((Release::Skipped("Act: InvalidOperator: words".to_owned()), 0)));
    assert_eq!(w.calls, ["describe", "modify"]);
}

#[test]
fn without_credentials_nothing_is_called_and_it_is_given_up() {
    for reason in [Reason::AccountNotFound, Reason::CredentialsMissing] {
        let mut w = World::new();
        (w.reach, w.env.readiness) = (AccountAccess::Hopeless, closed(reason));
        w.env.access_generation = None;
        assert_eq!(w.live(1_000), abandoned(&format!("{}: why", reason.as_str()), 300));
        assert!(w.calls.is_empty());
    }
}

#[test]
fn credentials_forgotten_on_the_way_give_it_five_minutes_more() {
    let mut w = World::new();
    (w.env.readiness, w.env.access_generation) = (closed(Reason::AccountNotFound), None);
    w.describe_fails = failure(Kind::CloudUnavailable, "timeout");
    assert_eq!(w.live(300), None);
    w.reach = AccountAccess::Hopeless;
    assert_eq!(w.live(1_000), abandoned("AccountNotFound: why", 600));
}

#[test]
fn an_account_that_cannot_be_looked_at_is_asked_for_again() {
    let mut w = World::new();
    (w.reach, w.env.readiness) = (AccountAccess::Waiting, closed(Reason::AccountNotFound));
    assert_eq!(w.turn(), Err(Some(after(at(0), Duration::from_secs(30)))));
    assert_eq!(w.live(3_600), None);
    assert!(w.calls.is_empty());
    w.reach = AccountAccess::Open;
    assert_eq!(w.live(3_600), Some((Release::Disabled, 3_600)));
}

#[test]
fn what_was_never_seen_off_is_not_called_disabled_when_the_account_changes() {
    let mut w = World::new();
    w.memory = Memory::new(Facts::default(), &w.desired, at(0), at(0));
    w.describe_fails = failure(Kind::CloudUnavailable, "timeout");
    assert_eq!(w.live(10), None);
    w.env.access_generation = Some(2);
    assert_eq!(w.live(20), None);
    w.describe_fails = None;
    assert!(matches!(w.live(400), Some((Release::Disabled, _))));
    assert_eq!(w.count("modify"), 1);
}

#[test]
fn a_clock_set_back_does_not_put_the_giving_up_off() {
    let mut w = World::new();
    (w.reach, w.env.readiness) = (AccountAccess::Hopeless, closed(Reason::CredentialsRejected));
    assert_eq!(w.live(100), None);
    w.now = at(-86_400);
    assert_eq!(w.live(-86_000), abandoned("CredentialsRejected: why", 300 - 86_400));
}
