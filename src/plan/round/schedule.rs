//! When the pages of a shared listing are asked for, how long the listing takes, and the interval at which it can be had.

use std::time::Duration;

use jiff::Timestamp;

use super::LONGEST;
use crate::plan::since;

/// Backups are not unknown before they were not read for this time, so shorter listings delay nothing.
const NEVER_SLOW: Duration = Duration::from_secs(60);
/// How long a slow listing is reckoned with after quicker ones.
const SLOW_HOLDS: Duration = Duration::from_secs(3600);
/// An interval is longer than a listing by this factor, since no two take the same time,
const MARGIN: f64 = 1.25;
/// and by this one at least.
const LEAST_MARGIN: f64 = 1.1;
/// How much the time of the newest requests counts for what is expected of the next ones.
const NEWEST: f64 = 1.0 / 16.0;
/// It becomes shorter where a listing takes less than this part of it.
const MUCH_QUICKER: f64 = 0.6;

/// The pages of one listing. Its times are since its beginning.
///
/// The requests are spread over half of the interval, as looks are, so that no pause is left where pages come slowly. Those that are
/// late are made side by side.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Between the requests for two pages; zero where somebody waits for the listing.
    gap: Duration,
    pages: u64,
    answered: u64,
    /// Since when this gap holds, and the pages answered before that.
    paced_from: Duration,
    answered_before: u64,
    /// The time of the requests since the beginning, if `at_once` of them had been in flight all the time.
    busy: Duration,
    /// The same of one page, as an average of the last requests.
    recent: Option<Duration>,
    /// Not counted as the listing's own.
    lost: Duration,
    at_once: usize,
    interval: Duration,
}

impl Schedule {
    /// `interval`: that the listing's users want, or the budget allows, however long listings take; so one that turns out to be
    /// quick again is no longer than it has to be. `pages`: by the first page's Total, at least 1; `at_once`: requests in flight at most.
    pub fn new(interval: Duration, pages: u64, hurried: bool, at_once: usize) -> Self {
        let gap = if hurried { Duration::ZERO } else { gap(interval, pages) };
        Self {
            gap,
            pages,
            answered: 0,
            paced_from: Duration::ZERO,
            answered_before: 0,
            busy: Duration::ZERO,
            recent: None,
            lost: Duration::ZERO,
            at_once,
            interval,
        }
    }

    /// How many pages to ask for now; 0: none before [`Schedule::next`].
    pub fn due(&self, elapsed: Duration) -> usize {
        let begun = match self.gap.is_zero() {
            true => u128::MAX,
            false => elapsed.saturating_sub(self.paced_from).as_nanos() / self.gap.as_nanos() + 1,
        };
        let answered = u128::from(self.answered - self.answered_before);
        usize::try_from(begun.saturating_sub(answered)).unwrap_or(usize::MAX).min(self.at_once)
    }

    /// When the next page is due.
    pub fn next(&self) -> Duration {
        let answered = u32::try_from(self.answered - self.answered_before).unwrap_or(u32::MAX);
        self.paced_from.saturating_add(self.gap.saturating_mul(answered))
    }

    /// So many pages, asked for at the same time, were answered in this time. Where requests beside them failed, or the cloud
    /// asked for a pause, their time is that of the pages before.
    pub fn answered(&mut self, pages: usize, took: Option<Duration>) {
        let one = took.map(|took| took / u32::try_from(self.at_once).unwrap_or(u32::MAX).max(1));
        let known = one.or(self.recent).unwrap_or_default();
        self.answered += pages as u64;
        self.busy += known.saturating_mul(u32::try_from(pages).unwrap_or(u32::MAX));
        if let Some(one) = one {
            self.recent =
                Some(self.recent.map_or(one, |recent| recent.mul_f64(1.0 - NEWEST) + one.mul_f64(NEWEST)));
        }
    }

    /// So much time has passed with failures and pauses: a cloud that fails is not slow.
    pub fn lost(&mut self, time: Duration) {
        self.lost = self.lost.saturating_add(time);
    }

