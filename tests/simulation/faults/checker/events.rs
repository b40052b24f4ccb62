//! Checks Events: each reports what has happened, and each occurrence once.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use tokio::time::Instant;

use super::finalizer::Reasons;
use super::objects::Policy;
use super::{Checker, ensure};
use crate::harness::history::{Entry, EntryKind, Stored};

/// Events emitted so far.
#[derive(Default)]
pub struct EmittedEvents {
    /// Count of each Event, by its name.
    counts: HashMap<String, i64>,
    /// Number of reported drift corrections, by UID of the policy.
    corrections: HashMap<String, i64>,
    /// Reported ends of deletions: process, UID of the policy, and reason.
    deletion_ends: HashSet<(usize, String, String)>,
}

/// Checks a write of an Event that raises its count.
pub fn check(oracle: &mut Checker, entry: &Entry, stored: &Stored) -> Result<(), String> {
    let event: Value = serde_json::from_slice(&stored.object).unwrap();
    let count = event["series"]["count"].as_i64().unwrap_or(1);
    let before = oracle.emitted.counts.insert(text(&event["metadata"]["name"]), count).unwrap_or_default();
    let uid = text(&event["regarding"]["uid"]);
    let Some(policy) = oracle.stored.get(&uid).filter(|_| count > before).cloned() else { return Ok(()) };
    let (reason, note) = (text(&event["reason"]), text(&event["note"]));
    let told = format!("{} is told {reason} for the {count}. time: {note}", policy.name);
    match reason.as_str() {
        "PolicyModified" => modified(oracle, entry.by, &policy, &note, before),
        "DriftCorrected" => {
            let corrections = oracle.emitted.corrections.entry(uid).or_default();
            *corrections += count - before;
            let happened = policy.status["drift"]["corrections"].as_i64().unwrap_or_default();
            ensure(*corrections <= happened, || format!("status counts {happened}"))
        }
        "DisabledOnDelete" | "DisableSkipped" | "DisableAbandoned" => {
            let is_first = oracle.emitted.deletion_ends.insert((entry.by, uid, reason.clone()));
            ensure(is_first, || "this process has told it before".to_owned())
                .and_then(|()| ends(oracle, entry.by, &policy, &reason, entry.at))
        }
        _ => Ok(()),
    }
    .map_err(|why| format!("{told}: {why}"))
}

/// Checks a PolicyModified Event. With a request id it reports an answered change, and is emitted once by all processes
/// together; without one, a Modify must have been sent.
fn modified(oracle: &Checker, by: usize, policy: &Policy, note: &str, before: i64) -> Result<(), String> {
    let instance = policy.instance();
    match note.split_once(", request ").map(|(_, id)| id.trim_end_matches(')')) {
        Some(id) => {
            let accepted = oracle.accepted.get(id);
            ensure(accepted.is_some_and(|of| of == instance), || "the cloud never accepted it".to_owned())?;
            ensure(before == 0, || "it happened once".to_owned())
        }
        None => {
            let sent = oracle.processes[&by].modifies.iter().any(|modify| modify.instance == instance);
            ensure(sent, || "nothing was sent".to_owned())
        }
    }
}

fn ends(oracle: &Checker, by: usize, policy: &Policy, reason: &str, at: Instant) -> Result<(), String> {
    let reasons = Reasons::of(&oracle.processes[&by], policy, at);
    let is_so = match reason {
        "DisabledOnDelete" => reasons.is_off,
        "DisableSkipped" => reasons.is_not_applicable,
        _ => reasons.is_abandoned,
    };
    ensure(policy.deleted && policy.disables() && is_so, || format!("it knows {reasons:?}"))
}

/// Checks that an Event reports each change that a status reports, unless the process was killed. For runs in which
/// Events can be written.
pub fn all_reported(entries: &[Entry]) -> Result<(), String> {
    let mut untold = HashMap::new();
    let mut known = HashSet::new();
    let mut dead = HashSet::new();
    for entry in entries {
        match &entry.what {
            EntryKind::Killed => {
                dead.insert(entry.by);
                untold.retain(|_, by| *by != entry.by);
            }
            EntryKind::Stored(stored) if stored.resource == "crossregionbackuppolicies/status" => {
                let request = &Policy::read(&stored.object).status["lastModification"]["requestId"];
                let request = request.as_str().map(str::to_owned);
                let news = request.filter(|request| known.insert(request.clone()));
                untold.extend(news.map(|request| (request, entry.by)));
            }
            EntryKind::Stored(stored) if stored.resource == "events" => {
                let event: Value = serde_json::from_slice(&stored.object).unwrap();
                let note = text(&event["note"]);
                untold.retain(|request, _| {
                    event["reason"] != "PolicyModified" || !note.contains(request.as_str())
                });
            }
            _ => {}
        }
    }
    untold.retain(|_, by| !dead.contains(by));
    ensure(untold.is_empty(), || format!("no Event tells of the changes {untold:?}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
