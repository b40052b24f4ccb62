//! Backups of an instance: a backup is gone after two listings without it, and the newest usable one is the recovery
//! point.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::facts::{BackupSummary, Instance, RecoveryPoint};
use crate::domain::{Backup, Change, InstanceInfo};

/// Status of a usable backup.
pub const AVAILABLE: &str = "Available";
/// Statuses that are always counted; others are counted when seen.
const STATUSES: [&str; 4] = [AVAILABLE, "Creating", "Unavailable", "Deleting"];

/// Maximum number of distinct statuses, above that of any cloud; further ones are counted as `OTHER`.
pub const STATUSES_MAX: usize = 24;
pub const OTHER: &str = "Other";

/// Known backups of one instance, and those that the last listing lacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    backups: BTreeMap<String, Backup>,
    missing: BTreeSet<String>,
}

impl Known {
    /// Restores the backups from a stored status.
    pub fn from_summary(summary: &BackupSummary) -> Self {
        let backups = summary.items.iter().map(|b| (b.backup_point_id.clone(), b.clone())).collect();
        Self { backups, missing: BTreeSet::new() }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Backup> {
        self.backups.values()
    }

    /// Builds the set, with the description of the instance on the newest backup; `missing` are those that the last
    /// listing lacked.
    pub(super) fn of(
        backups: impl IntoIterator<Item = Backup>,
        missing: BTreeSet<String>,
        instance: Option<&Instance>,
    ) -> Self {
        let backups = backups.into_iter().map(|b| (b.backup_point_id.clone(), b)).collect();
        let mut known = Self { backups, missing };
        let newest = known.newest_first().first().map(|newest| newest.backup_point_id.clone());
        let newest = newest.and_then(|id| known.backups.get_mut(&id));
        if let (Some(newest), Some(instance)) = (newest, instance) {
            let (name, engine_version) = (instance.name.clone(), instance.engine_version.clone());
            newest.instance = Some(InstanceInfo { name, engine_version });
            newest.project_name.clone_from(&instance.project_name);
        }
        known
    }

    pub(super) fn into_parts(self) -> (BTreeMap<String, Backup>, BTreeSet<String>) {
        (self.backups, self.missing)
    }

    /// Merges a listing: a backup that it lacks for the first time is kept, one that it lacks for the second time is
    /// removed.
    pub fn merge(&self, reading: Vec<Backup>) -> Self {
        let mut backups: BTreeMap<_, _> =
            reading.into_iter().map(|b| (b.backup_point_id.clone(), b)).collect();
        let mut missing = BTreeSet::new();
        for (id, backup) in &self.backups {
            if !backups.contains_key(id) && !self.missing.contains(id) {
                missing.insert(id.clone());
                backups.insert(id.clone(), backup.clone());
            }
        }
        Self { backups, missing }
    }

    /// Returns the recovery point by the last listing alone.
    pub fn point_of_last_reading(&self, change: &Change) -> Option<RecoveryPoint> {
        recovery_point(self.backups.values().filter(|b| !self.missing.contains(&b.backup_point_id)), change)
    }

    pub fn recovery_point(&self, change: &Change) -> Option<RecoveryPoint> {
        recovery_point(self.backups.values(), change)
    }

    /// Returns the summary for status: counts, and the newest `limit` backups.
    pub fn summary(&self, limit: usize) -> BackupSummary {
        let mut by_status: BTreeMap<String, i64> = STATUSES.iter().map(|s| ((*s).to_owned(), 0)).collect();
        for Backup { status, .. } in self.backups.values() {
            let is_counted = by_status.contains_key(status) || by_status.len() < STATUSES_MAX;
            *by_status.entry(if is_counted { status.clone() } else { OTHER.to_owned() }).or_default() += 1;
        }
        let items = self.newest_first().into_iter().take(limit).cloned().collect();
        BackupSummary { total: i64::try_from(self.backups.len()).unwrap_or(i64::MAX), by_status, items }
    }

    /// Returns the instance as described by the newest backup that describes it.
    pub fn instance(&self) -> Option<Instance> {
        self.newest_first().into_iter().find_map(|b| {
            b.instance.as_ref().map(|i| Instance {
                name: i.name.clone(),
                engine_version: i.engine_version.clone(),
                project_name: b.project_name.clone(),
            })
        })
    }

    /// Returns the newest failed backup, if it is newer than every usable one.
    pub fn newest_failed(&self) -> Option<&Backup> {
        self.newest_first()
            .into_iter()
            .take_while(|b| b.status != AVAILABLE)
            .find(|b| b.status == "Unavailable")
    }

    /// Sorts by startTime, newest first, those without one last; ties are broken by id for a stable order.
    fn newest_first(&self) -> Vec<&Backup> {
        let mut all: Vec<&Backup> = self.backups.values().collect();
        all.sort_by(|a, b| {
            b.start_time.cmp(&a.start_time).then_with(|| b.backup_point_id.cmp(&a.backup_point_id))
        });
        all
    }
}

fn recovery_point<'a>(backups: impl Iterator<Item = &'a Backup>, change: &Change) -> Option<RecoveryPoint> {
    let target = change.cross_backup_region.as_ref().filter(|_| change.active)?;
    backups
        .filter(|b| b.status == AVAILABLE && b.target_region.as_ref() == Some(target))
        .filter_map(|b| b.start_time.map(|time| (time, b)))
        .max_by(|a, b| (a.0, &a.1.backup_point_id).cmp(&(b.0, &b.1.backup_point_id)))
        .map(|(time, b)| RecoveryPoint {
            time: super::truncate_to_seconds(time),
            backup_point_id: b.backup_point_id.clone(),
            size_bytes: b.size_bytes,
        })
}

