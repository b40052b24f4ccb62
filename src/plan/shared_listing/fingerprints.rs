//! Changes per instance between two listings. While pages are read, a known backup costs one bit, and a new one its
//! compressed record.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::records::CompressedRecords;
use crate::domain::facts::Instance;
use crate::domain::{Backup, InstanceInfo};
use crate::plan::backups::Known;
use crate::plan::hash_of;

/// Fingerprint of one backup. With a 64-bit hash of the id, the chance of a collision among a million backups is 1 in
/// 10 million. The content hash covers the fields in a policy's status, and is only compared with an earlier one of the
/// same backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C, packed(4))]
struct Fingerprint {
    id: u64,
    content: u32,
}

/// Fingerprints of the backups of one instance, as last published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprints {
    /// Sorted by id.
    entries: Arc<[Fingerprint]>,
    /// The next listing is published even without a change: none was published yet, or the last one lacked a known
    /// backup, which is gone only after a second listing.
    again: bool,
}

impl Default for Fingerprints {
    fn default() -> Self {
        Self { entries: Arc::default(), again: true }
    }
}

/// Listing of one instance, relative to its fingerprints: usually only a bit set of the known backups.
#[derive(Clone, Debug, Default)]
pub struct InstanceDiff {
    /// Fingerprints at the time of the listing.
    known: Arc<[Fingerprint]>,
    /// Bit set: which of `known` were seen, before the first unknown one.
    seen: Box<[u64]>,
    other: Option<Box<Other>>,
}

/// Backups seen from the first unknown one on.
#[derive(Clone, Debug, Default)]
struct Other {
    /// All of them, in the order of the listing.
    entries: Vec<Fingerprint>,
    /// The unknown ones.
    records: CompressedRecords,
}

/// Result of a listing by instance id.
pub type ListDiff = HashMap<Arc<str>, InstanceDiff>;

/// Changes of the backups of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupDelta {
    /// Id hashes of the unchanged backups.
    present: Vec<u64>,
    /// New and changed backups.
    records: Vec<Backup>,
    /// A record is missing because the fingerprints changed during the listing, for example with a new subscriber.
    lacking: bool,
}

/// A listing in progress.
#[derive(Debug, Default)]
pub struct ListPass {
    found: ListDiff,
    /// Result of the first pass, if the pages are read twice.
    before: ListDiff,
}

impl ListPass {
    /// Adds a backup of this instance. `known`: the instance's published fingerprints.
    pub fn add(&mut self, instance: Arc<str>, known: Option<&Fingerprints>, backup: &Backup) {
        self.found.entry(instance).or_default().add(known, backup);
    }

    /// Starts the second pass.
    pub fn begin_again(&mut self) {
        self.before = std::mem::take(&mut self.found);
    }

    /// Returns the result. `moved`: merges both passes, with the later state of each backup.
    pub fn end(mut self, moved: bool) -> ListDiff {
        for (instance, before) in self.before.drain().filter(|_| moved) {
            let found = self.found.entry(instance).or_default();
            let (mut all, later) = (before.into_other(), std::mem::take(found).into_other());
            all.entries.extend(later.entries);
            all.records.append(later.records);
            found.other = Some(Box::new(all));
        }
        self.found
    }
}

impl InstanceDiff {
    fn add(&mut self, known: Option<&Fingerprints>, backup: &Backup) {
        let fingerprint = Fingerprint::of(backup, None);
        if let Some(known) = known.filter(|known| !Arc::ptr_eq(&known.entries, &self.known)) {
            // The published fingerprints have changed since.
            let before = std::mem::take(self).into_other();
            self.known = known.entries.clone();
            self.seen = vec![0; known.entries.len().div_ceil(64)].into();
            self.other = Some(before).filter(|before| !before.entries.is_empty()).map(Box::new);
        }
        match (known.and_then(|known| known.position(fingerprint)), &mut self.other) {
            (Some(at), None) => self.seen[at / 64] |= 1 << (at % 64),
            (Some(_), Some(other)) => other.entries.push(fingerprint),
            (None, other) => {
                let other = other.get_or_insert_default();
                other.entries.push(fingerprint);
                other.records.push(backup);
            }
        }
    }

