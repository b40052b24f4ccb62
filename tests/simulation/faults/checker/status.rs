//! Checks status writes: each reports what was observed, of this object and generation.

use super::objects::{Policy, Setting};
use super::{Checker, ensure};

pub fn check(oracle: &Checker, before: &Policy, after: &Policy) -> Result<(), String> {
    let name = &after.name;
    ensure(before.spec == after.spec && before.held == after.held, || {
        format!("{name}: a status write changes more than status")
    })?;
    let told = &after.status["policy"];
    if !told.is_null() {
        let told = Setting::of_object(told);
        let answers = oracle.answers.get(after.instance()).map_or(&[][..], Vec::as_slice);
        ensure(answers.iter().any(|answer| answer.equals(&told)), || {
            format!("{name} tells {told:?}, which the cloud never said of {}", after.instance())
        })?;
    }
    let observed = after.status["observedGeneration"].as_i64().unwrap_or(-1);
    ensure((1..=after.generation).contains(&observed), || format!("{name}: observedGeneration {observed}"))?;
    says_what_was_seen(oracle, after)?;
    agree(after)
}

fn says_what_was_seen(oracle: &Checker, after: &Policy) -> Result<(), String> {
    let name = &after.name;
    let is_proven = |generation: i64| oracle.proven.contains(&(after.uid.clone(), generation));
    if let Some(synced) = after.status["syncedGeneration"].as_i64() {
        ensure(is_proven(synced), || format!("{name}: syncedGeneration {synced} was never seen in sync"))?;
    }
    let Some(condition) = after.condition("Synced") else { return Ok(()) };
    if !["InSync", "Observed"].contains(&after.reason()) {
        return Ok(());
    }
    let generation = condition["observedGeneration"].as_i64().unwrap_or_default();
    ensure(is_proven(generation), || {
        format!("{name} says {} of generation {generation}, which was never seen so", after.reason())
    })?;
    let spec = &oracle.specs[&(after.uid.clone(), generation)];
    let told = Setting::of_object(&after.status["policy"]);
    ensure(told.meets(spec), || format!("{name} says {} and tells {told:?}", after.reason()))
}

/// Checks that the conditions do not contradict each other.
fn agree(after: &Policy) -> Result<(), String> {
    let said = |kind: &str| after.condition(kind).map(|c| (c["status"].clone(), c["reason"].clone()));
    ensure(said("Ready") == said("Synced"), || format!("{}: Ready is no copy of Synced", after.name))?;
    ensure(said("Reconciling").is_none() || said("Stalled").is_none(), || {
        format!("{}: both Reconciling and Stalled", after.name)
    })
}
