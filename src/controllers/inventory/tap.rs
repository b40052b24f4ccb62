//! An inventory of a whole account takes part in the listings that all of the account and region share, where the cloud lists an
//! account at all. It waits for none: what one found is laid on its tray, and wakes it.

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

/// What a shared listing has brought, until it is read on from there.
pub struct Shared {
    pub tallied: Tallied,
    pub answered: u64,
    pub request: Option<String>,
}

impl Turn<'_> {
    /// Takes part where that is possible, and takes in what a listing has brought. One under way here is read to its end
    /// first.
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
            // A filter that cannot be is told before anything is asked.
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
            // By itself it would make the whole listing.
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

    /// The next step of one that takes part: a listing that is due is awaited.
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
    /// What is under way or was brought is another spec's or account's.
    pub(super) fn leave(&mut self) {
        self.tap = None;
        self.shared = None;
    }
}
