//! Paging of a listing, of either cloud: page content, progress, and the page sizes that were too large.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::api_client::{MALFORMED_RESPONSE, failure};
use super::transport::TOO_LARGE;
use crate::domain::{Backup, Failure, Instance, Kind};

/// Number of concurrent page requests of one listing. A page of 100 backups takes some 100 KiB until it is compared;
/// eight of them carry 40 pages a second if a page takes 0.2 s.
pub const MAX_CONCURRENT_PAGES: usize = 8;
/// How long a response that was too large limits the size of later pages: tags and names can get shorter again.
const SIZE_LIMIT_RETENTION: Duration = Duration::from_secs(3600);
const RECORD_TOO_LARGE: &str = "a single record is larger than the 8 MiB that are read of an answer";

/// One page of a listing of backups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupPage {
    /// Number of records over all pages, as the cloud reports it.
    pub total: Option<u64>,
    /// Number of records on the page, including those left out of `backups` because they have no id.
    pub records: usize,
    pub backups: Vec<Backup>,
}

impl BackupPage {
    /// Returns the page as one of this instance's backups: records that name no instance get its id.
    ///
    /// # Errors
    /// The page has backups of another instance, as a confused proxy or cache could send. Leaving them out would report
    /// that this instance has none.
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
    /// Number of records over all pages, as the cloud reports it.
    pub total: Option<u64>,
    /// Number of records on the page, including those left out of `instances` because they have no id.
    pub records: usize,
    pub instances: Vec<Instance>,
}

/// Position in the pages of one listing.
#[derive(Clone, Debug)]
pub struct PageCursor {
    /// Number of the next page, from 1, in pages of `size`.
    pub number: u32,
    /// Requested records per page.
    pub size: u32,
    records: u64,
    /// Total of the last page.
    total: Option<u64>,
}

/// Outcome of taking a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageOutcome {
    /// There are no more pages.
    pub last: bool,
    /// Total differs from that of the page before, or exceeds what was read: the listing changed meanwhile, so that a
    /// record may have slipped from one page to another and been read twice or not at all.
    pub moved: bool,
}

impl PageCursor {
    /// Starts with no page read. `size`: records per page, at least 1.
    pub fn of(size: u32) -> Self {
        Self { number: 1, size, records: 0, total: None }
    }

    /// Returns the numbers of up to `most` pages that can be requested at the same time, in order: the next one, and
    /// those after it that exist according to the Total of the pages read so far.
    pub fn upcoming(&self, most: usize) -> impl Iterator<Item = u32> + use<> {
        let (number, size, total) = (self.number, u64::from(self.size), self.total.unwrap_or_default());
        (number..=u32::MAX)
            .take(most)
            .take_while(move |page| *page == number || u64::from(page - 1) * size < total)
    }

    /// Continues in smaller pages after a response that was too large. The new size divides the old one, so that the
    /// next page begins at the same record: 1000, 500, 250, 125, 25, 5, 1.
    ///
    /// # Errors
    /// The failure, if it is another one, or if a page has one record already, which the message then states.
    pub fn shrink(&mut self, failure: Failure) -> Result<(), Failure> {
        if !is_too_large(&failure) {
            return Err(failure);
        }
        let Some(divisor) = (2..=self.size).find(|divisor| self.size.is_multiple_of(*divisor)) else {
            return Err(Failure { message: Some(RECORD_TOO_LARGE.to_owned()), ..failure });
        };
        self.number = (self.number - 1).saturating_mul(divisor).saturating_add(1);
        self.size /= divisor;
        Ok(())
    }

