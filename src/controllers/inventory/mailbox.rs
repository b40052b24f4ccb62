//! Mailbox of an inventory for the results of shared listings. Its reconcile ends meanwhile: a message triggers the
//! next one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::runtime::reflector::ObjectRef;

use crate::controllers::triggers::Triggers;
use crate::domain::Failure;
use crate::plan::shared_listing::InventoryTally;

/// Message of a shared listing. `answered`: number of its calls that were answered; with a failure, only if a call
/// was answered since the last failure.
pub enum TallyResult {
    Complete {
        tallied: InventoryTally,
        answered: u64,
        /// Request that was pending when the listing began.
        request: Option<String>,
    },
    Failed {
        failure: Failure,
        answered: Option<u64>,
    },
    /// The listing continues after a failure.
    Resumed {
        answered: u64,
    },
}

pub struct InventoryMailbox {
    namespace: String,
    name: String,
    triggers: Triggers,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Request (value of the annotation) that the next listing answers.
    pending: Option<String>,
    /// Request that the listing in progress answers; `None` if none is in progress.
    in_progress: Option<Option<String>>,
    message: Option<TallyResult>,
}

impl InventoryMailbox {
    pub fn new(namespace: String, name: String, triggers: Triggers, pending: Option<String>) -> Self {
        Self { namespace, name, triggers, state: Mutex::new(State { pending, ..State::default() }) }
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Requests a listing that answers this request. Returns whether the one in progress does not.
    pub fn request_listing(&self, request: Option<String>) -> bool {
        let mut state = self.state();
        let answers = state.in_progress.as_ref().is_some_and(|answered| *answered == request);
        state.pending = request;
        !answers
    }

    /// Records the start of a listing for this inventory.
    pub fn listing_started(&self) {
        let mut state = self.state();
        state.in_progress = Some(state.pending.clone());
    }

    /// Delivers the result of a complete listing.
    pub fn deliver(&self, tallied: InventoryTally, answered: u64) {
        let mut state = self.state();
        let request = state.in_progress.take().flatten();
        state.message = Some(TallyResult::Complete { tallied, answered, request });
        drop(state);
        self.trigger();
    }

    /// Reports a failed call of the listing; it will be retried.
    pub fn failed(&self, failure: Failure, answered: Option<u64>) {
        self.put(TallyResult::Failed { failure, answered });
        self.trigger();
    }

    /// Reports that a call of the listing was answered after a failure.
    pub fn resumed(&self, answered: u64) {
        self.put(TallyResult::Resumed { answered });
        self.trigger();
    }

    /// Reports that the listing ended incomplete.
    pub fn listing_incomplete(&self) {
        if self.state().in_progress.take().is_some() {
            self.trigger();
        }
    }

    /// Replaces a message that was not taken yet, unless it is the result of a complete listing.
    fn put(&self, message: TallyResult) {
        let mut state = self.state();
        if !matches!(state.message, Some(TallyResult::Complete { .. })) {
            state.message = Some(message);
        }
    }

    pub fn take(&self) -> Option<TallyResult> {
        self.state().message.take()
    }

    fn trigger(&self) {
        self.triggers.inventory(&ObjectRef::new(&self.name).within(&self.namespace));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Kind;
    use crate::plan::shared_listing::TallyBuilder;

    fn mailbox(pending: Option<&str>) -> InventoryMailbox {
        let pending = pending.map(str::to_owned);
        InventoryMailbox::new("payments".to_owned(), "all".to_owned(), Triggers::default(), pending)
    }

    fn tallied() -> InventoryTally {
        TallyBuilder::new(&[Default::default()], Default::default()).end(false).remove(0)
    }

    fn failure() -> Failure {
        Failure::by_code(Kind::CloudUnavailable, "DescribeCrossRegionBackups", "InternalError")
    }

    #[test]
    fn a_listing_answers_what_was_asked_before_it_began() {
        let mailbox = mailbox(None);
        assert!(mailbox.request_listing(Some("one".to_owned())), "none is under way");
        mailbox.listing_started();
        assert!(!mailbox.request_listing(Some("one".to_owned())));
        assert!(mailbox.request_listing(Some("two".to_owned())));
        mailbox.deliver(tallied(), 3);
        let Some(TallyResult::Complete { answered: 3, request, .. }) = mailbox.take() else {
            panic!("it is complete")
        };
        assert_eq!(request.as_deref(), Some("one"));
        assert!(mailbox.request_listing(Some("two".to_owned())), "it is over");
        assert!(mailbox.take().is_none());
    }

    #[test]
    fn a_listing_that_ends_without_being_complete_is_asked_for_again() {
        let mailbox = mailbox(None);
        mailbox.listing_started();
        assert!(!mailbox.request_listing(None));
        mailbox.listing_incomplete();
        assert!(mailbox.request_listing(None) && mailbox.take().is_none());
    }

    #[test]
    fn what_comes_last_is_told_but_nothing_takes_the_place_of_a_complete_listing() {
        let mailbox = mailbox(None);
        mailbox.failed(failure(), Some(1));
        mailbox.resumed(2);
        assert!(matches!(mailbox.take(), Some(TallyResult::Resumed { answered: 2 })));
        mailbox.deliver(tallied(), 3);
        mailbox.failed(failure(), None);
        mailbox.resumed(1);
        assert!(matches!(mailbox.take(), Some(TallyResult::Complete { .. })));
    }
}
