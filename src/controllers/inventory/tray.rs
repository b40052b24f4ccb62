//! Mailbox of an inventory for the results of shared listings. Its reconcile ends meanwhile: a message triggers the
//! next one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::runtime::reflector::ObjectRef;

use crate::controllers::wakes::Wakes;
use crate::domain::Failure;
use crate::plan::round::Tallied;

/// Message of a shared listing. `answered`: number of its calls that were answered; with a failure, only if a call
/// was answered since the last failure.
pub enum Brought {
    Tallied {
        tallied: Tallied,
        answered: u64,
        /// Request that was pending when the listing began.
        request: Option<String>,
    },
    Failed {
        failure: Failure,
        answered: Option<u64>,
    },
    /// The listing continues after a failure.
    GoesOn {
        answered: u64,
    },
}

pub struct Tray {
    namespace: String,
    name: String,
    wakes: Wakes,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Request (value of the annotation) that the next listing answers.
    asked: Option<String>,
    /// Request that the listing in progress answers; `None` if none is in progress.
    under_way: Option<Option<String>>,
    brought: Option<Brought>,
}

impl Tray {
    pub fn new(namespace: String, name: String, wakes: Wakes, asked: Option<String>) -> Self {
        Self { namespace, name, wakes, state: Mutex::new(State { asked, ..State::default() }) }
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Requests a listing that answers this request. Returns whether the one in progress does not.
    pub fn asks(&self, request: Option<String>) -> bool {
        let mut state = self.state();
        let answers = state.under_way.as_ref().is_some_and(|answered| *answered == request);
        state.asked = request;
        !answers
    }

    /// Records the start of a listing for this inventory.
    pub fn begins(&self) {
        let mut state = self.state();
        state.under_way = Some(state.asked.clone());
    }

    /// Delivers the result of a complete listing.
    pub fn deliver(&self, tallied: Tallied, answered: u64) {
        let mut state = self.state();
        let request = state.under_way.take().flatten();
        state.brought = Some(Brought::Tallied { tallied, answered, request });
        drop(state);
        self.wake();
    }

    /// Reports a failed call of the listing; it will be retried.
    pub fn failed(&self, failure: Failure, answered: Option<u64>) {
        self.lay(Brought::Failed { failure, answered });
        self.wake();
    }

    /// Reports that a call of the listing was answered after a failure.
    pub fn goes_on(&self, answered: u64) {
        self.lay(Brought::GoesOn { answered });
        self.wake();
    }

    /// Reports that the listing ended incomplete.
    pub fn given_up(&self) {
        if self.state().under_way.take().is_some() {
            self.wake();
        }
    }

    /// Replaces a message that was not taken yet, unless it is the result of a complete listing.
    fn lay(&self, brought: Brought) {
        let mut state = self.state();
        if !matches!(state.brought, Some(Brought::Tallied { .. })) {
            state.brought = Some(brought);
        }
    }

    pub fn take(&self) -> Option<Brought> {
        self.state().brought.take()
    }

    fn wake(&self) {
        self.wakes.inventory(&ObjectRef::new(&self.name).within(&self.namespace));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Kind;
    use crate::plan::round::Tallies;

    fn tray(asked: Option<&str>) -> Tray {
        let asked = asked.map(str::to_owned);
        Tray::new("payments".to_owned(), "all".to_owned(), Wakes::default(), asked)
    }

    fn tallied() -> Tallied {
        Tallies::new(&[Default::default()], Default::default()).end(false).remove(0)
    }

    fn failure() -> Failure {
        Failure::by_code(Kind::CloudUnavailable, "DescribeCrossRegionBackups", "InternalError")
    }

    #[test]
    fn a_listing_answers_what_was_asked_before_it_began() {
        let tray = tray(None);
        assert!(tray.asks(Some("one".to_owned())), "none is under way");
        tray.begins();
        assert!(!tray.asks(Some("one".to_owned())));
        assert!(tray.asks(Some("two".to_owned())));
        tray.deliver(tallied(), 3);
        let Some(Brought::Tallied { answered: 3, request, .. }) = tray.take() else {
            panic!("it is complete")
        };
        assert_eq!(request.as_deref(), Some("one"));
        assert!(tray.asks(Some("two".to_owned())), "it is over");
        assert!(tray.take().is_none());
    }

    #[test]
    fn a_listing_that_ends_without_being_complete_is_asked_for_again() {
        let tray = tray(None);
        tray.begins();
        assert!(!tray.asks(None));
        tray.given_up();
        assert!(tray.asks(None) && tray.take().is_none());
    }

    #[test]
    fn what_comes_last_is_told_but_nothing_takes_the_place_of_a_complete_listing() {
        let tray = tray(None);
        tray.failed(failure(), Some(1));
        tray.goes_on(2);
        assert!(matches!(tray.take(), Some(Brought::GoesOn { answered: 2 })));
        tray.deliver(tallied(), 3);
        tray.failed(failure(), None);
        tray.goes_on(1);
        assert!(matches!(tray.take(), Some(Brought::Tallied { .. })));
    }
}
