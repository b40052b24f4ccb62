//! Requirements of a reconcile before its first call: a permit of the request budget, for which no reconcile blocks,
//! and the results of shared listings.

use jiff::Timestamp;

use super::desk::Delivery;
use super::{Slot, Turn, own_interval};
use crate::cloud::Lane;
use crate::controllers::load;
use crate::controllers::rounds::Place;
use crate::plan::memory::Memory;
use crate::plan::next::Do;
use crate::plan::round::Member;
use crate::plan::{Desired, Gate, Surroundings, recovery, since};

/// Returns the priority of a reconcile that begins with this step: `Change` if a person or a deadline waits for it, or
/// a difference is to be corrected; otherwise `Poll`.
pub fn lane(desired: &Desired, memory: &Memory, step: &Do, now: Timestamp) -> Lane {
    let person = memory.facts.observed_generation != Some(desired.generation)
        || memory.request.pending.is_some()
        || memory.confirming.is_some();
    let deadline = *step == Do::ReadBackups && recovery::wants_reading(desired, memory, now);
    let begun = matches!(step, Do::AskRegions | Do::Modify);
    if person || deadline || begun { Lane::Change } else { Lane::Poll }
}

impl Turn<'_> {
    /// Whether the reconcile may make calls now. Without a permit the policy joins the request queue, and the reconcile
    /// has to end: the permit triggers the next one. A policy that waits with the priority `Poll` is promoted if the
    /// reconcile is urgent now.
    pub(super) fn may_begin(&mut self, slot: &mut Slot, lane: Lane) -> bool {
        if self.caller.is_some() {
            return true;
        }
        let Some(account) = self.account else { return true };
        let caller = self.caller_of(account);
        let permit =
            self.desk.take_permit().or_else(|| account.budget.try_acquire(&caller.clone().in_lane(lane)));
        match permit {
            Some(permit) => {
                slot.waiting = None;
                let follow_ups = Lane::FollowUp { poll: lane == Lane::Poll };
                self.caller = Some(caller.in_lane(follow_ups).holding(permit));
                true
            }
            None => {
                let waits_well =
                    slot.waiting.as_ref().is_some_and(|(at, _)| *at == lane || *at == Lane::Change);
                if !waits_well {
                    let desk = self.desk.clone();
                    let ticket =
                        account.budget.when_granted(&caller.in_lane(lane), move |permit| desk.grant(permit));
                    slot.waiting = Some((lane, Box::new(ticket)));
                }
                false
            }
        }
    }

    /// Subscribes to the shared listings of the account's backups if they can be listed, and applies a delivered
    /// result.
    pub(super) fn share_readings(
        &mut self,
        slot: &mut Slot,
        desired: &Desired,
        around: &Surroundings,
        memory: &mut Memory,
    ) {
        let account = self.account.filter(|account| {
            let has_policies = account.site().is_some_and(|site| site.has_policies());
            has_policies && around.gate == Gate::Open && !desired.suspended
        });
        let Some(account) = account else {
            slot.seat = None;
            drop(self.desk.take_delivery());
            return;
        };
        let now = self.context.clock.now();
        let read = memory.backups.read;
        let member = Member {
            desk: self.desk.clone(),
            what: self.instance.id.as_str().into(),
            interval: desired.interval,
            own: own_interval(self.context.interval_override, &self.policy.spec),
            calls: load::calls_for_backups(self.listed()).into(),
            read,
            waits: read.is_none_or(|read| since(read, now) > desired.interval),
        };
        let place = Place {
            account: self.key.clone(),
            uid: account.uid.clone(),
            region: self.instance.region.clone(),
        };
        let told = || memory.backups.as_sighted(&memory.facts);
        self.context.rounds.join(self.context, &mut slot.seat, place, &self.uid, member, told);
        let (delivery, told) = self.desk.take_delivery().unzip();
        self.told = told.flatten();
        match delivery {
            Some(Delivery::News(news, at)) => match news.complete(&memory.backups.known) {
                Some(reading) => memory.took_shared(desired, reading, at, fastrand::f64()),
                None => memory.backups.due = Some(now),
            },
            Some(Delivery::Unchanged(at)) => {
                let known = memory.backups.known.iter().cloned().collect();
                memory.took_shared(desired, known, at, fastrand::f64());
            }
            Some(Delivery::Failed(failure)) => {
                memory.read_backups(desired, Err(failure), now, fastrand::f64());
            }
            Some(Delivery::Refused) => memory.backups.due = Some(now),
            None => {}
        }
        if let Some(read) = slot.seat.as_ref().and_then(|seat| seat.read()) {
            memory.read_unchanged(read);
        }
    }

    /// Whether a shared listing will serve the due one. A listing with a deadline, or one that confirms another, is
    /// made at once.
    pub(super) fn is_shared(&self, slot: &Slot, desired: &Desired, memory: &Memory) -> bool {
        let now = self.context.clock.now();
        let alone = memory.backups.is_in_doubt() || recovery::wants_reading(desired, memory, now);
        !alone && (self.desk.has_delivery() || slot.seat.as_ref().is_some_and(|seat| seat.wants(now)))
    }
}
