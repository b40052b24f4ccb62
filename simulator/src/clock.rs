//! The time, as an argument: the system's in the binary, a virtual one in tests.

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

/// Tells the time of the simulated cloud.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Any source of time.
    pub fn new(source: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// The system's clock.
    pub fn system() -> Self {
        Self::new(Timestamp::now)
    }

    /// Starts at `start` and moves with tokio's time, so that it stands still where that is paused.
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

/// `seconds` after `from` (before it when negative), at the end of the calendar where that lies beyond it.
pub(crate) fn later(from: Timestamp, seconds: f64) -> Timestamp {
    let end = if seconds < 0.0 { Timestamp::MIN } else { Timestamp::MAX };
    SignedDuration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|step| from.checked_add(step).ok())
        .unwrap_or(end)
}

/// Answers tell times in whole seconds, and filters by time compare with what they tell.
pub(crate) fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
