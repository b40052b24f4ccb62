use super::*;
use crate::plan::shared_listing::next;
use crate::plan::{after, staleness};

const AT_ONCE: usize = 8;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn start() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// A region at rest: successive listings, and the age of the published result.
struct Region {
    own: Duration,
    pages: u64,
    now: Timestamp,
    /// Time as of which backups are known.
    read: Timestamp,
    began: Option<Timestamp>,
    possible: Option<ShortestInterval>,
    /// The account's minimum interval, and its next value once the controller has noticed the change.
    min_interval: Duration,
    noticed: Option<(Timestamp, Duration)>,
    /// Maximum age of the facts, as a fraction of the time for which they count as known.
    oldest: f64,
    floors: Vec<Duration>,
}

impl Region {
    fn new(own: Duration, pages: u64) -> Self {
        Self {
            own,
            pages,
            now: start(),
            read: start(),
            began: None,
            possible: None,
            min_interval: Duration::ZERO,
            noticed: None,
            oldest: 0.0,
            floors: Vec::new(),
        }
    }

    fn in_force(&self) -> Duration {
        self.own.max(self.min_interval)
    }

    fn passes(&mut self, time: Duration) {
        self.now = after(self.now, time);
        let min_interval =
            self.possible.and_then(|possible| possible.if_longer_than(self.own)).unwrap_or_default();
        if min_interval != self.noticed.map_or(self.min_interval, |(_, min_interval)| min_interval) {
            // The account's controller recomputes the demand two seconds after a change.
            self.noticed = Some((after(self.now, seconds(3.0)), min_interval));
        }
        if let Some((_, min_interval)) = self.noticed.take_if(|(at, _)| *at <= self.now) {
            self.min_interval = min_interval;
            self.floors.push(min_interval);
        }
        let age = since(self.read, self.now).as_secs_f64();
        self.oldest = self.oldest.max(age / staleness(self.in_force()).as_secs_f64());
    }

    /// Runs one listing. `page`: duration of each page in seconds; `moves`: Total changes, so that all pages are read
    /// twice.
    fn list(&mut self, page: impl Fn(u64) -> f64, moves: bool) {
        loop {
            let (at, _) = next(7_000, Some(self.in_force()), None, self.began, self.now).unwrap();
            // A changed interval wakes the listing task.
            match self.noticed {
                Some((noticed, _)) if noticed < at => self.passes(since(self.now, noticed)),
                _ => {
                    self.passes(since(self.now, at));
                    break;
                }
            }
        }
        let began = self.now;
        self.began = Some(began);
        self.passes(seconds(page(0)));
        let mut schedule = Schedule::new(self.own, self.pages, false, AT_ONCE);
        schedule.answered(1, Some(seconds(page(0))));
        let (mut left, mut again) = (self.pages - 1, moves);
        loop {
            if left == 0 && std::mem::take(&mut again) {
                schedule.begin_again(since(began, self.now));
                left = self.pages;
            }
            if left == 0 {
                break;
            }
            let due = schedule.due(since(began, self.now)) as u64;
            if due == 0 {
                let until = schedule.next().saturating_sub(since(began, self.now));
                self.passes(until.max(Duration::from_millis(1)));
                continue;
            }
            let count = due.min(left);
            let slowest = (0..count).map(|n| page(self.pages - left + n)).fold(0.0, f64::max);
            self.passes(seconds(slowest));
            schedule.answered(count as usize, Some(seconds(slowest)));
            if schedule.has_estimate(since(began, self.now)) {
                ShortestInterval::expect(&mut self.possible, schedule.end(since(began, self.now)));
            }
            left -= count;
        }
        self.read = began;
        ShortestInterval::measured(&mut self.possible, schedule.length(), self.now);
        self.passes(Duration::ZERO);
    }
}