    /// Converts into the form without known backups.
    fn into_other(self) -> Other {
        let is_seen = |at: usize| self.seen[at / 64] & 1 << (at % 64) != 0;
        let seen =
            self.known.iter().enumerate().filter(|(at, _)| is_seen(*at)).map(|(_, fingerprint)| *fingerprint);
        let mut other = self.other.map(|other| *other).unwrap_or_default();
        other.entries.splice(..0, seen);
        other
    }

    /// Compares with the published fingerprints and replaces them; `None` without a change.
    pub fn delta(self, fingerprints: &mut Fingerprints) -> Option<BackupDelta> {
        let Other { mut entries, records } = self.into_other();
        // Keeps the last fingerprint of each id.
        entries.reverse();
        entries.sort_by_key(|fingerprint| fingerprint.id);
        entries.dedup_by_key(|fingerprint| fingerprint.id);
        let known = fingerprints.clone();
        if *entries != *known.entries {
            fingerprints.entries = entries.into();
        }
        fingerprints.again = !known.entries.iter().all(|fingerprint| fingerprints.has_id(fingerprint.id));
        if !known.again && known.entries == fingerprints.entries {
            return None;
        }
        let present: Vec<u64> =
            fingerprints.entries.iter().filter(|m| known.has(**m)).map(|m| m.id).collect();
        let new = |fingerprint| fingerprints.has(fingerprint) && !known.has(fingerprint);
        let records = records.unpack().into_iter().map(|backup| (Fingerprint::of(&backup, None), backup));
        let records: HashMap<_, _> = records
            .filter(|(fingerprint, _)| new(*fingerprint))
            .map(|(fingerprint, backup)| (fingerprint.id, backup))
            .collect();
        let lacking = present.len() + records.len() < fingerprints.entries.len();
        Some(BackupDelta { present, records: records.into_values().collect(), lacking })
    }
}

impl Fingerprint {
    /// `instance`: known description, for a backup without one.
    fn of(backup: &Backup, instance: Option<&Instance>) -> Self {
        let Backup { backup_point_name, strategy, backup_type, status, provider_status, .. } = backup;
        let seconds = |time: Option<Timestamp>| time.map(|time| time.as_second());
        let described = match (&backup.instance, instance) {
            (Some(InstanceInfo { name, engine_version }), _) => {
                Some((name, engine_version, &backup.project_name))
            }
            (None, known) => known.map(|known| (&known.name, &known.engine_version, &known.project_name)),
        };
        let content = (
            (backup_point_name, strategy, backup_type, status, provider_status),
            (&backup.source_region, &backup.target_region),
            (seconds(backup.start_time), seconds(backup.end_time)),
            (backup.size_bytes, backup.ttl_days),
            described,
        );
        Self { id: hash_of(&backup.backup_point_id), content: hash_of(&content) as u32 }
    }
}

impl Fingerprints {
    /// Builds the fingerprints of a subscriber's known backups. `all`: whether those are all that exist.
    pub fn from_status(known: &Known, instance: Option<&Instance>, all: bool) -> Self {
        let mut entries: Vec<_> = known.iter().map(|backup| Fingerprint::of(backup, instance)).collect();
        entries.sort();
        Self { entries: entries.into(), again: !all }
    }

    /// Applies a separate listing of this instance.
    pub fn read(&mut self, backups: &[Backup]) {
        let mut found = InstanceDiff::default();
        backups.iter().for_each(|backup| found.add(Some(self), backup));
        found.delta(self);
    }

    /// Whether a listing found exactly the known backups. `None`: it found nothing.
    pub fn is_unchanged(&self, found: Option<&InstanceDiff>) -> bool {
        let Some(found) = found else { return !self.again && self.entries.is_empty() };
        let seen: u32 = found.seen.iter().map(|bits| bits.count_ones()).sum();
        !self.again
            && found.other.is_none()
            && Arc::ptr_eq(&self.entries, &found.known)
            && seen as usize == self.entries.len()
    }

    fn position(&self, fingerprint: Fingerprint) -> Option<usize> {
        self.entries.binary_search(&fingerprint).ok()
    }

    fn has(&self, fingerprint: Fingerprint) -> bool {
        self.position(fingerprint).is_some()
    }

    fn has_id(&self, id: u64) -> bool {
        self.entries.binary_search_by_key(&id, |fingerprint| fingerprint.id).is_ok()
    }
}

