//! What is held of a policy's memory between its turns.

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

/// A memory at rest. What the policy's status tells of it is not held twice: the bytes are those of the store, or of our last write
/// until the watch brings it, as long as nobody edits the status there. That an edit is noticed depends on the memory having its own.
#[derive(Debug)]
pub struct Rest {
    memory: Resting,
    told: Packed<BoxedStatus>,
    /// The backups that status has no room for.
    others: Option<Packed<Vec<BackupItem>>>,
}

impl Rest {
    /// `kept` is the policy as it is kept meanwhile, or was before.
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

    /// The memory of a policy in sync that is still the very object which the memory was laid down with: whatever the watch brings
    /// comes with a status of its own, equal or not.
    pub fn settled(&mut self, stored: &Lean<CrossRegionBackupPolicy>) -> Option<&mut Settled> {
        match &mut self.memory {
            Resting::Settled(settled) => {
                stored.status.as_ref().is_some_and(|status| status.is(&self.told)).then_some(settled)
            }
            _ => None,
        }
    }

    /// What status told when the memory was laid down, where it tells something else now.
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

    /// The memory, as it was.
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

/// The policy's status, packed and unpacked, where both are at hand: where it is as it is kept.
fn status_of<'a>(
    policy: &'a CrossRegionBackupPolicy,
    kept: Option<&'a Lean<CrossRegionBackupPolicy>>,
) -> Option<(&'a Packed<BoxedStatus>, &'a BoxedStatus)> {
    let kept = kept.filter(|kept| kept.is(policy))?;
    kept.status.as_ref().zip(policy.status.as_ref())
}
