//! Shared listings of backups: one serves all policies and inventories of an account and region. Keeps the
//! subscribers, and fingerprints of the backups that were last reported to them.

mod listing;
mod plan;
mod run;
mod serving;
mod taps;
#[cfg(test)]
mod testing;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};

use super::inventory::Tray;
use super::policy::{Delivery, Desk};
use super::{Context, phase};
use crate::domain::Backup;
use crate::observe::AccountKey;
use crate::plan::round::{FEW, Finds, KEPT, Member, Members, ShortestInterval, Sighted, Tap, next};
use crate::plan::since;
pub use taps::TapSeat;

/// Maximum number of policies that process a result at the same time.
const TOLD_AT_ONCE: usize = 32;

/// An account, by name and UID, and a region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub account: AccountKey,
    pub uid: String,
    pub region: String,
}

/// All regions of all accounts in which backups are listed.
#[derive(Default)]
pub struct Rounds(Mutex<HashMap<Place, Arc<Region>>>);

/// Shared listings of one account in one region. A task makes them while a policy or an inventory is subscribed.
pub struct Region {
    place: Place,
    phase: u64,
    state: Mutex<State>,
    /// Limits the policies that process a result at the same time.
    slots: Arc<Semaphore>,
    /// Notifies the task that its next pass may be due earlier.
    changed: Notify,
}

#[derive(Default)]
struct State {
    members: Members<Arc<str>, Arc<Desk>>,
    /// Inventories for which the pages of a listing are counted.
    taps: Members<Tap, Arc<Tray>>,
    /// Interval that the task schedules by.
    reckoned: Option<Duration>,
    /// Instances of the subscribed policies.
    instances: HashMap<Arc<str>, Instance>,
    /// Number of backups that the cloud reported, and when.
    total: Option<(u64, Timestamp)>,
    /// End of the pause after the cloud refused to list the whole account.
    refused_until: Option<Timestamp>,
    /// Start of the last pass that served all subscribers.
    began: Option<Timestamp>,
    /// Shortest interval at which such passes are possible, given their duration.
    possible: Option<ShortestInterval>,
    /// Results of the last urgent listing for instances without a subscribed policy.
    kept: Option<Kept>,
}

struct Instance {
    policies: usize,
    /// Backups that were last reported to all of these policies.
    sighted: Sighted,
}

struct Kept {
    found: Finds,
    /// Instances whose results were delivered, and are not kept.
    told: HashSet<Arc<str>>,
    began: Timestamp,
    ended: Timestamp,
}

/// Subscription of a policy to shared listings; dropping it unsubscribes.
pub struct Seat {
    region: Arc<Region>,
    uid: Arc<str>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.region.state();
        state.leave(&self.uid);
        self.region.was_left(state);
    }
}

impl Rounds {
    /// Subscribes a policy, or updates its subscription. `told`: backups that a new subscriber already knows.
    pub fn join(
        &self,
        context: &Arc<Context>,
        seat: &mut Option<Seat>,
        place: Place,
        uid: &Arc<str>,
        member: Member<Arc<str>, Arc<Desk>>,
        told: impl FnOnce() -> Sighted,
    ) {
        let seated = seat.take_if(|seat| seat.region.place == place);
        let enter = |region: &Region| region.enter(uid, member, told, context.clock.now());
        let region = match &seated {
            Some(seated) => {
                enter(&seated.region);
                seated.region.clone()
            }
            None => self.open(context, place, enter),
        };
        *seat = seated.or_else(|| Some(Seat { region, uid: uid.clone() }));
    }

    /// Returns the region, and starts its task if it is new. `enter` adds a subscriber, so that the task does not
    /// end.
    fn open(&self, context: &Arc<Context>, place: Place, enter: impl FnOnce(&Region)) -> Arc<Region> {
        let mut regions = self.lock();
        let region = regions.entry(place.clone()).or_insert_with(|| {
            let region = Arc::new(Region {
                phase: phase(&format!("{}/{}", place.uid, place.region)),
                place,
                state: Mutex::default(),
                slots: Arc::new(Semaphore::new(TOLD_AT_ONCE)),
                changed: Notify::new(),
            });
            tokio::spawn(run::run(context.clone(), region.clone()));
            region
        });
        enter(region);
        region.clone()
    }

    /// Removes a region without subscribers. Returns whether it was removed.
    fn close(&self, region: &Region) -> bool {
        let mut regions = self.lock();
        let ends = region.state().is_empty();
        if ends {
            regions.remove(&region.place);
        }
        ends
    }

