//! One page of a listing, of whichever cloud.

use super::exchange::{NOT_PROMISED, failure};
use crate::domain::{Backup, Failure, Instance, Kind};

/// One page of a listing of backups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupPage {
    /// How many the cloud says there are over all pages.
    pub total: Option<u64>,
    /// How many records the page had, those included that are left out of `backups` because they have no id.
    pub records: usize,
    pub backups: Vec<Backup>,
}

impl BackupPage {
    /// Takes the page for one of this instance's backups; a record that names none is its own.
    ///
    /// # Errors
    /// It has backups of another instance, as a confused proxy or cache would give them: to leave them out would be to
    /// say that this instance has none.
    pub(super) fn of_instance(mut self, id: &str) -> Result<Self, &'static str> {
        if self.backups.iter().any(|b| !b.instance_id.is_empty() && b.instance_id != id) {
            return Err("InstanceId is that of another instance");
        }
        self.backups.iter_mut().for_each(|b| id.clone_into(&mut b.instance_id));
        Ok(self)
    }
}

/// One page of a listing of instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstancePage {
    /// How many the cloud says there are over all pages.
    pub total: Option<u64>,
    /// How many records the page had, those included that are left out of `instances` because they have no id.
    pub records: usize,
    pub instances: Vec<Instance>,
}

/// How far the pages of one listing are read.
#[derive(Clone, Debug)]
pub struct Pages {
    /// Of the next page, from 1.
    pub number: u32,
    records: u64,
    /// What the last page said.
    total: Option<u64>,
}

/// What a page was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turned {
    /// There are no more pages.
    pub last: bool,
    /// Total differs from that of the page before, or more than was read: something came or went meanwhile, so that a
    /// record may have slipped from one page to another and have been read twice or not at all.
    pub moved: bool,
}

impl Default for Pages {
    fn default() -> Self {
        Self { number: 1, records: 0, total: None }
    }
}

impl Pages {
    /// Takes the next page, of `records` records where `size` fit, and `max` pages are the most that there can be.
    ///
    /// # Errors
    /// It cannot be what the API promises. Nothing has changed then.
    pub fn turn(
        &mut self,
        action: &'static str,
        (records, total): (usize, Option<u64>),
        size: u32,
        max: u32,
    ) -> Result<Turned, Failure> {
        let first = self.number == 1;
        let read = self.records + records as u64;
        let complete = total.is_none_or(|total| read >= total);
        // A full page goes on unless Total says exactly that all is read: a Total may also be too low.
        let last = records == 0 || complete && (records < size as usize || total == Some(read));
        // "There are 5, here are none" is no answer: taken for none, it would take away what is there.
        let none_of_some = first && records == 0 && !complete;
        if none_of_some || !last && self.number >= max {
            return Err(failure(action, Kind::CloudUnavailable, NOT_PROMISED));
        }
        let moved = !first && (total != self.total || last && !complete);
        (self.number, self.records, self.total) = (self.number + 1, read, total);
        Ok(Turned { last, moved })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pages of a listing: records and Total of each; whether it ended, and whether anything moved.
    fn read(pages: &[(usize, Option<u64>)]) -> Result<(bool, bool), Failure> {
        let mut turned = Pages::default();
        let mut moved = false;
        for (number, page) in (1..).zip(pages) {
            let page = turned.turn("Act", *page, 10, 5)?;
            moved |= page.moved;
            if page.last {
                assert_eq!(number, pages.len(), "it ended early");
                return Ok((true, moved));
            }
        }
        Ok((false, moved))
    }

    #[test]
    fn pages_end_where_all_is_read_and_tell_whether_anything_moved() {
        for (pages, expected, why) in [
            (&[(0, Some(0))][..], (true, false), "none"),
            (&[(0, None)], (true, false), "none, and nothing is said"),
            (&[(3, Some(3))], (true, false), "one page"),
            (&[(10, Some(10))], (true, false), "one full page"),
            (&[(10, Some(9)), (0, Some(9))], (true, false), "a Total that is too low"),
            (&[(10, None), (4, None)], (true, false), "without Total"),
            (&[(10, Some(25)), (10, Some(25)), (5, Some(25))], (true, false), "three pages"),
            (&[(10, Some(25)), (9, Some(24)), (5, Some(24))], (true, true), "one went"),
            (&[(10, Some(25)), (0, Some(25))], (true, true), "an empty page although there are more"),
            (&[(10, Some(25)), (5, Some(25))], (false, false), "a short page although there are more"),
        ] {
            assert_eq!(read(pages).unwrap(), expected, "{why}");
        }
    }

    #[test]
    fn what_cannot_be_is_no_answer() {
        assert_eq!(read(&[(0, Some(5))]).unwrap_err().code, NOT_PROMISED);
        assert_eq!(read(&[(10, None); 6]).unwrap_err().kind, Kind::CloudUnavailable, "it never ends");
    }
}
