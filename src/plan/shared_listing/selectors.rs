//! Selectors of inventories for a shared listing, and their counts, which are updated page by page.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::Backup;
use crate::plan::inventory::{Tally, TwoPassTally};

/// Selector of one inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InventorySelector {
    /// Number of newest backups kept whole; of those that match `filter` if there is one.
    pub limit: usize,
    /// Filter that is counted in addition to all backups.
    pub filter: Option<Filter>,
}

/// A filter with the semantics of the cloud's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Empty matches all; likewise `strategies`.
    pub statuses: Vec<String>,
    pub strategies: Vec<String>,
    pub window: Option<Window>,
}

/// Window of the backups' start times: from and to, inclusive, truncated to whole seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Window {
    Fixed(Timestamp, Timestamp),
    /// Duration before the start of the listing.
    Last(Duration),
}

impl Filter {
    /// `now`: start of the listing. A backup without a start time matches no window.
    pub fn fits(&self, backup: &Backup, now: Timestamp) -> bool {
        let among = |wanted: &[String], word: &str| wanted.is_empty() || wanted.iter().any(|w| w == word);
        let (from, to) = match self.window {
            None => (None, None),
            Some(Window::Fixed(from, to)) => (Some(from), Some(to)),
            Some(Window::Last(last)) => (now.checked_sub(last).ok(), Some(now)),
        };
        let second = backup.start_time.map(|start| start.as_second());
        among(&self.statuses, &backup.status)
            && among(&self.strategies, backup.strategy.as_deref().unwrap_or_default())
            && from.is_none_or(|from| second.is_some_and(|second| second >= from.as_second()))
            && to.is_none_or(|to| second.is_some_and(|second| second <= to.as_second()))
    }
}

/// Counts of one listing for one inventory.
#[derive(Clone, Debug)]
pub struct InventoryTally {
    /// All backups. Shared between inventories, so that it may keep more of them whole than this one selects.
    pub whole: Arc<Tally>,
    /// The matching backups, if there is a filter.
    pub matching: Option<Arc<Tally>>,
}

/// Counts of a listing in progress, for all inventories that it serves.
#[derive(Debug)]
pub struct TallyBuilder {
    began: Timestamp,
    whole: TwoPassTally,
    /// One per inventory, in the order of the selectors.
    matching: Vec<Option<(Filter, TwoPassTally)>>,
}

impl TallyBuilder {
    pub fn new(selectors: &[InventorySelector], began: Timestamp) -> Self {
        let limit = selectors
            .iter()
            .filter(|selector| selector.filter.is_none())
            .map(|selector| selector.limit)
            .max();
        let matching = selectors
            .iter()
            .map(|selector| Some((selector.filter.clone()?, TwoPassTally::new(selector.limit))));
        Self { began, whole: TwoPassTally::new(limit.unwrap_or(0)), matching: matching.collect() }
    }

    /// Counts the backups of a page.
    pub fn add(&mut self, backups: Vec<Backup>) {
        // No inventory uses the counts.
        if self.matching.is_empty() {
            return;
        }
        for (filter, reading) in self.matching.iter_mut().flatten() {
            reading.add(backups.iter().filter(|backup| filter.fits(backup, self.began)).cloned());
        }
        self.whole.add(backups);
    }

    /// Starts the second pass.
    pub fn begin_again(&mut self) {
        self.whole.begin_again();
        self.matching.iter_mut().flatten().for_each(|(_, reading)| reading.begin_again());
    }

