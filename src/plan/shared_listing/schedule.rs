//! Page schedule of a shared listing: when pages are requested, how long the listing takes, and the shortest possible
//! interval.

use std::time::Duration;

use jiff::Timestamp;

use super::LISTING_STALL_TIMEOUT;
use crate::plan::since;

/// Lower bound of a slow interval: backups stay known for two minutes, so that shorter listings delay nothing.
const MIN_SLOW_INTERVAL: Duration = Duration::from_secs(60);
/// How long a slow listing counts after faster ones.
const SLOW_RETENTION: Duration = Duration::from_secs(3600);
/// Factor between a listing's duration and the interval, since durations vary.
const INTERVAL_MARGIN: f64 = 1.25;
/// Minimum factor; below it the interval is raised.
const MIN_INTERVAL_MARGIN: f64 = 1.1;
/// Weight of the latest requests in the moving average.
const AVERAGE_WEIGHT: f64 = 1.0 / 16.0;
/// The interval is lowered if a listing needs less than this fraction of it.
const LOWERING_FRACTION: f64 = 0.6;

/// Pages of one listing. Times are relative to its start.
///
/// Requests are spread over half of the interval, as describes are. Slow pages leave no pause, and late ones are
/// requested concurrently.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Delay between the requests for two pages; zero for an urgent listing.
    gap: Duration,
    pages: u64,
    answered: u64,
    /// Start of the present gap, and the pages answered before it.
    paced_from: Duration,
    answered_before: u64,
    /// Duration of the requests so far, as if `at_once` of them had always been in flight.
    busy: Duration,
    /// Duration of one page on the same basis: moving average of the latest requests.
    recent: Option<Duration>,
    /// Time lost to failures and pauses, not counted as the listing's own.
    lost: Duration,
    at_once: usize,
    interval: Duration,
}

