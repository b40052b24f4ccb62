//! Writes status and publishes Events where they differ from what is stored.

use std::time::Duration;

use jiff::Timestamp;
use kube::{Resource, ResourceExt};

use super::{PolicyEntry, Reconcile, convert};
use crate::api::CrossRegionBackupPolicy;
use crate::cluster::events::Note;
use crate::cluster::status::Applied;
use crate::controllers::cached::Cacheable;
use crate::controllers::guarded::readable;
use crate::controllers::{Part, quota_demand, write_status};
use crate::domain::Facts;
use crate::domain::condition::types;
use crate::plan::memory::Memory;
use crate::plan::{Desired, ReconcileEnv, after, conditions, events, since};

/// Minimum time between two writes of the status; changes meanwhile go into the second one.
const MIN_WRITE_INTERVAL: Duration = Duration::from_millis(500);

/// Result of a report.
pub enum ReportResult {
    /// Status reports everything.
    All,
    /// The write is due at this time, either together with other changes until then, or after a write that the API
    /// server did not accept.
    Later(Timestamp),
    /// Another writer has changed the object meanwhile.
    Outdated,
    /// The object is deleted, which the watch has not reported yet.
    Deleted,
}

impl Reconcile<'_> {
    /// Writes the status if it differs, and publishes the Events for the difference.
    pub(super) async fn report(
        &mut self,
        entry: &mut PolicyEntry,
        desired: &Desired,
        env: &ReconcileEnv,
        memory: &mut Memory,
    ) -> ReportResult {
        let now = self.context.clock.now();
        let facts = conditions::report(desired, env, memory, now);
        if facts.observed_generation.is_none() {
            return ReportResult::All;
        }
        let stored = self.policy.status.clone().unwrap_or_default();
        let wanted = Box::new(convert::status_from(&facts));
        if wanted == stored {
            if let Some(before) = entry.last_published.take() {
                self.publish_changes(&before, &facts).await;
            }
            memory.facts = facts;
            return ReportResult::All;
        }
        if let Some(written) = entry.written.filter(|written| since(*written, now) < MIN_WRITE_INTERVAL) {
            return ReportResult::Later(after(written, MIN_WRITE_INTERVAL));
        }
        let failed_writes = &self.context.failed_writes;
        if let Some(wait) = failed_writes.wait(&self.policy.metadata, Part::Status) {
            return ReportResult::Later(after(now, wait));
        }
        let _place = self.context.write_permit().await;
        let (api, object) = (self.api(), Box::new(self.guarded()));
        let write = write_status(self.context, &api, &object, &wanted, |object| object.status.as_ref());
        let applied = match Box::pin(write).await {
            Ok(applied) => applied,
            Err(error) => {
                let kind = CrossRegionBackupPolicy::kind(&());
                let wait = failed_writes.failed(&kind, &self.policy.metadata, Part::Status, &error);
                return ReportResult::Later(after(self.context.clock.now(), wait));
            }
        };
        match readable(applied) {
            Applied::Written(object) => {
                failed_writes.succeeded(&self.policy.metadata, Part::Status);
                let calls = quota_demand::calls_for_backups(self.listed());
                self.policy = entry.latest.keep(object, &self.watched);
                entry.written = Some(self.context.clock.now());
                if quota_demand::calls_for_backups(self.listed()) != calls {
                    self.context.accounts.resources_changed(&self.key);
                }
                let before = entry.last_published.take();
                let before =
                    before.unwrap_or_else(|| Box::new(convert::facts_from(&stored, &self.instance.id)));
                self.publish_changes(&before, &facts).await;
                memory.facts = facts;
                ReportResult::All
            }
            Applied::Stale(Some(object)) => {
                entry.latest.keep(object, &self.watched);
                ReportResult::Outdated
            }
            Applied::Stale(None) => ReportResult::Deleted,
        }
    }

    pub(super) fn listed(&self) -> Option<i64> {
        self.policy.status.as_ref().and_then(CrossRegionBackupPolicy::listed)
    }

    async fn publish_changes(&self, before: &Facts, now: &Facts) {
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
        for event in events::between(before, now) {
            self.publish(event.warning, event.reason, event.text).await;
        }
    }

    /// Publishes an Event for what no status reports.
    pub(super) async fn publish_event(&self, warning: bool, reason: &'static str, text: String) {
        let _place = self.context.write_permit().await;
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
