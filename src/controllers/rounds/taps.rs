//! Inventories of a whole account take part in its listings: each has a tap, which a listing is counted for.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Place, Region, Rounds};
use crate::controllers::Context;
use crate::controllers::inventory::Tray;
use crate::plan::round::{Member, Tap};

/// An inventory's part in the listings of a region; dropped, it takes no part any more, and what is under way is not told.
pub struct TapSeat {
    region: Arc<Region>,
    uid: Arc<str>,
    tray: Arc<Tray>,
}

impl Drop for TapSeat {
    fn drop(&mut self) {
        let mut state = self.region.state();
        // It may sit elsewhere in this region by now.
        if state.taps.get(&self.uid).is_some_and(|tap| Arc::ptr_eq(&tap.desk, &self.tray)) {
            state.taps.leave(&self.uid);
        }
        self.region.was_left(state);
    }
}

impl Rounds {
    /// Has an inventory take part, or its interval taken in where it does already.
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

    /// Asks for a listing that answers this request, unless the one under way does.
    pub fn wants(&self, request: Option<String>, now: Timestamp) {
        let mut state = self.region.state();
        let waited = state.waiting() > 0;
        if self.tray.asks(request) {
            state.taps.want(&self.uid, now);
        }
        self.region.was_entered(state, waited, None);
    }
}
