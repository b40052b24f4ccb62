//! The clock, as an argument: the system's in the binary, a virtual one in tests.

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

/// Time source of the simulated cloud.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Creates a clock from any time source.
    pub fn new(source: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// Creates a clock from the system's time.
    pub fn system() -> Self {
        Self::new(Timestamp::now)
    }

    /// Creates a clock that starts at `start` and follows tokio's time, so that it stands still while that is paused.
    /// Must be called within a tokio runtime.
    pub fn from_tokio(start: Timestamp) -> Self {
        let origin = tokio::time::Instant::now();
        Self::new(move || later(start, origin.elapsed().as_secs_f64()))
    }

    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Returns the time `seconds` after `from` (before it when negative), limited to the calendar's range.
pub(crate) fn later(from: Timestamp, seconds: f64) -> Timestamp {
    let end = if seconds < 0.0 { Timestamp::MIN } else { Timestamp::MAX };
    SignedDuration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|step| from.checked_add(step).ok())
        .unwrap_or(end)
}

/// Returns the time in whole seconds: responses contain no others, and time filters compare with those.
pub(crate) fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