    /// Returns the region of the account whose backups cannot be listed as often as its resources request, and the
    /// shortest possible interval; of several regions, the one with the longest interval.
    pub fn slowest(&self, account: &AccountKey) -> Option<(String, Duration)> {
        let regions: Vec<_> = self.lock().values().filter(|r| r.place.account == *account).cloned().collect();
        let slow = regions.iter().filter_map(|r| Some((r.place.region.clone(), r.state().slow()?)));
        slow.max_by_key(|(_, interval)| *interval)
    }

    /// Returns the number of backups that the cloud reported for the region of an account.
    pub fn total(&self, account: &AccountKey, region: &str) -> Option<u64> {
        let regions = self.lock();
        let of = regions.values().find(|r| r.place.account == *account && r.place.region == region)?;
        of.state().total.map(|(total, _)| total)
    }

    /// Returns whether the cloud refused to list all backups of the region, as far as that was tried.
    pub fn is_refused(&self, account: &AccountKey, region: &str) -> bool {
        let regions = self.lock();
        let mut of = regions.values().filter(|r| r.place.account == *account && r.place.region == region);
        of.any(|region| region.state().is_refused())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Arc<Region>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Region {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles an unsubscription: after the last one the task ends, and so does a listing without subscribers.
    fn was_left(&self, state: MutexGuard<'_, State>) {
        let last = state.is_empty();
        drop(state);
        if last {
            self.changed.notify_one();
        }
    }

    /// Handles a subscription with this interval, or a request: notifies the task if the next pass is due earlier.
    fn was_entered(&self, state: MutexGuard<'_, State>, waited: bool, interval: Option<Duration>) {
        let shorter = interval.is_some_and(|now| state.reckoned.is_none_or(|reckoned| now < reckoned));
        let sooner = !waited && state.waiting() > 0 || shorter;
        drop(state);
        if sooner {
            self.changed.notify_one();
        }
    }

    /// Adds or updates a subscriber. `told`: backups that a new subscriber already knows.
    fn enter(
        &self,
        uid: &Arc<str>,
        member: Member<Arc<str>, Arc<Desk>>,
        told: impl FnOnce() -> Sighted,
        now: Timestamp,
    ) {
        let mut state = self.state();
        let (instance, desk, interval) = (member.what.clone(), member.desk.clone(), member.interval);
        let waited = state.waiting() > 0;
        if state.members.get(uid).is_some_and(|before| before.what != instance) {
            state.leave(uid);
        }
        if state.members.join(uid.clone(), member, now) {
            let others = state.instances.get(&instance).map_or(0, |instance| instance.policies);
            // Another policy of the same instance may know what this one does not.
            let sighted = if others == 0 { told() } else { Sighted::default() };
            state.instances.insert(instance.clone(), Instance { policies: others + 1, sighted });
            if state.serve(&instance, &desk, now) {
                let began = state.kept.as_ref().map(|kept| kept.began);
                state.members.was_read(uid, began.unwrap_or(now));
            }
        }
        self.was_entered(state, waited, Some(interval));
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.taps.is_empty()
    }

    fn leave(&mut self, uid: &str) {
        let Some(member) = self.members.get(uid) else { return };
        let what = member.what.clone();
        self.members.leave(uid);
        if let Some(instance) = self.instances.get_mut(&what) {
            instance.policies -= 1;
            if instance.policies == 0 {
                self.instances.remove(&what);
            }
        }
    }

    /// Returns the fingerprints of an instance's backups.
    fn sighted(&self, instance: &str) -> Option<&Sighted> {
        self.instances.get(instance).map(|instance| &instance.sighted)
    }

    /// Returns whether the cloud refused to list the whole account: each policy then lists its own backups when it
    /// polls.
    fn is_refused(&self) -> bool {
        self.refused_until.is_some()
    }

    /// Returns the number of subscribers that wait.
    fn waiting(&self) -> usize {
        self.members.waiting() + self.taps.waiting()
    }

    fn shortest(&self) -> Option<Duration> {
        [self.members.shortest(), self.taps.shortest()].into_iter().flatten().min()
    }

    fn shortest_own(&self) -> Option<Duration> {
        [self.members.shortest_own(), self.taps.shortest_own()].into_iter().flatten().min()
    }

    /// Returns the shortest possible interval, if it is longer than the requested one.
    fn slow(&self) -> Option<Duration> {
        self.possible?.beyond(self.shortest_own()?)
    }

    /// Returns the start of the next pass, and whether it is urgent. `floor`: minimum interval of the account.
    fn next(&self, phase: u64, floor: Duration, now: Timestamp) -> Option<(Timestamp, bool)> {
        let hurried = [self.members.hurried(), self.taps.hurried()].into_iter().flatten().min();
        let shortest = self.shortest().map(|shortest| shortest.max(floor));
        next(phase, shortest, hurried, self.began, now)
    }

    /// Delivers the result of the last listing to a new subscriber, if it is recent. It triggers no reconcile: the
    /// policy subscribes in a reconcile, which takes the delivery itself.
    fn serve(&mut self, instance: &Arc<str>, desk: &Desk, now: Timestamp) -> bool {
        self.kept.take_if(|kept| since(kept.ended, now) > KEPT);
        let Some(kept) = self.kept.as_mut().filter(|kept| !kept.told.contains(instance)) else {
            return false;
        };
        kept.told.insert(instance.clone());
        let found = kept.found.remove(instance).unwrap_or_default();
        let began = kept.began;
        let Some(Instance { sighted, .. }) = self.instances.get_mut(instance) else { return false };
        let delivery = match found.news(sighted) {
            Some(news) => Delivery::News(news, began),
            None => Delivery::Unchanged(began),
        };
        desk.lay(delivery);
        true
    }
}

impl Seat {
    /// Returns the time at which the policy's backups were last listed.
    pub fn read(&self) -> Option<Timestamp> {
        self.region.state().members.get(&self.uid)?.read
    }

    /// Returns the interval of the subscription.
    pub fn interval(&self) -> Option<Duration> {
        Some(self.region.state().members.get(&self.uid)?.interval)
    }

    /// Returns whether the policy lists its own backups with each poll, since no shared listing is permitted.
    pub fn reads_alone(&self) -> bool {
        self.region.state().is_refused()
    }

    /// Requests a listing. Returns whether a shared one will serve it: if few policies request one at the same time,
    /// each lists its own backups.
    pub fn wants(&self, now: Timestamp) -> bool {
        let mut state = self.region.state();
        let waited = state.waiting() > 0;
        state.members.want(&self.uid, now);
        let shared = state.members.waiting() > FEW && !state.is_refused();
        if !shared {
            state.members.give_up(&self.uid);
        }
        self.region.was_entered(state, waited, None);
        shared
    }

    /// Records that the policy listed its own backups.
    pub fn has_read(&self, backups: &[Backup], now: Timestamp) {
        let mut state = self.region.state();
        let Some(member) = state.members.get(&self.uid) else { return };
        let instance = member.what.clone();
        if let Some(Instance { policies: 1, sighted }) = state.instances.get_mut(&instance) {
            sighted.read(backups);
        }
        state.members.was_read(&self.uid, now);
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{at, region};
    use super::*;
    use crate::controllers::wakes::Wakes;
    use crate::domain::Named;
    use crate::plan::backups::Known;

    fn enter(region: &Region, uid: &str, instance: &str, told: &Sighted) {
        let desk = Arc::new(Desk::new(Named::new(uid, "payments", uid), Wakes::default()));
        let interval = Duration::from_secs(600);
        let member = Member {
            desk,
            what: instance.into(),
            interval,
            own: interval,
            calls: 1,
            read: Some(at(0)),
            waits: false,
        };
        region.enter(&uid.into(), member, || told.clone(), at(0));
    }

    #[test]
    fn what_is_known_of_an_instance_is_what_all_of_its_policies_know() {
        let region = region(1);
        let told = Sighted::told(&Known::default(), None, true);
        let sighted = |instance: &str| region.state().sighted(instance).cloned();
        enter(&region, "a", "redis-1", &told);
        assert_eq!(sighted("redis-1"), Some(told.clone()));
        enter(&region, "b", "redis-1", &told);
        assert_eq!(sighted("redis-1"), Some(Sighted::default()), "they may know different things");
        enter(&region, "a", "redis-2", &told);
        assert_eq!([sighted("redis-1"), sighted("redis-2")], [Some(Sighted::default()), Some(told)]);
        region.state().leave("b");
        region.state().leave("b");
        assert_eq!(sighted("redis-1"), None, "nobody is left");
        region.state().leave("a");
        assert!(region.state().instances.is_empty());
    }
}
