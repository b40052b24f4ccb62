//! Policy controller: describes the instance's policy in the cloud, decides, modifies it where that is requested, and
//! reports in status.

mod act;
mod claims;
pub mod convert;
mod delete;
pub mod desired;
mod desk;
mod entry;
mod glance;
mod recall;
mod report;
mod rest;
mod stake;
mod unreadable;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use tokio::sync::OwnedSemaphorePermit;

use super::alarms::Alarm;
use super::cached::Cached;
use super::guarded::{Guarded, readable};
use super::memories::Latest;
use super::rounds::Seat;
use super::watch::{Gone, lost, stored};
use super::{
    Context, GONE, NotReported, OVERTAKEN, Part, Purpose, Wake, metrics, requests, requeue, surroundings,
};
use crate::api::policy::{CrossRegionBackupPolicySpec, ManagementPolicy};
use crate::api::{CrossRegionBackupPolicy, FINALIZER};
use crate::cloud::{Caller, Lane, Ticket};
use crate::cluster::resource_version;
use crate::cluster::status::{Applied, set_finalizer};
use crate::domain::{Facts, Failure, InstanceRef, PolicyState};
use crate::metrics::Ended;
use crate::observe::{Account, AccountKey, Reached};
use crate::plan::memory::{Memory, Regions};
use crate::plan::next::{Do, meanwhile, next};
use crate::plan::{Desired, Gate, Surroundings, after, hash_of, since};
use act::Attempt;
pub use act::BACKUPS;
pub use claims::Claims;
pub use desired::{account_of, own_interval};
use desired::{desired, instance_of};
pub use desk::{Delivery, Desk};
use entry::lane;
use report::Told;
use rest::Rest;
pub use stake::{seed_claims, stored_refusal};

/// Upper bound on the steps of a reconcile, more than any sequence of decisions needs: beyond it there is a bug, and
/// the reconcile ends.
const STEPS: usize = 64;
/// Requeue delay after a reconcile that could not complete.
const AGAIN: Duration = Duration::from_secs(1);

/// In-memory state of one policy.
#[derive(Default)]
pub struct Slot {
    memory: Option<Rest>,
    latest: Latest<CrossRegionBackupPolicy>,
    /// Time of the last write of the status.
    written: Option<Timestamp>,
    /// Facts that status reported at the last publication of Events, if another writer has written it since, or we
    /// without an answer. The next Events compare with them: the late write of a former leader causes none, and a write
    /// of our own that got no answer does.
    untold: Option<Box<Facts>>,
    /// Account that the proof of access belongs to, as a hash of 64 bits.
    account: Option<u64>,
    desk: Option<Arc<Desk>>,
    /// Subscription to the shared listings of its account's backups.
    seat: Option<Seat>,
    /// Priority and place in the request queue while it waits for a permit.
    waiting: Option<(Lane, Box<Ticket>)>,
    /// Timer of a policy that waits for nothing but its next poll.
    alarm: Option<Alarm>,
}

/// Result of adding or removing the finalizer.
enum Finalizer {
    AsWanted,
    /// Another writer has changed the object meanwhile, or it is deleted: retry after this delay.
    Overtaken(Duration),
    /// The API server did not accept the write: retry after this delay.
    Refused(Duration),
}

/// A reconcile of one policy.
struct Turn<'a> {
    context: &'a Arc<Context>,
    policy: Arc<CrossRegionBackupPolicy>,
    uid: Arc<str>,
    /// resourceVersion that the watch had delivered when the reconcile began.
    watched: String,
    desk: Arc<Desk>,
    /// Call context of this reconcile; `None` until the request budget grants a permit.
    caller: Option<Caller>,
    /// Result of a describe that the fast path could not apply.
    answer: Option<Result<PolicyState, Failure>>,
    /// Permit to apply a shared listing.
    told: Option<OwnedSemaphorePermit>,
    namespace: String,
    instance: InstanceRef,
    key: AccountKey,
    account: Option<&'a Account>,
    /// Outcome for the metrics.
    ended: Ended,
}

