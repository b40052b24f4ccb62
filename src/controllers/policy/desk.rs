//! Where what a policy waits for is laid down: permits of its account's budget, and shared readings of its backups. Its reconcile
//! ends meanwhile, and comes back for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use crate::cloud::Permit;
use crate::controllers::wakes::Wakes;
use crate::domain::{Failure, Named};
use crate::plan::round::News;

/// A reading, with the place among those who take one in, which is left when the turn that takes it ends.
pub type Laid = (Delivery, Option<OwnedSemaphorePermit>);

/// What a shared reading brings.
pub enum Delivery {
    News(News, Timestamp),
    Unchanged(Timestamp),
    Failed(Failure),
    /// No shared reading is permitted: the policy is to read its own backups.
    Refused,
}

pub struct Desk {
    named: Arc<Named>,
    wakes: Wakes,
    tray: Mutex<Tray>,
}

/// Nearly always there is nothing, which is to take little room.
#[derive(Default)]
struct Tray {
    permit: Option<Box<Permit>>,
    delivery: Option<Box<Laid>>,
}

impl Desk {
    pub fn new(named: Arc<Named>, wakes: Wakes) -> Self {
        Self { named, wakes, tray: Mutex::default() }
    }

    /// Whose it is.
    pub fn named(&self) -> &Arc<Named> {
        &self.named
    }

    pub fn namespace(&self) -> &str {
        self.named.namespace()
    }

    /// Lays down a permit. One that is not taken goes back to the budget, which is not to happen while the tray is locked.
    pub fn grant(&self, permit: Permit) {
        let unused = self.tray().permit.replace(Box::new(permit));
        drop(unused);
        self.wake();
    }

    pub fn take_permit(&self) -> Option<Permit> {
        self.tray().permit.take().map(|permit| *permit)
    }

    /// Lays down a reading. News that were not taken yet stay before what tells nothing; where others take their place, the
    /// policy finds that something is lacking, and reads by itself.
    pub fn deliver(&self, delivery: Delivery, slot: Option<OwnedSemaphorePermit>) {
        self.put((delivery, slot));
        self.wake();
    }

    /// The same in the middle of the policy's turn.
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

    /// Whether a reading was laid down in the middle of the policy's turn.
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
