//! What is logged of failures that many objects may share.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long failures are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// The most lines of single failures in this time.
const NAMED: usize = 10;

/// Decides which failures get a line of their own: the first of each kind in a minute, ten in all. The others are counted.
#[derive(Default)]
pub struct FailureLog(Mutex<Window>);

#[derive(Default)]
struct Window {
    until: Option<Instant>,
    named: HashSet<String>,
    more: usize,
}

/// What to log now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The failure at hand.
    pub this: bool,
    /// So many others of the last window have had no line; 0: nothing is to be said of them.
    pub others: usize,
}

impl FailureLog {
    /// Takes in a failure. `kind`: the same for failures that differ in their objects alone. `is_new`: the object has not failed
    /// this way before.
    pub fn note(&self, kind: &str, is_new: bool, now: Instant) -> Lines {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Lines::default();
        if window.until.is_none_or(|until| until <= now) {
            lines.others = window.more;
            *window = Window { until: Some(now + WINDOW), ..Window::default() };
        }
        if is_new {
            lines.this = window.named.len() < NAMED && window.named.insert(kind.to_owned());
            window.more += usize::from(!lines.this);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_is_logged_and_the_others_of_a_minute_are_counted() {
        let (log, start) = (FailureLog::default(), Instant::now());
        let note = |kind, is_new, seconds| {
            let lines = log.note(kind, is_new, start + Duration::from_secs(seconds));
            (lines.this, lines.others)
        };
        assert_eq!(note("a", true, 0), (true, 0));
        assert_eq!(note("a", true, 1), (false, 0));
        assert_eq!(note("b", true, 2), (true, 0));
        assert_eq!(note("a", true, 59), (false, 0));
        assert_eq!(note("a", false, 60), (false, 2), "an old failure is no news, and brings the count");
        assert_eq!(note("a", false, 500), (false, 0));
        assert_eq!(note("a", true, 501), (true, 0));
    }

    #[test]
    fn however_many_kinds_there_are_the_lines_are_few() {
        let (log, start) = (FailureLog::default(), Instant::now());
        let lines: Vec<_> = (0..60_000)
            .map(|n| log.note(&n.to_string(), true, start + Duration::from_millis(10 * n)))
            .collect();
        let named = lines.iter().filter(|lines| lines.this).count();
        let others = lines.iter().filter(|lines| lines.others > 0).count();
        assert!(named <= 10 * NAMED && others <= 10, "{named}, {others}, in ten minutes");
    }
}
