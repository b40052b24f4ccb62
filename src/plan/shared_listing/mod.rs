//! Shared listings: one listing of the backups of an account in a region serves every policy and inventory there. The
//! module decides when the next one starts, whether all backups are listed or each instance separately, and what has
//! changed per instance.

mod fingerprints;
mod records;
mod schedule;
mod selectors;
mod subscribers;

use std::time::Duration;

use jiff::Timestamp;

use super::after;
use super::polling::next_poll;

pub use fingerprints::{BackupDelta, Fingerprints, InstanceDiff, ListDiff, ListPass};
pub use schedule::{Schedule, ShortestInterval};
pub use selectors::{Filter, InventorySelector, InventoryTally, TallyBuilder, Window};
pub use subscribers::{Subscriber, SubscriberSet};

/// Number of simultaneous requests up to which each subscriber lists for itself instead of waiting for a shared
/// listing.
pub const MAX_SEPARATE_LISTINGS: usize = 4;
/// How long the result of a listing is kept for policies that subscribe later, for example when many are created one
/// after the other.
pub const LISTING_RETENTION: Duration = Duration::from_secs(60);
/// How long the total number of backups from the cloud is trusted.
pub const TOTAL_TTL: Duration = Duration::from_secs(3600);
/// Time without progress after which a listing is aborted. A listing that is not urgent is spread over up to half of
/// it.
pub const LISTING_STALL_TIMEOUT: Duration = Duration::from_secs(600);
/// Records per page, for either scope.
pub const RECORDS_PER_PAGE: u64 = 100;

/// Strategy of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListStrategy {
    /// List all backups of the account and region, page by page.
    Listing,
    /// List the backups of each due instance separately.
    PerInstance,
}

/// Returns the start of the next listing, and whether it is urgent; `None` without subscribers. `hurried`: start of the
/// next urgent listing; `began`: start of the last listing that covered all subscribers.
pub fn next(
    poll_offset: u64,
    shortest: Option<Duration>,
    urgent: Option<Timestamp>,
    began: Option<Timestamp>,
    now: Timestamp,
) -> Option<(Timestamp, bool)> {
    let interval = shortest?;
    // A listing that took longer than the interval is followed by the next one at once: no poll is skipped. One that
    // started just before its poll time, by the clock's resolution, does not run a second time.
    let last = began.map_or(now, |began| after(began, interval / 16).min(now));
    let regular = next_poll(poll_offset, interval, last).max(now);
    let urgent = urgent.map(|at| at.max(now)).filter(|at| *at <= regular);
    Some(urgent.map_or((regular, false), |at| (at, true)))
}

/// Returns the strategy with fewer calls. `pages`: remaining pages of the whole listing, if known; `each`: calls for
/// the due instances separately (`u64::MAX` for an inventory).
pub fn list_strategy(pages: Option<u64>, each: u64) -> ListStrategy {
    let alone = each <= 1 || pages.is_some_and(|pages| each < pages);
    if alone { ListStrategy::PerInstance } else { ListStrategy::Listing }
}

/// Returns the number of pages for so many records, at least 1.
pub fn pages(records: u64) -> u64 {
    records.div_ceil(RECORDS_PER_PAGE).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_fewer_calls_is_read() {
        for (pages, each, expected, why) in [
            (None, 1, ListStrategy::PerInstance, "one instance with one page"),
            (None, 2, ListStrategy::Listing, "what is there is not known yet"),
            (Some(1), 1, ListStrategy::PerInstance, "as many, and less is read"),
            (Some(1), 50, ListStrategy::Listing, "one page has all"),
            (Some(280), 2000, ListStrategy::Listing, "a fleet"),
            (Some(280), 50, ListStrategy::PerInstance, "a few of a large account"),
            (Some(50), 50, ListStrategy::Listing, "as many"),
            (Some(1), u64::MAX, ListStrategy::Listing, "an inventory"),
            (Some(u64::MAX), u64::MAX, ListStrategy::Listing, "an inventory, where it may be refused"),
        ] {
            assert_eq!(list_strategy(pages, each), expected, "{why}");
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