    /// Takes the next page, of `records` records; `max`: upper bound on the records of the listing.
    ///
    /// # Errors
    /// The page cannot be what the API promises. Nothing has changed then.
    pub fn advance(
        &mut self,
        action: &'static str,
        (records, total): (usize, Option<u64>),
        max: u64,
    ) -> Result<PageOutcome, Failure> {
        let first = self.number == 1;
        let read = self.records + records as u64;
        let complete = total.is_none_or(|total| read >= total);
        // After a full page the listing continues unless Total equals what is read: a Total may also be too low.
        let last = records == 0 || complete && (records < self.size as usize || total == Some(read));
        // An empty first page with a Total above 0 is malformed: read as an empty listing, it would remove what exists.
        let none_of_some = first && records == 0 && !complete;
        if none_of_some || !last && u64::from(self.number) * u64::from(self.size) >= max {
            return Err(failure(action, Kind::CloudUnavailable, MALFORMED_RESPONSE));
        }
        let moved = !first && (total != self.total || last && !complete);
        (self.number, self.records, self.total) = (self.number + 1, read, total);
        Ok(PageOutcome { last, moved })
    }
}

/// Responses to concurrent page requests, kept until each is taken in page order.
#[derive(Clone, Debug)]
pub struct PageBuffer<R, P> {
    pages: Vec<(R, P)>,
    /// Failures of the last requests only: earlier requests that failed are made again.
    failures: Vec<(R, Failure)>,
}

impl<R, P> Default for PageBuffer<R, P> {
    fn default() -> Self {
        Self { pages: Vec::new(), failures: Vec::new() }
    }
}

impl<R: PartialEq, P> PageBuffer<R, P> {
    pub fn add(&mut self, answers: Vec<(R, Result<P, Failure>)>) {
        self.failures.clear();
        for (request, answer) in answers {
            match answer {
                Ok(page) => self.pages.push((request, page)),
                Err(failure) => self.failures.push((request, failure)),
            }
        }
    }

    /// Returns whether the page of a request is here, so that the request need not be made again.
    pub fn has(&self, request: &R) -> bool {
        self.pages.iter().any(|(of, _)| of == request)
    }

    pub fn take(&mut self, request: &R) -> Option<Result<P, Failure>> {
        if let Some(at) = self.pages.iter().position(|(of, _)| of == request) {
            return Some(Ok(self.pages.swap_remove(at).1));
        }
        let at = self.failures.iter().position(|(of, _)| of == request)?;
        Some(Err(self.failures.swap_remove(at).1))
    }

    /// Drops the pages of requests that will not be made again.
    pub fn retain(&mut self, keep: impl Fn(&R) -> bool) {
        self.pages.retain(|(request, _)| keep(request));
    }
}

/// Returns whether a response exceeded the read limit: smaller pages may fit.
fn is_too_large(failure: &Failure) -> bool {
    failure.kind == Kind::CloudUnavailable && failure.code == TOO_LARGE
}

