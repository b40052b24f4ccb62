//! Status and Events: written where they differ from what is stored.

use kube::{Resource, ResourceExt};

use super::{Slot, Turn, convert};
use crate::cluster::events::Note;
use crate::cluster::status::Applied;
use crate::controllers::{NotReported, load, write_status};
use crate::domain::Facts;
use crate::domain::condition::types;
use crate::plan::memory::Memory;
use crate::plan::{Desired, Surroundings, conditions, events};

impl Turn<'_> {
    /// Writes the status where it differs; false where the object was written by somebody else meanwhile.
    pub(super) async fn report(
        &mut self,
        slot: &mut Slot,
        desired: &Desired,
        around: &Surroundings,
        memory: &mut Memory,
    ) -> Result<bool, NotReported> {
        let facts = conditions::report(desired, around, memory, self.context.clock.now());
        if facts.observed_generation.is_none() {
            return Ok(true);
        }
        let stored = self.policy.status.clone().unwrap_or_default();
        let wanted = convert::status_from(&facts);
        if wanted == stored {
            memory.facts = facts;
            return Ok(true);
        }
        let before = convert::facts_from(&stored, &self.instance.id);
        let api = self.api();
        match write_status(&api, &*self.policy, &wanted, |object| object.status.as_ref()).await? {
            Applied::Written(object) => {
                let calls = load::calls_of(&self.policy);
                self.policy = slot.latest.keep(object);
                if load::calls_of(&self.policy) != calls {
                    self.context.accounts.resources_changed(&self.key);
                }
                self.tell_between(&before, &facts).await;
                memory.facts = facts;
                Ok(true)
            }
            Applied::Stale(object) => {
                if let Some(object) = object {
                    slot.latest.keep(object);
                }
                Ok(false)
            }
        }
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
            self.tell(happening.warning, happening.reason, happening.text).await;
        }
    }

    pub(super) async fn tell(&self, warning: bool, reason: &'static str, text: String) {
        let note = Note { warning, reason, action: "Reconcile", text };
        self.context.events.publish(&self.policy.object_ref(&()), note).await;
    }
}