/// Whether a trigger affects a policy.
pub fn is_concerned(policy: &Cached<CrossRegionBackupPolicy>, wake: &Wake) -> bool {
    policy.0.as_ref().is_ok_and(|policy| {
        let namespace = policy.named.namespace();
        wake.reaches(namespace) && wake.concerns(&account_of(&policy.spec(), namespace), Some(namespace))
    })
}

/// Returns the purpose for which a policy uses its account.
pub fn purpose_of(context: &Context, spec: &CrossRegionBackupPolicySpec) -> Purpose {
    let manages = spec.management_policy == ManagementPolicy::Manage && !context.read_only;
    if manages { Purpose::Manage } else { Purpose::Observe }
}

/// Whether a policy refers to this account.
pub fn uses(policy: &Cached<CrossRegionBackupPolicy>, key: &AccountKey) -> bool {
    policy.0.as_ref().is_ok_and(|policy| {
        let namespace = policy.named.namespace();
        key.is_within_reach_of(namespace) && account_of(&policy.spec(), namespace) == *key
    })
}

/// Drops the state of deleted policies.
pub fn forget(context: &Context, gone: Gone) {
    context.accounts.resources_gone();
    let uids = lost(context.policies.uids(), &context.policy_stores, gone);
    for uid in uids {
        context.policies.forget(&uid);
        context.claims.set(&uid, None);
        context.failed_writes.forget(&uid);
        context.noted.forget(&uid);
    }
}

pub async fn reconcile(
    object: Arc<Cached<CrossRegionBackupPolicy>>,
    context: Arc<Context>,
) -> Result<(Action, Ended), NotReported> {
    context.ready().await;
    if !context.leadership.is_current() {
        return Ok((Action::requeue(AGAIN), Ended::Waiting));
    }
    let policy = match &object.0 {
        Ok(policy) => policy,
        Err(invalid) => {
            let action = Box::pin(unreadable::reconcile(&context, invalid)).await?;
            return Ok((action, Ended::NeedsPerson));
        }
    };
    let named = policy.named.clone();
    let slot = context.policies.slot(&named.uid);
    let mut slot = slot.lock().await;
    slot.alarm = None;
    let watched = Arc::new(policy.without_status());
    let key = account_of(&watched.spec, named.namespace());
    let account = context.accounts.view(&key).map(|view| view.account);
    let account_of_newest;
    let namespace = named.namespace().to_string();
    let desk = slot.desk.get_or_insert_with(|| Arc::new(Desk::new(named.clone(), context.wakes.clone())));
    let mut turn = Turn {
        context: &context,
        desk: desk.clone(),
        caller: None,
        answer: None,
        told: None,
        namespace,
        instance: instance_of(&watched.spec),
        account: account.as_deref(),
        key,
        uid: named.uid.clone(),
        watched: policy.version(),
        policy: watched,
        ended: Ended::Ok,
    };
    let result = match Box::pin(turn.glance(&mut slot, policy)).await {
        Some(action) => action,
        None => {
            turn.policy = slot.latest.newest(policy);
            // The response to a write can hold a later spec than the watch has delivered.
            let key = account_of(&turn.policy.spec, named.namespace());
            if key != turn.key {
                account_of_newest = context.accounts.view(&key).map(|view| view.account);
                turn.account = account_of_newest.as_deref();
                turn.key = key;
                (turn.caller, turn.answer) = (None, None);
            }
            turn.take(&mut slot).await
        }
    };
    // An unused permit goes back to the request budget.
    if slot.waiting.is_none() {
        drop(turn.desk.take_permit());
    }
    // A policy that was deleted meanwhile must not leave a claim.
    if turn.stored().is_none() {
        forget(&context, Gone::One(Box::new(turn.policy.metadata.clone())));
    }
    let ended = if slot.waiting.is_some() { Ended::Waiting } else { turn.ended };
    Ok((result, ended))
}

