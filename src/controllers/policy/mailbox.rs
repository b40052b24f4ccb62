//! Mailbox of a policy: delivers what it waits for, which are permits of the request budget and shared listings of its
//! backups. The reconcile does not block on them: it ends, and the delivery triggers the next one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use crate::cloud::Permit;
use crate::controllers::triggers::Triggers;
use crate::domain::{Failure, ObjectKey};
use crate::plan::shared_listing::BackupDelta;

/// A listing result, with the permit to apply it, which is released when the reconcile that applies it ends.
pub type DeliveredListing = (ListingResult, Option<OwnedSemaphorePermit>);

/// Result of a shared listing.
pub enum ListingResult {
    Changed(BackupDelta, Timestamp),
    Unchanged(Timestamp),
    Failed(Failure),
    /// Shared listings are not permitted: the policy has to list its own backups.
    Refused,
}

pub struct Mailbox {
    object_key: Arc<ObjectKey>,
    triggers: Triggers,
    contents: Mutex<Contents>,
}

/// Contents of a mailbox. Boxed, since it is nearly always empty and should be small then.
#[derive(Default)]
struct Contents {
    permit: Option<Box<Permit>>,
    delivery: Option<Box<DeliveredListing>>,
}

impl Mailbox {
    pub fn new(object_key: Arc<ObjectKey>, triggers: Triggers) -> Self {
        Self { object_key, triggers, contents: Mutex::default() }
    }

    /// Returns the key of the policy that the mailbox belongs to.
    pub fn object_key(&self) -> &Arc<ObjectKey> {
        &self.object_key
    }

    pub fn namespace(&self) -> &str {
        self.object_key.namespace()
    }

    /// Delivers a permit. One that it replaces goes back to the request budget, which must not happen while the
    /// contents are locked.
    pub fn grant(&self, permit: Permit) {
        let unused = self.contents().permit.replace(Box::new(permit));
        drop(unused);
        self.trigger();
    }

    pub fn take_permit(&self) -> Option<Permit> {
        self.contents().permit.take().map(|permit| *permit)
    }

    /// Delivers a listing result. It does not replace changes that were not taken yet, unless it has changes itself:
    /// then the policy notices that some are missing, and lists its own backups.
    pub fn deliver(&self, delivery: ListingResult, delivery_permit: Option<OwnedSemaphorePermit>) {
        self.put((delivery, delivery_permit));
        self.trigger();
    }

    /// Delivers a listing result during a reconcile of the policy, which needs no trigger.
    pub fn deliver_untriggered(&self, delivery: ListingResult) {
        self.put((delivery, None));
    }

    fn put(&self, listing: DeliveredListing) {
        let mut contents = self.contents();
        let has_changes = matches!(contents.delivery.as_deref(), Some((ListingResult::Changed(..), _)));
        if !has_changes || matches!(listing.0, ListingResult::Changed(..)) {
            contents.delivery = Some(Box::new(listing));
        }
    }

    /// Whether a listing result was delivered that is not taken yet.
    pub fn has_listing(&self) -> bool {
        self.contents().delivery.is_some()
    }

    pub fn take_listing(&self) -> Option<DeliveredListing> {
        self.contents().delivery.take().map(|listing| *listing)
    }

    fn trigger(&self) {
        self.triggers.policy(&self.object_key);
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
