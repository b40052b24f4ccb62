//! Counts of a listing, updated page by page: each backup leaves a few bytes, independent of the size of its record.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};

use jiff::Timestamp;

use super::listing_summary::{Newest, is_usable};
use crate::domain::Backup;
use crate::plan::backups::{OTHER, STATUSES_MAX};

/// Number of newest usable backups kept, since some of them may stop being usable during the listing.
const CANDIDATES: usize = 16;

/// Counts of one pass over all pages.
#[derive(Debug, Default)]
pub struct Tally {
    limit: usize,
    hasher: RandomState,
    /// Keyed by a hash of instance and id. With a million backups, the chance of a collision is 1 in 10 million.
    seen: HashMap<u64, Seen>,
    /// Statuses that `Seen` refers to by index.
    statuses: Vec<String>,
    instances: HashMap<String, usize>,
    newest: BTreeSet<Newest>,
    items: BTreeMap<ItemKey, Backup>,
}

type ItemKey = (Reverse<Option<Timestamp>>, String, String);

#[derive(Clone, Copy, Debug)]
struct Seen {
    status: usize,
    instance: usize,
    size_bytes: i64,
    start: Option<Timestamp>,
}

/// Counts of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceCounts {
    pub total: i64,
    pub newest_usable: Option<Timestamp>,
}

impl Tally {
    /// `limit`: number of newest backups kept whole.
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Counts a backup, replacing an earlier occurrence of it.
    pub fn add(&mut self, backup: Backup) {
        let next = self.instances.len();
        let seen = Seen {
            status: self.status(&backup.status),
            instance: *self.instances.entry(backup.instance_id.clone()).or_insert(next),
            size_bytes: backup.size_bytes.unwrap_or(0).max(0),
            start: backup.start_time,
        };
        let key = self.hasher.hash_one((&backup.instance_id, &backup.backup_point_id));
        if let Some(before) = self.seen.insert(key, seen) {
            self.items.remove(&item_key(&backup, before.start));
            self.newest.retain(|n| {
                n.backup_point_id != backup.backup_point_id || n.instance_id != backup.instance_id
            });
        }
        if let Some(time) = backup.start_time.filter(|_| is_usable(&backup.status)) {
            self.newest.insert(Newest {
                time,
                backup_point_id: backup.backup_point_id.clone(),
                instance_id: backup.instance_id.clone(),
            });
            if self.newest.len() > CANDIDATES {
                self.newest.pop_first();
            }
        }
        self.items.insert(item_key(&backup, backup.start_time), backup);
        if self.items.len() > self.limit {
            self.items.pop_last();
        }
    }

    fn status(&mut self, word: &str) -> usize {
        let word = if self.statuses.len() < STATUSES_MAX { word } else { self.known_or_other(word) };
        if let Some(index) = self.statuses.iter().position(|s| s == word) {
            return index;
        }
        self.statuses.push(word.to_owned());
        self.statuses.len() - 1
    }

    fn known_or_other<'a>(&self, word: &'a str) -> &'a str {
        if self.statuses.iter().any(|s| s == word) { word } else { OTHER }
    }

    pub fn total(&self) -> i64 {
        i64::try_from(self.seen.len()).unwrap_or(i64::MAX)
    }

    pub fn size_bytes(&self) -> i64 {
        self.seen.values().fold(0, |sum, seen| sum.saturating_add(seen.size_bytes))
    }

    /// Returns the number of backups by status; statuses in `always` are included at zero.
    pub fn by_status(&self, always: &[&str]) -> BTreeMap<String, i64> {
        let mut counts: BTreeMap<String, i64> = always.iter().map(|s| ((*s).to_owned(), 0)).collect();
        for seen in self.seen.values() {
            *counts.entry(self.statuses[seen.status].clone()).or_default() += 1;
        }
        counts
    }

    pub fn newest(&self) -> Option<&Newest> {
        self.newest.last()
    }

    /// Returns the counts by instance id.
    pub fn by_instance(&self) -> HashMap<&str, InstanceCounts> {
        let mut counted = vec![InstanceCounts::default(); self.instances.len()];
        for seen in self.seen.values() {
            let own = &mut counted[seen.instance];
            own.total += 1;
            if is_usable(&self.statuses[seen.status]) {
                own.newest_usable = own.newest_usable.max(seen.start);
            }
        }
        self.instances.iter().map(|(id, at)| (id.as_str(), counted[*at].clone())).collect()
    }

    /// Returns at most `limit` of the kept backups, newest first, those without a start time last.
    pub fn items(&self, limit: usize) -> Vec<Backup> {
        self.items.values().take(limit).cloned().collect()
    }
}

fn item_key(backup: &Backup, start: Option<Timestamp>) -> ItemKey {
    (Reverse(start), backup.instance_id.clone(), backup.backup_point_id.clone())
}

/// Counts of a listing whose pages may have to be read twice.
#[derive(Debug)]
pub struct TwoPassTally {
    /// Both passes together: each backup as it was last seen.
    all: Tally,
    /// The second pass alone.
    again: Option<Tally>,
}

impl TwoPassTally {
    pub fn new(limit: usize) -> Self {
        Self { all: Tally::new(limit), again: None }
    }

    pub fn add(&mut self, page: impl IntoIterator<Item = Backup>) {
        for backup in page {
            if let Some(again) = &mut self.again {
                again.add(backup.clone());
            }
            self.all.add(backup);
        }
    }

    /// Starts the second pass.
    pub fn begin_again(&mut self) {
        self.again = Some(Tally::new(self.all.limit));
    }

    /// Returns the second pass if there was one, or the union of both if the pages moved during the second one too.
    pub fn end(self, moved: bool) -> Tally {
        match self.again {
            Some(again) if !moved => again,
            _ => self.all,
        }
    }
}
