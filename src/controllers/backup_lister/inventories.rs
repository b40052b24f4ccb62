//! Subscriptions of inventories of scope Account: a shared listing is counted for each.

use std::sync::Arc;

use jiff::Timestamp;

use super::{AccountRegion, BackupLister, RegionLister};
use crate::controllers::Context;
use crate::controllers::inventory::InventoryMailbox;
use crate::plan::shared_listing::{InventorySelector, Subscriber};

/// Subscription of an inventory to the listings of a region; dropping it unsubscribes, and a listing in progress is
/// not delivered.
pub struct InventorySubscription {
    region: Arc<RegionLister>,
    uid: Arc<str>,
    mailbox: Arc<InventoryMailbox>,
}

impl Drop for InventorySubscription {
    fn drop(&mut self) {
        let mut state = self.region.state();
        // The inventory may have another subscription in this region by now.
        if state
            .inventories
            .get(&self.uid)
            .is_some_and(|inventory| Arc::ptr_eq(&inventory.mailbox, &self.mailbox))
        {
            state.inventories.unsubscribe(&self.uid);
        }
        self.region.on_unsubscribe(state);
    }
}

impl BackupLister {
    /// Subscribes an inventory, or updates the interval of its subscription.
    pub fn subscribe_inventory(
        &self,
        context: &Arc<Context>,
        subscription: &mut Option<InventorySubscription>,
        key: AccountRegion,
        uid: &Arc<str>,
        subscriber: Subscriber<InventorySelector, Arc<InventoryMailbox>>,
    ) {
        subscription.take_if(|subscription| !subscription.is_in(&key));
        let (mailbox, interval) = (subscriber.mailbox.clone(), subscriber.interval);
        let add_subscriber = |region: &RegionLister| {
            let mut state = region.state();
            let waited = state.waiting() > 0;
            state.inventories.subscribe(uid.clone(), subscriber, context.clock.now());
            region.on_subscribe(state, waited, Some(interval));
        };
        match subscription {
            Some(subscription) => add_subscriber(&subscription.region),
            None => {
                let region = self.open(context, key, add_subscriber);
                *subscription = Some(InventorySubscription { region, uid: uid.clone(), mailbox });
            }
        }
    }
}

impl InventorySubscription {
    pub fn is_in(&self, key: &AccountRegion) -> bool {
        self.region.key == *key
    }

    pub fn mailbox(&self) -> &Arc<InventoryMailbox> {
        &self.mailbox
    }

    /// Requests a listing that answers this request, unless the one in progress does.
    pub fn request_listing(&self, request: Option<String>, now: Timestamp) {
        let mut state = self.region.state();
        let waited = state.waiting() > 0;
        if self.mailbox.request_listing(request) {
            state.inventories.request_urgent(&self.uid, now);
        }
        self.region.on_subscribe(state, waited, None);
    }
}
