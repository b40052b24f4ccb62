//! Task of one account and region: waits for the next pass, makes it with the strategy that needs fewer calls, and
//! delivers the results to the policies whose facts changed and to the inventories that are due.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::listing::{ListOutcome, ListRequest, list};
use super::plan::{DuePolicy, PassPlan, plan};
use super::served_inventories::ServedInventories;
use super::{RecentResults, RegionLister};
use crate::accounts::{Account, AccountClient};
use crate::cloud::{CallContext, MAX_CONCURRENT_PAGES, Priority};
use crate::controllers::Context;
use crate::controllers::policy::{BACKUPS, ListingResult, Mailbox};
use crate::controllers::sharing::{Admission, Purpose};
use crate::domain::{Failure, InstanceRef};
use crate::plan::shared_listing::{
    InstanceDiff, LISTING_RETENTION, ListDiff, ListPass, ListStrategy, ShortestInterval, Subscriber,
};
use crate::plan::{AccountReadiness, after, since};

/// Maximum number of single instances whose backups are listed at the same time.
const MAX_CONCURRENT_LISTS: usize = MAX_CONCURRENT_PAGES;
/// Delay before an account that is not ready is checked again; its resources unsubscribe meanwhile.
const NOT_READY_RETRY: Duration = Duration::from_secs(5);

/// The UIDs of policies, by instance.
type PoliciesByInstance = HashMap<Arc<str>, Vec<Arc<str>>>;

pub async fn run(context: Arc<Context>, region: Arc<RegionLister>) {
    loop {
        let (now, min_interval) = (context.clock.now(), context.accounts.min_interval(&region.key.account));
        let (next, kept_until) = {
            let mut state = region.state();
            state.scheduled_interval = state.shortest();
            (
                state.next(region.poll_offset, min_interval, now),
                state.recent.as_ref().map(|recent| after(recent.ended, LISTING_RETENTION)),
            )
        };
        let Some((at, urgent)) = next else {
            if context.backup_lister.close(&region) {
                return;
            }
            continue;
        };
        tokio::select! {
            biased;
            () = context.stopping() => return,
            () = region.changed.notified() => {}
            // No policy subscribed that needs the kept results.
            () = sleep(since(now, kept_until.unwrap_or(at))), if kept_until.is_some_and(|until| until < at) => {
                region.state().recent = None;
            }
            () = sleep(since(now, at)) => tokio::select! {
                () = context.stopping() => return,
                () = pass(&context, &region, urgent) => {}
            }
        }
    }
}

impl RegionLister {
    /// Records the expected duration of the pass in progress.
    pub(super) fn expect(&self, context: &Context, length: Duration) {
        self.update_shortest(context, |known, _| ShortestInterval::expect(known, length));
    }

    /// Records the duration of a completed pass.
    fn measured(&self, context: &Context, length: Duration) {
        self.update_shortest(context, |known, now| ShortestInterval::measured(known, length, now));
    }

    fn update_shortest(
        &self,
        context: &Context,
        note: impl FnOnce(&mut Option<ShortestInterval>, Timestamp),
    ) {
        let mut state = self.state();
        let before = state.shortest_possible;
        note(&mut state.shortest_possible, context.clock.now());
        let slow = |shortest_possible: Option<ShortestInterval>| {
            shortest_possible?.if_longer_than(state.shortest_own()?)
        };
        let changes = before != state.shortest_possible && slow(before) != slow(state.shortest_possible);
        drop(state);
        if changes {
            context.accounts.resources_changed(&self.key.account);
        }
    }
}

