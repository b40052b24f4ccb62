//! Reconciles BackupInventories: lists the backups of an instance or an account, and reports them in status.

pub mod convert;
mod fit;
mod report;
mod tap;
mod tray;
pub mod wanted;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use tokio::time::sleep;

use super::cached::{Cached, request_of};
use super::guarded::Guarded;
use super::memories::Latest;
use super::rounds::TapSeat;
use super::watch::{Gone, lost, stored};
use super::{
    Admission, Context, NotReported, OVERTAKEN, Part, Purpose, Wake, metrics, policy, requests, requeue,
    surroundings, unreadable,
};
use crate::api::inventory::{BackupInventorySpec, Scope};
use crate::api::{BackupInventory, handled_value};
use crate::cloud::Lane;
use crate::controllers::policy::convert::condition_from;
use crate::domain::condition::types;
use crate::metrics::Ended;
use crate::observe::{Account, AccountKey, Ask, Details, InventoryReading, Reached};
use crate::plan::after;
use crate::plan::inventory::{Do, Found, Memory, Wanted};
use tap::Shared;
#[cfg(test)]
pub use tray::Brought;
pub use tray::Tray;
pub use wanted::{account_of, own_interval, own_listing};
use wanted::{ask, wanted};

/// Delay before a reconcile that could not finish is repeated, and between checks for a newer object.
const AGAIN: Duration = Duration::from_secs(1);

/// State of one inventory between reconciles.
#[derive(Default)]
pub struct Slot {
    memory: Option<Memory>,
    latest: Latest<BackupInventory>,
    /// Listing in progress; it resumes where a call failed.
    reading: Option<InventoryReading>,
    /// Subscription to shared listings.
    tap: Option<TapSeat>,
    /// Result of a shared listing: the next reading starts with it.
    shared: Option<Shared>,
    /// Result of the last listing, until it is written to status.
    found: Option<Found>,
    details: Details,
}

/// One reconcile of one inventory.
struct Turn<'a> {
    context: &'a Arc<Context>,
    inventory: Arc<BackupInventory>,
    uid: Arc<str>,
    /// resourceVersion that the watch had delivered when the reconcile began.
    watched: String,
    namespace: String,
    key: AccountKey,
}

/// Returns whether a trigger concerns an inventory.
pub fn is_concerned(inventory: &Cached<BackupInventory>, wake: &Wake) -> bool {
    inventory.0.as_ref().is_ok_and(|inventory| {
        let namespace = inventory.named.namespace();
        wake.reaches(namespace) && wake.concerns(&account_of(&inventory.spec(), namespace), Some(namespace))
    })
}

/// Returns the access to its account that an inventory needs.
pub fn purpose_of(spec: &BackupInventorySpec) -> Purpose {
    match spec.scope {
        Scope::Account => Purpose::AccountInventory,
        Scope::Instance => Purpose::Observe,
    }
}

/// Returns whether an inventory refers to this account.
pub fn uses(inventory: &Cached<BackupInventory>, key: &AccountKey) -> bool {
    inventory.0.as_ref().is_ok_and(|inventory| {
        let namespace = inventory.named.namespace();
        key.is_within_reach_of(namespace) && account_of(&inventory.spec(), namespace) == *key
    })
}

/// Drops the state of inventories that the watch reported as deleted.
pub fn forget(context: &Context, gone: Gone) {
    context.accounts.resources_gone();
    for uid in lost(context.inventories.uids(), &context.inventory_stores, gone) {
        context.inventories.forget(&uid);
        context.failed_writes.forget(&uid);
    }
}

