//! Injected clock: the system's in production, a virtual one in tests.

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Returns the system's clock.
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// Returns a clock that starts at `start` and advances with tokio's time, so that it stands still while that is
    /// paused.
    pub fn from_tokio(start: Timestamp) -> Self {
        let origin = tokio::time::Instant::now();
        Self(Arc::new(move || {
            start + SignedDuration::try_from(origin.elapsed()).unwrap_or(SignedDuration::MAX)
        }))
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
