//! Mailbox of a policy: delivers what it waits for, which are permits of the request budget and shared listings of its
//! backups. The reconcile does not block on them: it ends, and the delivery triggers the next one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use crate::cloud::Permit;
use crate::controllers::wakes::Wakes;
use crate::domain::{Failure, Named};
use crate::plan::round::News;

/// A listing result, with the permit to apply it, which is released when the reconcile that applies it ends.
pub type Laid = (Delivery, Option<OwnedSemaphorePermit>);

/// Result of a shared listing.
pub enum Delivery {
    News(News, Timestamp),
    Unchanged(Timestamp),
    Failed(Failure),
    /// Shared listings are not permitted: the policy has to list its own backups.
    Refused,
}

pub struct Desk {
    named: Arc<Named>,
    wakes: Wakes,
    tray: Mutex<Tray>,
}

/// Contents of a mailbox. Boxed, since it is nearly always empty and should be small then.
#[derive(Default)]
struct Tray {
    permit: Option<Box<Permit>>,
    delivery: Option<Box<Laid>>,
}

impl Desk {
    pub fn new(named: Arc<Named>, wakes: Wakes) -> Self {
        Self { named, wakes, tray: Mutex::default() }
    }

    /// Returns the key of the policy that the mailbox belongs to.
    pub fn named(&self) -> &Arc<Named> {
        &self.named
    }

    pub fn namespace(&self) -> &str {
        self.named.namespace()
    }

    /// Delivers a permit. One that it replaces goes back to the request budget, which must not happen while the
    /// contents are locked.
    pub fn grant(&self, permit: Permit) {
        let unused = self.tray().permit.replace(Box::new(permit));
        drop(unused);
        self.wake();
    }

    pub fn take_permit(&self) -> Option<Permit> {
        self.tray().permit.take().map(|permit| *permit)
    }

    /// Delivers a listing result. It does not replace changes that were not taken yet, unless it has changes itself:
    /// then the policy notices that some are missing, and lists its own backups.
    pub fn deliver(&self, delivery: Delivery, slot: Option<OwnedSemaphorePermit>) {
        self.put((delivery, slot));
        self.wake();
    }

    /// Delivers a listing result during a reconcile of the policy, which needs no trigger.
    pub fn lay(&self, delivery: Delivery) {
        self.put((delivery, None));
    }

    fn put(&self, laid: Laid) {
        let mut tray = self.tray();
        let has_news = matches!(tray.delivery.as_deref(), Some((Delivery::News(..), _)));
        if !has_news || matches!(laid.0, Delivery::News(..)) {
            tray.delivery = Some(Box::new(laid));
        }
    }

    /// Whether a listing result was delivered that is not taken yet.
    pub fn has_delivery(&self) -> bool {
        self.tray().delivery.is_some()
    }

    pub fn take_delivery(&self) -> Option<Laid> {
        self.tray().delivery.take().map(|laid| *laid)
    }

    fn wake(&self) {
        self.wakes.policy(&self.named);
    }

    fn tray(&self) -> MutexGuard<'_, Tray> {
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
