//! Fast path for a policy in sync: a describe that changes nothing, as nearly all do, leaves the status compressed.

use kube::runtime::controller::Action;

use super::desired::desired;
use super::{PolicyEntry, Reconcile};
use crate::api::CrossRegionBackupPolicy;
use crate::cloud::Priority;
use crate::controllers::cached::CompactObject;
use crate::controllers::environment;
use crate::plan::next::NextAction;
use crate::plan::{AccountReadiness, hash_of};

impl Reconcile<'_> {
    /// Reconciles the policy if nothing but its schedule has triggered it; `None`: it needs a full reconcile.
    pub(super) async fn fast_path(
        &mut self,
        entry: &mut PolicyEntry,
        stored: &CompactObject<CrossRegionBackupPolicy>,
    ) -> Option<Action> {
        let clock = &self.context.clock;
        let now = clock.now();
        let subscription = entry.subscription.as_ref()?;
        let desired = desired(self.context, &self.policy);
        let read = subscription.read();
        let is_as_before = subscription.interval() == Some(desired.interval)
            && entry.account == Some(hash_of(&self.policy.spec.account_ref))
            && !entry.latest.is_newer_than(stored)
            && !stored.is_deleted()
            && !self.mailbox.has_listing();
        let settled = entry.memory.as_mut()?.settled(stored).filter(|_| is_as_before)?;
        let (env, _) = environment(self.context, &self.key, &self.namespace, self.purpose(), now);
        let is_free = env.readiness == AccountReadiness::Open
            && env.paused_until.is_none_or(|until| until <= now)
            && self.context.claims.competitor(&self.uid, &self.namespace).is_none();
        let step = settled.fast_path(&desired, env.access_generation, read, now).filter(|_| is_free)?;
        if step == NextAction::Describe && subscription.lists_own_backups() {
            return None;
        }
        if let NextAction::Wait(until) = step {
            entry.waiting = None;
            return Some(self.wait(entry, until));
        }
        let meanwhile = settled.meanwhile(&desired, read);
        if !self.acquire_permit(entry, Priority::Poll) {
            return Some(self.wait(entry, meanwhile));
        }
        let account = self.account?;
        if !self.context.accounts.is_active(&self.key, &account.uid) {
            return None;
        }
        let answer = self.describe(&self.through(account)).await;
        let (now, settled) = (clock.now(), entry.memory.as_mut()?.settled(stored)?);
        match answer.as_ref().map(|state| settled.apply_if_unchanged(&desired, state, read, now)) {
            Ok(true) => {
                let until = settled.until(&desired, read);
                Some(self.wait(entry, until))
            }
            _ => {
                self.answer = Some(answer);
                None
            }
        }
    }
}
