//! Compact in-memory state of a policy between its reconciles.

use jiff::Timestamp;

use super::convert::{backup_from, backup_to, facts_from};
use crate::api::CrossRegionBackupPolicy;
use crate::api::policy::{BackupItem, BoxedStatus};
use crate::controllers::cached::CompactObject;
use crate::controllers::compressed::Compressed;
use crate::domain::Facts;
use crate::plan::Desired;
use crate::plan::compact_state::{CompactState, InSyncState, compact};
use crate::plan::memory::Memory;

/// Compact in-memory state. Facts that the policy's status reports are not held twice: the bytes are shared with the
/// store, or with the response to our last write until the watch delivers it, unless another writer edits the status.
/// The state has a reference of its own, so that such an edit is noticed.
#[derive(Debug)]
pub struct StoredState {
    memory: CompactState,
    reported: Compressed<BoxedStatus>,
    /// Backups beyond the limit of the status.
    others: Option<Compressed<Vec<BackupItem>>>,
}

impl StoredState {
    /// Compacts the state. `kept`: the policy in compact form, as it is held between reconciles.
    pub fn of(
        memory: Memory,
        policy: &CrossRegionBackupPolicy,
        kept: Option<&CompactObject<CrossRegionBackupPolicy>>,
        desired: &Desired,
        now: Timestamp,
    ) -> Self {
        let instance = &policy.spec.instance_id;
        let (memory, others, reported) = match status_of(policy, kept) {
            Some((reported, status)) => {
                let (memory, others) = compact(memory, &facts_from(status, instance), desired, now);
                (memory, others, reported.clone())
            }
            None => {
                let reported = Compressed::of(policy.status.clone().unwrap_or_default());
                let (memory, others) =
                    compact(memory, &facts_from(&reported.decompress(), instance), desired, now);
                let shared = kept.and_then(|kept| kept.status.clone()).filter(|kept| *kept == reported);
                (memory, others, shared.unwrap_or(reported))
            }
        };
        let others: Vec<_> = others.iter().map(backup_to).collect();
        Self { memory, reported, others: (!others.is_empty()).then(|| Compressed::of(others)) }
    }

    /// Returns the state of a policy in sync, if `stored` has the very status with which the state was compacted: each
    /// object that the watch delivers has a status of its own, equal or not.
    pub fn settled(&mut self, stored: &CompactObject<CrossRegionBackupPolicy>) -> Option<&mut InSyncState> {
        match &mut self.memory {
            CompactState::InSync(settled) => {
                stored.status.as_ref().is_some_and(|status| status.is(&self.reported)).then_some(settled)
            }
            _ => None,
        }
    }

    /// Returns the facts that status reported when the state was compacted, if it reports others now.
    pub fn reported_before(
        &self,
        policy: &CrossRegionBackupPolicy,
        kept: Option<&CompactObject<CrossRegionBackupPolicy>>,
    ) -> Option<Box<Facts>> {
        if status_of(policy, kept).is_some_and(|(reported, _)| *reported == self.reported) {
            return None;
        }
        let reported = self.reported.decompress();
        let is_same =
            policy.status.as_ref().map_or(reported == BoxedStatus::default(), |now| *now == reported);
        (!is_same).then(|| Box::new(facts_from(&reported, &policy.spec.instance_id)))
    }

    /// Expands the state.
    pub fn expand(
        self,
        policy: &CrossRegionBackupPolicy,
        kept: Option<&CompactObject<CrossRegionBackupPolicy>>,
    ) -> Memory {
        let instance = &policy.spec.instance_id;
        let others = self.others.map(|others| others.decompress()).unwrap_or_default();
        let others = others.iter().map(|item| backup_from(item, instance)).collect();
        let reported = match status_of(policy, kept) {
            Some((reported, status)) if *reported == self.reported => facts_from(status, instance),
            _ => facts_from(&self.reported.decompress(), instance),
        };
        self.memory.expand(reported, others)
    }
}

/// Returns the policy's status, compressed and expanded, if `policy` is the object that is kept.
fn status_of<'a>(
    policy: &'a CrossRegionBackupPolicy,
    kept: Option<&'a CompactObject<CrossRegionBackupPolicy>>,
) -> Option<(&'a Compressed<BoxedStatus>, &'a BoxedStatus)> {
    let kept = kept.filter(|kept| kept.is(policy))?;
    kept.status.as_ref().zip(policy.status.as_ref())
}
