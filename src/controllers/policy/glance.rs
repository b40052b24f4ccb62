//! Fast path for a policy in sync: a describe that changes nothing, as nearly all do, leaves the status compressed.

use kube::runtime::controller::Action;

use super::desired::desired;
use super::{Slot, Turn};
use crate::api::CrossRegionBackupPolicy;
use crate::cloud::Lane;
use crate::controllers::cached::Lean;
use crate::controllers::surroundings;
use crate::plan::next::Do;
use crate::plan::{Gate, hash_of};

impl Turn<'_> {
    /// Reconciles the policy if nothing but its schedule has triggered it; `None`: it needs a full reconcile.
    pub(super) async fn glance(
        &mut self,
        slot: &mut Slot,
        stored: &Lean<CrossRegionBackupPolicy>,
    ) -> Option<Action> {
        let clock = &self.context.clock;
        let now = clock.now();
        let seat = slot.seat.as_ref()?;
        let desired = desired(self.context, &self.policy);
        let read = seat.read();
        let is_as_before = seat.interval() == Some(desired.interval)
            && slot.account == Some(hash_of(&self.policy.spec.account_ref))
            && !slot.latest.is_newer_than(stored)
            && !stored.is_deleted()
            && !self.desk.has_delivery();
        let settled = slot.memory.as_mut()?.settled(stored).filter(|_| is_as_before)?;
        let (around, _) = surroundings(self.context, &self.key, &self.namespace, self.purpose(), now);
        let is_free = around.gate == Gate::Open
            && around.paused_until.is_none_or(|until| until <= now)
            && self.context.claims.rival(&self.uid, &self.namespace).is_none();
        let step = settled.glance(&desired, around.epoch, read, now).filter(|_| is_free)?;
        if step == Do::Look && seat.reads_alone() {
            return None;
        }
        if let Do::Wait(until) = step {
            slot.waiting = None;
            return Some(self.wait(slot, until));
        }
        let meanwhile = settled.meanwhile(&desired, read);
        if !self.may_begin(slot, Lane::Poll) {
            return Some(self.wait(slot, meanwhile));
        }
        let account = self.account?;
        if !self.context.accounts.serves(&self.key, &account.uid) {
            return None;
        }
        let answer = self.describe(&self.through(account)).await;
        let (now, settled) = (clock.now(), slot.memory.as_mut()?.settled(stored)?);
        match answer.as_ref().map(|state| settled.saw(&desired, state, read, now)) {
            Ok(true) => {
                let until = settled.until(&desired, read);
                Some(self.wait(slot, until))
            }
            _ => {
                self.answer = Some(answer);
                None
            }
        }
    }
}
