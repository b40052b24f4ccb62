//! Quota demand: the requests that the resources of an account need, and the minimum poll interval where the request
//! budget is too small.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

/// Lower bound of an interval; keeps the demand finite.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// Tolerance for rounding errors in sums of fractions.
const ROUNDING: f64 = 1.0 + 1e-9;

/// Quota demand of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Interval of its spec.
    pub interval: Duration,
    /// Calls per poll.
    pub calls: u32,
}

impl Demand {
    fn seconds(self) -> f64 {
        self.interval.max(MIN_INTERVAL).as_secs_f64()
    }

    /// Calls per second.
    pub fn rate(self) -> f64 {
        f64::from(self.calls) / self.seconds()
    }
}

/// A request budget that is too small. Its `Display` is the message of the account's condition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuotaShortfall {
    /// Shortest interval that the budget allows for all resources, in whole milliseconds; a resource with a longer
    /// interval keeps its own.
    pub interval: Duration,
    /// Requests per second that the resources need at their own intervals.
    pub needed: f64,
}

/// Returns the requests per second that the resources need at their own intervals.
pub(super) fn needed(demands: &[Demand]) -> f64 {
    demands.iter().map(|demand| demand.rate()).sum()
}

/// Computes the shortfall of a budget of `requests_per_second` (at least 1); `None` if it suffices.
pub fn shortfall(demands: &[Demand], requests_per_second: u32) -> Option<QuotaShortfall> {
    let rate = f64::from(requests_per_second.max(1)) * ROUNDING;
    let mut longest_first = demands.to_vec();
    longest_first.sort_unstable_by_key(|demand| Reverse(demand.interval));
    let mut others: f64 = demands.iter().map(|demand| f64::from(demand.calls)).sum();
    let mut kept = 0.0;
    for demand in longest_first {
        // The resources before this one keep their intervals; the others share the rest of the rate.
        let reached = others / (rate - kept).max(0.0);
        if reached >= demand.seconds() {
            let milliseconds = (reached * 1000.0).ceil();
            let interval = Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or(Duration::MAX);
            return Some(QuotaShortfall { interval, needed: needed(demands) });
        }
        others -= f64::from(demand.calls);
        kept += demand.rate();
    }
    None
}

impl fmt::Display for QuotaShortfall {
    /// Rounds up, so that the text changes only when it reports a different value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = (self.needed / ROUNDING).ceil();
        write!(
            f,
            "the request budget allows one look at each resource every {}; at their own intervals the resources need \
             {rate} requests per second",
            readable(self.interval)
        )
    }
}