/// Page sizes whose responses were too large, by action and region. Clones share them.
#[derive(Clone, Default)]
pub struct SizeLimits(Arc<Mutex<HashMap<(&'static str, String), SizeLimit>>>);

struct SizeLimit {
    /// Smallest number of records whose response was too large.
    smallest_rejected: u32,
    recorded_at: Instant,
}

impl SizeLimits {
    /// Refuses a page size that was too large within the last hour.
    ///
    /// # Errors
    /// The response would be too large, judging by earlier ones: nothing may be sent.
    pub fn check(&self, action: &'static str, region: &str, size: u32) -> Result<(), Failure> {
        let mut limits = self.lock();
        limits.retain(|_, limit| limit.recorded_at.elapsed() < SIZE_LIMIT_RETENTION);
        match limits.get(&(action, region.to_owned())) {
            Some(limit) if size >= limit.smallest_rejected && size > 1 => {
                Err(failure(action, Kind::CloudUnavailable, TOO_LARGE))
            }
            _ => Ok(()),
        }
    }

    /// Records the outcome of a request for a page of `size` records.
    pub fn record<T>(&self, action: &'static str, region: &str, size: u32, answer: &Result<T, Failure>) {
        if answer.as_ref().is_err_and(is_too_large) {
            let mut limits = self.lock();
            let limit = limits
                .entry((action, region.to_owned()))
                .or_insert_with(|| SizeLimit { smallest_rejected: size, recorded_at: Instant::now() });
            limit.smallest_rejected = limit.smallest_rejected.min(size);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(&'static str, String), SizeLimit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn too_large() -> Failure {
        failure("Act", Kind::CloudUnavailable, TOO_LARGE)
    }

    #[test]
    fn smaller_pages_begin_where_the_one_that_was_too_large_did_down_to_one_record() {
        let mut pages = PageCursor::of(1000);
        for _ in 0..3 {
            pages.advance("Act", (1000, Some(5000)), 1_000_000).unwrap();
        }
        let mut sizes = Vec::new();
        while pages.shrink(too_large()).is_ok() {
            assert_eq!((pages.number - 1) * pages.size, 3000);
            sizes.push(pages.size);
        }
        assert_eq!(sizes, [500, 250, 125, 25, 5, 1]);
        let failure = pages.shrink(too_large()).unwrap_err();
        assert_eq!(failure.message.as_deref(), Some(RECORD_TOO_LARGE));
        assert!(!pages.advance("Act", (1, Some(5000)), 1_000_000).unwrap().last);
        let other = failure_of("timeout");
        assert_eq!(PageCursor::of(10).shrink(other.clone()), Err(other), "smaller pages do not help");
    }

    fn failure_of(code: &str) -> Failure {
        failure("Act", Kind::CloudUnavailable, code)
    }

    #[test]
    fn pages_are_asked_for_side_by_side_as_far_as_total_reaches() {
        let upcoming = |pages: &PageCursor, most| pages.upcoming(most).collect::<Vec<_>>();
        let mut pages = PageCursor::of(10);
        assert_eq!(upcoming(&pages, 4), [1], "nothing is known yet");
        pages.advance("Act", (10, Some(41)), 1000).unwrap();
        assert_eq!(upcoming(&pages, 3), [2, 3, 4]);
        assert_eq!(upcoming(&pages, 9), [2, 3, 4, 5]);
        pages.advance("Act", (10, Some(15)), 1000).unwrap();
        assert_eq!(upcoming(&pages, 9), [3], "the next one in any case: a Total may be too low");
        pages.advance("Act", (10, Some(u64::MAX)), 1000).unwrap();
        assert_eq!(upcoming(&pages, 3), [4, 5, 6]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_size_that_was_too_large_is_not_asked_for_again_for_an_hour() {
        let limits = SizeLimits::default();
        let allowed = |region: &str, size| limits.check("Act", region, size).is_ok();
        limits.record::<()>("Act", "cn-beijing", 100, &Err(too_large()));
        limits.record::<()>("Act", "cn-beijing", 50, &Err(too_large()));
        limits.record::<()>("Act", "cn-beijing", 25, &Err(failure_of("timeout")));
        limits.record("Act", "cn-beijing", 25, &Ok(()));
        assert!(!allowed("cn-beijing", 100) && !allowed("cn-beijing", 50) && allowed("cn-beijing", 25));
        assert!(allowed("cn-shanghai", 100) && limits.check("Other", "cn-beijing", 100).is_ok());
        tokio::time::advance(SIZE_LIMIT_RETENTION).await;
        assert!(allowed("cn-beijing", 100));
    }

    /// Reads pages, given records and Total of each; returns whether the listing ended, and whether anything moved.
    fn read(pages: &[(usize, Option<u64>)]) -> Result<(bool, bool), Failure> {
        let mut turned = PageCursor::of(10);
        let mut moved = false;
        for (number, page) in (1..).zip(pages) {
            let page = turned.advance("Act", *page, 50)?;
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
        assert_eq!(read(&[(0, Some(5))]).unwrap_err().code, MALFORMED_RESPONSE);
        assert_eq!(read(&[(10, None); 6]).unwrap_err().kind, Kind::CloudUnavailable, "it never ends");
    }
}