async fn pass(context: &Context, region: &RegionLister, urgent: bool) {
    let key = &region.key;
    let view = context.accounts.view(&key.account).filter(|view| view.account.uid == key.uid);
    let Some(view) = view.filter(|view| view.readiness == AccountReadiness::Open) else {
        region.state().began = None;
        return sleep(NOT_READY_RETRY).await;
    };
    let admitted = |namespace: &str, purpose: Purpose| {
        context.admission(&key.account, namespace, purpose) == Admission::Allowed
    };
    let begun = Instant::now();
    let PassPlan { due, inventories, users, list_strategy, list_request } =
        plan(region, view.account.site(), urgent, context.clock.now(), admitted);
    if list_request.separate_calls == 0 {
        region.state().began = None;
        return sleep(NOT_READY_RETRY).await;
    }
    let was_refused = region.state().is_refused();
    let ended = match list_strategy {
        ListStrategy::PerInstance => ListOutcome::PerInstance,
        ListStrategy::Listing => {
            // The call is made for all users of the account. It is queued under the account's namespace, or under
            // none for a ClusterCloudAccount.
            let namespace = key.account.namespace.as_deref().unwrap_or_default();
            let call_context = CallContext::new(namespace, &format!("backups of {}", key.region))
                .with_priority(Priority::Listing);
            let call_context = call_context.with_check(context.check_any(&view.account, users));
            let account_client = AccountClient::Account(&context.accounts, &view.account, call_context);
            let mut served = ServedInventories::begin(region, &inventories, list_request.began);
            let ended = list(context, region, &account_client, &list_request, &mut served).await;
            if let ListOutcome::Listed { moved, .. } = ended {
                served.end(moved, list_request.began, |namespace| {
                    admitted(namespace, Purpose::AccountInventory)
                });
            }
            ended
        }
    };
    match ended {
        ListOutcome::Listed { found, length, .. } => {
            region.state().began = Some(list_request.began);
            let now = context.clock.now();
            let admitted = |mailbox: &Mailbox| admitted(mailbox.namespace(), Purpose::Observe);
            let (recipients, found) = region.state().split_results(&list_request, found, now, admitted);
            deliver(region, recipients, found, list_request.began, now).await;
            // Only after the delivery: a shorter interval in force makes earlier deliveries look older.
            region.measured(context, length);
        }
        ListOutcome::PerInstance if region.state().is_refused() => {
            region.state().began = Some(list_request.began);
            // Each policy lists its own backups with its next poll; those that wait, or relied on the listing, do so
            // at once.
            for DuePolicy { mailbox, .. } in due {
                let mut state = region.state();
                let waits = state
                    .subscribers
                    .get(&mailbox.object_key().uid)
                    .is_some_and(|subscriber| subscriber.waits);
                state.subscribers.stop_waiting(&mailbox.object_key().uid);
                drop(state);
                if waits || !was_refused {
                    mailbox.deliver(ListingResult::Refused, None);
                }
            }
        }
        ListOutcome::PerInstance => {
            let due = by_instance(due.into_iter().map(|due| (due.instance.clone(), due)));
            let (all, mut read) = (due.len(), 0);
            let interval = region.state().shortest().unwrap_or_default();
            let mut readings = pin!(
                stream::iter(due.into_values())
                    .map(|of| list_instance(context, region, &view.account, of))
                    .buffer_unordered(MAX_CONCURRENT_LISTS)
            );
            // A cloud that fails, or requests a pause, is not slow.
            let mut is_measured = !urgent;
            while let Some(record_listing) = readings.next().await {
                read += 1;
                is_measured &= record_listing && !view.account.budget.was_paused_since(begun);
                let elapsed = begun.elapsed();
                if is_measured && read > MAX_CONCURRENT_LISTS && elapsed >= interval / 4 {
                    region.expect(context, elapsed.mul_f64(all as f64 / read as f64));
                }
            }
            if !urgent {
                region.state().began = Some(list_request.began);
            }
            if is_measured {
                region.measured(context, begun.elapsed());
            }
        }
        ListOutcome::GivenUp => {
            region.state().began = None;
            due.iter().for_each(|due| region.state().subscribers.stop_waiting(&due.mailbox.object_key().uid));
        }
    }
}

/// Groups by instance: several policies can refer to one instance.
fn by_instance<T>(all: impl Iterator<Item = (Arc<str>, T)>) -> HashMap<Arc<str>, Vec<T>> {
    let mut by_instance = HashMap::<Arc<str>, Vec<T>>::new();
    for (instance, one) in all {
        by_instance.entry(instance).or_default().push(one);
    }
    by_instance
}

/// Lists the backups of one instance, and delivers them to its policies. Returns whether they were listed.
async fn list_instance(
    context: &Context,
    region: &RegionLister,
    account: &Account,
    of: Vec<DuePolicy>,
) -> bool {
    let Some(first) = of.first() else { return true };
    let (object_key, id) = (first.mailbox.object_key().clone(), first.instance.clone());
    let call_context =
        CallContext::new(object_key.namespace(), &object_key.uid).with_priority(Priority::Poll);
    let call_context =
        call_context.with_check(context.check(account, object_key.namespace(), Purpose::Observe));
    let instance = InstanceRef { region: region.key.region.clone(), id: id.to_string() };
    let (account_client, now) =
        (AccountClient::Account(&context.accounts, account, call_context), context.clock.now());
    let answer = {
        let instance = &instance;
        account_client
            .call(BACKUPS, |client| async move { client.instance_backups(instance, now).await })
            .await
    };
    let uids: Vec<_> = of.iter().map(|due| due.mailbox.object_key().uid.clone()).collect();
    let record_listing = answer.is_ok();
    match answer {
        Ok(backups) => {
            let mut pass = ListPass::default();
            {
                let state = region.state();
                let fingerprints = state.fingerprints(&id);
                let backups = backups.iter().filter(|backup| *backup.instance_id == *id);
                backups.for_each(|backup| pass.add(id.clone(), fingerprints, backup));
            }
            let policies = HashMap::from([(id, uids)]);
            deliver(region, policies, pass.end(false), now, context.clock.now()).await;
        }
        Err(failure) => {
            let mut state = region.state();
            for uid in uids {
                state.subscribers.stop_waiting(&uid);
                if let Some(subscriber) = state.subscribers.get(&uid) {
                    subscriber.mailbox.deliver(ListingResult::Failed(failure.clone()), None);
                }
            }
        }
    }
    record_listing
}