/// Whether `new` is older than `old`.
pub fn goes_backwards(old: Option<&RecoveryPoint>, new: Option<&RecoveryPoint>) -> bool {
    let time = |p: Option<&RecoveryPoint>| p.map_or(Timestamp::MIN, |p| p.time);
    time(new) < time(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(id: &str, status: &str, start: i64) -> Backup {
        Backup {
            backup_point_id: id.to_owned(),
            status: status.to_owned(),
            target_region: Some("cn-shanghai".to_owned()),
            start_time: Timestamp::from_second(start).ok(),
            ..Backup::default()
        }
    }

    fn change() -> Change {
        Change { active: true, cross_backup_region: Some("cn-shanghai".to_owned()) }
    }

    #[test]
    fn a_backup_is_gone_only_when_two_readings_in_a_row_lack_it() {
        let first = Known::default().merge(vec![backup("b-1", AVAILABLE, 10), backup("b-2", AVAILABLE, 20)]);
        let second = first.merge(vec![backup("b-1", AVAILABLE, 10)]);
        assert_eq!(second.summary(10).total, 2);
        assert_eq!(second.recovery_point(&change()).unwrap().backup_point_id, "b-2");
        assert_eq!(second.point_of_last_reading(&change()).unwrap().backup_point_id, "b-1");
        let back = second.merge(vec![backup("b-1", AVAILABLE, 10), backup("b-2", AVAILABLE, 20)]);
        assert_eq!(back, first);
        let third = second.merge(vec![backup("b-1", AVAILABLE, 10)]);
        assert_eq!(third.summary(10).total, 1);
    }

    #[test]
    fn words_without_end_are_counted_as_one() {
        let many = (0..100).map(|n| backup(&format!("b-{n:03}"), &format!("Word{n}"), n)).collect();
        let summary = Known::default().merge(many).summary(0);
        assert_eq!((summary.total, summary.by_status.len()), (100, STATUSES_MAX + 1));
        assert_eq!((summary.by_status["Word0"], summary.by_status[OTHER]), (1, 80));
    }

    #[test]
    fn the_point_is_the_newest_available_copy_in_the_target_region() {
        let mut elsewhere = backup("b-9", AVAILABLE, 90);
        elsewhere.target_region = Some("cn-guangzhou".to_owned());
        let known = Known::default().merge(vec![
            backup("b-1", AVAILABLE, 10),
            backup("b-2", "Creating", 50),
            backup("b-3", "Unavailable", 40),
            elsewhere,
        ]);
        assert_eq!(known.recovery_point(&change()).unwrap().backup_point_id, "b-1");
        assert_eq!(known.recovery_point(&Change { active: false, ..change() }), None);
        let summary = known.summary(2);
        assert_eq!(summary.total, 4);
        assert_eq!(summary.by_status["Deleting"], 0);
        assert_eq!(
            summary.items.iter().map(|b| b.backup_point_id.as_str()).collect::<Vec<_>>(),
            ["b-9", "b-2"]
        );
    }
}