/// Formats in seconds up to an hour, then in minutes, rounded up.
pub(super) fn readable(interval: Duration) -> String {
    let seconds = interval.as_secs().saturating_add(u64::from(interval.subsec_nanos() > 0));
    let (most, unit, least, smaller) = if seconds <= 3600 {
        (seconds / 60, "m", seconds % 60, "s")
    } else {
        let minutes = seconds.div_ceil(60);
        (minutes / 60, "h", minutes % 60, "m")
    };
    match (most, least) {
        (0, _) => format!("{least}{smaller}"),
        (60, 0) if unit == "m" => "1h".to_owned(),
        (_, 0) => format!("{most}{unit}"),
        _ => format!("{most}{unit}{least}{smaller}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn demand(interval: u64, calls: u32) -> Demand {
        Demand { interval: Duration::from_secs(interval), calls }
    }

    /// The rate at which the demands are met where no interval is shorter than this.
    fn rate_at(demands: &[Demand], interval: f64) -> f64 {
        demands.iter().map(|d| f64::from(d.calls) / d.seconds().max(interval)).sum()
    }

    fn interval(demands: &[Demand], rate: u32) -> Option<f64> {
        shortfall(demands, rate).map(|short| short.interval.as_secs_f64())
    }

    #[test]
    fn the_shortest_interval_that_fits_is_reached() {
        for (demands, rate, expected, why) in [
            (vec![], 1, None, "nothing is asked for"),
            (vec![demand(60, 2); 300], 10, None, "it fits exactly"),
            (vec![demand(60, 2); 301], 10, Some(60.2), "one too many"),
            (vec![demand(60, 2); 3000], 10, Some(600.0), "ten times too many"),
            (vec![demand(60, 60), demand(3600, 3600)], 2, None, "fits exactly, at two intervals"),
            (vec![demand(60, 90), demand(120, 60)], 1, Some(150.0), "longer than all of them"),
            (vec![demand(60, 60), demand(600, 300)], 1, Some(120.0), "the longer one keeps its own"),
            (vec![demand(60, 60), demand(60, 0)], 1, None, "what takes no calls needs none"),
            (vec![demand(60, 60), demand(60, 1)], 0, Some(61.0), "a rate is at least 1"),
            (vec![demand(0, 5)], 1, Some(5.0), "without an interval"),
            (vec![demand(0, 0)], 1, None, "nor calls"),
        ] {
            assert_eq!(interval(&demands, rate), expected, "{why}");
        }
    }

    #[test]
    fn fractions_that_add_up_to_the_whole_fit() {
        let demands: Vec<_> = (1..=1000).map(|n| demand(n * 7, n as u32 * 7)).collect();
        assert_eq!(shortfall(&demands, 1000), None);
        let tenths = vec![Demand { interval: Duration::from_millis(100), calls: 1 }; 1000];
        assert_eq!(shortfall(&tenths, 10_000), None);
        assert!(shortfall(&tenths, 9_999).is_some());
    }

    #[test]
    fn the_greatest_values_have_an_answer() {
        let demands = [
            Demand { interval: Duration::MAX, calls: u32::MAX },
            Demand { interval: Duration::ZERO, calls: u32::MAX },
        ];
        let short = shortfall(&demands, 1).unwrap();
        assert!(short.interval.as_secs().abs_diff(u64::from(u32::MAX)) < 10, "{short:?}");
        assert!(short.needed.is_finite());
        assert_eq!(shortfall(&demands[..1], u32::MAX), None);
    }

    #[test]
    fn the_words_are_rounded_up() {
        let said = |demands: &[Demand], rate| shortfall(demands, rate).unwrap().to_string();
        assert_eq!(
            said(&vec![demand(60, 2); 301], 10),
            "the request budget allows one look at each resource every 1m1s; at their own intervals the resources \
             need 11 requests per second"
        );
        // What differs in fractions alone is said in the same words.
        assert_eq!(said(&vec![demand(60, 2); 301], 10), said(&vec![demand(60, 2); 304], 10));
        for (seconds, words) in [
            (0.001, "1s"),
            (59.0, "59s"),
            (59.2, "1m"),
            (61.0, "1m1s"),
            (3599.5, "1h"),
            (3600.0, "1h"),
            (3600.5, "1h1m"),
            (7200.0, "2h"),
            (1e6, "277h47m"),
        ] {
            assert_eq!(readable(Duration::from_secs_f64(seconds)), words, "{seconds}");
        }
        assert!(readable(Duration::MAX).ends_with('m'));
    }

    proptest! {
        #[test]
        fn it_is_what_trying_all_intervals_finds(
            demands in prop::collection::vec((0..100_000u64, 0..200u32), 0..40),
            rate in 1..50u32,
        ) {
            let demands: Vec<_> = demands
                .into_iter()
                .map(|(interval, calls)| Demand { interval: Duration::from_millis(interval), calls })
                .collect();
            let enough = f64::from(rate) * ROUNDING * ROUNDING;
            prop_assert!((needed(&demands) - rate_at(&demands, 0.0)).abs() < 1e-3);
            match interval(&demands, rate) {
                None => prop_assert!(rate_at(&demands, 0.0) <= enough),
                Some(found) => {
                    prop_assert!(rate_at(&demands, 0.0) > f64::from(rate));
                    // The rate falls with the interval: halving finds the least that is enough.
                    let (mut low, mut high) = (0.0, 1e6);
                    for _ in 0..100 {
                        let middle = (low + high) / 2.0;
                        if rate_at(&demands, middle) <= enough { high = middle } else { low = middle }
                    }
                    prop_assert!((found - high).abs() <= 0.001 + high * 1e-7, "{found} and {high}");
                    prop_assert!(rate_at(&demands, found) <= enough);
                }
            }
        }

        #[test]
        fn the_order_of_resources_changes_nothing(
            mut demands in prop::collection::vec((60..86_400u64, 1..20u32), 1..40),
            rate in 1..10u32,
        ) {
            let of = |all: &[(u64, u32)]| all.iter().map(|(i, c)| demand(*i, *c)).collect::<Vec<_>>();
            let found = shortfall(&of(&demands), rate).map(|short| short.to_string());
            demands.reverse();
            prop_assert_eq!(found, shortfall(&of(&demands), rate).map(|short| short.to_string()));
        }
    }
}
