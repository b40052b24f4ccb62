//! Reconciles BackupInventories: lists the backups of an instance or an account, and reports them in status.

pub mod convert;
pub mod desired;
mod fit;
mod mailbox;
mod report;
mod subscription;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use tokio::time::sleep;

use super::backup_lister::InventorySubscription;
use super::cached::{Cached, request_of};
use super::guarded::Guarded;
use super::state_store::ReadYourWrites;
use super::watch::{Deleted, lost, stored};
use super::{
    Admission, CONFLICT_REQUEUE, Context, NotReported, Part, Purpose, Trigger, environment, metrics, policy,
    requests, requeue, unreadable,
};
use crate::accounts::{Account, AccountClient, AccountKey, Details, InventoryReading, InventoryScope};
use crate::api::inventory::{BackupInventorySpec, Scope};
use crate::api::{BackupInventory, handled_value};
use crate::cloud::Priority;
use crate::controllers::policy::convert::condition_from;
use crate::domain::condition::types;
use crate::metrics::ReconcileResult;
use crate::plan::after;
use crate::plan::inventory::{DesiredInventory, ListingSummary, Memory, NextAction};
pub use desired::{account_of, needs_own_listing, own_interval};
use desired::{scope_of, wanted};
pub use mailbox::InventoryMailbox;
#[cfg(test)]
pub use mailbox::TallyResult;
use subscription::SharedListing;

/// Delay before a reconcile that could not finish is repeated, and between checks for a newer object.
const RETRY_REQUEUE: Duration = Duration::from_secs(1);

/// State of one inventory between reconciles.
#[derive(Default)]
pub struct Slot {
    memory: Option<Memory>,
    latest: ReadYourWrites<BackupInventory>,
    /// Listing in progress; it resumes where a call failed.
    reading: Option<InventoryReading>,
    /// Subscription to shared listings.
    subscription: Option<InventorySubscription>,
    /// Result of a shared listing: the next reading starts with it.
    shared: Option<SharedListing>,
    /// Result of the last listing, until it is written to status.
    found: Option<ListingSummary>,
    details: Details,
}

/// One reconcile of one inventory.
struct Reconcile<'a> {
    context: &'a Arc<Context>,
    inventory: Arc<BackupInventory>,
    uid: Arc<str>,
    /// resourceVersion that the watch had delivered when the reconcile began.
    watched: String,
    namespace: String,
    key: AccountKey,
}

/// Returns whether a trigger concerns an inventory.
pub fn is_affected(inventory: &Cached<BackupInventory>, trigger: &Trigger) -> bool {
    inventory.0.as_ref().is_ok_and(|inventory| {
        let namespace = inventory.object_key.namespace();
        trigger.may_affect(namespace)
            && trigger.affects(&account_of(&inventory.spec(), namespace), Some(namespace))
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
        let namespace = inventory.object_key.namespace();
        key.is_usable_from(namespace) && account_of(&inventory.spec(), namespace) == *key
    })
}

/// Drops the state of inventories that the watch reported as deleted.
pub fn forget(context: &Context, gone: Deleted) {
    context.accounts.resources_deleted();
    for uid in lost(context.inventories.uids(), &context.inventory_stores, gone) {
        context.inventories.forget(&uid);
        context.failed_writes.forget(&uid);
    }
}

