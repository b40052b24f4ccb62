//! What the rest of the process may know of its leadership.

use std::future::pending;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// As good as never, and still a time that can be calculated with.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// How long a leadership lasts, as far as is known now.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// `None`: it does not depend on a Lease.
    until: Option<Instant>,
    ended: bool,
}

impl Term {
    /// No rival can lead before then.
    pub fn until(end: Instant) -> Self {
        Self { until: Some(end), ended: false }
    }

    pub(super) fn is_current(&self) -> bool {
        !self.ended && self.until.is_none_or(|end| Instant::now() < end)
    }

    pub(super) fn end(&self) -> Instant {
        self.until.unwrap_or_else(|| Instant::now() + FAR)
    }

    pub(super) fn mark_ended(&mut self) {
        self.ended = true;
    }
}

/// One leadership of this process. Once it is over it never comes back; the next one is another.
/// It ends by the clock alone, also when nothing in the process gets to say so.
#[derive(Clone, Debug)]
pub struct Leadership {
    term: watch::Receiver<Term>,
    previous_renewal: Option<Timestamp>,
}

impl Leadership {
    /// A leadership with terms of whoever keeps the Lease; without a sender the last one runs out.
    pub fn new(term: watch::Receiver<Term>, previous_renewal: Option<Timestamp>) -> Self {
        Self { term, previous_renewal }
    }

    /// The leadership of a process that runs without election: it never ends.
    pub fn always() -> Self {
        let (_, term) = watch::channel(Term { until: None, ended: false });
        Self::new(term, None)
    }

    /// Whether this process leads right now.
    pub fn is_current(&self) -> bool {
        self.term.borrow().is_current()
    }

    /// Until when no rival can lead, as known now: what must not overlap with a rival's doing has to end before. It moves
    /// with every renewal, and lies in the past once the leadership has run out.
    pub fn safe_until(&self) -> Instant {
        self.term.borrow().end()
    }

    /// Returns when the leadership is over, at once if it is.
    pub async fn lost(&self) {
        self.ends_within(Duration::ZERO).await;
    }

    /// Returns when no more than this is left of the leadership, as known then: each renewal puts it off. At once if that is so.
    pub async fn ends_within(&self, left: Duration) {
        let mut watched = self.term.clone();
        loop {
            let term = *watched.borrow_and_update();
            let end = term.until.map(|end| end.checked_sub(left).unwrap_or(end));
            if !term.is_current() || end.is_some_and(|end| end <= Instant::now()) {
                return;
            }
            let changed = async {
                if watched.changed().await.is_err() {
                    // Without a sender nothing changes any more: the time alone counts.
                    pending().await
                }
            };
            let run_out = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = run_out => {}
            }
        }
    }

    /// The Lease's renewTime as it was found when it was taken, whoever held it: until then someone was leading.
    /// `None` for a Lease that did not exist, and without election. A wall-clock time of whoever wrote it.
    pub fn previous_renewal(&self) -> Option<Timestamp> {
        self.previous_renewal
    }
}
