//! The checker detects violations: each test alters the history of a correct run.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::faults::run::{RestartPolicy, ScenarioRun, in_own_runtime, stage};
use crate::faults::scenarios::Scenario;
use crate::harness::history::ReceivedFrom;

const POLICIES: &str = "crossregionbackuppolicies";

/// Returns the history of a scenario.
fn journal(name: &str) -> Vec<Entry> {
    let scenario = Scenario::named(name);
    in_own_runtime(name, 1, async {
        let mut cluster = stage(&scenario);
        let mut play = ScenarioRun::new(&mut cluster, RestartPolicy::default());
        play.act(&scenario).await;
        play.pass(Duration::from_secs(20)).await;
        let entries = play.cluster.journal.entries();
        play.end().await;
        entries
    })
}

/// Returns the violation in the history whose policies, as received or as stored, `change` has altered.
fn violation(name: &str, change: impl Fn(&EntryKind, &mut Value)) -> String {
    let mut entries = journal(name);
    check(&entries).unwrap();
    for entry in &mut entries {
        let before = entry.what.clone();
        let object = match &mut entry.what {
            EntryKind::Received(told) if told.resource == POLICIES => &mut told.object,
            EntryKind::Stored(stored) if stored.resource.starts_with(POLICIES) => &mut stored.object,
            _ => continue,
        };
        if let Ok(mut value) = serde_json::from_slice(object) {
            change(&before, &mut value);
            *object = Bytes::from(value.to_string());
        }
    }
    check(&entries).expect_err("the oracle sees it").why
}

/// Returns the violation in the history without some of its entries.
fn violation_without(name: &str, gone: impl Fn(&EntryKind) -> bool) -> String {
    let mut entries = journal(name);
    entries.retain(|entry| !gone(&entry.what));
    check(&entries).expect_err("the oracle sees it").why
}

#[test]
fn a_modify_that_nobody_wants_is_seen() {
    let spec = |field: &'static str, wanted: Value| {
        violation("created", move |_, policy| policy["spec"][field] = wanted.clone())
    };
    assert!(spec("managementPolicy", "Observe".into()).contains("only observes"));
    assert!(spec("suspend", true.into()).contains("is suspended"));
    assert!(spec("crossBackupRegion", "cn-guangzhou".into()).contains("it wants"));
    assert!(spec("deletionPolicy", "Disable".into()).contains("not held up"));
    let retained = violation("disabled", |_, policy| policy["spec"]["deletionPolicy"] = "Retain".into());
    assert!(retained.contains("is held, and is not to be disabled"), "{retained}");
}

#[test]
fn a_modify_without_a_look_is_seen() {
    let blind = violation_without(
        "created",
        |what| matches!(what, EntryKind::Called(call) if call.action == DESCRIBE),
    );
    assert!(blind.contains("the last look showed None"), "{blind}");
}

#[test]
fn a_status_that_was_not_seen_so_is_seen() {
    let shown = violation("created", |what, policy| {
        let is_told = matches!(what, EntryKind::Received(told) if told.how != ReceivedFrom::Answered);
        if !is_told && !policy["status"]["policy"].is_null() {
            policy["status"]["policy"]["crossBackupRegion"] = "cn-guangzhou".into();
        }
    });
    assert!(shown.contains("which the cloud never said"), "{shown}");
    let namesake = violation("created", |what, policy| {
        if matches!(what, EntryKind::Stored(_)) {
            policy["metadata"]["uid"] = "another".into();
        }
    });
    assert!(namesake.contains("never seen"), "{namesake}");
}

#[test]
fn a_finalizer_that_goes_too_early_is_seen() {
    let early = violation_without_last_describe(|what| is_event(what, "DisabledOnDelete"));
    assert!(early.contains("was not disabled"), "{early}");
}

/// Removes the describes after the second Modify, which disables the instance.
fn violation_without_last_describe(gone: impl Fn(&EntryKind) -> bool) -> String {
    let (modifies, describes) = (Cell::new(0), RefCell::new(Vec::new()));
    violation_without("disabled", |what| match what {
        EntryKind::Called(call) if call.action == MODIFY => {
            modifies.set(modifies.get() + 1);
            false
        }
        EntryKind::Called(call) if call.action == DESCRIBE && modifies.get() == 2 => {
            describes.borrow_mut().push(call.number);
            false
        }
        EntryKind::Answered(number, _) => describes.borrow().contains(number),
        what => gone(what),
    })
}

fn is_event(what: &EntryKind, reason: &str) -> bool {
    let EntryKind::Stored(stored) = what else { return false };
    let event = |object: &Bytes| serde_json::from_slice::<Value>(object).unwrap();
    stored.resource == "events" && event(&stored.object)["reason"] == reason
}

#[test]
fn an_event_of_what_has_not_happened_is_seen() {
    let early = violation_without_last_describe(|_| false);
    assert!(early.contains("is told DisabledOnDelete"), "{early}");
    let unsent = violation_without(
        "created",
        |what| matches!(what, EntryKind::Answered(_, answer) if answer.is_good() && answer.json()["Result"].is_null()),
    );
    assert!(unsent.contains("the cloud never accepted it"), "{unsent}");
}

#[test]
fn an_event_that_is_told_again_is_seen_and_one_that_is_not_told() {
    for (name, reason) in
        [("created", "PolicyModified"), ("drift", "DriftCorrected"), ("disabled", "DisabledOnDelete")]
    {
        let mut entries = journal(name);
        let first = entries.iter().position(|entry| is_event(&entry.what, reason)).unwrap();
        let mut again = entries[first].clone();
        let EntryKind::Stored(stored) = &mut again.what else { unreachable!() };
        let mut event: Value = serde_json::from_slice(&stored.object).unwrap();
        event["series"] = serde_json::json!({"count": 2});
        stored.object = Bytes::from(event.to_string());
        entries.insert(first + 1, again);
        let why = check(&entries).expect_err("the oracle sees it").why;
        assert!(why.contains(&format!("is told {reason} for the 2. time")), "{why}");
    }
    let mut entries = journal("created");
    events::all_reported(&entries).unwrap();
    entries.retain(|entry| !is_event(&entry.what, "PolicyModified"));
    assert!(events::all_reported(&entries).unwrap_err().contains("no Event tells"));
}
