//! Rate limit for log lines of failures that many objects may share.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Window in which failures are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of lines for single failures in a window.
const MAX_LINES_PER_WINDOW: usize = 10;

/// Decides which failures get a line of their own: the first of each kind in a minute, ten in all. The others are counted.
#[derive(Default)]
pub struct FailureLog(Mutex<Window>);

#[derive(Default)]
struct Window {
    until: Option<Instant>,
    logged: HashSet<String>,
    suppressed: usize,
}

/// Lines to log now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Whether to log the failure at hand.
    pub this: bool,
    /// Number of failures of the last window that were not logged; 0: log no line about them.
    pub others: usize,
}

impl FailureLog {
    /// Counts a failure. `kind` is equal for failures that differ only in their objects. `is_new`: the object has not
    /// failed in this way before.
    pub fn note(&self, kind: &str, is_new: bool, now: Instant) -> Lines {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Lines::default();
        if window.until.is_none_or(|until| until <= now) {
            lines.others = window.suppressed;
            *window = Window { until: Some(now + WINDOW), ..Window::default() };
        }
        if is_new {
            lines.this = window.logged.len() < MAX_LINES_PER_WINDOW && window.logged.insert(kind.to_owned());
            window.suppressed += usize::from(!lines.this);
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
        let logged = lines.iter().filter(|lines| lines.this).count();
        let others = lines.iter().filter(|lines| lines.others > 0).count();
        assert!(logged <= 10 * MAX_LINES_PER_WINDOW && others <= 10, "{logged}, {others}, in ten minutes");
    }
}