impl Schedule {
    /// `interval`: requested by the subscribers, or allowed by the budget, regardless of slow listings, so that it
    /// becomes shorter again once listings are fast. `pages`: from the first page's Total, at least 1; `at_once`:
    /// maximum number of requests in flight.
    pub fn new(interval: Duration, pages: u64, urgent: bool, at_once: usize) -> Self {
        let gap = if urgent { Duration::ZERO } else { gap(interval, pages) };
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

    /// Returns the number of pages to request now; 0: none before [`Schedule::next`].
    pub fn due(&self, elapsed: Duration) -> usize {
        let begun = match self.gap.is_zero() {
            true => u128::MAX,
            false => elapsed.saturating_sub(self.paced_from).as_nanos() / self.gap.as_nanos() + 1,
        };
        let answered = u128::from(self.answered - self.answered_before);
        usize::try_from(begun.saturating_sub(answered)).unwrap_or(usize::MAX).min(self.at_once)
    }

    /// Returns when the next page is due.
    pub fn next(&self) -> Duration {
        let answered = u32::try_from(self.answered - self.answered_before).unwrap_or(u32::MAX);
        self.paced_from.saturating_add(self.gap.saturating_mul(answered))
    }

    /// Records pages that were requested concurrently and answered in `took`. `None` if another request failed or the
    /// cloud asked for a pause: the average of the earlier pages is used.
    pub fn answered(&mut self, pages: usize, took: Option<Duration>) {
        let one = took.map(|took| took / u32::try_from(self.at_once).unwrap_or(u32::MAX).max(1));
        let known = one.or(self.recent).unwrap_or_default();
        self.answered += pages as u64;
        self.busy += known.saturating_mul(u32::try_from(pages).unwrap_or(u32::MAX));
        if let Some(one) = one {
            self.recent =
                Some(self.recent.map_or(one, |recent| {
                    recent.mul_f64(1.0 - AVERAGE_WEIGHT) + one.mul_f64(AVERAGE_WEIGHT)
                }));
        }
    }

    /// Excludes time spent on failures and pauses: a failing cloud is not slow.
    pub fn lost(&mut self, time: Duration) {
        self.lost = self.lost.saturating_add(time);
    }

    /// Starts the second pass at twice the speed: its result must not be older than two intervals at its end.
    pub fn begin_again(&mut self, elapsed: Duration) {
        self.gap /= 2;
        (self.paced_from, self.answered_before) = (elapsed, self.answered);
        self.pages = self.answered.saturating_add(self.pages);
    }

    /// Multiplies the remaining pages by `divisor`, after a reduction of the page size.
    pub fn divide(&mut self, divisor: u32, elapsed: Duration) {
        self.gap /= divisor.max(1);
        (self.paced_from, self.answered_before) = (elapsed, self.answered);
        let left = self.pages.saturating_sub(self.answered).saturating_mul(divisor.into());
        self.pages = self.answered.saturating_add(left);
    }

    /// Returns the duration of the answered pages, without the pauses between them.
    pub fn length(&self) -> Duration {
        self.busy
    }

    /// Estimates the end of the listing from the latest pages, without lost time.
    pub fn end(&self, elapsed: Duration) -> Duration {
        let left = u32::try_from(self.pages.saturating_sub(self.answered)).unwrap_or(u32::MAX);
        elapsed.saturating_sub(self.lost).saturating_add(self.recent.unwrap_or_default().saturating_mul(left))
    }

    /// Whether enough pages were answered for an estimate; the first requests also open connections.
    pub fn has_estimate(&self, elapsed: Duration) -> bool {
        self.answered > self.at_once as u64 && elapsed >= self.interval / 4
    }
}

/// Returns the delay between page requests of a listing that is not urgent. The pages take half of the interval, at
/// most half of `LISTING_STALL_TIMEOUT`, since a listing should be a snapshot of one time.
fn gap(interval: Duration, pages: u64) -> Duration {
    Duration::from_secs_f64(interval.min(LISTING_STALL_TIMEOUT).as_secs_f64() / 2.0 / pages.max(1) as f64)
}

/// Shortest interval at which an account's backups in a region can be listed. Just before a listing ends, the published
/// result is one interval plus the listing's duration old; it counts as known for two intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortestInterval {
    interval: Duration,
    /// Time at which a listing last needed this interval.
    at: Timestamp,
}

impl ShortestInterval {
    fn of(length: Duration, at: Timestamp) -> Self {
        let length =
            Duration::try_from_secs_f64(length.as_secs_f64() * INTERVAL_MARGIN).unwrap_or(Duration::MAX);
        Self { interval: rounded(length), at }
    }

    /// Applies the estimated duration of a listing in progress, early enough to raise the interval. Only a completed
    /// listing lowers it, also after an estimate that was too high.
    pub fn expect(known: &mut Option<Self>, length: Duration) {
        let at = known.map_or(Timestamp::MIN, |known| known.at);
        if known.is_none_or(|known| length.as_secs_f64() * MIN_INTERVAL_MARGIN > known.interval.as_secs_f64())
        {
            *known = Some(Self::of(length, at));
        }
    }

    /// Applies the duration of a completed listing.
    pub fn measured(known: &mut Option<Self>, length: Duration, now: Timestamp) {
        Self::expect(known, length);
        let Some(known) = known else { return };
        if length.as_secs_f64() * INTERVAL_MARGIN >= known.interval.as_secs_f64() * LOWERING_FRACTION {
            known.at = now;
        } else if since(known.at, now) >= SLOW_RETENTION {
            *known = Self::of(length, now);
        }
    }

    /// Returns the interval if it is longer than `wanted`.
    pub fn if_longer_than(self, wanted: Duration) -> Option<Duration> {
        Some(self.interval).filter(|interval| *interval > wanted.max(MIN_SLOW_INTERVAL))
    }
}

/// Rounds up, in steps that grow with the interval, since the account's condition reports it.
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