pub async fn reconcile(
    object: Arc<Cached<BackupInventory>>,
    context: Arc<Context>,
) -> Result<(Action, Ended), NotReported> {
    context.ready().await;
    let inventory = match &object.0 {
        Ok(inventory) => inventory,
        Err(invalid) => {
            let namespace = invalid.metadata.namespace.as_deref().unwrap_or_default();
            let api = Api::<Guarded<BackupInventory>>::namespaced(context.kube.clone(), namespace);
            let told = unreadable::tell(&context, &api, invalid, &[types::READY]).await?;
            return Ok((told, Ended::NeedsPerson));
        }
    };
    if inventory.is_deleted() {
        return Ok((Action::await_change(), Ended::Ok));
    }
    let uid = inventory.named.uid.clone();
    let slot = context.inventories.slot(&uid);
    let mut slot = slot.lock().await;
    let watched = inventory.version();
    let inventory = slot.latest.newest(inventory);
    let namespace = inventory.namespace().unwrap_or_default();
    let key = account_of(&inventory.spec, &namespace);
    let mut turn = Turn { context: &context, inventory, uid, watched, namespace, key };
    let result = turn.take(&mut slot).await;
    if turn.stored().is_none() {
        context.inventories.forget(&turn.uid);
    }
    let status = turn.inventory.status.as_ref();
    let conditions = status.map(|status| status.conditions.iter()).into_iter().flatten();
    let failure = slot.memory.as_ref().and_then(|memory| memory.failure.as_ref());
    let failed = failure.map(|failure| failure.kind.class());
    Ok((result, metrics::ended(conditions.map(|c| (&*c.type_, &*c.reason)), failed)))
}

