use proptest::prelude::*;

use super::types::{READY, RECONCILING, STALLED, SYNCED};
use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn outcome(
    status: ConditionStatus,
    reason: Reason,
    progress: Progress,
    cause: &str,
    detail: Option<&str>,
) -> Outcome {
    Outcome { status, reason, progress, cause: cause.to_owned(), detail: detail.map(str::to_owned) }
}

fn ready(conditions: &[Condition]) -> &Condition {
    conditions.iter().find(|c| c.kind == READY).unwrap()
}

#[test]
fn an_old_message_stays_while_status_reason_and_cause_are_the_same() {
    let denied = |cause: &str, detail: Option<&str>| {
        outcome(ConditionStatus::False, Reason::PermissionDenied, Progress::Stalled, cause, detail)
    };
    let first = merge(&[], &[READY], &denied("Act: AccessDenied", Some("try 1")), 1, at(0));
    let cases = [
        (denied("Act: AccessDenied", Some("try 2")), "Act: AccessDenied: try 1", "another try's words"),
        (denied("Act: LackPolicy", Some("try 2")), "Act: LackPolicy: try 2", "another cause"),
        (denied("Act: AccessDenied", None), "Act: AccessDenied", "nothing is said any more"),
        (denied("Act: AccessDeniedToo", Some("try 1")), "Act: AccessDeniedToo: try 1", "a longer cause"),
        (
            outcome(
                ConditionStatus::False,
                Reason::InvalidRequest,
                Progress::Stalled,
                "Act: AccessDenied",
                Some("try 2"),
            ),
            "Act: AccessDenied: try 2",
            "another reason",
        ),
        (
            outcome(
                ConditionStatus::Unknown,
                Reason::PermissionDenied,
                Progress::Stalled,
                "Act: AccessDenied",
                Some("try 2"),
            ),
            "Act: AccessDenied: try 2",
            "another status",
        ),
    ];
    for (next, message, why) in cases {
        let merged = merge(&first, &[READY], &next, 1, at(9));
        assert_eq!(ready(&merged).message, message, "{why}");
    }
    // A cause without detail that starts like the old one.
    let plain = merge(&[], &[READY], &denied("Act", None), 1, at(0));
    assert_eq!(ready(&merge(&plain, &[READY], &denied("Act: Code", None), 1, at(1))).message, "Act: Code");
    let longer = merge(&[], &[READY], &denied("Act: Code", None), 1, at(0));
    assert_eq!(ready(&merge(&longer, &[READY], &denied("Act", None), 1, at(1))).message, "Act");
}

#[test]
fn other_conditions_are_kept_as_they_are() {
    let other = Condition {
        kind: "Other".to_owned(),
        status: ConditionStatus::Unknown,
        reason: "Why".to_owned(),
        message: "text".to_owned(),
        observed_generation: 1,
        last_transition: at(-5),
    };
    let stalled = outcome(ConditionStatus::False, Reason::InvalidRequest, Progress::Stalled, "cause", None);
    let merged = merge(std::slice::from_ref(&other), &[READY, SYNCED], &stalled, 7, at(3));
    let kinds: Vec<_> = merged.iter().map(|c| c.kind.as_str()).collect();
    assert_eq!(kinds, [READY, SYNCED, "Other", STALLED]);
    assert!(merged.contains(&other));
    assert!(merged.iter().filter(|c| **c != other).all(|c| c.observed_generation == 7));
}

#[test]
fn words_are_the_contract_s() {
    for truth in [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown] {
        assert_eq!(ConditionStatus::parse(truth.as_str()), truth);
    }
    assert_eq!(ConditionStatus::parse("true"), ConditionStatus::Unknown);
    assert_eq!(Reason::RegionNotAvailable.as_str(), "RegionNotAvailable");
}

#[test]
fn every_reason_is_explained_to_users() {
    let source = include_str!("condition.rs");
    let list = source.split("reasons!(").nth(1).and_then(|rest| rest.split(");").next()).unwrap();
    let reasons: Vec<_> = list.split(',').map(str::trim).filter(|reason| !reason.is_empty()).collect();
    assert!(reasons.contains(&Reason::InSync.as_str()) && reasons.len() > 20, "{reasons:?}");
    let page = include_str!("../../docs/errors.md");
    let runbook = include_str!("../../docs/runbook.md");
    for reason in reasons {
        let row = page.lines().any(|line| line.starts_with('|') && line.contains(&format!("| `{reason}` |")));
        assert!(row, "docs/errors.md has no row for {reason}");
        let section = runbook.lines().any(|line| line == format!("### {reason}"));
        assert!(section, "docs/runbook.md has no section for {reason}");
    }
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    (
        prop::sample::select(vec![ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown]),
        prop::sample::select(vec![Reason::InSync, Reason::CloudUnavailable, Reason::InvalidRequest]),
        prop::sample::select(vec![Progress::Settled, Progress::Reconciling, Progress::Stalled]),
        prop::sample::select(vec!["a", "a: b", "b"]),
        prop::option::of(prop::sample::select(vec!["x", "y: z"])),
    )
        .prop_map(|(status, reason, progress, cause, detail)| {
            outcome(status, reason, progress, cause, detail)
        })
}

proptest! {
    #[test]
    fn times_move_with_status_alone_and_a_repetition_changes_nothing(all in prop::collection::vec(any_outcome(), 1..20)) {
        let mut old: Vec<Condition> = Vec::new();
        for (second, outcome) in (1_i64..).zip(&all) {
            let new = merge(&old, &[READY, SYNCED], outcome, second, at(second));
            for condition in &new {
                let before = old.iter().find(|c| c.kind == condition.kind).filter(|c| c.status == condition.status);
                let expected = before.map_or(at(second), |c| c.last_transition);
                prop_assert_eq!(condition.last_transition, expected);
                prop_assert_eq!(condition.observed_generation, second);
                prop_assert_eq!(condition.reason.as_str(), outcome.reason.as_str());
                prop_assert!(condition.message.starts_with(&outcome.cause));
            }
            let has = |kind: &str| new.iter().filter(|c| c.kind == kind).count();
            prop_assert_eq!((has(READY), has(SYNCED)), (1, 1));
            prop_assert_eq!(has(RECONCILING), usize::from(outcome.progress == Progress::Reconciling));
            prop_assert_eq!(has(STALLED), usize::from(outcome.progress == Progress::Stalled));
            prop_assert!(new.iter().filter(|c| [RECONCILING, STALLED].contains(&c.kind.as_str())).all(|c| c.status == ConditionStatus::True));
            prop_assert_eq!(&merge(&new, &[READY, SYNCED], outcome, second, at(second + 100)), &new);
            old = new;
        }
    }
}
