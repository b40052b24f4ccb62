//! Checks a run with failing accounts: bounds for the healthy account, and for the failing ones.

use std::collections::{BTreeMap, HashMap};
use std::str::from_utf8;
use std::time::Duration;

use super::call_pacing;
use super::faults::{Class, FaultCase};
use super::phases::{AccountCalls, Phase, PhasesResult};
use crate::faults::checker;
use crate::faults::run::told;
use crate::harness::fleet::Fleet;
use crate::harness::history::{Entry, EntryKind};

/// Upper bounds on the latency of the healthy account's changes, the cloud's own time included.
const TO_CLOUD: Duration = Duration::from_secs(1);
const TO_READY: Duration = Duration::from_secs(2);

/// Returns the upper bound on calls during a fault, as a multiple of the healthy account's calls.
pub fn factor(class: Class, percent: u8) -> f64 {
    let share = f64::from(percent) / 100.0;
    match class {
        Class::Slow => 1.0,
        // Each failed call is retried; after a failed change, a describe comes first.
        Class::Passing | Class::Throttled => 1.1 / (1.0 - share),
        // Rejected credentials are tried once more, and so is an instance not found soon after its policy was created.
        Class::NeedsPerson => 1.15,
        // An accepted change is described eight times, and sent three times.
        Class::Late => 1.0 + 8.0 * share,
    }
}

/// Returns the allowed excess of a random count over its mean: 5 standard deviations, and a few.
fn slack(mean: f64) -> f64 {
    5.0 * mean.sqrt() + 5.0
}

/// Checks the failing accounts against the healthy one, and the healthy one by itself.
pub fn check(cells: &[FaultCase], played: &PhasesResult) {
    for (phase, seen) in &played.seen {
        for (number, cell) in cells.iter().enumerate() {
            is_bounded(*phase, cell, &seen[number + 1], &seen[0]);
        }
    }
    for (phase, waits) in &played.waits {
        let (to_cloud, to_ready) = (waits.to_cloud.percentile(99), waits.to_ready.percentile(99));
        assert!(to_cloud < TO_CLOUD && to_ready < TO_READY, "{phase:?}: {to_cloud:?}, Ready {to_ready:?}");
    }
    assert!(played.left[0].is_empty(), "the account that is well leaves instances on: {:?}", played.left[0]);
    for (cell, left) in cells.iter().zip(&played.left[1..]) {
        let may_leave = |why: &String| match cell.fault.class {
            Class::Slow | Class::Passing | Class::Throttled => false,
            Class::Late => why == "DisableAbandoned",
            Class::NeedsPerson => ["DisableAbandoned", "DisableSkipped"].contains(&&**why),
        };
        assert!(left.keys().all(may_leave), "{}: instances are left on: {left:?}", cell.label());
    }
}

fn is_bounded(phase: Phase, cell: &FaultCase, seen: &AccountCalls, without: &AccountCalls) {
    let mean = factor(cell.fault.class, cell.percent) * without.total() as f64;
    let told = cell.label();
    assert!(
        seen.total() as f64 <= mean + slack(mean),
        "{phase:?}, {told}: {:?}, and of the one that is well {:?}",
        seen.calls,
        without.calls
    );
}

/// Checks the history and the schedule of each policy by itself.
pub fn check_each_policy(cells: &[FaultCase], played: &PhasesResult) {
    let mut journals = by_policy(played);
    for (number, fleet) in played.fleets.iter().enumerate() {
        for policy in 0..fleet.policies {
            let entries = journals.remove(&fleet.instance(policy)).unwrap_or_default();
            let violation =
                checker::check(&entries).and_then(|()| call_pacing::check(&entries, played.start));
            if let Err(broken) = violation {
                let cell = number.checked_sub(1).map_or("no fault".to_owned(), |cell| cells[cell].label());
                panic!("{}\n{cell}: {}", told(&entries, Some(broken.at)), broken.why);
            }
        }
    }
}

/// Splits the history by instance.
fn by_policy(played: &PhasesResult) -> HashMap<String, Vec<Entry>> {
    let instances =
        |fleet: &Fleet| (0..fleet.policies).map(|number| fleet.instance(number)).collect::<Vec<_>>();
    let of_account: BTreeMap<_, _> =
        played.fleets.iter().map(|fleet| (fleet.namespace(0), instances(fleet))).collect();
    let mut journals = HashMap::<String, Vec<Entry>>::new();
    let mut under_way = HashMap::new();
    for entry in &played.entries {
        let own = match &entry.what {
            EntryKind::Received(told) if told.resource == "crossregionbackuppolicies" => {
                text(&told.object, "instanceId").map(str::to_owned)
            }
            EntryKind::Stored(stored) if stored.resource.starts_with("crossregionbackuppolicies") => {
                text(&stored.object, "instanceId").map(str::to_owned)
            }
            EntryKind::Called(call) if !call.instance().is_empty() => {
                under_way.insert((entry.by, call.number), call.instance().to_owned());
                Some(call.instance().to_owned())
            }
            EntryKind::Answered(number, _) => under_way.remove(&(entry.by, *number)),
            _ => None,
        };
        let many: Vec<&String> = match &entry.what {
            EntryKind::Started | EntryKind::Killed => of_account.values().flatten().collect(),
            EntryKind::Received(told) if told.object.is_empty() => of_account.values().flatten().collect(),
            EntryKind::Received(told) if told.resource == "cloudaccounts" => text(&told.object, "namespace")
                .and_then(|name| of_account.get(name))
                .into_iter()
                .flatten()
                .collect(),
            _ => Vec::new(),
        };
        for instance in own.iter().chain(many) {
            journals.entry(instance.clone()).or_default().push(entry.clone());
        }
    }
    journals
}

/// Returns the first string field with this name, without parsing the object.
fn text<'a>(object: &'a [u8], name: &str) -> Option<&'a str> {
    let object = from_utf8(object).ok()?;
    let rest = object.split_once(&format!("\"{name}\":\""))?.1;
    rest.split('"').next()
}
