//! Reads all pages of a listing of backups, of either cloud: says what to ask next, and takes the answer. Pure.

mod plan;
mod selection;
mod tencent;
mod volcengine;

use jiff::Timestamp;

use super::Site;
use super::page::{Answers, BackupPage, Pages};
use crate::domain::{Backup, Failure, Kind};

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
    /// Pages that were answered before earlier ones.
    answers: Answers<PageRequest, BackupPage>,
    /// The cloud has answered the question in its present form, so that the next parts can be asked for as well.
    answered: bool,
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
        Ok(Self {
            plan,
            part: 0,
            pages: Pages::of(PAGE),
            answers: Answers::default(),
            answered: false,
            moved: false,
            second: false,
        })
    }

    /// The page to ask for; `None` once the listing has ended.
    pub fn request(&self) -> Option<PageRequest> {
        (self.part < self.plan.parts())
            .then(|| self.plan.request(self.part, self.pages.number, self.pages.size))
    }

    /// Up to `most` requests to make at the same time, at least one until the listing has ended: the next page and those
    /// that follow it as far as Total tells, then the first pages of the next parts. [`Listing::take`] takes the answers.
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

    /// Takes the answers to [`Listing::requests`]: each page in its turn, whichever was answered first. What was asked for
    /// and is not a page of the listing any more is dropped. Steps until the first failure, and that failure.
    pub fn take(
        &mut self,
        answers: Vec<(PageRequest, Result<BackupPage, Failure>)>,
    ) -> (Vec<Step>, Option<Failure>) {
        self.answers.add(answers);
        let mut steps = Vec::new();
        while let Some(request) = self.request()
            && let Some(answer) = self.answers.take(&request)
        {
            match self.took(answer) {
                Ok(step) => steps.push(step),
                Err(failure) => return (steps, Some(failure)),
            }
        }
        (steps, None)
    }

    /// Takes the answer to [`Listing::request`]. A refusal of how the question was put is followed by another form of
    /// it, where there is one; an answer that was too large by smaller pages.
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
                let is_gone = failure.kind == Kind::InstanceNotFound;
                let next = match self.pages.shrink(failure) {
                    Ok(()) => Next::More,
                    Err(failure) => {
                        let part = self.plan.part_after(failure, self.part)?;
                        self.enter(part)
                    }
                };
                self.answered = false;
                if !is_gone {
                    // They belong to another form of the question.
                    self.answers = Answers::default();
                }
                Ok(Step { backups: Vec::new(), next })
            }
        }
    }

    fn read(&mut self, page: BackupPage) -> Result<Step, Failure> {
        let counts = (page.records, page.total);
        let turned = self.pages.turn(self.plan.action(), counts, self.plan.records_max(self.part))?;
        self.answered = true;
        self.moved |= turned.moved;
        let backups = page.backups.into_iter().filter(|backup| self.plan.fits(backup)).collect();
        let next = if turned.last { self.enter(self.part + 1) } else { Next::More };
        Ok(Step { backups, next })
    }

    /// Goes to a part's first page, or behind the last part.
    fn enter(&mut self, part: usize) -> Next {
        (self.part, self.pages) = (part, Pages::of(self.pages.size));
        self.answers.retain(|request| request.part >= part);
        if part < self.plan.parts() {
            Next::More
        } else if self.moved && !self.second {
            (self.part, self.moved, self.second) = (0, false, true);
            self.answers = Answers::default();
            Next::Again
        } else {
            Next::End { moved: self.moved }
        }
    }
}

#[cfg(test)]
mod tests;
