//! Writes status and publishes Events where they differ from what is stored.

use std::time::Duration;

use jiff::Timestamp;
use kube::{Resource, ResourceExt};

use super::{Slot, Turn, convert};
use crate::api::CrossRegionBackupPolicy;
use crate::cluster::events::Note;
use crate::cluster::status::Applied;
use crate::controllers::cached::Kept;
use crate::controllers::guarded::readable;
use crate::controllers::{Part, load, write_status};
use crate::domain::Facts;
use crate::domain::condition::types;
use crate::plan::memory::Memory;
use crate::plan::{Desired, Surroundings, after, conditions, events, since};

/// Minimum time between two writes of the status; changes meanwhile go into the second one.
const TOGETHER: Duration = Duration::from_millis(500);

/// Result of a report.
pub enum Told {
    /// Status reports everything.
    All,
    /// The write is due at this time, either together with other changes until then, or after a write that the API
    /// server did not accept.
    Later(Timestamp),
    /// Another writer has changed the object meanwhile.
    Outdated,
    /// The object is deleted, which the watch has not reported yet.
    Gone,
}

impl Turn<'_> {
    /// Writes the status if it differs, and publishes the Events for the difference.
    pub(super) async fn report(
        &mut self,
        slot: &mut Slot,
        desired: &Desired,
        around: &Surroundings,
        memory: &mut Memory,
    ) -> Told {
        let now = self.context.clock.now();
        let facts = conditions::report(desired, around, memory, now);
        if facts.observed_generation.is_none() {
            return Told::All;
        }
        let stored = self.policy.status.clone().unwrap_or_default();
        let wanted = Box::new(convert::status_from(&facts));
        if wanted == stored {
            if let Some(before) = slot.untold.take() {
                self.tell_between(&before, &facts).await;
            }
            memory.facts = facts;
            return Told::All;
        }
        if let Some(written) = slot.written.filter(|written| since(*written, now) < TOGETHER) {
            return Told::Later(after(written, TOGETHER));
        }
        let failed_writes = &self.context.failed_writes;
        if let Some(wait) = failed_writes.wait(&self.policy.metadata, Part::Status) {
            return Told::Later(after(now, wait));
        }
        let _place = self.context.place_to_write().await;
        let (api, object) = (self.api(), Box::new(self.guarded()));
        let write = write_status(self.context, &api, &object, &wanted, |object| object.status.as_ref());
        let applied = match Box::pin(write).await {
            Ok(applied) => applied,
            Err(error) => {
                let kind = CrossRegionBackupPolicy::kind(&());
                let wait = failed_writes.failed(&kind, &self.policy.metadata, Part::Status, &error);
                return Told::Later(after(self.context.clock.now(), wait));
            }
        };
        match readable(applied) {
            Applied::Written(object) => {
                failed_writes.succeeded(&self.policy.metadata, Part::Status);
                let calls = load::calls_for_backups(self.listed());
                self.policy = slot.latest.keep(object, &self.watched);
                slot.written = Some(self.context.clock.now());
                if load::calls_for_backups(self.listed()) != calls {
                    self.context.accounts.resources_changed(&self.key);
                }
                let before = slot.untold.take();
                let before =
                    before.unwrap_or_else(|| Box::new(convert::facts_from(&stored, &self.instance.id)));
                self.tell_between(&before, &facts).await;
                memory.facts = facts;
                Told::All
            }
            Applied::Stale(Some(object)) => {
                slot.latest.keep(object, &self.watched);
                Told::Outdated
            }
            Applied::Stale(None) => Told::Gone,
        }
    }

    pub(super) fn listed(&self) -> Option<i64> {
        self.policy.status.as_ref().and_then(CrossRegionBackupPolicy::listed)
    }

    async fn tell_between(&self, before: &Facts, now: &Facts) {
        let reason = |facts: &Facts| facts.condition(types::READY).map(|c| c.reason.clone());
        if reason(before) != reason(now) {
            tracing::info!(
                namespace = %self.namespace,
                policy = %self.policy.name_any(),
                instance = %self.instance.id,
                reason = reason(now).as_deref(),
                "Ready has changed"
            );
        }
        for happening in events::between(before, now) {
            self.publish(happening.warning, happening.reason, happening.text).await;
        }
    }

    /// Publishes an Event for what no status reports.
    pub(super) async fn tell(&self, warning: bool, reason: &'static str, text: String) {
        let _place = self.context.place_to_write().await;
        self.publish(warning, reason, text).await;
    }

    async fn publish(&self, warning: bool, reason: &'static str, text: String) {
        let note = Note { warning, reason, action: "Reconcile", text };
        Box::pin(self.context.events.publish(&self.policy.object_ref(&()), note)).await;
    }
}

#[cfg(test)]
mod tests {
    use crate::controllers::policy::reconcile;

    #[test]
    fn a_turn_that_waits_holds_little() {
        fn size_of<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
            std::mem::size_of::<F>()
        }
        // Large values are on the heap, and only while they are needed.
        assert!(size_of(reconcile) < 4_500, "{}", size_of(reconcile));
    }
}