pub async fn reconcile(
    object: Arc<Cached<BackupInventory>>,
    context: Arc<Context>,
) -> Result<(Action, ReconcileResult), NotReported> {
    context.ready().await;
    let inventory = match &object.0 {
        Ok(inventory) => inventory,
        Err(invalid) => {
            let namespace = invalid.metadata.namespace.as_deref().unwrap_or_default();
            let api = Api::<Guarded<BackupInventory>>::namespaced(context.kube.clone(), namespace);
            let requeue = unreadable::report_parse_error(&context, &api, invalid, &[types::READY]).await?;
            return Ok((requeue, ReconcileResult::NeedsPerson));
        }
    };
    if inventory.is_deleted() {
        return Ok((Action::await_change(), ReconcileResult::Ok));
    }
    let uid = inventory.object_key.uid.clone();
    let entry = context.inventories.entry(&uid);
    let mut entry = entry.lock().await;
    let watched = inventory.version();
    let inventory = entry.latest.newest(inventory);
    let namespace = inventory.namespace().unwrap_or_default();
    let key = account_of(&inventory.spec, &namespace);
    let mut run = Reconcile { context: &context, inventory, uid, watched, namespace, key };
    let result = run.execute(&mut entry).await;
    if run.stored().is_none() {
        context.inventories.forget(&run.uid);
    }
    let status = run.inventory.status.as_ref();
    let conditions = status.map(|status| status.conditions.iter()).into_iter().flatten();
    let failure = entry.memory.as_ref().and_then(|memory| memory.failure.as_ref());
    let failed = failure.map(|failure| failure.kind.class());
    Ok((result, metrics::ended(conditions.map(|c| (&*c.type_, &*c.reason)), failed)))
}

