//! Pagination of a backup listing at either cloud, without I/O: returns the requests to send, and takes their
//! responses.

mod plan;
mod selection;
mod tencent;
mod volcengine;

use jiff::Timestamp;

use super::Site;
use super::page::{BackupPage, PageBuffer, PageCursor};
use crate::domain::{Backup, Failure, Kind};

use plan::{PAGE_SIZE, Plan};
pub use plan::{PageRequest, Query};
pub use selection::Selection;

/// State of a backup listing in progress.
#[derive(Clone, Debug)]
pub struct Listing {
    plan: Plan,
    /// Index of the part that is being read, as numbered by [`Plan`]; one past the last when all are read.
    part: usize,
    /// Position within the part.
    pages: PageCursor,
    /// Pages that were answered before earlier ones.
    answers: PageBuffer<PageRequest, BackupPage>,
    /// Whether the cloud has accepted the request in its current form, so that the next parts can be requested as well.
    answered: bool,
    /// Whether Total changed while a part was read: a backup was added or removed.
    moved: bool,
    /// Whether this is the second pass over all pages.
    second: bool,
}

/// Result of one response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingStep {
    /// Backups of the page that match the selection, unordered. A backup may occur twice; its id identifies it.
    pub backups: Vec<Backup>,
    pub next: ListingProgress,
}

/// What follows a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingProgress {
    /// Send the next request.
    More,
    /// All pages are read, but Total changed meanwhile: the next request starts a second pass over all pages.
    SecondPass,
    /// All pages are read. `moved`: Total changed in both passes, so that their union is more complete than the second
    /// pass alone.
    End { moved: bool },
}

impl Listing {
    /// Starts a listing. `instances` are those of the account in the region, used if the cloud turns out to list by
    /// instance only, and ignored if `selection.instance` is set. `now` is the start time of the listing.
    ///
    /// # Errors
    /// InvalidRequest if the cloud lacks a filter, or lacks it in this scope; the message names it as `filter.<name>`.
    pub fn new(
        site: Site,
        selection: Selection,
        instances: Vec<String>,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let plan = Plan::new(site, selection, instances, now)?;
        Ok(Self {
            plan,
            part: 0,
            pages: PageCursor::of(PAGE_SIZE),
            answers: PageBuffer::default(),
            answered: false,
            moved: false,
            second: false,
        })
    }

    /// Returns the request for the next page; `None` once the listing has ended.
    pub fn request(&self) -> Option<PageRequest> {
        (self.part < self.plan.parts())
            .then(|| self.plan.request(self.part, self.pages.number, self.pages.size))
    }

    /// Returns up to `most` requests to send concurrently, at least one until the listing has ended: the next page and
    /// the pages after it according to Total, then the first pages of the next parts. [`Listing::take`] takes the
    /// responses.
    pub fn requests(&self, most: usize) -> Vec<PageRequest> {
        if self.part >= self.plan.parts() {
            return Vec::new();
        }
        let (most, size) = (most.max(1), self.pages.size);
        let records_max = self.plan.records_max(self.part);
        let here = self.pages.upcoming(most);
        let here = here.take_while(|page| u64::from(page - 1) * u64::from(size) < records_max);
        let here = here.map(|page| self.plan.request(self.part, page, size));
        let parts = if self.answered { self.part + 1..self.plan.parts() } else { 0..0 };
        let next = parts.map(|part| self.plan.request(part, 1, size));
        here.chain(next).take(most).filter(|request| !self.answers.has(request)).collect()
    }

    /// Takes the responses to [`Listing::requests`], and applies them in page order, whichever arrived first. Drops
    /// responses to requests that no longer belong to the listing. Returns the steps up to the first failure, and that
    /// failure.
    pub fn take(
        &mut self,
        answers: Vec<(PageRequest, Result<BackupPage, Failure>)>,
    ) -> (Vec<ListingStep>, Option<Failure>) {
        self.answers.add(answers);
        let mut steps = Vec::new();
        while let Some(request) = self.request()
            && let Some(answer) = self.answers.take(&request)
        {
            match self.apply(answer) {
                Ok(step) => steps.push(step),
                Err(failure) => return (steps, Some(failure)),
            }
        }
        (steps, None)
    }

    /// Takes the response to [`Listing::request`]. If the cloud refused the request, the next one has another form,
    /// where there is one; if the response was too large, the next one asks for smaller pages.
    ///
    /// # Errors
    /// Returns a failure that no other form of the request avoids. The state is unchanged then: the next request is the
    /// same one.
    pub fn apply(&mut self, answer: Result<BackupPage, Failure>) -> Result<ListingStep, Failure> {
        if self.part >= self.plan.parts() {
            return Ok(ListingStep { backups: Vec::new(), next: ListingProgress::End { moved: self.moved } });
        }
        match answer {
            Ok(page) => self.read(page),
            Err(failure) => {
                let is_gone = failure.kind == Kind::InstanceNotFound;
                let next = match self.pages.shrink(failure) {
                    Ok(()) => ListingProgress::More,
                    Err(failure) => {
                        let part = self.plan.part_after(failure, self.part)?;
                        self.go_to_part(part)
                    }
                };
                self.answered = false;
                if !is_gone {
                    // The buffered responses belong to another form of the request.
                    self.answers = PageBuffer::default();
                }
                Ok(ListingStep { backups: Vec::new(), next })
            }
        }
    }

    fn read(&mut self, page: BackupPage) -> Result<ListingStep, Failure> {
        let counts = (page.records, page.total);
        let turned = self.pages.advance(self.plan.action(), counts, self.plan.records_max(self.part))?;
        self.answered = true;
        self.moved |= turned.moved;
        let backups = page.backups.into_iter().filter(|backup| self.plan.fits(backup)).collect();
        let next = if turned.last { self.go_to_part(self.part + 1) } else { ListingProgress::More };
        Ok(ListingStep { backups, next })
    }

    /// Moves to the first page of a part; past the last part, starts the second pass if Total changed, or ends.
    fn go_to_part(&mut self, part: usize) -> ListingProgress {
        (self.part, self.pages) = (part, PageCursor::of(self.pages.size));
        self.answers.retain(|request| request.part >= part);
        if part < self.plan.parts() {
            ListingProgress::More
        } else if self.moved && !self.second {
            (self.part, self.moved, self.second) = (0, false, true);
            self.answers = PageBuffer::default();
            ListingProgress::SecondPass
        } else {
            ListingProgress::End { moved: self.moved }
        }
    }
}

#[cfg(test)]
mod tests;