fn wobbling(page: f64) -> impl Fn(u64) -> f64 {
    // Deterministic, from 0.7 to 1.3 times as long.
    move |number| {
        page * (0.7 + 0.6 * (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / (1_u64 << 24) as f64)
    }
}

const POLICIES: [u64; 4] = [2_000, 6_000, 10_000, 20_000];
const PAGES: [f64; 6] = [0.02, 0.037, 0.21, 0.5, 1.0, 2.0];
const MINUTES: [u64; 6] = [1, 2, 5, 10, 30, 60];

fn each(mut check: impl FnMut(&str, u64, f64, Duration)) {
    for policies in POLICIES {
        for page in PAGES {
            for minutes in MINUTES {
                let what = format!("{policies} policies, {page} s a page, {minutes} min");
                check(&what, (policies * 14).div_ceil(100), page, Duration::from_secs(60 * minutes));
            }
        }
    }
}

#[test]
fn backups_stay_known_however_slow_pages_are_and_whatever_moves() {
    each(|what, pages, page, own| {
        for moves in [false, true] {
            let mut region = Region::new(own, pages);
            (0..4).for_each(|_| region.list(wobbling(page), moves));
            let floors = region.floors.clone();
            (0..4).for_each(|_| region.list(wobbling(page), moves));
            assert!(region.oldest < 1.0, "{what}, {moves}: {}", region.oldest);
            assert_eq!(region.floors, floors, "it settles: {what}, {moves}");
        }
    });
}

#[test]
fn the_interval_is_longer_than_wanted_only_where_side_by_side_pages_take_most_of_it() {
    each(|what, pages, page, own| {
        let mut region = Region::new(own, pages);
        (0..3).for_each(|_| region.list(wobbling(page), false));
        let length = pages as f64 * page / AT_ONCE as f64;
        let needed = length * 1.3 * 1.25 / own.as_secs_f64();
        assert!(
            needed > 0.7 || region.min_interval.is_zero(),
            "{what}: {:?} for {length} s",
            region.min_interval
        );
        assert!(
            needed < 1.4 || region.min_interval.as_secs_f64() > length,
            "{what}: {:?}",
            region.min_interval
        );
        assert!(
            region.min_interval.as_secs_f64() < length * 1.3 * 1.25 + 75.0,
            "{what}: {:?}",
            region.min_interval
        );
    });
}

#[test]
fn a_cloud_that_becomes_slow_in_the_middle_of_a_listing_makes_nothing_unknown() {
    each(|what, pages, page, own| {
        for slow_from in [0.1, 0.5, 0.9] {
            let mut region = Region::new(own, pages);
            (0..2).for_each(|_| region.list(wobbling(0.02), false));
            let from = (pages as f64 * slow_from) as u64;
            region.list(|number| if number < from { 0.02 } else { page }, false);
            (0..3).for_each(|_| region.list(wobbling(page), false));
            assert!(region.oldest < 1.0, "{what}, from {slow_from}: {}", region.oldest);
        }
    });
}

#[test]
fn after_an_hour_without_a_slow_listing_the_interval_is_shorter_again_and_nothing_is_unknown() {
    let mut region = Region::new(Duration::from_secs(60), 840);
    (0..3).for_each(|_| region.list(wobbling(2.0), false));
    assert!(region.min_interval > Duration::from_secs(200));
    let quick = region.now;
    let slow = region.min_interval;
    while since(quick, region.now) < Duration::from_secs(3000) {
        region.list(wobbling(0.02), false);
    }
    assert_eq!(region.min_interval, slow, "it does not go up and down");
    while since(quick, region.now) < Duration::from_secs(5000) {
        region.list(wobbling(0.02), false);
    }
    assert_eq!((region.min_interval, region.oldest < 1.0), (Duration::ZERO, true));
}

#[test]
fn pages_are_spread_over_half_of_the_interval_and_late_ones_are_asked_for_side_by_side() {
    let mut schedule = Schedule::new(Duration::from_secs(600), 300, false, AT_ONCE);
    assert_eq!([0.0, 0.9, 1.0, 3.5, 100.0].map(|at| schedule.due(seconds(at))), [1, 1, 2, 4, 8]);
    schedule.answered(1, Some(seconds(0.2)));
    assert_eq!((schedule.due(seconds(0.9)), schedule.next()), (0, seconds(1.0)));
    schedule.answered(299, Some(seconds(0.2)));
    schedule.begin_again(seconds(300.0));
    assert_eq!([300.0, 300.4, 300.5].map(|at| schedule.due(seconds(at))), [1, 1, 2], "twice as fast");
    schedule.answered(100, Some(seconds(0.2)));
    schedule.divide(2, seconds(350.0));
    assert_eq!([350.0, 350.2, 350.25].map(|at| schedule.due(seconds(at))), [1, 1, 2], "in smaller pages");
    let day = Schedule::new(Duration::from_secs(86_400), 300, false, AT_ONCE);
    assert_eq!(day.due(seconds(1.0)), 2, "it is a picture of one time");
    let urgent = Schedule::new(Duration::from_secs(600), 300, true, AT_ONCE);
    assert_eq!(urgent.due(Duration::ZERO), AT_ONCE);
}

#[test]
fn a_listing_that_seemed_slow_is_forgotten_with_its_end_where_it_was_not() {
    let mut known = None;
    ShortestInterval::expect(&mut known, seconds(500.0));
    assert_eq!(known.unwrap().if_longer_than(seconds(300.0)), Some(seconds(660.0)), "in whole minutes");
    ShortestInterval::expect(&mut known, seconds(100.0));
    assert!(known.unwrap().if_longer_than(seconds(300.0)).is_some(), "the listing has not ended");
    ShortestInterval::measured(&mut known, seconds(100.0), start());
    assert_eq!(known.unwrap().if_longer_than(seconds(60.0)), Some(seconds(135.0)));
    assert_eq!(known.unwrap().if_longer_than(seconds(135.0)), None);
    ShortestInterval::measured(&mut known, seconds(10.0), after(start(), seconds(3000.0)));
    assert_eq!(known.unwrap().if_longer_than(seconds(60.0)), Some(seconds(135.0)), "it was slow a while ago");
    ShortestInterval::measured(&mut known, seconds(10.0), after(start(), seconds(3600.0)));
    assert_eq!(known.unwrap().if_longer_than(seconds(1.0)), None, "backups count as known for two minutes");
    ShortestInterval::measured(&mut known, Duration::MAX, start());
    assert!(known.is_some(), "the greatest value has an answer");
}

#[test]
fn failures_and_pauses_make_no_listing_slow() {
    let mut schedule = Schedule::new(Duration::from_secs(60), 800, true, AT_ONCE);
    schedule.answered(8, Some(seconds(0.8)));
    schedule.answered(4, None);
    schedule.lost(seconds(60.0));
    assert_eq!(schedule.length(), seconds(1.2));
    assert_eq!(schedule.end(seconds(61.2)), seconds(1.2 + 78.8));
}