impl BackupDelta {
    /// Returns the complete listing by adding the unchanged backups from `known`; `None` if one of them is missing
    /// there, so that the instance must be listed separately.
    pub fn complete(self, known: &Known) -> Option<Vec<Backup>> {
        let mut reading = self.records;
        let new = reading.len();
        let is_present = |backup: &&Backup| self.present.contains(&hash_of(&backup.backup_point_id));
        reading.extend(known.iter().filter(is_present).cloned());
        (reading.len() - new == self.present.len() && !self.lacking).then_some(reading)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backup(id: u32, status: u32) -> Backup {
        Backup {
            instance_id: "redis-a".to_owned(),
            backup_point_id: format!("cbp-{id}"),
            status: format!("s{status}"),
            start_time: jiff::Timestamp::from_second(1_800_000_000 + i64::from(id)).ok(),
            ..Backup::default()
        }
    }

    fn read(fingerprints: &mut Fingerprints, backups: &[Backup]) -> Option<BackupDelta> {
        let mut pass = ListPass::default();
        for backup in backups {
            pass.add("redis-a".into(), Some(fingerprints), backup);
        }
        pass.end(false).remove("redis-a").unwrap_or_default().delta(fingerprints)
    }

    fn sorted(mut backups: Vec<Backup>) -> Vec<Backup> {
        backups.sort_by(|a, b| a.backup_point_id.cmp(&b.backup_point_id));
        backups
    }

    #[test]
    fn only_what_is_new_is_kept_and_told() {
        let mut fingerprints = Fingerprints::default();
        let first = [backup(1, 1), backup(2, 1)];
        let known = Known::default()
            .merge(read(&mut fingerprints, &first).unwrap().complete(&Known::default()).unwrap());
        assert_eq!(read(&mut fingerprints, &first), None, "nothing has changed");
        let second = [backup(1, 1), backup(2, 2), backup(3, 1)];
        let delta = read(&mut fingerprints, &second).unwrap();
        assert_eq!((delta.present.len(), delta.records.len()), (1, 2));
        assert_eq!(sorted(delta.complete(&known).unwrap()), second);
        assert_eq!(read(&mut fingerprints, &second), None);
        let mut none = Fingerprints::default();
        assert_eq!(read(&mut none, &[]), Some(BackupDelta::default()), "that there is none is told once");
        assert_eq!(read(&mut none, &[]), None);
    }

    #[test]
    fn what_is_lacking_is_told_twice_so_that_it_counts_as_gone() {
        let mut fingerprints = Fingerprints::default();
        let both = [backup(1, 1), backup(2, 1)];
        let mut known = Known::default()
            .merge(read(&mut fingerprints, &both).unwrap().complete(&Known::default()).unwrap());
        for _ in 0..2 {
            let delta = read(&mut fingerprints, &both[..1]).expect("it is lacking");
            known = known.merge(delta.complete(&known).unwrap());
        }
        assert_eq!(known.iter().count(), 1);
        assert_eq!(read(&mut fingerprints, &both[..1]), None);
        assert_eq!(read(&mut fingerprints, &[]), Some(BackupDelta::default()));
    }

    #[test]
    fn what_a_status_tells_is_not_told_again() {
        let instance = Instance { name: Some("sessions".to_owned()), ..Instance::default() };
        let described = |mut backup: Backup| {
            backup.instance = Some(InstanceInfo { name: instance.name.clone(), engine_version: None });
            backup
        };
        let told: Vec<_> = (1..4).map(|id| backup(id, 1)).collect();
        let known = Known::default().merge(told.clone());
        let whole: Vec<_> = told.iter().cloned().map(described).collect();
        let fingerprints = |all| Fingerprints::from_status(&known, Some(&instance), all);
        assert_eq!(read(&mut fingerprints(true), &whole), None);
        let delta = read(&mut fingerprints(false), &whole).expect("it told of others, which are gone");
        assert_eq!((delta.present.len(), delta.records.len()), (3, 0));
        for (changed, why) in [
            (described(backup(3, 2)), "another status"),
            (backup(3, 1), "another description"),
            (described(Backup { size_bytes: Some(1), ..backup(3, 1) }), "another size"),
        ] {
            let now = [whole[0].clone(), whole[1].clone(), changed.clone()];
            let delta = read(&mut fingerprints(true), &now).expect(why);
            assert_eq!((delta.present.len(), &delta.records), (2, &vec![changed]), "{why}");
            assert!(delta.complete(&known).is_some());
        }
        assert_eq!(read(&mut fingerprints(true), &whole[..2]).map(|delta| delta.present.len()), Some(2));
        assert!(
            read(&mut Fingerprints::from_status(&known, None, true), &whole).is_some(),
            "status did not describe it"
        );
    }

    #[test]
    fn a_reading_needs_all_that_it_takes_for_known() {
        let mut fingerprints = Fingerprints::default();
        read(&mut fingerprints, &[backup(1, 1)]);
        let delta = read(&mut fingerprints, &[backup(1, 1), backup(2, 1)]).unwrap();
        assert_eq!(delta.complete(&Known::default()), None);

        let mut pass = ListPass::default();
        pass.add("redis-a".into(), Some(&fingerprints), &backup(1, 1));
        let mut forgotten = Fingerprints::default();
        let delta = pass.end(false).remove("redis-a").unwrap().delta(&mut forgotten).unwrap();
        assert_eq!(delta.complete(&Known::default()), None, "it was known when its page passed by");
    }

    #[test]
    fn of_what_is_known_a_reading_holds_a_bit_each() {
        let backups: Vec<_> = (0..100).map(|id| backup(id, 1)).collect();
        let mut fingerprints = Fingerprints::default();
        fingerprints.read(&backups);
        let mut found = InstanceDiff::default();
        backups.iter().for_each(|backup| found.add(Some(&fingerprints), backup));
        assert!(Arc::ptr_eq(&found.known, &fingerprints.entries) && found.other.is_none());
        assert_eq!((found.seen.len(), size_of::<InstanceDiff>(), size_of::<Fingerprint>()), (2, 40, 12));
    }

    proptest! {
        #[test]
        fn a_reading_is_what_was_seen_last_whatever_was_told_meanwhile(
            seen in prop::collection::vec((0..100u32, 0..3u32, 0..8u32), 0..200),
            told in prop::collection::vec((0..100u32, 0..3u32), 0..100),
        ) {
            let mut fingerprints = Fingerprints::default();
            fingerprints.read(&told.iter().map(|(id, status)| backup(*id, *status)).collect::<Vec<_>>());
            let mut found = InstanceDiff::default();
            let mut last = std::collections::BTreeMap::new();
            for (at, (id, status, meanwhile)) in seen.iter().enumerate() {
                let known = Some(&fingerprints).filter(|_| *meanwhile != 0);
                found.add(known, &backup(*id, *status));
                let fingerprint = Fingerprint::of(&backup(*id, *status), None);
                last.insert(fingerprint.id, fingerprint);
                if *meanwhile == 1 {
                    let read: Vec<_> = told.iter().skip(at % 7).map(|(id, s)| backup(*id, *s)).collect();
                    fingerprints.read(&read);
                }
            }
            found.delta(&mut fingerprints);
            prop_assert_eq!(fingerprints.entries.to_vec(), last.into_values().collect::<Vec<_>>());
        }

        #[test]
        fn news_and_what_is_known_are_the_reading(
            readings in prop::collection::vec(prop::collection::vec((0..12u32, 0..3u32), 0..12), 1..8),
            moved: bool,
        ) {
            let mut fingerprints = Fingerprints::default();
            let mut last: Vec<Backup> = Vec::new();
            for reading in readings {
                let (first, second) = reading.split_at(reading.len() / 2);
                let mut pass = ListPass::default();
                let add = |pass: &mut ListPass, (id, status): &(u32, u32)| {
                    pass.add("redis-a".into(), Some(&fingerprints), &backup(*id, *status));
                };
                first.iter().for_each(|seen| add(&mut pass, seen));
                pass.begin_again();
                second.iter().for_each(|seen| add(&mut pass, seen));
                let counted = if moved { reading.as_slice() } else { second };
                let whole: std::collections::BTreeMap<_, _> =
                    counted.iter().map(|(id, s)| (format!("cbp-{id}"), backup(*id, *s))).collect();
                let whole: Vec<_> = whole.into_values().collect();
                let known = Known::default().merge(last.clone());
                let found = pass.end(moved).remove("redis-a").unwrap_or_default();
                match found.delta(&mut fingerprints) {
                    Some(delta) => prop_assert_eq!(sorted(delta.complete(&known).unwrap()), sorted(whole.clone())),
                    None => prop_assert_eq!(sorted(last.clone()), sorted(whole.clone())),
                }
                last = whole;
            }
        }
    }
}
