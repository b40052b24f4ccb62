//! Checks a run's history: each Modify, status, finalizer and Event must follow from what its process had received by
//! then. A process is not blamed for what it had not received.

pub mod events;
mod finalizer;
mod modify;
pub mod objects;
mod process;
mod status;
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use serde_json::Value;
use tokio::time::Instant;

use crate::harness::history::{Call, CloudResponse, Entry, EntryKind, Stored, USER};
use crate::harness::measurements::{DESCRIBE, MODIFY};
use objects::{Policy, Setting};
use process::Process;

/// Violation, with its time and reason.
pub struct Violation {
    pub at: Instant,
    pub why: String,
}

impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// State of a run up to one moment.
#[derive(Default)]
pub struct Checker {
    /// Current or last state in the API server, by UID.
    stored: BTreeMap<String, Policy>,
    /// Specs of all generations, by UID and generation.
    specs: HashMap<(String, i64), Value>,
    processes: HashMap<usize, Process>,
    /// Generations whose spec was confirmed by a describe that started after they were known.
    proven: HashSet<(String, i64)>,
    /// The cloud's policies in responses to describes, by instance.
    answers: HashMap<String, Vec<Setting>>,
    /// Instance of each accepted Modify, by the cloud's request id.
    accepted: HashMap<String, String>,
    emitted: events::EmittedEvents,
}

/// Checks a whole history.
pub fn check(entries: &[Entry]) -> Result<(), Violation> {
    let mut oracle = Checker::default();
    for entry in entries {
        oracle.take_in(entry).map_err(|why| Violation { at: entry.at, why })?;
    }
    Ok(())
}

impl Checker {
    fn take_in(&mut self, entry: &Entry) -> Result<(), String> {
        let process = self.processes.entry(entry.by).or_default();
        match &entry.what {
            EntryKind::Started | EntryKind::Killed => Ok(()),
            EntryKind::Received(received) => {
                if let Some(policy) = process.received(received, entry.at) {
                    self.specs.insert(policy.spec_key(), policy.spec.clone());
                }
                Ok(())
            }
            EntryKind::Stored(stored) => self.was_stored(entry, stored),
            EntryKind::Called(call) => self.was_called(entry, call),
            EntryKind::Answered(number, answer) => {
                self.was_answered(entry, *number, answer);
                Ok(())
            }
        }
    }

    fn was_called(&mut self, entry: &Entry, call: &Call) -> Result<(), String> {
        let process = self.processes.entry(entry.by).or_default();
        if call.action == MODIFY {
            let modify = modify::check(process, call, entry.at)?;
            process.modifies.push(modify);
        }
        process.calls.insert(call.number, (call.clone(), entry.at));
        Ok(())
    }

    fn was_answered(&mut self, entry: &Entry, number: usize, answer: &CloudResponse) {
        let process = self.processes.entry(entry.by).or_default();
        let Some((call, sent)) = process.calls.remove(&number) else { return };
        match call.action.as_str() {
            MODIFY => {
                process.modified(&call, answer, entry.at);
                let answer = Some(answer.json()).filter(|_| answer.is_good());
                let request = answer
                    .and_then(|answer| answer["ResponseMetadata"]["RequestId"].as_str().map(str::to_owned));
                self.accepted.extend(request.map(|request| (request, call.instance().to_owned())));
            }
            DESCRIBE => {
                process.described(&call, sent, entry.at, answer);
                if let Some(seen) = Setting::answered(answer) {
                    self.was_seen(entry.by, call.instance(), sent, seen);
                }
            }
            _ => {}
        }
    }

    /// Marks the generations that a describe confirms: those the process knew when it sent the call.
    fn was_seen(&mut self, by: usize, instance: &str, sent: Instant, seen: Setting) {
        for (version, known) in &self.processes[&by].known_since {
            let spec = &self.specs[version];
            if *known <= sent && spec["instanceId"] == instance && seen.meets(spec) {
                self.proven.insert(version.clone());
            }
        }
        self.answers.entry(instance.to_owned()).or_default().push(seen);
    }

    fn was_stored(&mut self, entry: &Entry, stored: &Stored) -> Result<(), String> {
        let (resource, subresource) = stored.resource.split_once('/').unwrap_or((&stored.resource, ""));
        match resource {
            "crossregionbackuppolicies" => {}
            "events" => return events::check(self, entry, stored),
            _ => return Ok(()),
        }
        let after = Policy::read(&stored.object);
        let before = self.stored.get(&after.uid).cloned();
        self.specs.insert(after.spec_key(), after.spec.clone());
        if let Some(before) = before.filter(|_| entry.by != USER) {
            match subresource {
                "status" => status::check(self, &before, &after)?,
                _ => finalizer::check(&self.processes[&entry.by], &before, &after, entry.at)?,
            }
        }
        self.stored.insert(after.uid.clone(), after);
        Ok(())
    }
}