    /// Returns the counts per inventory, in the order of the selectors. `moved`: merges both passes.
    pub fn end(self, moved: bool) -> Vec<InventoryTally> {
        let whole = Arc::new(self.whole.end(moved));
        let tallied = |matching: Option<(Filter, TwoPassTally)>| InventoryTally {
            whole: whole.clone(),
            matching: matching.map(|(_, reading)| Arc::new(reading.end(moved))),
        };
        self.matching.into_iter().map(tallied).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn backup(id: u32, status: &str, strategy: &str, start: i64) -> Backup {
        Backup {
            instance_id: "redis-a".to_owned(),
            backup_point_id: format!("b-{id}"),
            status: status.to_owned(),
            strategy: Some(strategy.to_owned()),
            start_time: Some(at(start)),
            ..Backup::default()
        }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn what_fits_is_what_the_cloud_would_have_listed() {
        let all = [
            backup(1, "Available", "ManualBackup", 0),
            backup(2, "Creating", "AutomatedBackup", 100),
            backup(3, "Unavailable", "AutomatedBackup", 200),
            Backup { start_time: None, strategy: None, ..backup(4, "Available", "", 0) },
        ];
        let half = Duration::from_millis(500);
        for (filter, expected) in [
            (Filter::default(), vec![1, 2, 3, 4]),
            (Filter { statuses: words(&["Available"]), ..Filter::default() }, vec![1, 4]),
            (Filter { statuses: words(&["Available", "Creating"]), ..Filter::default() }, vec![1, 2, 4]),
            (Filter { strategies: words(&["AutomatedBackup"]), ..Filter::default() }, vec![2, 3]),
            (Filter { window: Some(Window::Fixed(at(0), at(100))), ..Filter::default() }, vec![1, 2]),
            (
                Filter { window: Some(Window::Fixed(at(0) + half, at(200) + half)), ..Filter::default() },
                vec![1, 2, 3],
            ),
            (Filter { window: Some(Window::Fixed(at(1), at(199))), ..Filter::default() }, vec![2]),
            (
                Filter { window: Some(Window::Last(Duration::from_secs(100))), ..Filter::default() },
                vec![2, 3],
            ),
            (Filter { window: Some(Window::Last(Duration::from_secs(99))), ..Filter::default() }, vec![3]),
            (
                Filter {
                    statuses: words(&["Unavailable"]),
                    strategies: words(&["ManualBackup"]),
                    window: Some(Window::Fixed(at(0), at(300))),
                },
                vec![],
            ),
        ] {
            let matching: Vec<_> = all.iter().filter(|b| filter.fits(b, at(200))).collect();
            let expected: Vec<_> = expected.into_iter().map(|id| &all[id - 1]).collect();
            assert_eq!(matching, expected, "{filter:?}");
        }
    }

    #[test]
    fn one_listing_answers_each_inventory() {
        let available = Filter { statuses: words(&["Available"]), ..Filter::default() };
        let selectors = [
            InventorySelector { limit: 2, filter: None },
            InventorySelector { limit: 1, filter: Some(available.clone()) },
            InventorySelector { limit: 0, filter: None },
            InventorySelector { limit: 9, filter: Some(available) },
        ];
        for (moved, totals) in [(false, [3, 2]), (true, [4, 3])] {
            let mut tallies = TallyBuilder::new(&selectors, at(900));
            tallies.add(vec![backup(1, "Available", "", 1), backup(2, "Creating", "", 2)]);
            tallies.begin_again();
            tallies.add(vec![backup(2, "Available", "", 2), backup(3, "Creating", "", 3)]);
            tallies.add(vec![backup(4, "Available", "", 4)]);
            let told = tallies.end(moved);
            let matching: Vec<_> = told.iter().map(|t| t.matching.as_ref().map(|f| f.total())).collect();
            assert_eq!(matching, [None, Some(totals[1]), None, Some(totals[1])]);
            assert!(told.iter().all(|t| t.whole.total() == totals[0]));
            let items = |tally: &Tally, limit| {
                tally.items(limit).iter().map(|b| b.backup_point_id.clone()).collect::<Vec<_>>()
            };
            assert_eq!(items(&told[0].whole, 2), ["b-4", "b-3"]);
            assert_eq!(items(told[1].matching.as_ref().unwrap(), 1), ["b-4"]);
            assert_eq!(items(told[3].matching.as_ref().unwrap(), 9)[..2], ["b-4", "b-2"]);
        }
    }

    #[test]
    fn nothing_is_counted_for_nobody() {
        let mut tallies = TallyBuilder::new(&[], at(0));
        tallies.add(vec![backup(1, "Available", "", 1)]);
        assert_eq!(tallies.whole.end(false).total(), 0);
    }
}
