//! What a reading found of each instance, compared with what was found before: while pages pass by, of what is known already
//! only a mark stays, and of what is new its record in few bytes.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use crate::domain::Backup;
use crate::plan::backups::Known;

/// One backup as it was seen. Hashes of 64 bits: among a million backups one being taken for another has a chance of 1 in
/// 10 million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    id: u64,
    content: u64,
}

/// The backups of one instance as they were last told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighted {
    /// By id.
    marks: Box<[Mark]>,
    /// The next reading is told in any case: nothing was told yet, or one that was known was lacking, and only a second reading
    /// makes it count as gone.
    again: bool,
}

impl Default for Sighted {
    fn default() -> Self {
        Self { marks: Box::default(), again: true }
    }
}

/// What a reading found of one instance.
#[derive(Clone, Debug, Default)]
pub struct Found {
    marks: Vec<Mark>,
    /// The records of those that were not known so, one after the other.
    records: Vec<u8>,
}

/// What is new about the backups of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The known ones that are there as they were, by the hashes of their ids.
    present: Vec<u64>,
    /// All others that are there.
    records: Vec<Backup>,
    /// Somebody came in the middle of the reading, to whom less was known than to those it was made for.
    lacking: bool,
}

/// A reading under way.
#[derive(Debug, Default)]
pub struct Round {
    found: HashMap<String, Found>,
    /// What the pages brought before they had to be read once more.
    before: HashMap<String, Found>,
}

impl Round {
    /// Takes a backup in. `known`: what was last told of its instance.
    pub fn add(&mut self, known: Option<&Sighted>, backup: &Backup) {
        let Ok(record) = postcard::to_stdvec(backup) else { return };
        let mark = Mark { id: hash(backup.backup_point_id.as_bytes()), content: hash(&record) };
        let found = self.found.entry(backup.instance_id.clone()).or_default();
        found.marks.push(mark);
        if !known.is_some_and(|known| known.has(mark)) {
            found.records.extend(record);
        }
    }

    /// The pages are read once more.
    pub fn begin_again(&mut self) {
        self.before = std::mem::take(&mut self.found);
    }

    /// What was found, by instance. `moved`: what either reading found counts, in the later one's state.
    pub fn end(mut self, moved: bool) -> HashMap<String, Found> {
        for (instance, before) in self.before.drain().filter(|_| moved) {
            let found = self.found.entry(instance).or_default();
            let later = std::mem::replace(found, before);
            found.marks.extend(later.marks);
            found.records.extend(later.records);
        }
        for found in self.found.values_mut() {
            found.settle();
        }
        self.found
    }
}

impl Found {
    /// One mark for each id: the last one.
    fn settle(&mut self) {
        self.marks.reverse();
        self.marks.sort_by_key(|mark| mark.id);
        self.marks.dedup_by_key(|mark| mark.id);
    }

    /// What is new, against what was told last; `None` where nothing is. It counts as told from now on.
    pub fn news(self, sighted: &mut Sighted) -> Option<News> {
        let (known, again) = (std::mem::take(&mut sighted.marks), sighted.again);
        sighted.marks = self.marks.into_boxed_slice();
        sighted.again = !known.iter().all(|mark| sighted.has_id(mark.id));
        if !again && *known == *sighted.marks {
            return None;
        }
        let present: Vec<u64> = sighted.marks.iter().filter(|m| known.contains(m)).map(|m| m.id).collect();
        let mut left = self.records.as_slice();
        let mut records = HashMap::new();
        while let Ok((backup, rest)) = postcard::take_from_bytes::<Backup>(left) {
            let mark = Mark {
                id: hash(backup.backup_point_id.as_bytes()),
                content: hash(&left[..left.len() - rest.len()]),
            };
            if sighted.has(mark) && !known.contains(&mark) {
                records.insert(mark.id, backup);
            }
            left = rest;
        }
        let lacking = present.len() + records.len() < sighted.marks.len();
        Some(News { present, records: records.into_values().collect(), lacking })
    }
}

impl Sighted {
    /// Takes in what was read of the instance apart from the others.
    pub fn read(&mut self, backups: &[Backup]) {
        let mut round = Round::default();
        backups.iter().for_each(|backup| round.add(Some(self), backup));
        round.end(false).into_values().next().unwrap_or_default().news(self);
    }

    fn has(&self, mark: Mark) -> bool {
        self.marks.binary_search(&mark).is_ok()
    }

    fn has_id(&self, id: u64) -> bool {
        self.marks.binary_search_by_key(&id, |mark| mark.id).is_ok()
    }
}

