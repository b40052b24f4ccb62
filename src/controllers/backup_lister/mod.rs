//! Shared listings of backups: one serves all policies and inventories of an account and region. Keeps the
//! subscribers, and fingerprints of the backups that were last reported to them.

mod inventories;
mod listing;
mod plan;
mod run;
mod served_inventories;
#[cfg(test)]
mod testing;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};

use super::inventory::InventoryMailbox;
use super::policy::{ListingResult, Mailbox};
use super::{Context, poll_offset};
use crate::accounts::AccountKey;
use crate::domain::Backup;
use crate::plan::shared_listing::{
    Fingerprints, InventorySelector, LISTING_RETENTION, ListDiff, MAX_SEPARATE_LISTINGS, ShortestInterval,
    Subscriber, SubscriberSet, next,
};
use crate::plan::since;
pub use inventories::InventorySubscription;

/// Maximum number of policies that process a result at the same time.
const MAX_CONCURRENT_DELIVERIES: usize = 32;

/// An account, by name and UID, and a region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountRegion {
    pub account: AccountKey,
    pub uid: String,
    pub region: String,
}

/// All regions of all accounts in which backups are listed.
#[derive(Default)]
pub struct BackupLister(Mutex<HashMap<AccountRegion, Arc<RegionLister>>>);

/// Shared listings of one account in one region. A task makes them while a policy or an inventory is subscribed.
pub struct RegionLister {
    key: AccountRegion,
    poll_offset: u64,
    state: Mutex<State>,
    /// Limits the policies that process a result at the same time.
    delivery_slots: Arc<Semaphore>,
    /// Notifies the task that its next pass may be due earlier.
    changed: Notify,
}

#[derive(Default)]
struct State {
    subscribers: SubscriberSet<Arc<str>, Arc<Mailbox>>,
    /// Inventories for which the pages of a listing are counted.
    inventories: SubscriberSet<InventorySelector, Arc<InventoryMailbox>>,
    /// Interval that the task schedules by.
    scheduled_interval: Option<Duration>,
    /// Instances of the subscribed policies.
    instances: HashMap<Arc<str>, Instance>,
    /// Number of backups that the cloud reported, and when.
    total: Option<(u64, Timestamp)>,
    /// End of the pause after the cloud refused to list the whole account.
    refused_until: Option<Timestamp>,
    /// Start of the last pass that served all subscribers.
    began: Option<Timestamp>,
    /// Shortest interval at which such passes are possible, given their duration.
    shortest_possible: Option<ShortestInterval>,
    /// Results of the last urgent listing for instances without a subscribed policy.
    recent: Option<RecentResults>,
}

struct Instance {
    policies: usize,
    /// Backups that were last reported to all of these policies.
    fingerprints: Fingerprints,
}

struct RecentResults {
    found: ListDiff,
    /// Instances whose results were delivered, and are not kept.
    delivered: HashSet<Arc<str>>,
    began: Timestamp,
    ended: Timestamp,
}

/// Subscription of a policy to shared listings; dropping it unsubscribes.
pub struct Subscription {
    region: Arc<RegionLister>,
    uid: Arc<str>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.region.state();
        state.unsubscribe(&self.uid);
        self.region.on_unsubscribe(state);
    }
}

impl BackupLister {
    /// Subscribes a policy, or updates its subscription. `delivered`: backups that a new subscriber already knows.
    pub fn subscribe(
        &self,
        context: &Arc<Context>,
        subscription: &mut Option<Subscription>,
        key: AccountRegion,
        uid: &Arc<str>,
        subscriber: Subscriber<Arc<str>, Arc<Mailbox>>,
        delivered: impl FnOnce() -> Fingerprints,
    ) {
        let current = subscription.take_if(|subscription| subscription.region.key == key);
        let add_subscriber =
            |region: &RegionLister| region.add_subscriber(uid, subscriber, delivered, context.clock.now());
        let region = match &current {
            Some(current) => {
                add_subscriber(&current.region);
                current.region.clone()
            }
            None => self.open(context, key, add_subscriber),
        };
        *subscription = current.or_else(|| Some(Subscription { region, uid: uid.clone() }));
    }

    /// Returns the region, and starts its task if it is new. `add_subscriber` adds a subscriber, so that the task does not
    /// end.
    fn open(
        &self,
        context: &Arc<Context>,
        key: AccountRegion,
        add_subscriber: impl FnOnce(&RegionLister),
    ) -> Arc<RegionLister> {
        let mut regions = self.lock();
        let region = regions.entry(key.clone()).or_insert_with(|| {
            let region = Arc::new(RegionLister {
                poll_offset: poll_offset(&format!("{}/{}", key.uid, key.region)),
                key,
                state: Mutex::default(),
                delivery_slots: Arc::new(Semaphore::new(MAX_CONCURRENT_DELIVERIES)),
                changed: Notify::new(),
            });
            tokio::spawn(run::run(context.clone(), region.clone()));
            region
        });
        add_subscriber(region);
        region.clone()
    }