/// Delivers the results to these policies, by instance. Few at a time: each policy expands its state, and may write
/// its status; all at once would need more memory than everything else does.
async fn deliver(
    region: &RegionLister,
    policies: PoliciesByInstance,
    mut found: ListDiff,
    began: Timestamp,
    now: Timestamp,
) {
    // Unchanged results are delivered first: they take no time, while the others may have to write a status.
    let is_news = |(instance, _): &(Arc<str>, _)| {
        let (state, found) = (region.state(), found.get(instance));
        !state.fingerprints(instance).is_some_and(|fingerprints| fingerprints.is_unchanged(found))
    };
    let (delta, same): (Vec<_>, Vec<_>) = policies.into_iter().partition(is_news);
    for (instance, uids) in same.into_iter().chain(delta) {
        let found = found.remove(&instance).unwrap_or_default();
        let deliveries = region.state().deliveries(&instance, &uids, found, began, now);
        for (mailbox, delivery) in deliveries {
            // The semaphore is never closed.
            let delivery_permit = region.delivery_slots.clone().acquire_owned().await.ok();
            mailbox.deliver(delivery, delivery_permit);
        }
        // Only after the delivery: a policy that requests a listing before it waits for no other listing.
        uids.iter().for_each(|uid| region.state().subscribers.record_listing(uid, began));
    }
}

impl super::State {
    /// Returns the policies to deliver to, and their results. The other results are kept for policies that subscribe
    /// meanwhile, or soon.
    fn split_results(
        &mut self,
        list_request: &ListRequest,
        found: ListDiff,
        now: Timestamp,
        admitted: impl Fn(&Mailbox) -> bool,
    ) -> (PoliciesByInstance, ListDiff) {
        let takes_part = |subscriber: &Subscriber<Arc<str>, Arc<Mailbox>>| {
            list_request.compares(&subscriber.what) && admitted(&subscriber.mailbox)
        };
        let subscribers = self.subscribers.iter().filter(|(_, subscriber)| takes_part(subscriber));
        let recipients =
            by_instance(subscribers.map(|(uid, subscriber)| (subscriber.what.clone(), uid.clone())));
        let delivered: HashSet<_> = recipients.keys().cloned().collect();
        let (found, rest) = found.into_iter().partition(|(instance, _)| delivered.contains(instance));
        self.recent = match list_request.instances {
            None => Some(RecentResults { found: rest, delivered, began: list_request.began, ended: now }),
            Some(_) => self.recent.take().filter(|recent| since(recent.ended, now) <= LISTING_RETENTION),
        };
        (recipients, found)
    }

    fn deliveries(
        &mut self,
        instance: &str,
        uids: &[Arc<str>],
        found: InstanceDiff,
        began: Timestamp,
        now: Timestamp,
    ) -> Vec<(Arc<Mailbox>, ListingResult)> {
        let Some(instance) = self.instances.get_mut(instance) else { return Vec::new() };
        let delta = found.delta(&mut instance.fingerprints);
        let mut deliveries = Vec::new();
        for uid in uids {
            let Some(subscriber) = self.subscribers.get(uid) else { continue };
            // The policy reports that its backups were not listed for too long, or is about to.
            let stale = subscriber.read.is_none_or(|read| since(read, now) >= subscriber.interval * 2);
            let delivery = match &delta {
                Some(delta) => Some(ListingResult::Changed(delta.clone(), began)),
                None => (subscriber.waits || stale).then_some(ListingResult::Unchanged(began)),
            };
            deliveries.extend(delivery.map(|delivery| (subscriber.mailbox.clone(), delivery)));
        }
        deliveries
    }
}

/// Delivers the failure to the policies that wait; they may report it, and continue to wait.
pub(super) fn deliver_failure(region: &RegionLister, failure: &Failure) {
    let state = region.state();
    let waiting: Vec<Arc<Mailbox>> =
        state.subscribers.iter().filter(|(_, m)| m.waits).map(|(_, m)| m.mailbox.clone()).collect();
    drop(state);
    waiting.iter().for_each(|mailbox| mailbox.deliver(ListingResult::Failed(failure.clone()), None));
}