impl News {
    /// The whole reading, with what is `known`; `None` where that lacks something, so that the instance's own list is to be
    /// read.
    pub fn complete(self, known: &Known) -> Option<Vec<Backup>> {
        let mut reading = self.records;
        let new = reading.len();
        let is_present = |backup: &&Backup| self.present.contains(&hash(backup.backup_point_id.as_bytes()));
        reading.extend(known.iter().filter(is_present).cloned());
        (reading.len() - new == self.present.len() && !self.lacking).then_some(reading)
    }
}

/// The same for the whole life of the process.
fn hash(bytes: &[u8]) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(bytes)
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

    fn read(sighted: &mut Sighted, backups: &[Backup]) -> Option<News> {
        let mut round = Round::default();
        for backup in backups {
            round.add(Some(sighted), backup);
        }
        round.end(false).remove("redis-a").unwrap_or_default().news(sighted)
    }

    fn sorted(mut backups: Vec<Backup>) -> Vec<Backup> {
        backups.sort_by(|a, b| a.backup_point_id.cmp(&b.backup_point_id));
        backups
    }

    #[test]
    fn only_what_is_new_is_kept_and_told() {
        let mut sighted = Sighted::default();
        let first = [backup(1, 1), backup(2, 1)];
        let known =
            Known::default().merge(read(&mut sighted, &first).unwrap().complete(&Known::default()).unwrap());
        assert_eq!(read(&mut sighted, &first), None, "nothing has changed");
        let second = [backup(1, 1), backup(2, 2), backup(3, 1)];
        let news = read(&mut sighted, &second).unwrap();
        assert_eq!((news.present.len(), news.records.len()), (1, 2));
        assert_eq!(sorted(news.complete(&known).unwrap()), second);
        assert_eq!(read(&mut sighted, &second), None);
        let mut none = Sighted::default();
        assert_eq!(read(&mut none, &[]), Some(News::default()), "that there is none is told once");
        assert_eq!(read(&mut none, &[]), None);
    }

    #[test]
    fn what_is_lacking_is_told_twice_so_that_it_counts_as_gone() {
        let mut sighted = Sighted::default();
        let both = [backup(1, 1), backup(2, 1)];
        let mut known =
            Known::default().merge(read(&mut sighted, &both).unwrap().complete(&Known::default()).unwrap());
        for _ in 0..2 {
            let news = read(&mut sighted, &both[..1]).expect("it is lacking");
            known = known.merge(news.complete(&known).unwrap());
        }
        assert_eq!(known.iter().count(), 1);
        assert_eq!(read(&mut sighted, &both[..1]), None);
        assert_eq!(read(&mut sighted, &[]), Some(News::default()));
    }

    #[test]
    fn a_reading_needs_all_that_it_takes_for_known() {
        let mut sighted = Sighted::default();
        read(&mut sighted, &[backup(1, 1)]);
        let news = read(&mut sighted, &[backup(1, 1), backup(2, 1)]).unwrap();
        assert_eq!(news.complete(&Known::default()), None);

        let mut round = Round::default();
        round.add(Some(&sighted), &backup(1, 1));
        let mut forgotten = Sighted::default();
        let news = round.end(false).remove("redis-a").unwrap().news(&mut forgotten).unwrap();
        assert_eq!(news.complete(&Known::default()), None, "it was known when its page passed by");
    }

    proptest! {
        #[test]
        fn news_and_what_is_known_are_the_reading(
            readings in prop::collection::vec(prop::collection::vec((0..12u32, 0..3u32), 0..12), 1..8),
            moved: bool,
        ) {
            let mut sighted = Sighted::default();
            let mut last: Vec<Backup> = Vec::new();
            for reading in readings {
                let (first, second) = reading.split_at(reading.len() / 2);
                let mut round = Round::default();
                first.iter().for_each(|(id, status)| round.add(Some(&sighted), &backup(*id, *status)));
                round.begin_again();
                second.iter().for_each(|(id, status)| round.add(Some(&sighted), &backup(*id, *status)));
                let counted = if moved { reading.as_slice() } else { second };
                let whole: std::collections::BTreeMap<_, _> =
                    counted.iter().map(|(id, s)| (format!("cbp-{id}"), backup(*id, *s))).collect();
                let whole: Vec<_> = whole.into_values().collect();
                let known = Known::default().merge(last.clone());
                let found = round.end(moved).remove("redis-a").unwrap_or_default();
                match found.news(&mut sighted) {
                    Some(news) => prop_assert_eq!(sorted(news.complete(&known).unwrap()), sorted(whole.clone())),
                    None => prop_assert_eq!(sorted(last.clone()), sorted(whole.clone())),
                }
                last = whole;
            }
        }
    }
}
