//! What inventories want of a listing of all backups, and its tallies for them: they are counted while its pages pass by.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::Backup;
use crate::plan::inventory::{Reading, Tally};

/// What one inventory wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tap {
    /// How many of the newest backups are kept whole: of those that fit `filter`, where there is one.
    pub limit: usize,
    /// Beside all backups it wants to know what fits this.
    pub filter: Option<Filter>,
}

/// A filter that is applied here as the cloud would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Empty for all, as are `strategies`.
    pub statuses: Vec<String>,
    pub strategies: Vec<String>,
    pub window: Option<Window>,
}

/// When backups began: from and to, both included, in whole seconds; fractions are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Window {
    Fixed(Timestamp, Timestamp),
    /// Before the listing began.
    Last(Duration),
}

impl Filter {
    /// `now`: when the listing began. A backup of which it is not known when it began is within no window.
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

/// What one listing amounts to for an inventory.
#[derive(Clone, Debug)]
pub struct Tallied {
    /// Of all backups; many inventories can share it, so that it may keep more of them whole than this one wants.
    pub whole: Arc<Tally>,
    /// Of those that fit the filter, where it has one.
    pub fitting: Option<Arc<Tally>>,
}

/// The tallies of a listing under way, for all inventories that it serves.
#[derive(Debug)]
pub struct Tallies {
    began: Timestamp,
    whole: Reading,
    /// One for each inventory, in their order.
    fitting: Vec<Option<(Filter, Reading)>>,
}

impl Tallies {
    pub fn new(taps: &[Tap], began: Timestamp) -> Self {
        let limit = taps.iter().filter(|tap| tap.filter.is_none()).map(|tap| tap.limit).max();
        let fitting = taps.iter().map(|tap| Some((tap.filter.clone()?, Reading::new(tap.limit))));
        Self { began, whole: Reading::new(limit.unwrap_or(0)), fitting: fitting.collect() }
    }

    /// Counts the backups of a page.
    pub fn add(&mut self, backups: Vec<Backup>) {
        // Nobody would look at it.
        if self.fitting.is_empty() {
            return;
        }
        for (filter, reading) in self.fitting.iter_mut().flatten() {
            reading.add(backups.iter().filter(|backup| filter.fits(backup, self.began)).cloned());
        }
        self.whole.add(backups);
    }

    /// The pages are read once more.
    pub fn begin_again(&mut self) {
        self.whole.begin_again();
        self.fitting.iter_mut().flatten().for_each(|(_, reading)| reading.begin_again());
    }

    /// For each inventory, in their order. `moved`: what either reading found counts.
    pub fn end(self, moved: bool) -> Vec<Tallied> {
        let whole = Arc::new(self.whole.end(moved));
        let tallied = |fitting: Option<(Filter, Reading)>| Tallied {
            whole: whole.clone(),
            fitting: fitting.map(|(_, reading)| Arc::new(reading.end(moved))),
        };
        self.fitting.into_iter().map(tallied).collect()
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
            let fitting: Vec<_> = all.iter().filter(|b| filter.fits(b, at(200))).collect();
            let expected: Vec<_> = expected.into_iter().map(|id| &all[id - 1]).collect();
            assert_eq!(fitting, expected, "{filter:?}");
        }
    }

    #[test]
    fn one_listing_answers_each_inventory() {
        let available = Filter { statuses: words(&["Available"]), ..Filter::default() };
        let taps = [
            Tap { limit: 2, filter: None },
            Tap { limit: 1, filter: Some(available.clone()) },
            Tap { limit: 0, filter: None },
            Tap { limit: 9, filter: Some(available) },
        ];
        for (moved, totals) in [(false, [3, 2]), (true, [4, 3])] {
            let mut tallies = Tallies::new(&taps, at(900));
            tallies.add(vec![backup(1, "Available", "", 1), backup(2, "Creating", "", 2)]);
            tallies.begin_again();
            tallies.add(vec![backup(2, "Available", "", 2), backup(3, "Creating", "", 3)]);
            tallies.add(vec![backup(4, "Available", "", 4)]);
            let told = tallies.end(moved);
            let fitting: Vec<_> = told.iter().map(|t| t.fitting.as_ref().map(|f| f.total())).collect();
            assert_eq!(fitting, [None, Some(totals[1]), None, Some(totals[1])]);
            assert!(told.iter().all(|t| t.whole.total() == totals[0]));
            let items = |tally: &Tally, limit| {
                tally.items(limit).iter().map(|b| b.backup_point_id.clone()).collect::<Vec<_>>()
            };
            assert_eq!(items(&told[0].whole, 2), ["b-4", "b-3"]);
            assert_eq!(items(told[1].fitting.as_ref().unwrap(), 1), ["b-4"]);
            assert_eq!(items(told[3].fitting.as_ref().unwrap(), 9)[..2], ["b-4", "b-2"]);
        }
    }

    #[test]
    fn nothing_is_counted_for_nobody() {
        let mut tallies = Tallies::new(&[], at(0));
        tallies.add(vec![backup(1, "Available", "", 1)]);
        assert_eq!(tallies.whole.end(false).total(), 0);
    }
}