impl Reconcile<'_> {
    async fn execute(&mut self, entry: &mut Slot) -> Action {
        let wanted = wanted(self.context, &self.inventory);
        if entry.memory.as_ref().is_none_or(|memory| memory.generation != wanted.generation) {
            self.context.accounts.resources_changed(&self.key);
            self.context.accounts.resources_deleted();
        }
        let mut memory = match entry.memory.take() {
            Some(memory) => memory,
            None => self.restore(entry, &wanted),
        };
        let context = self.context;
        let outdated = outdated(context, self.inventory.clone(), self.uid.clone());
        let result = tokio::select! {
            biased;
            result = self.list(entry, &wanted, &mut memory) => result,
            // A listing only reads, so nothing has to be completed before the shutdown.
            () = context.stopping() => Action::await_change(),
            () = outdated => Action::requeue(CONFLICT_REQUEUE),
        };
        entry.memory = Some(memory);
        result
    }

    /// Restores the in-memory state from status after a start.
    fn restore(&self, entry: &mut Slot, wanted: &DesiredInventory) -> Memory {
        let status = convert::credible(self.inventory.status.clone().unwrap_or_default());
        entry.details = convert::details_from(&status);
        let conditions: Vec<_> = status.conditions.iter().map(condition_from).collect();
        let handled = status.last_handled_reconcile_at.as_deref().map(handled_value);
        let observed = status.observed_generation;
        Memory::new(&conditions, observed, handled, wanted, self.context.as_of, self.context.clock.now())
    }

    async fn list(&mut self, entry: &mut Slot, wanted: &DesiredInventory, memory: &mut Memory) -> Action {
        loop {
            if !self.context.leadership.is_current() {
                return Action::requeue(RETRY_REQUEUE);
            }
            if !self.is_current() {
                return Action::requeue(CONFLICT_REQUEUE);
            }
            let now = self.context.clock.now();
            let purpose = purpose_of(&self.inventory.spec);
            let (env, view) = environment(self.context, &self.key, &self.namespace, purpose, now);
            if memory.notice(wanted, &env, now) {
                entry.reading = None;
                entry.unsubscribe();
            }
            // A complete listing is reported, unless it belongs to another spec or account.
            if !memory.listed {
                entry.found = None;
            }
            if entry.found.is_none() && !self.has_result() {
                memory.lost(now);
            }
            requests::forward(self.context, &self.key, &mut memory.request, &env.readiness);
            self.update_subscription(entry, wanted, &env, view.as_ref().map(|view| &*view.account), memory);
            match (self.subscriber_step(entry, wanted, &env, memory, now), view) {
                (NextAction::Call, Some(view)) => {
                    let listing_started = entry.reading.is_none();
                    if listing_started && let Some(again) = self.report(entry, wanted, &env, memory).await {
                        return Action::requeue(again);
                    }
                    let news = self.read(entry, wanted, memory, &view.account, now).await;
                    if news && let Some(again) = self.report(entry, wanted, &env, memory).await {
                        return Action::requeue(again);
                    }
                }
                (step, _) => {
                    let acted_on = !wanted.suspended
                        && requests::is_handled(
                            self.context,
                            &self.key,
                            &memory.request,
                            &env.readiness,
                            false,
                        );
                    if acted_on {
                        memory.finish_request();
                    }
                    if let Some(again) = self.report(entry, wanted, &env, memory).await {
                        return Action::requeue(again);
                    }
                    let until = match step {
                        NextAction::Wait(until) => until,
                        NextAction::Call => Some(after(now, RETRY_REQUEUE)),
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
        entry: &mut Slot,
        wanted: &DesiredInventory,
        memory: &mut Memory,
        account: &Account,
        now: Timestamp,
    ) -> bool {
        let Some(site) = account.site() else {
            memory.next = after(now, RETRY_REQUEUE);
            return false;
        };
        let mut reading = match entry.reading.take().filter(|reading| reading.is_resumable(now)) {
            Some(reading) => reading,
            None => {
                let (mut scope, mut request) = (self.scope(now), memory.request.pending.clone());
                if let Some(shared) = entry.shared.take() {
                    scope.shared = Some((shared.tallied, shared.answered));
                    request = shared.request;
                }
                match InventoryReading::begin(site, scope, now) {
                    Ok(reading) => {
                        memory.listing_started(request, now);
                        reading
                    }
                    Err(failure) => {
                        memory.failed(wanted, failure, now, fastrand::f64());
                        return false;
                    }
                }
            }
        };
        let call_context =
            self.context.call_context(account, &self.namespace, &self.uid, purpose_of(&self.inventory.spec));
        let account_client = AccountClient::Account(
            &self.context.accounts,
            account,
            call_context.with_priority(Priority::Poll),
        );
        let before = reading.answered();
        let answer = reading.step(&account_client, account, &mut entry.details, now).await;
        let now = self.context.clock.now();
        match answer {
            Ok(Some(found)) => {
                convert::keep_details(&mut entry.details, &found.items);
                entry.found = Some(found);
                memory.listed(wanted, now);
            }
            Ok(None) => {
                let answered = reading.answered();
                entry.reading = Some(reading);
                return memory.progressed(answered, now);
            }
            Err(failure) => {
                let answered = reading.answered();
                let news = answered > before && memory.progressed(answered, now);
                if !memory.failed(wanted, failure, now, fastrand::f64()) {
                    entry.reading = Some(reading);
                }
                return news;
            }
        }
        false
    }

    fn scope(&self, now: Timestamp) -> InventoryScope {
        let region = &self.inventory.spec.region;
        let watched = self
            .context
            .policies_of(&self.key)
            .iter()
            .filter_map(|policy| policy.0.as_ref().ok())
            .map(|policy| (policy.object_key.namespace(), policy.spec()))
            .filter(|(_, spec)| spec.region == *region && !spec.suspend)
            .filter(|(namespace, spec)| {
                let purpose = policy::purpose_of(self.context, spec);
                self.context.admission(&self.key, namespace, purpose) == Admission::Allowed
            })
            .map(|(_, spec)| spec.instance_id)
            .collect();
        InventoryScope { watched, ..scope_of(&self.inventory.spec, now) }
    }

    /// Returns the object as the watch last delivered it.
    fn stored(&self) -> Option<Arc<Cached<BackupInventory>>> {
        stored(&self.context.inventory_stores, &*self.inventory, &self.uid)
    }

    /// Returns whether status contains the result of a listing: another writer may have removed it.
    fn has_result(&self) -> bool {
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
        sleep(RETRY_REQUEUE).await;
    }
}
