//! Reads all pages of a listing of backups, of either cloud: says what to ask next, and takes the answer. Pure.

mod plan;
mod selection;
mod tencent;
mod volcengine;

use jiff::Timestamp;

use super::Site;
use super::page::{BackupPage, Pages};
use crate::domain::{Backup, Failure};

use plan::{PAGE, Plan};
pub use plan::{PageRequest, Query};
pub use selection::Selection;

/// A listing under way.
#[derive(Clone, Debug)]
pub struct Listing {
    plan: Plan,
    /// The part that is read, as [`Plan`] counts them; behind the last one when all is read.
    part: usize,
    /// Of the part.
    pages: Pages,
    /// Something came or went while a part was read.
    moved: bool,
    /// All pages are read for the second time.
    second: bool,
}

/// What an answer brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Those of the page that fit the selection, in no order. One backup may come twice, and counts once, by id.
    pub backups: Vec<Backup>,
    pub next: Next,
}

/// What is to be done after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next request.
    More,
    /// All pages are read, and Total moved meanwhile: from the next request on they are read once more.
    Again,
    /// Nothing: all pages are read. `moved`: Total moved in both readings, so that the two together tell more than the
    /// second one alone.
    End { moved: bool },
}

impl Listing {
    /// `instances` are the account's in the region, for where the cloud turns out to list by instance alone; with
    /// `selection.instance` they are not looked at. `now` is the listing's own beginning.
    ///
    /// # Errors
    /// InvalidRequest where the cloud lacks a filter, or lacks it in this scope; the message names it as `filter.<name>`.
    pub fn new(
        site: Site,
        selection: Selection,
        instances: Vec<String>,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let plan = Plan::new(site, selection, instances, now)?;
        Ok(Self { plan, part: 0, pages: Pages::default(), moved: false, second: false })
    }

    /// The page to ask for; `None` once the listing has ended.
    pub fn request(&self) -> Option<PageRequest> {
        (self.part < self.plan.parts()).then(|| self.plan.request(self.part, self.pages.number))
    }

    /// Takes the answer to [`Listing::request`]. A refusal of how the question was put is followed by another form of
    /// it, where there is one.
    ///
    /// # Errors
    /// A failure that no other form helps against. Nothing has changed then: the request is the same one again.
    pub fn took(&mut self, answer: Result<BackupPage, Failure>) -> Result<Step, Failure> {
        if self.part >= self.plan.parts() {
            return Ok(Step { backups: Vec::new(), next: Next::End { moved: self.moved } });
        }
        match answer {
            Ok(page) => self.read(page),
            Err(failure) => {
                let part = self.plan.part_after(failure, self.part)?;
                Ok(Step { backups: Vec::new(), next: self.enter(part) })
            }
        }
    }

    fn read(&mut self, page: BackupPage) -> Result<Step, Failure> {
        let counts = (page.records, page.total);
        let turned = self.pages.turn(self.plan.action(), counts, PAGE, self.plan.pages_max(self.part))?;
        self.moved |= turned.moved;
        let backups = page.backups.into_iter().filter(|backup| self.plan.fits(backup)).collect();
        let next = if turned.last { self.enter(self.part + 1) } else { Next::More };
        Ok(Step { backups, next })
    }

    /// Goes to a part's first page, or behind the last part.
    fn enter(&mut self, part: usize) -> Next {
        (self.part, self.pages) = (part, Pages::default());
        if part < self.plan.parts() {
            Next::More
        } else if self.moved && !self.second {
            (self.part, self.moved, self.second) = (0, false, true);
            Next::Again
        } else {
            Next::End { moved: self.moved }
        }
    }
}

#[cfg(test)]
mod tests;