impl Turn<'_> {
    async fn take(&mut self, slot: &mut Slot) -> Action {
        let wanted = wanted(self.context, &self.inventory);
        if slot.memory.as_ref().is_none_or(|memory| memory.generation != wanted.generation) {
            self.context.accounts.resources_changed(&self.key);
            self.context.accounts.resources_gone();
        }
        let mut memory = match slot.memory.take() {
            Some(memory) => memory,
            None => self.remember(slot, &wanted),
        };
        let context = self.context;
        let outdated = outdated(context, self.inventory.clone(), self.uid.clone());
        let result = tokio::select! {
            biased;
            result = self.list(slot, &wanted, &mut memory) => result,
            // A listing only reads, so nothing has to be completed before the shutdown.
            () = context.stopping() => Action::await_change(),
            () = outdated => Action::requeue(OVERTAKEN),
        };
        slot.memory = Some(memory);
        result
    }

    /// Restores the in-memory state from status after a start.
    fn remember(&self, slot: &mut Slot, wanted: &Wanted) -> Memory {
        let status = convert::credible(self.inventory.status.clone().unwrap_or_default());
        slot.details = convert::details_from(&status);
        let conditions: Vec<_> = status.conditions.iter().map(condition_from).collect();
        let handled = status.last_handled_reconcile_at.as_deref().map(handled_value);
        let observed = status.observed_generation;
        Memory::new(&conditions, observed, handled, wanted, self.context.as_of, self.context.clock.now())
    }

    async fn list(&mut self, slot: &mut Slot, wanted: &Wanted, memory: &mut Memory) -> Action {
        loop {
            if !self.context.leadership.is_current() {
                return Action::requeue(AGAIN);
            }
            if !self.is_current() {
                return Action::requeue(OVERTAKEN);
            }
            let now = self.context.clock.now();
            let purpose = purpose_of(&self.inventory.spec);
            let (around, view) = surroundings(self.context, &self.key, &self.namespace, purpose, now);
            if memory.notice(wanted, &around, now) {
                slot.reading = None;
                slot.leave();
            }
            // A complete listing is reported, unless it belongs to another spec or account.
            if !memory.listed {
                slot.found = None;
            }
            if slot.found.is_none() && !self.tells() {
                memory.lost(now);
            }
            requests::forward(self.context, &self.key, &mut memory.request, &around.gate);
            self.share(slot, wanted, &around, view.as_ref().map(|view| &*view.account), memory);
            match (self.step_of(slot, wanted, &around, memory, now), view) {
                (Do::Read, Some(view)) => {
                    let begins = slot.reading.is_none();
                    if begins && let Some(again) = self.report(slot, wanted, &around, memory).await {
                        return Action::requeue(again);
                    }
                    let news = self.read(slot, wanted, memory, &view.account, now).await;
                    if news && let Some(again) = self.report(slot, wanted, &around, memory).await {
                        return Action::requeue(again);
                    }
                }
                (step, _) => {
                    let acted_on = !wanted.suspended
                        && requests::is_acted_on(
                            self.context,
                            &self.key,
                            &memory.request,
                            &around.gate,
                            false,
                        );
                    if acted_on {
                        memory.settle_request();
                    }
                    if let Some(again) = self.report(slot, wanted, &around, memory).await {
                        return Action::requeue(again);
                    }
                    let until = match step {
                        Do::Wait(until) => until,
                        Do::Read => Some(after(now, AGAIN)),
                    };
                    let now = self.context.clock.now();
                    let wait = self.context.failed_writes.wait(&self.inventory.metadata, Part::Status);
                    let until = until.into_iter().chain(wait.map(|wait| after(now, wait))).min();
                    return requeue(until, now);
                }
            }
        }
    }

    /// Makes the next call of the listing, which starts if none is in progress. Returns whether Ready changes
    /// although the listing continues.
    async fn read(
        &self,
        slot: &mut Slot,
        wanted: &Wanted,
        memory: &mut Memory,
        account: &Account,
        now: Timestamp,
    ) -> bool {
        let Some(site) = account.site() else {
            memory.next = after(now, AGAIN);
            return false;
        };
        let mut reading = match slot.reading.take().filter(|reading| reading.is_resumable(now)) {
            Some(reading) => reading,
            None => {
                let (mut ask, mut request) = (self.ask(now), memory.request.pending.clone());
                if let Some(shared) = slot.shared.take() {
                    ask.shared = Some((shared.tallied, shared.answered));
                    request = shared.request;
                }
                match InventoryReading::begin(site, ask, now) {
                    Ok(reading) => {
                        memory.begins(request, now);
                        reading
                    }
                    Err(failure) => {
                        memory.failed(wanted, failure, now, fastrand::f64());
                        return false;
                    }
                }
            }
        };
        let caller =
            self.context.caller(account, &self.namespace, &self.uid, purpose_of(&self.inventory.spec));
        let reached = Reached::Account(&self.context.accounts, account, caller.in_lane(Lane::Poll));
        let before = reading.answered();
        let answer = reading.step(&reached, account, &mut slot.details, now).await;
        let now = self.context.clock.now();
        match answer {
            Ok(Some(found)) => {
                convert::keep_details(&mut slot.details, &found.items);
                slot.found = Some(found);
                memory.listed(wanted, now);
            }
            Ok(None) => {
                let answered = reading.answered();
                slot.reading = Some(reading);
                return memory.progressed(answered, now);
            }
            Err(failure) => {
                let answered = reading.answered();
                let news = answered > before && memory.progressed(answered, now);
                if !memory.failed(wanted, failure, now, fastrand::f64()) {
                    slot.reading = Some(reading);
                }
                return news;
            }
        }
        false
    }

    fn ask(&self, now: Timestamp) -> Ask {
        let region = &self.inventory.spec.region;
        let watched = self
            .context
            .policies_of(&self.key)
            .iter()
            .filter_map(|policy| policy.0.as_ref().ok())
            .map(|policy| (policy.named.namespace(), policy.spec()))
            .filter(|(_, spec)| spec.region == *region && !spec.suspend)
            .filter(|(namespace, spec)| {
                let purpose = policy::purpose_of(self.context, spec);
                self.context.admission(&self.key, namespace, purpose) == Admission::Allowed
            })
            .map(|(_, spec)| spec.instance_id)
            .collect();
        Ask { watched, ..ask(&self.inventory.spec, now) }
    }

    /// Returns the object as the watch last delivered it.
    fn stored(&self) -> Option<Arc<Cached<BackupInventory>>> {
        stored(&self.context.inventory_stores, &*self.inventory, &self.uid)
    }

    /// Returns whether status contains the result of a listing: another writer may have removed it.
    fn tells(&self) -> bool {
        let status = self.inventory.status.clone().map(convert::credible);
        status.is_some_and(|status| status.total.is_some() && status.items.is_some())
    }

    /// Returns whether the watch has delivered no newer spec or request. A listing takes long, and must not continue
    /// for an outdated one.
    fn is_current(&self) -> bool {
        is_current(self.context, &self.inventory, &self.uid)
    }
}

fn is_current(context: &Context, inventory: &BackupInventory, uid: &str) -> bool {
    stored(&context.inventory_stores, inventory, uid).is_some_and(|stored| {
        stored.generation() <= inventory.metadata.generation
            && !stored.is_deleted()
            && stored.request() == request_of(&inventory.metadata)
    })
}

/// Resolves once the object is outdated, so that a call which may wait for long is cancelled.
async fn outdated(context: &Context, inventory: Arc<BackupInventory>, uid: Arc<str>) {
    while is_current(context, &inventory, &uid) {
        sleep(AGAIN).await;
    }
}