    /// Removes a region without subscribers. Returns whether it was removed.
    fn close(&self, region: &RegionLister) -> bool {
        let mut regions = self.lock();
        let ends = region.state().is_empty();
        if ends {
            regions.remove(&region.key);
        }
        ends
    }

    /// Returns the region of the account whose backups cannot be listed as often as its resources request, and the
    /// shortest possible interval; of several regions, the one with the longest interval.
    pub fn slowest(&self, account: &AccountKey) -> Option<(String, Duration)> {
        let regions: Vec<_> = self.lock().values().filter(|r| r.key.account == *account).cloned().collect();
        let slow = regions.iter().filter_map(|r| Some((r.key.region.clone(), r.state().slow()?)));
        slow.max_by_key(|(_, interval)| *interval)
    }

    /// Returns the number of backups that the cloud reported for the region of an account.
    pub fn total(&self, account: &AccountKey, region: &str) -> Option<u64> {
        let regions = self.lock();
        let of = regions.values().find(|r| r.key.account == *account && r.key.region == region)?;
        of.state().total.map(|(total, _)| total)
    }

    /// Returns whether the cloud refused to list all backups of the region, as far as that was tried.
    pub fn is_refused(&self, account: &AccountKey, region: &str) -> bool {
        let regions = self.lock();
        let mut of = regions.values().filter(|r| r.key.account == *account && r.key.region == region);
        of.any(|region| region.state().is_refused())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountRegion, Arc<RegionLister>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RegionLister {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles an unsubscription: after the last one the task ends, and so does a listing without subscribers.
    fn on_unsubscribe(&self, state: MutexGuard<'_, State>) {
        let last = state.is_empty();
        drop(state);
        if last {
            self.changed.notify_one();
        }
    }

    /// Handles a subscription with this interval, or a request: notifies the task if the next pass is due earlier.
    fn on_subscribe(&self, state: MutexGuard<'_, State>, waited: bool, interval: Option<Duration>) {
        let shorter = interval.is_some_and(|now| {
            state.scheduled_interval.is_none_or(|scheduled_interval| now < scheduled_interval)
        });
        let sooner = !waited && state.waiting() > 0 || shorter;
        drop(state);
        if sooner {
            self.changed.notify_one();
        }
    }

    /// Adds or updates a subscriber. `delivered`: backups that a new subscriber already knows.
    fn add_subscriber(
        &self,
        uid: &Arc<str>,
        subscriber: Subscriber<Arc<str>, Arc<Mailbox>>,
        delivered: impl FnOnce() -> Fingerprints,
        now: Timestamp,
    ) {
        let mut state = self.state();
        let (instance, mailbox, interval) =
            (subscriber.what.clone(), subscriber.mailbox.clone(), subscriber.interval);
        let waited = state.waiting() > 0;
        if state.subscribers.get(uid).is_some_and(|before| before.what != instance) {
            state.unsubscribe(uid);
        }
        if state.subscribers.subscribe(uid.clone(), subscriber, now) {
            let others = state.instances.get(&instance).map_or(0, |instance| instance.policies);
            // Another policy of the same instance may know what this one does not.
            let fingerprints = if others == 0 { delivered() } else { Fingerprints::default() };
            state.instances.insert(instance.clone(), Instance { policies: others + 1, fingerprints });
            if state.serve(&instance, &mailbox, now) {
                let began = state.recent.as_ref().map(|recent| recent.began);
                state.subscribers.record_listing(uid, began.unwrap_or(now));
            }
        }
        self.on_subscribe(state, waited, Some(interval));
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.subscribers.is_empty() && self.inventories.is_empty()
    }

    fn unsubscribe(&mut self, uid: &str) {
        let Some(subscriber) = self.subscribers.get(uid) else { return };
        let what = subscriber.what.clone();
        self.subscribers.unsubscribe(uid);
        if let Some(instance) = self.instances.get_mut(&what) {
            instance.policies -= 1;
            if instance.policies == 0 {
                self.instances.remove(&what);
            }
        }
    }

    /// Returns the fingerprints of an instance's backups.
    fn fingerprints(&self, instance: &str) -> Option<&Fingerprints> {
        self.instances.get(instance).map(|instance| &instance.fingerprints)
    }

    /// Returns whether the cloud refused to list the whole account: each policy then lists its own backups when it
    /// polls.
    fn is_refused(&self) -> bool {
        self.refused_until.is_some()
    }

    /// Returns the number of subscribers that wait.
    fn waiting(&self) -> usize {
        self.subscribers.waiting() + self.inventories.waiting()
    }

    fn shortest(&self) -> Option<Duration> {
        [self.subscribers.shortest(), self.inventories.shortest()].into_iter().flatten().min()
    }

    fn shortest_own(&self) -> Option<Duration> {
        [self.subscribers.shortest_own(), self.inventories.shortest_own()].into_iter().flatten().min()
    }

    /// Returns the shortest possible interval, if it is longer than the requested one.
    fn slow(&self) -> Option<Duration> {
        self.shortest_possible?.if_longer_than(self.shortest_own()?)
    }

    /// Returns the start of the next pass, and whether it is urgent. `min_interval`: minimum interval of the account.
    fn next(&self, poll_offset: u64, min_interval: Duration, now: Timestamp) -> Option<(Timestamp, bool)> {
        let urgent = [self.subscribers.urgent(), self.inventories.urgent()].into_iter().flatten().min();
        let shortest = self.shortest().map(|shortest| shortest.max(min_interval));
        next(poll_offset, shortest, urgent, self.began, now)
    }

    /// Delivers the result of the last listing to a new subscriber, if it is recent. It triggers no reconcile: the
    /// policy subscribes in a reconcile, which takes the delivery itself.
    fn serve(&mut self, instance: &Arc<str>, mailbox: &Mailbox, now: Timestamp) -> bool {
        self.recent.take_if(|recent| since(recent.ended, now) > LISTING_RETENTION);
        let Some(recent) = self.recent.as_mut().filter(|recent| !recent.delivered.contains(instance)) else {
            return false;
        };
        recent.delivered.insert(instance.clone());
        let found = recent.found.remove(instance).unwrap_or_default();
        let began = recent.began;
        let Some(Instance { fingerprints, .. }) = self.instances.get_mut(instance) else { return false };
        let delivery = match found.delta(fingerprints) {
            Some(delta) => ListingResult::Changed(delta, began),
            None => ListingResult::Unchanged(began),
        };
        mailbox.deliver_untriggered(delivery);
        true
    }
}

impl Subscription {
    /// Returns the time at which the policy's backups were last listed.
    pub fn read(&self) -> Option<Timestamp> {
        self.region.state().subscribers.get(&self.uid)?.read
    }

    /// Returns the interval of the subscription.
    pub fn interval(&self) -> Option<Duration> {
        Some(self.region.state().subscribers.get(&self.uid)?.interval)
    }

    /// Returns whether the policy lists its own backups with each poll, since no shared listing is permitted.
    pub fn lists_own_backups(&self) -> bool {
        self.region.state().is_refused()
    }

    /// Requests a listing. Returns whether a shared one will serve it: if few policies request one at the same time,
    /// each lists its own backups.
    pub fn request_listing(&self, now: Timestamp) -> bool {
        let mut state = self.region.state();
        let waited = state.waiting() > 0;
        state.subscribers.request_urgent(&self.uid, now);
        let shared = state.subscribers.waiting() > MAX_SEPARATE_LISTINGS && !state.is_refused();
        if !shared {
            state.subscribers.stop_waiting(&self.uid);
        }
        self.region.on_subscribe(state, waited, None);
        shared
    }

    /// Records that the policy listed its own backups.
    pub fn record_own_listing(&self, backups: &[Backup], now: Timestamp) {
        let mut state = self.region.state();
        let Some(subscriber) = state.subscribers.get(&self.uid) else { return };
        let instance = subscriber.what.clone();
        if let Some(Instance { policies: 1, fingerprints }) = state.instances.get_mut(&instance) {
            fingerprints.read(backups);
        }
        state.subscribers.record_listing(&self.uid, now);
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{at, region};
    use super::*;
    use crate::controllers::triggers::Triggers;
    use crate::domain::ObjectKey;
    use crate::plan::backups::Known;

    fn add_subscriber(region: &RegionLister, uid: &str, instance: &str, delivered: &Fingerprints) {
        let mailbox = Arc::new(Mailbox::new(ObjectKey::new(uid, "payments", uid), Triggers::default()));
        let interval = Duration::from_secs(600);
        let subscriber = Subscriber {
            mailbox,
            what: instance.into(),
            interval,
            own: interval,
            calls: 1,
            read: Some(at(0)),
            waits: false,
        };
        region.add_subscriber(&uid.into(), subscriber, || delivered.clone(), at(0));
    }

    #[test]
    fn what_is_known_of_an_instance_is_what_all_of_its_policies_know() {
        let region = region(1);
        let delivered = Fingerprints::from_status(&Known::default(), None, true);
        let fingerprints = |instance: &str| region.state().fingerprints(instance).cloned();
        add_subscriber(&region, "a", "redis-1", &delivered);
        assert_eq!(fingerprints("redis-1"), Some(delivered.clone()));
        add_subscriber(&region, "b", "redis-1", &delivered);
        assert_eq!(fingerprints("redis-1"), Some(Fingerprints::default()), "they may know different things");
        add_subscriber(&region, "a", "redis-2", &delivered);
        assert_eq!(
            [fingerprints("redis-1"), fingerprints("redis-2")],
            [Some(Fingerprints::default()), Some(delivered)]
        );
        region.state().unsubscribe("b");
        region.state().unsubscribe("b");
        assert_eq!(fingerprints("redis-1"), None, "nobody is left");
        region.state().unsubscribe("a");
        assert!(region.state().instances.is_empty());
    }
}
