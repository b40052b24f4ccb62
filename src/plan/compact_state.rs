//! Compact in-memory state between reconciles: facts that status reports are not held a second time.

use jiff::Timestamp;

use super::backups::Known;
use super::compact_timestamp::CompactTimestamp;
use super::fast_path::Unchanged;
use super::memory::{BackupMemory, Memory};
use super::{Desired, truncate_to_seconds};
use crate::domain::facts::BackupSummary;
use crate::domain::{Backup, BackupDetail, Change, Facts};

/// In-memory state without the facts that status reports. Expanding it restores the state exactly; a state for which
/// that fails is kept whole.
#[derive(Debug)]
pub enum CompactState {
    /// In sync with no operation in progress: the state of nearly all policies.
    InSync(InSyncState),
    /// An operation is in progress or has failed. Without the facts and the backups that status reports.
    WithoutFacts(Box<Memory>),
    /// Status reports other facts than the state; kept whole.
    Full(Box<Memory>),
}

/// The fields that differ between policies in sync.
#[derive(Debug)]
pub struct InSyncState {
    pub(super) generation: i64,
    pub(super) access_generation: Option<u64>,
    pub(super) last_good: CompactTimestamp,
    described: bool,
    pub(super) next_describe: CompactTimestamp,
    pub(super) read: CompactTimestamp,
    tried: bool,
    pub(super) due: CompactTimestamp,
    /// Set if a describe with the same result changes nothing.
    pub(super) unchanged: Option<Unchanged>,
    deadline_listed_for: CompactTimestamp,
    /// `synced` equals the policy that status reports.
    synced_as_told: bool,
    /// Its value otherwise.
    synced: Option<Box<Change>>,
}

/// Compacts a state; its timestamps become whole seconds, as in a status. `told`: facts of the stored status. Also
/// returns the backups beyond the limit of the status.
pub fn compact(
    mut memory: Memory,
    told: &Facts,
    desired: &Desired,
    now: Timestamp,
) -> (CompactState, Vec<Backup>) {
    let unchanged = Unchanged::of(desired, &memory, now);
    let instance = memory.backups.known.instance().or_else(|| memory.facts.instance.clone());
    let (backups, missing) = std::mem::take(&mut memory.backups.known).into_parts();
    let backups: Vec<_> = backups.into_values().map(as_told).collect();
    for condition in &mut memory.facts.conditions {
        condition.last_transition = truncate_to_seconds(condition.last_transition);
    }
    if let Some(summary) = &mut memory.facts.backups {
        summary.items = std::mem::take(&mut summary.items).into_iter().map(as_told).collect();
    }
    let items = items(told);
    let is_item = |backup: &Backup| items.iter().any(|item| item.backup_point_id == backup.backup_point_id);
    let others: Vec<_> = backups.iter().filter(|backup| !is_item(backup)).cloned().collect();
    let known = Known::of(backups, missing.clone(), instance.as_ref());
    let again = Known::of(items.iter().chain(&others).cloned(), missing.clone(), told.instance.as_ref());
    if memory.facts != *told || known != again {
        memory.backups.known = known;
        return (CompactState::Full(Box::new(memory)), Vec::new());
    }
    memory.facts = Facts::default();
    memory.backups.known = Known::of([], missing, None);
    let settled = InSyncState { unchanged, ..InSyncState::of(&memory, told) };
    if settled.expand(told) == memory {
        return (CompactState::InSync(settled), others);
    }
    (CompactState::WithoutFacts(Box::new(memory)), others)
}

impl CompactState {
    /// Expands the state. `told` and `others` are the argument and the result of [`compact`].
    pub fn expand(self, told: Facts, others: Vec<Backup>) -> Memory {
        let mut memory = match self {
            CompactState::InSync(settled) => settled.expand(&told),
            CompactState::WithoutFacts(memory) => *memory,
            CompactState::Full(memory) => return *memory,
        };
        let (_, missing) = std::mem::take(&mut memory.backups.known).into_parts();
        let backups = items(&told).iter().cloned().chain(others);
        memory.backups.known = Known::of(backups, missing, told.instance.as_ref());
        memory.facts = told;
        memory
    }
}

impl InSyncState {
    fn of(memory: &Memory, told: &Facts) -> Self {
        let synced_as_told = memory.synced == told.policy.as_ref().map(Change::from);
        Self {
            generation: memory.generation,
            access_generation: memory.access_generation,
            last_good: memory.last_good.into(),
            described: memory.described,
            next_describe: Some(memory.next_describe).into(),
            read: memory.backups.read.into(),
            tried: memory.backups.tried,
            due: memory.backups.due.into(),
            unchanged: None,
            deadline_listed_for: memory.backups.deadline_listed_for.into(),
            synced_as_told,
            synced: memory.synced.clone().filter(|_| !synced_as_told).map(Box::new),
        }
    }

    /// Returns the state without facts and backups.
    fn expand(&self, told: &Facts) -> Memory {
        let as_told = || told.policy.as_ref().map(Change::from);
        Memory {
            generation: self.generation,
            access_generation: self.access_generation,
            last_good: self.last_good.get(),
            described: self.described,
            next_describe: self.next_describe.get().unwrap_or_default(),
            backups: BackupMemory {
                read: self.read.get(),
                tried: self.tried,
                due: self.due.get(),
                deadline_listed_for: self.deadline_listed_for.get(),
                ..BackupMemory::default()
            },
            synced: if self.synced_as_told { as_told() } else { self.synced.as_deref().cloned() },
            ..Memory::default()
        }
    }
}

fn items(facts: &Facts) -> &[Backup] {
    facts.backups.as_ref().map_or(&[], |summary: &BackupSummary| &summary.items)
}

/// Reduces a backup to the fields that status reports; no other field of a known backup is ever used.
fn as_told(backup: Backup) -> Backup {
    Backup {
        start_time: backup.start_time.map(truncate_to_seconds),
        end_time: backup.end_time.map(truncate_to_seconds),
        provider_type: None,
        expiry_time: None,
        project_name: None,
        instance: None,
        detail: BackupDetail::default(),
        ..backup
    }
}

#[cfg(test)]
#[path = "compact_state_tests.rs"]
mod tests;
