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

use super::listing::{Ended, Order, list};
use super::plan::{Due, Plan, plan};
use super::serving::Serving;
use super::{Kept, Region};
use crate::cloud::{Caller, Lane, PAGES_AT_ONCE};
use crate::controllers::Context;
use crate::controllers::policy::{BACKUPS, Delivery, Desk};
use crate::controllers::sharing::{Admission, Purpose};
use crate::domain::{Failure, InstanceRef};
use crate::observe::{Account, Reached};
use crate::plan::round::{Finds, Found, KEPT, Member, Round, ShortestInterval, Way};
use crate::plan::{Gate, after, since};

/// Maximum number of single instances whose backups are listed at the same time.
const AT_ONCE: usize = PAGES_AT_ONCE;
/// Delay before an account that is not ready is checked again; its resources unsubscribe meanwhile.
const CLOSED_AGAIN: Duration = Duration::from_secs(5);

/// The UIDs of policies, by instance.
type Policies = HashMap<Arc<str>, Vec<Arc<str>>>;

pub async fn run(context: Arc<Context>, region: Arc<Region>) {
    loop {
        let (now, floor) = (context.clock.now(), context.accounts.floor(&region.place.account));
        let (next, kept_until) = {
            let mut state = region.state();
            state.reckoned = state.shortest();
            (state.next(region.phase, floor, now), state.kept.as_ref().map(|kept| after(kept.ended, KEPT)))
        };
        let Some((at, hurried)) = next else {
            if context.rounds.close(&region) {
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
                region.state().kept = None;
            }
            () = sleep(since(now, at)) => tokio::select! {
                () = context.stopping() => return,
                () = round(&context, &region, hurried) => {}
            }
        }
    }
}

impl Region {
    /// Records the expected duration of the pass in progress.
    pub(super) fn expect(&self, context: &Context, length: Duration) {
        self.takes(context, |known, _| ShortestInterval::expect(known, length));
    }

    /// Records the duration of a completed pass.
    fn measured(&self, context: &Context, length: Duration) {
        self.takes(context, |known, now| ShortestInterval::measured(known, length, now));
    }

    fn takes(&self, context: &Context, note: impl FnOnce(&mut Option<ShortestInterval>, Timestamp)) {
        let mut state = self.state();
        let before = state.possible;
        note(&mut state.possible, context.clock.now());
        let slow = |possible: Option<ShortestInterval>| possible?.beyond(state.shortest_own()?);
        let changes = before != state.possible && slow(before) != slow(state.possible);
        drop(state);
        if changes {
            context.accounts.resources_changed(&self.place.account);
        }
    }
}

