//! Subscriptions of inventories of scope Account: a shared listing is counted for each.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Place, Region, Rounds};
use crate::controllers::Context;
use crate::controllers::inventory::Tray;
use crate::plan::round::{Member, Tap};

/// Subscription of an inventory to the listings of a region; dropping it unsubscribes, and a listing in progress is
/// not delivered.
pub struct TapSeat {
    region: Arc<Region>,
    uid: Arc<str>,
    tray: Arc<Tray>,
}

impl Drop for TapSeat {
    fn drop(&mut self) {
        let mut state = self.region.state();
        // The inventory may have another subscription in this region by now.
        if state.taps.get(&self.uid).is_some_and(|tap| Arc::ptr_eq(&tap.desk, &self.tray)) {
            state.taps.leave(&self.uid);
        }
        self.region.was_left(state);
    }
}

impl Rounds {
    /// Subscribes an inventory, or updates the interval of its subscription.
    pub fn tap(
        &self,
        context: &Arc<Context>,
        seat: &mut Option<TapSeat>,
        place: Place,
        uid: &Arc<str>,
        member: Member<Tap, Arc<Tray>>,
    ) {
        seat.take_if(|seat| !seat.is_in(&place));
        let (tray, interval) = (member.desk.clone(), member.interval);
        let enter = |region: &Region| {
            let mut state = region.state();
            let waited = state.waiting() > 0;
            state.taps.join(uid.clone(), member, context.clock.now());
            region.was_entered(state, waited, Some(interval));
        };
        match seat {
            Some(seat) => enter(&seat.region),
            None => {
                let region = self.open(context, place, enter);
                *seat = Some(TapSeat { region, uid: uid.clone(), tray });
            }
        }
    }
}

impl TapSeat {
    pub fn is_in(&self, place: &Place) -> bool {
        self.region.place == *place
    }

    pub fn tray(&self) -> &Arc<Tray> {
        &self.tray
    }

    /// Requests a listing that answers this request, unless the one in progress does.
    pub fn wants(&self, request: Option<String>, now: Timestamp) {
        let mut state = self.region.state();
        let waited = state.waiting() > 0;
        if self.tray.asks(request) {
            state.taps.want(&self.uid, now);
        }
        self.region.was_entered(state, waited, None);
    }
}
