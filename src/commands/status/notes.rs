//! Caveats about a policy's status, such as an outdated generation, a deletion or unreadable fields.

use serde_json::Value;

use super::explain::{Policy, part};
use crate::api::{FINALIZER, RECONCILE_REQUESTED_AT, handled_value};

impl Policy<'_> {
    pub(super) fn notes(&self) -> Vec<String> {
        let metadata = &self.object.metadata;
        let generation = metadata.generation.unwrap_or_default();
        let mut notes = Vec::new();
        match self.observed() {
            None => notes.push(
                "Its status was never written: the operator does not run, does not watch this namespace, or has only just been told."
                    .to_owned(),
            ),
            Some(observed) if observed < generation => notes.push(format!(
                "Status is about an earlier spec (generation {observed}, now {generation}): what is said below may not hold for the present one."
            )),
            Some(_) => {}
        }
        notes.extend(self.deletion());
        if part(self.object, "/spec/suspend") == Some(true) {
            notes.push("It is suspended: nothing is looked at, and nothing is changed.".to_owned());
        }
        let asked = metadata.annotations.as_ref().and_then(|all| all.get(RECONCILE_REQUESTED_AT));
        let handled = self.text("/status/lastHandledReconcileAt").map(|handled| handled_value(&handled));
        if asked.is_some_and(|asked| Some(handled_value(asked)) != handled) {
            notes.push("A look was asked for, and has not ended yet.".to_owned());
        }
        notes.extend(self.unreadable());
        notes
    }

    /// Describes what a deletion waits for.
    fn deletion(&self) -> Option<String> {
        let since = self.object.metadata.deletion_timestamp.as_ref()?;
        let (ours, others): (Vec<&str>, Vec<&str>) = (self.object.metadata.finalizers.iter().flatten())
            .map(String::as_str)
            .partition(|finalizer| *finalizer == FINALIZER);
        let mut waits = Vec::new();
        if !ours.is_empty() && self.may_disable() {
            waits.push("the operator, which switches the copies off in the cloud first".to_owned());
        } else if !ours.is_empty() {
            waits.push("the operator, which is to let it go without a call to the cloud".to_owned());
        }
        waits.extend(others.iter().map(|finalizer| format!("the finalizer {finalizer} of somebody else")));
        let waits = if waits.is_empty() { "nothing".to_owned() } else { waits.join(", and for ") };
        Some(format!("It is being deleted, since {}, and waits for {waits}.", self.ago(since.0)))
    }

    /// Returns whether a deletion may change the cloud: only if the operator would also modify the instance otherwise.
    pub(super) fn may_disable(&self) -> bool {
        let says = |pointer, word: &str| self.text(pointer).is_some_and(|value| value == word);
        says("/spec/deletionPolicy", "Disable")
            && !says("/spec/managementPolicy", "Observe")
            && part(self.object, "/spec/suspend") != Some(true)
    }

    /// Lists the fields that are set but malformed.
    fn unreadable(&self) -> Option<String> {
        let is_there =
            |pointer: &str| self.object.data.pointer(pointer).is_some_and(|value| !value.is_null());
        let all =
            self.object.data.pointer("/status/conditions").and_then(Value::as_array).map_or(0, Vec::len);
        let broken: Vec<&str> = [
            ("spec.active", is_there("/spec/active") && self.active.is_none()),
            ("spec.crossBackupRegion", is_there("/spec/crossBackupRegion") && self.target.is_none()),
            ("status.policy", is_there("/status/policy") && self.found.is_none()),
            ("status.recoveryPoint", is_there("/status/recoveryPoint") && self.recovery_point.is_none()),
            ("status.backups", is_there("/status/backups") && self.backups.is_none()),
            ("status.drift", is_there("/status/drift") && self.drift().is_none()),
            (
                "status.lastModification",
                is_there("/status/lastModification") && self.modification().is_none(),
            ),
            ("status.conditions", is_there("/status/conditions") && self.conditions.len() < all.max(1)),
        ]
        .into_iter()
        .filter_map(|(name, broken)| broken.then_some(name))
        .collect();
        (!broken.is_empty())
            .then(|| format!("Not readable, so left out in whole or in part: {}.", broken.join(", ")))
    }
}
