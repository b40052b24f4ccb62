//! Judges a run by its journal: each Modify, status, finalizer and Event, by what the process that sent it had been told.
//! What nobody had told it is no fault of its own; what it was told and did not heed is.

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

use crate::harness::figures::{DESCRIBE, MODIFY};
use crate::harness::journal::{Answer, Call, Entry, Stored, USER, What};
use objects::{Policy, Setting};
use process::Process;

/// What must not have happened, with when and why.
pub struct Broken {
    pub at: Instant,
    pub why: String,
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

fn hold(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// What is known of a run up to one moment of it.
#[derive(Default)]
pub struct Oracle {
    /// By UID, as the API server has them, or had them last.
    stored: BTreeMap<String, Policy>,
    /// The specs of all generations, by UID.
    specs: HashMap<(String, i64), Value>,
    processes: HashMap<usize, Process>,
    /// Generations of which a look that began after they were known has shown what they want.
    proven: HashSet<(String, i64)>,
    /// What the cloud has told of each instance.
    answers: HashMap<String, Vec<Setting>>,
    /// The instance of each Modify that was accepted, by the cloud's request id.
    accepted: HashMap<String, String>,
    told: events::Told,
}

/// Judges the whole of a run.
pub fn judge(entries: &[Entry]) -> Result<(), Broken> {
    let mut oracle = Oracle::default();
    for entry in entries {
        oracle.take_in(entry).map_err(|why| Broken { at: entry.at, why })?;
    }
    Ok(())
}

impl Oracle {
    fn take_in(&mut self, entry: &Entry) -> Result<(), String> {
        let process = self.processes.entry(entry.by).or_default();
        match &entry.what {
            What::Started | What::Killed => Ok(()),
            What::Told(told) => {
                if let Some(policy) = process.told(told, entry.at) {
                    self.specs.insert(policy.version_of_spec(), policy.spec.clone());
                }
                Ok(())
            }
            What::Stored(stored) => self.was_stored(entry, stored),
            What::Called(call) => self.was_called(entry, call),
            What::Answered(number, answer) => {
                self.was_answered(entry, *number, answer);
                Ok(())
            }
        }
    }

    fn was_called(&mut self, entry: &Entry, call: &Call) -> Result<(), String> {
        let process = self.processes.entry(entry.by).or_default();
        if call.action == MODIFY {
            let modify = modify::judge(process, call, entry.at)?;
            process.modifies.push(modify);
        }
        process.calls.insert(call.number, (call.clone(), entry.at));
        Ok(())
    }

    fn was_answered(&mut self, entry: &Entry, number: usize, answer: &Answer) {
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
                process.looked(&call, sent, entry.at, answer);
                if let Some(seen) = Setting::answered(answer) {
                    self.was_seen(entry.by, call.instance(), sent, seen);
                }
            }
            _ => {}
        }
    }

    /// It proves what the process wanted to know when it asked.
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
            "events" => return events::judge(self, entry, stored),
            _ => return Ok(()),
        }
        let after = Policy::read(&stored.object);
        let before = self.stored.get(&after.uid).cloned();
        self.specs.insert(after.version_of_spec(), after.spec.clone());
        if let Some(before) = before.filter(|_| entry.by != USER) {
            match subresource {
                "status" => status::judge(self, &before, &after)?,
                _ => finalizer::judge(&self.processes[&entry.by], &before, &after, entry.at)?,
            }
        }
        self.stored.insert(after.uid.clone(), after);
        Ok(())
    }
}
