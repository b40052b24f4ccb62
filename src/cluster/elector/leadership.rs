//! The leadership of this process, as its other parts see it.

use std::future::pending;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Stand-in for "never" that can still be added to an instant.
const FAR_FUTURE: Duration = Duration::from_secs(30 * 365 * 86_400);

/// Term of a leadership, as known now.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// End of the term; `None`: it does not depend on a Lease.
    until: Option<Instant>,
    ended: bool,
}

impl Term {
    /// Returns a term until `end`, before which no other candidate can lead.
    pub fn until(end: Instant) -> Self {
        Self { until: Some(end), ended: false }
    }

    pub(super) fn is_current(&self) -> bool {
        !self.ended && self.until.is_none_or(|end| Instant::now() < end)
    }

    pub(super) fn end(&self) -> Instant {
        self.until.unwrap_or_else(|| Instant::now() + FAR_FUTURE)
    }

    pub(super) fn mark_ended(&mut self) {
        self.ended = true;
    }
}

/// One leadership of this process. Once it is over it never comes back; the next one is another value. It ends by the
/// clock alone, even if nothing in the process can report that.
#[derive(Clone, Debug)]
pub struct Leadership {
    term: watch::Receiver<Term>,
    previous_renewal: Option<Timestamp>,
}

impl Leadership {
    /// Creates a leadership whose terms arrive on the channel; once the sender is dropped, the last one expires.
    pub fn new(term: watch::Receiver<Term>, previous_renewal: Option<Timestamp>) -> Self {
        Self { term, previous_renewal }
    }

    /// Returns the leadership of a process that runs without election: it never ends.
    pub fn always() -> Self {
        let (_, term) = watch::channel(Term { until: None, ended: false });
        Self::new(term, None)
    }

    /// Whether this process leads right now.
    pub fn is_current(&self) -> bool {
        self.term.borrow().is_current()
    }

    /// Returns the time before which no other candidate can lead, as known now: work that must not overlap with
    /// another leader's has to end before it. Each renewal moves it; it is in the past once the leadership has
    /// expired.
    pub fn safe_until(&self) -> Instant {
        self.term.borrow().end()
    }

    /// Returns when the leadership is over, at once if it is.
    pub async fn lost(&self) {
        self.ends_within(Duration::ZERO).await;
    }

    /// Returns when no more than `left` remains of the leadership, at once if that is so already. Each renewal puts
    /// it off.
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
                    // Without a sender there are no more renewals: only the time counts.
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

    /// Returns the renewTime that the Lease had when it was taken, whoever held it: until then another process was
    /// leading. `None` if the Lease did not exist, and without election. It is a wall-clock time of the Lease's last
    /// writer.
    pub fn previous_renewal(&self) -> Option<Timestamp> {
        self.previous_renewal
    }
}
