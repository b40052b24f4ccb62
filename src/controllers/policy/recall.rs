//! Loads the in-memory state of a policy at the start of a reconcile, and stores it at the end.

use super::rest::Rest;
use super::{Slot, Turn, convert};
use crate::api::CrossRegionBackupPolicy;
use crate::controllers::Admission;
use crate::controllers::cached::Lean;
use crate::plan::Desired;
use crate::plan::inventory::{PolicyKnowledge, PolicyTold};
use crate::plan::memory::Memory;

impl Turn<'_> {
    /// Returns the in-memory state of the policy; if there is none, the state that its status reports.
    pub(super) fn recall(&self, slot: &mut Slot, desired: &Desired) -> Memory {
        let awake = slot.memory.take().map(|rest| {
            let before = self.with_kept(slot, |kept| rest.told_before(&self.policy, kept));
            slot.untold = slot.untold.take().or(before);
            self.woken(slot, rest)
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
                let told = PolicyTold::Active(policy.active);
                let known = PolicyKnowledge { policy: told, at: self.context.as_of };
                account.recall_policy(self.instance.clone(), known);
            }
            memory
        })
    }

    pub(super) fn laid_down(&self, slot: &Slot, memory: &mut Memory, desired: &Desired) -> Rest {
        let (memory, now) = (std::mem::take(memory), self.context.clock.now());
        self.with_kept(slot, |kept| Rest::of(memory, &self.policy, kept, desired, now))
    }

    fn woken(&self, slot: &Slot, rest: Rest) -> Memory {
        self.with_kept(slot, |kept| rest.wake(&self.policy, kept))
    }

    /// Calls `what` with the policy in compact form: the response to our last write if the watch lags behind it,
    /// otherwise the object in the store.
    fn with_kept<T>(&self, slot: &Slot, what: impl FnOnce(Option<&Lean<CrossRegionBackupPolicy>>) -> T) -> T {
        let written = slot.latest.written().filter(|written| written.is(&self.policy));
        let stored = self.stored();
        what(written.or_else(|| stored.as_ref()?.0.as_ref().ok()))
    }
}