async fn round(context: &Context, region: &Region, hurried: bool) {
    let place = &region.place;
    let view = context.accounts.view(&place.account).filter(|view| view.account.uid == place.uid);
    let Some(view) = view.filter(|view| view.gate == Gate::Open) else {
        region.state().began = None;
        return sleep(CLOSED_AGAIN).await;
    };
    let admitted = |namespace: &str, purpose: Purpose| {
        context.admission(&place.account, namespace, purpose) == Admission::Allowed
    };
    let begun = Instant::now();
    let Plan { due, taps, users, way, order } =
        plan(region, view.account.site(), hurried, context.clock.now(), admitted);
    if order.each == 0 {
        region.state().began = None;
        return sleep(CLOSED_AGAIN).await;
    }
    let was_refused = region.state().is_refused();
    let ended = match way {
        Way::Each => Ended::Each,
        Way::Listing => {
            // The call is made for all users of the account. It is queued under the account's namespace, or under
            // none for a ClusterCloudAccount.
            let namespace = place.account.namespace.as_deref().unwrap_or_default();
            let caller =
                Caller::new(namespace, &format!("backups of {}", place.region)).in_lane(Lane::Listing);
            let caller = caller.checked(context.check_any(&view.account, users));
            let reached = Reached::Account(&context.accounts, &view.account, caller);
            let mut serving = Serving::begin(region, &taps, order.began);
            let ended = list(context, region, &reached, &order, &mut serving).await;
            if let Ended::Listed { moved, .. } = ended {
                serving.end(moved, order.began, |namespace| admitted(namespace, Purpose::AccountInventory));
            }
            ended
        }
    };
    match ended {
        Ended::Listed { found, length, .. } => {
            region.state().began = Some(order.began);
            let now = context.clock.now();
            let admitted = |desk: &Desk| admitted(desk.namespace(), Purpose::Observe);
            let (everybody, found) = region.state().part(&order, found, now, admitted);
            tell(region, everybody, found, order.began, now).await;
            // Only after the delivery: a shorter interval in force makes earlier deliveries look older.
            region.measured(context, length);
        }
        Ended::Each if region.state().is_refused() => {
            region.state().began = Some(order.began);
            // Each policy lists its own backups with its next poll; those that wait, or relied on the listing, do so
            // at once.
            for Due { desk, .. } in due {
                let mut state = region.state();
                let waits = state.members.get(&desk.named().uid).is_some_and(|member| member.waits);
                state.members.give_up(&desk.named().uid);
                drop(state);
                if waits || !was_refused {
                    desk.deliver(Delivery::Refused, None);
                }
            }
        }
        Ended::Each => {
            let due = by_instance(due.into_iter().map(|due| (due.instance.clone(), due)));
            let (all, mut read) = (due.len(), 0);
            let interval = region.state().shortest().unwrap_or_default();
            let mut readings = pin!(
                stream::iter(due.into_values())
                    .map(|of| read_one(context, region, &view.account, of))
                    .buffer_unordered(AT_ONCE)
            );
            // A cloud that fails, or requests a pause, is not slow.
            let mut is_measured = !hurried;
            while let Some(was_read) = readings.next().await {
                read += 1;
                is_measured &= was_read && !view.account.budget.was_paused_since(begun);
                let elapsed = begun.elapsed();
                if is_measured && read > AT_ONCE && elapsed >= interval / 4 {
                    region.expect(context, elapsed.mul_f64(all as f64 / read as f64));
                }
            }
            if !hurried {
                region.state().began = Some(order.began);
            }
            if is_measured {
                region.measured(context, begun.elapsed());
            }
        }
        Ended::GivenUp => {
            region.state().began = None;
            due.iter().for_each(|due| region.state().members.give_up(&due.desk.named().uid));
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
async fn read_one(context: &Context, region: &Region, account: &Account, of: Vec<Due>) -> bool {
    let Some(first) = of.first() else { return true };
    let (named, id) = (first.desk.named().clone(), first.instance.clone());
    let caller = Caller::new(named.namespace(), &named.uid).in_lane(Lane::Poll);
    let caller = caller.checked(context.check(account, named.namespace(), Purpose::Observe));
    let instance = InstanceRef { region: region.place.region.clone(), id: id.to_string() };
    let (reached, now) = (Reached::Account(&context.accounts, account, caller), context.clock.now());
    let answer = {
        let instance = &instance;
        reached.call(BACKUPS, |client| async move { client.instance_backups(instance, now).await }).await
    };
    let uids: Vec<_> = of.iter().map(|due| due.desk.named().uid.clone()).collect();
    let was_read = answer.is_ok();
    match answer {
        Ok(backups) => {
            let mut round = Round::default();
            {
                let state = region.state();
                let sighted = state.sighted(&id);
                let backups = backups.iter().filter(|backup| *backup.instance_id == *id);
                backups.for_each(|backup| round.add(id.clone(), sighted, backup));
            }
            let policies = HashMap::from([(id, uids)]);
            tell(region, policies, round.end(false), now, context.clock.now()).await;
        }
        Err(failure) => {
            let mut state = region.state();
            for uid in uids {
                state.members.give_up(&uid);
                if let Some(member) = state.members.get(&uid) {
                    member.desk.deliver(Delivery::Failed(failure.clone()), None);
                }
            }
        }
    }
    was_read
}

/// Delivers the results to these policies, by instance. Few at a time: each policy expands its state, and may write
/// its status; all at once would need more memory than everything else does.
async fn tell(region: &Region, policies: Policies, mut found: Finds, began: Timestamp, now: Timestamp) {
    // Unchanged results are delivered first: they take no time, while the others may have to write a status.
    let is_news = |(instance, _): &(Arc<str>, _)| {
        let (state, found) = (region.state(), found.get(instance));
        !state.sighted(instance).is_some_and(|sighted| sighted.is_as(found))
    };
    let (news, same): (Vec<_>, Vec<_>) = policies.into_iter().partition(is_news);
    for (instance, uids) in same.into_iter().chain(news) {
        let found = found.remove(&instance).unwrap_or_default();
        let deliveries = region.state().deliveries(&instance, &uids, found, began, now);
        for (desk, delivery) in deliveries {
            // The semaphore is never closed.
            let slot = region.slots.clone().acquire_owned().await.ok();
            desk.deliver(delivery, slot);
        }
        // Only after the delivery: a policy that requests a listing before it waits for no other listing.
        uids.iter().for_each(|uid| region.state().members.was_read(uid, began));
    }
}

impl super::State {
    /// Returns the policies to deliver to, and their results. The other results are kept for policies that subscribe
    /// meanwhile, or soon.
    fn part(
        &mut self,
        order: &Order,
        found: Finds,
        now: Timestamp,
        admitted: impl Fn(&Desk) -> bool,
    ) -> (Policies, Finds) {
        let takes_part =
            |member: &Member<Arc<str>, Arc<Desk>>| order.looks_at(&member.what) && admitted(&member.desk);
        let members = self.members.iter().filter(|(_, member)| takes_part(member));
        let everybody = by_instance(members.map(|(uid, member)| (member.what.clone(), uid.clone())));
        let told: HashSet<_> = everybody.keys().cloned().collect();
        let (found, rest) = found.into_iter().partition(|(instance, _)| told.contains(instance));
        self.kept = match order.instances {
            None => Some(Kept { found: rest, told, began: order.began, ended: now }),
            Some(_) => self.kept.take().filter(|kept| since(kept.ended, now) <= KEPT),
        };
        (everybody, found)
    }

    fn deliveries(
        &mut self,
        instance: &str,
        uids: &[Arc<str>],
        found: Found,
        began: Timestamp,
        now: Timestamp,
    ) -> Vec<(Arc<Desk>, Delivery)> {
        let Some(instance) = self.instances.get_mut(instance) else { return Vec::new() };
        let news = found.news(&mut instance.sighted);
        let mut deliveries = Vec::new();
        for uid in uids {
            let Some(member) = self.members.get(uid) else { continue };
            // The policy reports that its backups were not listed for too long, or is about to.
            let stale = member.read.is_none_or(|read| since(read, now) >= member.interval * 2);
            let delivery = match &news {
                Some(news) => Some(Delivery::News(news.clone(), began)),
                None => (member.waits || stale).then_some(Delivery::Unchanged(began)),
            };
            deliveries.extend(delivery.map(|delivery| (member.desk.clone(), delivery)));
        }
        deliveries
    }
}

/// Delivers the failure to the policies that wait; they may report it, and continue to wait.
pub(super) fn tell_failure(region: &Region, failure: &Failure) {
    let state = region.state();
    let waiting: Vec<Arc<Desk>> =
        state.members.iter().filter(|(_, m)| m.waits).map(|(_, m)| m.desk.clone()).collect();
    drop(state);
    waiting.iter().for_each(|desk| desk.deliver(Delivery::Failed(failure.clone()), None));
}