    /// All pages are read once more, in half of the time: what they tell is not to be older than two intervals at the end of that.
    pub fn begin_again(&mut self, elapsed: Duration) {
        self.gap /= 2;
        (self.paced_from, self.answered_before) = (elapsed, self.answered);
        self.pages = self.answered.saturating_add(self.pages);
    }

    /// The pages that are left become so many times as many, each of fewer records.
    pub fn divide(&mut self, divisor: u32, elapsed: Duration) {
        self.gap /= divisor.max(1);
        (self.paced_from, self.answered_before) = (elapsed, self.answered);
        let left = self.pages.saturating_sub(self.answered).saturating_mul(divisor.into());
        self.pages = self.answered.saturating_add(left);
    }

    /// How long the pages took that were answered so far, without the pauses between them.
    pub fn length(&self) -> Duration {
        self.busy
    }

    /// When the listing will end, if the other pages take as long as the last ones, and without what was lost.
    pub fn end(&self, elapsed: Duration) -> Duration {
        let left = u32::try_from(self.pages.saturating_sub(self.answered)).unwrap_or(u32::MAX);
        elapsed.saturating_sub(self.lost).saturating_add(self.recent.unwrap_or_default().saturating_mul(left))
    }

    /// Whether enough is answered to reckon from: the first requests open connections.
    pub fn is_telling(&self, elapsed: Duration) -> bool {
        self.answered > self.at_once as u64 && elapsed >= self.interval / 4
    }
}

/// Between the requests for two pages of a listing that nobody waits for: they take half of the interval, and with a long one
/// half of `LONGEST`, since a listing is to be a picture of one time.
fn gap(interval: Duration, pages: u64) -> Duration {
    Duration::from_secs_f64(interval.min(LONGEST).as_secs_f64() / 2.0 / pages.max(1) as f64)
}

/// The shortest interval at which an account's backups in a region can be listed. What a listing tells is as old as one interval
/// and the listing itself before the next one ends, and counts as known for two intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortestInterval {
    interval: Duration,
    /// When a listing last needed it.
    at: Timestamp,
}

impl ShortestInterval {
    fn of(length: Duration, at: Timestamp) -> Self {
        let length = Duration::try_from_secs_f64(length.as_secs_f64() * MARGIN).unwrap_or(Duration::MAX);
        Self { interval: rounded(length), at }
    }

    /// Takes in how long a listing under way will take: the interval becomes longer while that is in time. It becomes shorter
    /// only when one has ended, which may also show that this was too much.
    pub fn expect(known: &mut Option<Self>, length: Duration) {
        let at = known.map_or(Timestamp::MIN, |known| known.at);
        if known.is_none_or(|known| length.as_secs_f64() * LEAST_MARGIN > known.interval.as_secs_f64()) {
            *known = Some(Self::of(length, at));
        }
    }

    /// Takes in how long a listing that has ended has taken.
    pub fn measured(known: &mut Option<Self>, length: Duration, now: Timestamp) {
        Self::expect(known, length);
        let Some(known) = known else { return };
        if length.as_secs_f64() * MARGIN >= known.interval.as_secs_f64() * MUCH_QUICKER {
            known.at = now;
        } else if since(known.at, now) >= SLOW_HOLDS {
            *known = Self::of(length, now);
        }
    }

    /// The interval, where it is longer than those that ask for the listing want it.
    pub fn beyond(self, wanted: Duration) -> Option<Duration> {
        Some(self.interval).filter(|interval| *interval > wanted.max(NEVER_SLOW))
    }
}

/// Up, in steps that grow with it: the account's condition tells it.
fn rounded(interval: Duration) -> Duration {
    let step = match interval.as_secs() {
        0..60 => 1,
        60..600 => 15,
        600..3600 => 60,
        _ => 300,
    };
    let seconds = interval.as_secs().saturating_add(u64::from(interval.subsec_nanos() > 0));
    Duration::from_secs(seconds.div_ceil(step).saturating_mul(step))
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