impl Turn<'_> {
    async fn take(&mut self, slot: &mut Slot) -> Action {
        let desired = desired(self.context, &self.policy);
        let mut memory = Box::new(self.recall(slot, &desired));
        let account = hash_of(&self.policy.spec.account_ref);
        if slot.account.replace(account).is_some_and(|before| before != account) {
            self.context.accounts.resources_gone();
            memory.forget_proof();
        }
        if memory.refusal_unchecked
            && let Some(account) = self.account.filter(|account| account.site().is_some())
        {
            memory.check_refusal(account.changed(), self.context.clock.now());
        }
        let result = if self.policy.metadata.deletion_timestamp.is_some() {
            Box::pin(self.say_farewell(slot, &desired, &mut memory)).await
        } else {
            self.converge(slot, &desired, &mut memory).await
        };
        let conditions = memory.facts.conditions.iter().map(|c| (&*c.kind, &*c.reason));
        let failed = memory.look_failure.as_ref().map(|failure| failure.kind.class());
        self.ended = metrics::ended(conditions, failed);
        slot.memory = Some(self.laid_down(slot, &mut memory, &desired));
        result
    }

    async fn converge(&mut self, slot: &mut Slot, desired: &Desired, memory: &mut Memory) -> Action {
        let finalizer_at = match self.set_finalizer(slot, desired.disable_on_delete).await {
            Finalizer::AsWanted => None,
            Finalizer::Overtaken(again) => return Action::requeue(again),
            Finalizer::Refused(wait) => Some(after(self.context.clock.now(), wait)),
        };
        // Without its finalizer the policy could be deleted before the instance was disabled: it only observes until
        // then.
        let is_unheld = finalizer_at.is_some() && desired.disable_on_delete;
        let observing = is_unheld.then(|| Desired { manages: false, ..desired.clone() });
        let acting = observing.as_ref().unwrap_or(desired);
        let mut looked = false;
        for turn in 0..STEPS {
            let now = self.context.clock.now();
            let around = self.surroundings(memory, now);
            memory.notice(desired, around.epoch, now);
            requests::forward(self.context, &self.key, &mut memory.request, &around.gate);
            if turn == 0 {
                self.share_readings(slot, desired, &around, memory);
                // Applied even if no further call may be made, as after a throttled describe: the failure must be
                // recorded.
                if let Some(answer) = self.answer.take().filter(|_| around.gate == Gate::Open) {
                    memory.looked(desired, answer, now, fastrand::f64());
                    looked = true;
                }
            }
            let step = match next(acting, &around, memory, now) {
                // Calls that wait long for the request budget make the next poll due before this reconcile has reported
                // anything.
                Do::Look if looked && memory.is_settled() => Do::Wait(Some(now)),
                step => step,
            };
            looked |= step == Do::Look;
            if step == Do::ReadBackups && self.is_shared(slot, desired, memory) {
                memory.await_reading();
                continue;
            }
            let step = match step {
                Do::Wait(until) => {
                    slot.waiting = None;
                    Do::Wait(until)
                }
                // The spec may have changed without a watch event.
                Do::Modify if self.context.is_doubted() => Do::Wait(Some(after(now, AGAIN))),
                step if self.may_begin(slot, lane(desired, memory, &step, now)) => step,
                // A new spec is not reported before its describe, so that one write reports both.
                _ if memory.facts.observed_generation != Some(desired.generation) => {
                    return requeue(meanwhile(desired, memory, now), now);
                }
                _ => Do::Wait(meanwhile(desired, memory, now)),
            };
            if let Do::Wait(until) = step {
                let until = until.into_iter().chain(finalizer_at).min();
                self.settle_request(memory, desired, &around, now);
                let reported = if memory.difference.is_some() { acting } else { desired };
                return match self.report(slot, reported, &around, memory).await {
                    Told::All => self.wait(slot, until),
                    Told::Later(at) => {
                        let until = until.map_or(at, |until| until.min(at));
                        requeue(Some(until), self.context.clock.now())
                    }
                    Told::Outdated => Action::requeue(OVERTAKEN),
                    Told::Gone => Action::requeue(GONE),
                };
            }
            if self.account.is_some_and(|account| !self.context.accounts.serves(&self.key, &account.uid)) {
                return Action::requeue(OVERTAKEN);
            }
            // Boxed, so that the many reconciles that wait to write a result hold nothing of the call.
            Box::pin(self.act(step, slot, desired, memory)).await;
            if !self.is_current() {
                return Action::requeue(OVERTAKEN);
            }
        }
        tracing::error!(policy = %self.policy.name_any(), "a turn did not come to an end");
        Action::requeue(AGAIN)
    }

    async fn act(&mut self, step: Do, slot: &Slot, desired: &Desired, memory: &mut Memory) {
        let Some(account) = self.account else { return };
        let reached = self.through(account);
        let clock = &self.context.clock;
        match step {
            Do::Look => {
                let answer = self.describe(&reached).await;
                memory.looked(desired, answer, clock.now(), fastrand::f64());
                if slot.seat.as_ref().is_some_and(Seat::reads_alone) {
                    memory.read_with_look(desired, clock.now());
                }
            }
            Do::AskRegions => {
                let wanted = desired.change.cross_backup_region.as_deref();
                let hint = wanted.filter(|_| memory.regions == Regions::Unknown);
                let answer = self.regions(&reached, hint).await;
                memory.told_regions(desired, answer, clock.now());
            }
            Do::Modify => self.attempt(&reached, desired, memory).await,
            Do::ReadBackups => {
                memory.begin_reading(desired, clock.now());
                let reading = self.backups(&reached, slot.seat.as_ref()).await;
                memory.read_backups(desired, reading, clock.now(), fastrand::f64());
            }
            Do::Wait(_) => {}
        }
    }

    async fn attempt(&self, reached: &Reached<'_>, desired: &Desired, memory: &mut Memory) {
        let change = desired.change.clone();
        let seen = memory.correctable.unwrap_or(Timestamp::MIN);
        let (attempt, effect) = self.modify(reached, &change, seen).await;
        let now = self.context.clock.now();
        match attempt {
            Attempt::Accepted(request_id) => {
                tracing::info!(
                    namespace = %self.namespace,
                    policy = %self.policy.name_any(),
                    instance = %self.instance.id,
                    active = change.active,
                    target = change.cross_backup_region.as_deref(),
                    request_id = request_id.as_deref(),
                    "the cloud accepted a change"
                );
                memory.accepted(desired, &change, request_id, now);
            }
            Attempt::Failed(failure) => {
                memory.not_accepted(desired, &change, failure, effect, now, fastrand::f64());
            }
            Attempt::Superseded => memory.superseded(&change, effect, now),
        }
    }

    fn purpose(&self) -> Purpose {
        purpose_of(self.context, &self.policy.spec)
    }

    fn through<'a>(&'a self, account: &'a Account) -> Reached<'a> {
        let caller = self.caller.clone().unwrap_or_else(|| self.caller_of(account));
        Reached::Account(&self.context.accounts, account, caller)
    }

    fn caller_of(&self, account: &Account) -> Caller {
        let purpose = self.purpose();
        self.context.caller(account, &self.namespace, &self.uid, purpose)
    }

    /// Returns the environment: account, competing policy, and all other inputs of a decision besides the resource
    /// itself.
    fn surroundings(&self, memory: &Memory, now: Timestamp) -> Surroundings {
        let purpose = self.purpose();
        let (around, view) = surroundings(self.context, &self.key, &self.namespace, purpose, now);
        self.stake(memory, &around.gate, view.as_ref());
        let rival =
            memory.facts.policy.as_ref().and_then(|_| self.context.claims.rival(&self.uid, &self.namespace));
        Surroundings { rival, ..around }
    }

    /// Marks a request as handled once a poll is complete, or if none is possible.
    fn settle_request(&self, memory: &mut Memory, desired: &Desired, around: &Surroundings, now: Timestamp) {
        let looked = memory.next_look > now && !memory.backups.is_due(now);
        let acted_on = !desired.suspended
            && requests::is_acted_on(self.context, &self.key, &memory.request, &around.gate, looked);
        if acted_on {
            memory.handled_request();
        }
    }

    /// Sets the timer for the next reconcile: nothing is due before `until`.
    fn wait(&self, slot: &mut Slot, until: Option<Timestamp>) -> Action {
        let wait = |until| since(self.context.clock.now(), until).max(Duration::from_millis(1));
        slot.alarm = until.map(|until| self.context.alarms.set(self.desk.named(), wait(until)));
        Action::await_change()
    }

    /// Adds or removes the finalizer.
    async fn set_finalizer(&mut self, slot: &mut Slot, wanted: bool) -> Finalizer {
        if self.policy.finalizers().iter().any(|f| f == FINALIZER) == wanted {
            return Finalizer::AsWanted;
        }
        let failed_writes = &self.context.failed_writes;
        if let Some(wait) = failed_writes.wait(&self.policy.metadata, Part::Finalizers) {
            return Finalizer::Refused(wait);
        }
        let (api, object) = (self.api(), Box::new(self.guarded()));
        match Box::pin(set_finalizer(&api, &*object, FINALIZER, wanted)).await.map(readable) {
            Ok(Applied::Written(object)) => {
                failed_writes.succeeded(&self.policy.metadata, Part::Finalizers);
                self.policy = slot.latest.keep(object, &self.watched);
                Finalizer::AsWanted
            }
            Ok(Applied::Stale(Some(object))) => {
                self.context.refused(&*self.policy, &object);
                slot.latest.keep(object, &self.watched);
                Finalizer::Overtaken(OVERTAKEN)
            }
            Ok(Applied::Stale(None)) => Finalizer::Overtaken(GONE),
            Err(error) => {
                let kind = CrossRegionBackupPolicy::kind(&());
                Finalizer::Refused(failed_writes.failed(
                    &kind,
                    &self.policy.metadata,
                    Part::Finalizers,
                    &error,
                ))
            }
        }
    }

    fn api(&self) -> Api<Guarded<CrossRegionBackupPolicy>> {
        Api::namespaced(self.context.kube.clone(), &self.namespace)
    }

    /// Returns the policy without its status, for a write.
    fn guarded(&self) -> Guarded<CrossRegionBackupPolicy> {
        let CrossRegionBackupPolicy { metadata, spec, .. } = &*self.policy;
        Guarded(Ok(CrossRegionBackupPolicy { metadata: metadata.clone(), spec: spec.clone(), status: None }))
    }

    /// Returns the object as last delivered by the watch.
    fn stored(&self) -> Option<Arc<Cached<CrossRegionBackupPolicy>>> {
        stored(&self.context.policy_stores, &*self.policy, &self.uid)
    }

    fn is_current(&self) -> bool {
        is_current(self.context, &self.policy, &self.uid, &self.watched)
    }
}

/// Whether this process still leads, and the watch has delivered no newer spec.
fn is_current(context: &Context, policy: &CrossRegionBackupPolicy, uid: &str, watched: &str) -> bool {
    // A lower resourceVersion comes from a restored etcd, with the spec of that time.
    let went_back = |version: Option<u128>| version.is_some() && version < resource_version(watched);
    let is_newest = |stored: Arc<Cached<_>>| {
        stored.generation() <= policy.metadata.generation && !went_back(stored.version())
    };
    context.leadership.is_current() && stored(&context.policy_stores, policy, uid).is_some_and(is_newest)
}
