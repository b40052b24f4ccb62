//! Subscribes an inventory of scope Account to the shared listings of its account and region, where the cloud can
//! list an account. The reconcile does not wait for a listing: a result is put into the inventory's mailbox, and
//! triggers the next reconcile.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::desired::{own_interval, scope_of, selector_of};
use super::mailbox::{InventoryMailbox, TallyResult};
use super::{Reconcile, Slot};
use crate::accounts::{Account, InventoryReading};
use crate::api::inventory::Scope;
use crate::controllers::backup_lister::AccountRegion;
use crate::plan::inventory::{DesiredInventory, Memory, NextAction};
use crate::plan::shared_listing::{InventoryTally, Subscriber};
use crate::plan::{AccountReadiness, ReconcileEnv};

/// Result of a shared listing, until a reading continues from it.
pub struct SharedListing {
    pub tallied: InventoryTally,
    pub answered: u64,
    pub request: Option<String>,
}

impl Reconcile<'_> {
    /// Subscribes if that is possible, and takes the result of a shared listing. A reading in progress here is
    /// completed first.
    pub(super) fn update_subscription(
        &self,
        entry: &mut Slot,
        wanted: &DesiredInventory,
        env: &ReconcileEnv,
        account: Option<&Account>,
        memory: &mut Memory,
    ) {
        let now = self.context.clock.now();
        let can_share = |account: &&Account| {
            // An invalid filter is reported before any request is sent.
            let lists_accounts = account.site().is_some_and(|site| {
                site.has_policies()
                    && InventoryReading::begin(site, scope_of(&self.inventory.spec, now), now).is_ok()
            });
            lists_accounts && self.inventory.spec.scope == Scope::Account
        };
        let open = env.readiness == AccountReadiness::Open && !wanted.suspended;
        let Some(account) = account.filter(|_| open).filter(can_share) else {
            entry.unsubscribe();
            return;
        };
        let place = AccountRegion {
            account: self.key.clone(),
            uid: account.uid.clone(),
            region: self.inventory.spec.region.clone(),
        };
        let mailbox = entry
            .subscription
            .as_ref()
            .filter(|subscription| subscription.is_in(&place))
            .map(|subscription| subscription.mailbox().clone());
        let subscriber = Subscriber {
            mailbox: mailbox.unwrap_or_else(|| self.mailbox(memory)),
            what: selector_of(&self.inventory.spec),
            interval: memory.pace(wanted),
            own: own_interval(self.context.interval_override, &self.inventory.spec),
            // For itself, the inventory would need the whole listing.
            calls: u64::MAX,
            read: memory.last_good.filter(|_| memory.listed),
            waits: memory.next <= now,
        };
        self.context.backup_lister.subscribe_inventory(
            self.context,
            &mut entry.subscription,
            place,
            &self.uid,
            subscriber,
        );
        entry.reading.take_if(|reading| !reading.is_resumable(now));
        if entry.reading.is_none()
            && let Some(subscription) = &entry.subscription
        {
            match subscription.mailbox().take() {
                Some(TallyResult::Complete { tallied, answered, request }) => {
                    entry.shared = Some(SharedListing { tallied, answered, request });
                    memory.shared_listing_arrived(now);
                }
                Some(TallyResult::Failed { failure, answered }) => {
                    if let Some(answered) = answered {
                        memory.progressed(answered, now);
                    }
                    memory.failed(wanted, failure, now, fastrand::f64());
                }
                Some(TallyResult::Resumed { answered }) => {
                    memory.progressed(answered, now);
                }
                None => {}
            }
        }
    }

    fn mailbox(&self, memory: &Memory) -> Arc<InventoryMailbox> {
        let (namespace, name) = (self.namespace.clone(), self.inventory.name_any());
        Arc::new(InventoryMailbox::new(
            namespace,
            name,
            self.context.triggers.clone(),
            memory.request.pending.clone(),
        ))
    }

    /// Returns the next step. A subscriber waits for the shared listing when a listing is due.
    pub(super) fn subscriber_step(
        &self,
        entry: &Slot,
        wanted: &DesiredInventory,
        env: &ReconcileEnv,
        memory: &mut Memory,
        now: Timestamp,
    ) -> NextAction {
        let step = memory.next_step(wanted, env, now);
        let Some(subscription) =
            entry.subscription.as_ref().filter(|_| entry.reading.is_none() && entry.shared.is_none())
        else {
            return step;
        };
        if step != NextAction::Call {
            return step;
        }
        if memory.is_urgent(wanted, now) {
            subscription.request_listing(memory.request.pending.clone(), now);
        }
        memory.await_shared_listing(wanted, now)
    }
}

impl Slot {
    /// Unsubscribes, and drops the result of a shared listing: it belongs to another spec or account.
    pub(super) fn unsubscribe(&mut self) {
        self.subscription = None;
        self.shared = None;
    }
}
