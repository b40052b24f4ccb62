//! Loads the in-memory state of a policy at the start of a reconcile, and stores it at the end.

use super::stored_state::StoredState;
use super::{PolicyEntry, Reconcile, convert};
use crate::api::CrossRegionBackupPolicy;
use crate::controllers::Admission;
use crate::controllers::cached::CompactObject;
use crate::plan::Desired;
use crate::plan::inventory::{PolicyObservation, PolicySetting};
use crate::plan::memory::Memory;

impl Reconcile<'_> {
    /// Returns the in-memory state of the policy; if there is none, the state that its status reports.
    pub(super) fn load_state(&self, entry: &mut PolicyEntry, desired: &Desired) -> Memory {
        let awake = entry.memory.take().map(|stored_state| {
            let before = self.with_compact(entry, |kept| stored_state.reported_before(&self.policy, kept));
            entry.last_published = entry.last_published.take().or(before);
            self.expand_state(entry, stored_state)
        });
        if awake.as_ref().is_none_or(|memory| memory.generation != desired.generation) {
            self.context.accounts.resources_changed(&self.key);
        }
        awake.unwrap_or_else(|| {
            let status = self.policy.status.clone().unwrap_or_default();
            let facts = convert::facts_from(&status, &self.policy.spec.instance_id);
            let admission = self.context.admission(&self.key, &self.namespace, self.purpose());
            let account = self.account.filter(|_| admission == Admission::Allowed);
            let memory = Memory::new(facts, desired, self.context.as_of, self.context.clock.now());
            if let (Some(account), Some(policy), true) = (account, &memory.facts.policy, memory.is_proven()) {
                let told = PolicySetting::Active(policy.active);
                let known = PolicyObservation { policy: told, at: self.context.as_of };
                account.load_policy(self.instance.clone(), known);
            }
            memory
        })
    }

    pub(super) fn store_state(
        &self,
        entry: &PolicyEntry,
        memory: &mut Memory,
        desired: &Desired,
    ) -> StoredState {
        let (memory, now) = (std::mem::take(memory), self.context.clock.now());
        self.with_compact(entry, |kept| StoredState::of(memory, &self.policy, kept, desired, now))
    }

    fn expand_state(&self, entry: &PolicyEntry, stored_state: StoredState) -> Memory {
        self.with_compact(entry, |kept| stored_state.expand(&self.policy, kept))
    }

    /// Calls `what` with the policy in compact form: the response to our last write if the watch lags behind it,
    /// otherwise the object in the store.
    fn with_compact<T>(
        &self,
        entry: &PolicyEntry,
        what: impl FnOnce(Option<&CompactObject<CrossRegionBackupPolicy>>) -> T,
    ) -> T {
        let written = entry.latest.written().filter(|written| written.is(&self.policy));
        let stored = self.stored();
        what(written.or_else(|| stored.as_ref()?.0.as_ref().ok()))
    }
}
