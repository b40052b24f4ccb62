//! Subscribes an inventory of scope Account to the shared listings of its account and region, where the cloud can
//! list an account. The reconcile does not wait for a listing: a result is put into the inventory's mailbox, and
//! triggers the next reconcile.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::tray::{Brought, Tray};
use super::wanted::{ask, own_interval, tap};
use super::{Slot, Turn};
use crate::api::inventory::Scope;
use crate::controllers::rounds::Place;
use crate::observe::{Account, InventoryReading};
use crate::plan::inventory::{Do, Memory, Wanted};
use crate::plan::round::{Member, Tallied};
use crate::plan::{Gate, Surroundings};

/// Result of a shared listing, until a reading continues from it.
pub struct Shared {
    pub tallied: Tallied,
    pub answered: u64,
    pub request: Option<String>,
}

impl Turn<'_> {
    /// Subscribes if that is possible, and takes the result of a shared listing. A reading in progress here is
    /// completed first.
    pub(super) fn share(
        &self,
        slot: &mut Slot,
        wanted: &Wanted,
        around: &Surroundings,
        account: Option<&Account>,
        memory: &mut Memory,
    ) {
        let now = self.context.clock.now();
        let can_share = |account: &&Account| {
            // An invalid filter is reported before any request is sent.
            let lists_accounts = account.site().is_some_and(|site| {
                site.has_policies()
                    && InventoryReading::begin(site, ask(&self.inventory.spec, now), now).is_ok()
            });
            lists_accounts && self.inventory.spec.scope == Scope::Account
        };
        let open = around.gate == Gate::Open && !wanted.suspended;
        let Some(account) = account.filter(|_| open).filter(can_share) else {
            slot.leave();
            return;
        };
        let place = Place {
            account: self.key.clone(),
            uid: account.uid.clone(),
            region: self.inventory.spec.region.clone(),
        };
        let tray = slot.tap.as_ref().filter(|seat| seat.is_in(&place)).map(|seat| seat.tray().clone());
        let member = Member {
            desk: tray.unwrap_or_else(|| self.tray(memory)),
            what: tap(&self.inventory.spec),
            interval: memory.pace(wanted),
            own: own_interval(self.context.interval_override, &self.inventory.spec),
            // For itself, the inventory would need the whole listing.
            calls: u64::MAX,
            read: memory.last_good.filter(|_| memory.listed),
            waits: memory.next <= now,
        };
        self.context.rounds.tap(self.context, &mut slot.tap, place, &self.uid, member);
        slot.reading.take_if(|reading| !reading.is_resumable(now));
        if slot.reading.is_none()
            && let Some(seat) = &slot.tap
        {
            match seat.tray().take() {
                Some(Brought::Tallied { tallied, answered, request }) => {
                    slot.shared = Some(Shared { tallied, answered, request });
                    memory.arrived(now);
                }
                Some(Brought::Failed { failure, answered }) => {
                    if let Some(answered) = answered {
                        memory.progressed(answered, now);
                    }
                    memory.failed(wanted, failure, now, fastrand::f64());
                }
                Some(Brought::GoesOn { answered }) => {
                    memory.progressed(answered, now);
                }
                None => {}
            }
        }
    }

    fn tray(&self, memory: &Memory) -> Arc<Tray> {
        let (namespace, name) = (self.namespace.clone(), self.inventory.name_any());
        Arc::new(Tray::new(namespace, name, self.context.wakes.clone(), memory.request.pending.clone()))
    }

    /// Returns the next step. A subscriber waits for the shared listing when a listing is due.
    pub(super) fn step_of(
        &self,
        slot: &Slot,
        wanted: &Wanted,
        around: &Surroundings,
        memory: &mut Memory,
        now: Timestamp,
    ) -> Do {
        let step = memory.next_step(wanted, around, now);
        let Some(seat) = slot.tap.as_ref().filter(|_| slot.reading.is_none() && slot.shared.is_none()) else {
            return step;
        };
        if step != Do::Read {
            return step;
        }
        if memory.hurries(wanted, now) {
            seat.wants(memory.request.pending.clone(), now);
        }
        memory.awaits(wanted, now)
    }
}

impl Slot {
    /// Unsubscribes, and drops the result of a shared listing: it belongs to another spec or account.
    pub(super) fn leave(&mut self) {
        self.tap = None;
        self.shared = None;
    }
}
