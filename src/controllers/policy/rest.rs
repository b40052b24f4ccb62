//! Compact in-memory state of a policy between its reconciles.

use jiff::Timestamp;

use super::convert::{backup_from, backup_to, facts_from};
use crate::api::CrossRegionBackupPolicy;
use crate::api::policy::{BackupItem, BoxedStatus};
use crate::controllers::cached::Lean;
use crate::controllers::packed::Packed;
use crate::domain::Facts;
use crate::plan::Desired;
use crate::plan::memory::Memory;
use crate::plan::resting::{Resting, Settled, rest};

/// Compact in-memory state. Facts that the policy's status reports are not held twice: the bytes are shared with the
/// store, or with the response to our last write until the watch delivers it, unless another writer edits the status.
/// The state has a reference of its own, so that such an edit is noticed.
#[derive(Debug)]
pub struct Rest {
    memory: Resting,
    told: Packed<BoxedStatus>,
    /// Backups beyond the limit of the status.
    others: Option<Packed<Vec<BackupItem>>>,
}

impl Rest {
    /// Compacts the state. `kept`: the policy in compact form, as it is held between reconciles.
    pub fn of(
        memory: Memory,
        policy: &CrossRegionBackupPolicy,
        kept: Option<&Lean<CrossRegionBackupPolicy>>,
        desired: &Desired,
        now: Timestamp,
    ) -> Self {
        let instance = &policy.spec.instance_id;
        let (memory, others, told) = match status_of(policy, kept) {
            Some((told, status)) => {
                let (memory, others) = rest(memory, &facts_from(status, instance), desired, now);
                (memory, others, told.clone())
            }
            None => {
                let told = Packed::of(policy.status.clone().unwrap_or_default());
                let (memory, others) = rest(memory, &facts_from(&told.unpack(), instance), desired, now);
                let shared = kept.and_then(|kept| kept.status.clone()).filter(|kept| *kept == told);
                (memory, others, shared.unwrap_or(told))
            }
        };
        let others: Vec<_> = others.iter().map(backup_to).collect();
        Self { memory, told, others: (!others.is_empty()).then(|| Packed::of(others)) }
    }

    /// Returns the state of a policy in sync, if `stored` has the very status with which the state was compacted: each
    /// object that the watch delivers has a status of its own, equal or not.
    pub fn settled(&mut self, stored: &Lean<CrossRegionBackupPolicy>) -> Option<&mut Settled> {
        match &mut self.memory {
            Resting::Settled(settled) => {
                stored.status.as_ref().is_some_and(|status| status.is(&self.told)).then_some(settled)
            }
            _ => None,
        }
    }

    /// Returns the facts that status reported when the state was compacted, if it reports others now.
    pub fn told_before(
        &self,
        policy: &CrossRegionBackupPolicy,
        kept: Option<&Lean<CrossRegionBackupPolicy>>,
    ) -> Option<Box<Facts>> {
        if status_of(policy, kept).is_some_and(|(told, _)| *told == self.told) {
            return None;
        }
        let told = self.told.unpack();
        let is_same = policy.status.as_ref().map_or(told == BoxedStatus::default(), |now| *now == told);
        (!is_same).then(|| Box::new(facts_from(&told, &policy.spec.instance_id)))
    }

    /// Expands the state.
    pub fn wake(
        self,
        policy: &CrossRegionBackupPolicy,
        kept: Option<&Lean<CrossRegionBackupPolicy>>,
    ) -> Memory {
        let instance = &policy.spec.instance_id;
        let others = self.others.map(|others| others.unpack()).unwrap_or_default();
        let others = others.iter().map(|item| backup_from(item, instance)).collect();
        let told = match status_of(policy, kept) {
            Some((told, status)) if *told == self.told => facts_from(status, instance),
            _ => facts_from(&self.told.unpack(), instance),
        };
        self.memory.wake(told, others)
    }
}

/// Returns the policy's status, compressed and expanded, if `policy` is the object that is kept.
fn status_of<'a>(
    policy: &'a CrossRegionBackupPolicy,
    kept: Option<&'a Lean<CrossRegionBackupPolicy>>,
) -> Option<(&'a Packed<BoxedStatus>, &'a BoxedStatus)> {
    let kept = kept.filter(|kept| kept.is(policy))?;
    kept.status.as_ref().zip(policy.status.as_ref())
}
