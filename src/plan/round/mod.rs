//! Readings of all backups of an account in a region, which serve every policy and inventory there: when the next one begins, whether all
//! backups are listed or those of single instances, and what it tells of each instance that was not known before.

mod members;
mod records;
mod schedule;
mod sightings;
mod taps;

use std::time::Duration;

use jiff::Timestamp;

use super::after;
use super::pace::next_turn;

pub use members::{Member, Members};
pub use schedule::{Schedule, ShortestInterval};
pub use sightings::{Finds, Found, News, Round, Sighted};
pub use taps::{Filter, Tallied, Tallies, Tap, Window};

/// So few first readings are made at once, each for itself: nobody waits for what others may want.
pub const FEW: usize = 4;
/// What one round found is there for policies that come so long after it, as when many are created one after the other.
pub const KEPT: Duration = Duration::from_secs(60);
/// What the cloud said of the number of all backups is believed so long.
pub const TOTAL_HOLDS: Duration = Duration::from_secs(3600);
/// A listing that gets no further for so long is given up. One that can take its time takes half of it.
pub const LONGEST: Duration = Duration::from_secs(600);
/// Records of a page, of either scope.
pub const PAGE: u64 = 100;

/// How the backups that are due are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All of the account and region, page by page.
    Listing,
    /// Those of each instance that is due.
    Each,
}

/// When the next reading begins, and whether it is one that somebody waits for; `None` while there is nobody to read for.
/// `hurried`: when one for those who wait begins; `began`: when the last one began that read for all.
pub fn next(
    phase: u64,
    shortest: Option<Duration>,
    hurried: Option<Timestamp>,
    began: Option<Timestamp>,
    now: Timestamp,
) -> Option<(Timestamp, bool)> {
    let interval = shortest?;
    // A reading that took longer than the interval is followed by the next one at once: no turn is left out. One that began
    // right before its turn, by the clock's resolution, has no second one.
    let last = began.map_or(now, |began| after(began, interval / 16).min(now));
    let regular = next_turn(phase, interval, last).max(now);
    let hurried = hurried.map(|at| at.max(now)).filter(|at| *at <= regular);
    Some(hurried.map_or((regular, false), |at| (at, true)))
}

/// The way with fewer calls. `pages`: of the whole listing that are still to be read, where that is known; `each`: calls
/// that those which are due need for themselves, where an inventory needs as many as there are.
pub fn way(pages: Option<u64>, each: u64) -> Way {
    let alone = each <= 1 || pages.is_some_and(|pages| each < pages);
    if alone { Way::Each } else { Way::Listing }
}

/// Pages of so many records; there is always one.
pub fn pages(records: u64) -> u64 {
    records.div_ceil(PAGE).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_fewer_calls_is_read() {
        for (pages, each, expected, why) in [
            (None, 1, Way::Each, "one instance with one page"),
            (None, 2, Way::Listing, "what is there is not known yet"),
            (Some(1), 1, Way::Each, "as many, and less is read"),
            (Some(1), 50, Way::Listing, "one page has all"),
            (Some(280), 2000, Way::Listing, "a fleet"),
            (Some(280), 50, Way::Each, "a few of a large account"),
            (Some(50), 50, Way::Listing, "as many"),
            (Some(1), u64::MAX, Way::Listing, "an inventory"),
            (Some(u64::MAX), u64::MAX, Way::Listing, "an inventory, where it may be refused"),
        ] {
            assert_eq!(way(pages, each), expected, "{why}");
        }
    }

    #[test]
    fn a_page_has_a_hundred_records() {
        assert_eq!([0, 1, 100, 101, 28_000].map(pages), [1, 1, 1, 2, 280]);
    }

    #[test]
    fn no_turn_is_left_out_after_a_reading_that_took_longer_than_the_interval() {
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let minute = Some(Duration::from_secs(60));
        let next = |began: Option<i64>, now| next(0, minute, None, began.map(at), at(now));
        assert_eq!(next(None, 70), Some((at(120), false)));
        assert_eq!(next(Some(60), 70), Some((at(120), false)));
        assert_eq!(next(Some(59), 70), Some((at(120), false)), "it began for the turn at 60 s");
        assert_eq!(next(Some(60), 130), Some((at(130), false)), "the one at 120 s is made up for");
    }
}
