//! Policy controller: describes the instance's policy in the cloud, decides, modifies it where that is requested, and
//! reports in status.

mod act;
mod claim;
mod claims;
pub mod convert;
mod delete;
pub mod desired;
mod fast_path;
mod load_state;
mod mailbox;
mod prerequisites;
mod report;
mod stored_state;
mod unreadable;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use tokio::sync::OwnedSemaphorePermit;

use super::backup_lister::Subscription;
use super::cached::Cached;
use super::guarded::{Guarded, readable};
use super::requeue_timers::RequeueTimer;
use super::state_store::ReadYourWrites;
use super::watch::{Deleted, lost, stored};
use super::{
    CONFLICT_REQUEUE, Context, NOT_FOUND_REQUEUE, NotReported, Part, Purpose, Trigger, environment, metrics,
    requests, requeue,
};
use crate::accounts::{Account, AccountClient, AccountKey};
use crate::api::policy::{CrossRegionBackupPolicySpec, ManagementPolicy};
use crate::api::{CrossRegionBackupPolicy, FINALIZER};
use crate::cloud::{CallContext, Priority, Waiter};
use crate::cluster::resource_version;
use crate::cluster::status::{Applied, set_finalizer};
use crate::domain::{Facts, Failure, InstanceRef, PolicyState};
use crate::metrics::ReconcileResult;
use crate::plan::memory::{Memory, Regions};
use crate::plan::next::{NextAction, meanwhile, next};
use crate::plan::{AccountReadiness, Desired, ReconcileEnv, after, hash_of, since};
use act::Attempt;
pub use act::BACKUPS;
pub use claim::{seed_claims, stored_refusal};
pub use claims::Claims;
pub use desired::{account_of, own_interval};
use desired::{desired, instance_of};
pub use mailbox::{ListingResult, Mailbox};
use prerequisites::priority;
use report::ReportResult;
use stored_state::StoredState;

/// Upper bound on the steps of a reconcile, more than any sequence of decisions needs: beyond it there is a bug, and
/// the reconcile ends.
const MAX_STEPS: usize = 64;
/// Requeue delay after a reconcile that could not complete.
const RETRY_REQUEUE: Duration = Duration::from_secs(1);

/// In-memory state of one policy.
#[derive(Default)]
pub struct PolicyEntry {
    memory: Option<StoredState>,
    latest: ReadYourWrites<CrossRegionBackupPolicy>,
    /// Time of the last write of the status.
    written: Option<Timestamp>,
    /// Facts that status reported at the last publication of Events, if another writer has written it since, or we
    /// without an answer. The next Events compare with them: the late write of a former leader causes none, and a write
    /// of our own that got no answer does.
    last_published: Option<Box<Facts>>,
    /// Account that the proof of access belongs to, as a hash of 64 bits.
    account: Option<u64>,
    mailbox: Option<Arc<Mailbox>>,
    /// Subscription to the shared listings of its account's backups.
    subscription: Option<Subscription>,
    /// Priority and place in the request queue while it waits for a permit.
    waiting: Option<(Priority, Box<Waiter>)>,
    /// Timer of a policy that waits for nothing but its next poll.
    timer: Option<RequeueTimer>,
}

/// Result of adding or removing the finalizer.
enum FinalizerResult {
    UpToDate,
    /// Another writer has changed the object meanwhile, or it is deleted: retry after this delay.
    Conflict(Duration),
    /// The API server did not accept the write: retry after this delay.
    Refused(Duration),
}

/// A reconcile of one policy.
struct Reconcile<'a> {
    context: &'a Arc<Context>,
    policy: Arc<CrossRegionBackupPolicy>,
    uid: Arc<str>,
    /// resourceVersion that the watch had delivered when the reconcile began.
    watched: String,
    mailbox: Arc<Mailbox>,
    /// Call context of this reconcile; `None` until the request budget grants a permit.
    call_context: Option<CallContext>,
    /// Result of a describe that the fast path could not apply.
    answer: Option<Result<PolicyState, Failure>>,
    /// Permit to apply a shared listing.
    apply_permit: Option<OwnedSemaphorePermit>,
    namespace: String,
    instance: InstanceRef,
    key: AccountKey,
    account: Option<&'a Account>,
    /// Outcome for the metrics.
    ended: ReconcileResult,
}

/// Whether a trigger affects a policy.
pub fn is_affected(policy: &Cached<CrossRegionBackupPolicy>, trigger: &Trigger) -> bool {
    policy.0.as_ref().is_ok_and(|policy| {
        let namespace = policy.object_key.namespace();
        trigger.may_affect(namespace)
            && trigger.affects(&account_of(&policy.spec(), namespace), Some(namespace))
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
        let namespace = policy.object_key.namespace();
        key.is_usable_from(namespace) && account_of(&policy.spec(), namespace) == *key
    })
}

/// Drops the state of deleted policies.
pub fn forget(context: &Context, gone: Deleted) {
    context.accounts.resources_deleted();
    let uids = lost(context.policies.uids(), &context.policy_stores, gone);
    for uid in uids {
        context.policies.forget(&uid);
        context.claims.set(&uid, None);
        context.failed_writes.forget(&uid);
        context.metrics_state.forget(&uid);
    }
}

pub async fn reconcile(
    object: Arc<Cached<CrossRegionBackupPolicy>>,
    context: Arc<Context>,
) -> Result<(Action, ReconcileResult), NotReported> {
    context.ready().await;
    if !context.leadership.is_current() {
        return Ok((Action::requeue(RETRY_REQUEUE), ReconcileResult::Waiting));
    }
    let policy = match &object.0 {
        Ok(policy) => policy,
        Err(invalid) => {
            let action = Box::pin(unreadable::reconcile(&context, invalid)).await?;
            return Ok((action, ReconcileResult::NeedsPerson));
        }
    };
    let object_key = policy.object_key.clone();
    let entry = context.policies.entry(&object_key.uid);
    let mut entry = entry.lock().await;
    entry.timer = None;
    let watched = Arc::new(policy.without_status());
    let key = account_of(&watched.spec, object_key.namespace());
    let account = context.accounts.view(&key).map(|view| view.account);
    let account_of_newest;
    let namespace = object_key.namespace().to_string();
    let mailbox = entry
        .mailbox
        .get_or_insert_with(|| Arc::new(Mailbox::new(object_key.clone(), context.triggers.clone())));
    let mut run = Reconcile {
        context: &context,
        mailbox: mailbox.clone(),
        call_context: None,
        answer: None,
        apply_permit: None,
        namespace,
        instance: instance_of(&watched.spec),
        account: account.as_deref(),
        key,
        uid: object_key.uid.clone(),
        watched: policy.version(),
        policy: watched,
        ended: ReconcileResult::Ok,
    };
    let result = match Box::pin(run.fast_path(&mut entry, policy)).await {
        Some(action) => action,
        None => {
            run.policy = entry.latest.newest(policy);
            // The response to a write can hold a later spec than the watch has delivered.
            let key = account_of(&run.policy.spec, object_key.namespace());
            if key != run.key {
                account_of_newest = context.accounts.view(&key).map(|view| view.account);
                run.account = account_of_newest.as_deref();
                run.key = key;
                (run.call_context, run.answer) = (None, None);
            }
            run.execute(&mut entry).await
        }
    };
    // An unused permit goes back to the request budget.
    if entry.waiting.is_none() {
        drop(run.mailbox.take_permit());
    }
    // A policy that was deleted meanwhile must not leave a claim.
    if run.stored().is_none() {
        forget(&context, Deleted::Object(Box::new(run.policy.metadata.clone())));
    }
    let ended = if entry.waiting.is_some() { ReconcileResult::Waiting } else { run.ended };
    Ok((result, ended))
}

impl Reconcile<'_> {
    async fn execute(&mut self, entry: &mut PolicyEntry) -> Action {
        let desired = desired(self.context, &self.policy);
        let mut memory = Box::new(self.load_state(entry, &desired));
        let account = hash_of(&self.policy.spec.account_ref);
        if entry.account.replace(account).is_some_and(|before| before != account) {
            self.context.accounts.resources_deleted();
            memory.forget_proof();
        }
        if memory.refusal_unchecked
            && let Some(account) = self.account.filter(|account| account.site().is_some())
        {
            memory.check_refusal(account.changed(), self.context.clock.now());
        }
        let result = if self.policy.metadata.deletion_timestamp.is_some() {
            Box::pin(self.finalize(entry, &desired, &mut memory)).await
        } else {
            self.converge(entry, &desired, &mut memory).await
        };
        let conditions = memory.facts.conditions.iter().map(|c| (&*c.kind, &*c.reason));
        let failed = memory.describe_failure.as_ref().map(|failure| failure.kind.class());
        self.ended = metrics::ended(conditions, failed);
        entry.memory = Some(self.store_state(entry, &mut memory, &desired));
        result
    }

    async fn converge(&mut self, entry: &mut PolicyEntry, desired: &Desired, memory: &mut Memory) -> Action {
        let finalizer_at = match self.set_finalizer(entry, desired.disable_on_delete).await {
            FinalizerResult::UpToDate => None,
            FinalizerResult::Conflict(again) => return Action::requeue(again),
            FinalizerResult::Refused(wait) => Some(after(self.context.clock.now(), wait)),
        };
        // Without its finalizer the policy could be deleted before the instance was disabled: it only observes until
        // then.
        let is_unheld = finalizer_at.is_some() && desired.disable_on_delete;
        let observing = is_unheld.then(|| Desired { manages: false, ..desired.clone() });
        let acting = observing.as_ref().unwrap_or(desired);
        let mut described = false;
        for run in 0..MAX_STEPS {
            let now = self.context.clock.now();
            let env = self.environment(memory, now);
            memory.notice(desired, env.access_generation, now);
            requests::forward(self.context, &self.key, &mut memory.request, &env.readiness);
            if run == 0 {
                self.share_listings(entry, desired, &env, memory);
                // Applied even if no further call may be made, as after a throttled describe: the failure must be
                // recorded.
                if let Some(answer) = self.answer.take().filter(|_| env.readiness == AccountReadiness::Open) {
                    memory.described(desired, answer, now, fastrand::f64());
                    described = true;
                }
            }
            let step = match next(acting, &env, memory, now) {
                // Calls that wait long for the request budget make the next poll due before this reconcile has reported
                // anything.
                NextAction::Describe if described && memory.is_settled() => NextAction::Wait(Some(now)),
                step => step,
            };
            described |= step == NextAction::Describe;
            if step == NextAction::ListBackups && self.is_served_by_shared(entry, desired, memory) {
                memory.await_shared_listing();
                continue;
            }
            let step = match step {
                NextAction::Wait(until) => {
                    entry.waiting = None;
                    NextAction::Wait(until)
                }
                // The spec may have changed without a watch event.
                NextAction::Modify if self.context.is_relisting() => {
                    NextAction::Wait(Some(after(now, RETRY_REQUEUE)))
                }
                step if self.acquire_permit(entry, priority(desired, memory, &step, now)) => step,
                // A new spec is not reported before its describe, so that one write reports both.
                _ if memory.facts.observed_generation != Some(desired.generation) => {
                    return requeue(meanwhile(desired, memory, now), now);
                }
                _ => NextAction::Wait(meanwhile(desired, memory, now)),
            };
            if let NextAction::Wait(until) = step {
                let until = until.into_iter().chain(finalizer_at).min();
                self.finish_request(memory, desired, &env, now);
                let reported = if memory.difference.is_some() { acting } else { desired };
                return match self.report(entry, reported, &env, memory).await {
                    ReportResult::All => self.wait(entry, until),
                    ReportResult::Later(at) => {
                        let until = until.map_or(at, |until| until.min(at));
                        requeue(Some(until), self.context.clock.now())
                    }
                    ReportResult::Outdated => Action::requeue(CONFLICT_REQUEUE),
                    ReportResult::Deleted => Action::requeue(NOT_FOUND_REQUEUE),
                };
            }
            if self.account.is_some_and(|account| !self.context.accounts.is_active(&self.key, &account.uid)) {
                return Action::requeue(CONFLICT_REQUEUE);
            }
            // Boxed, so that the many reconciles that wait to write a result hold nothing of the call.
            Box::pin(self.act(step, entry, desired, memory)).await;
            if !self.is_current() {
                return Action::requeue(CONFLICT_REQUEUE);
            }
        }
        tracing::error!(policy = %self.policy.name_any(), "a turn did not come to an end");
        Action::requeue(RETRY_REQUEUE)
    }

    async fn act(&mut self, step: NextAction, entry: &PolicyEntry, desired: &Desired, memory: &mut Memory) {
        let Some(account) = self.account else { return };
        let account_client = self.through(account);
        let clock = &self.context.clock;
        match step {
            NextAction::Describe => {
                let answer = self.describe(&account_client).await;
                memory.described(desired, answer, clock.now(), fastrand::f64());
                if entry.subscription.as_ref().is_some_and(Subscription::lists_own_backups) {
                    memory.list_with_describe(desired, clock.now());
                }
            }
            NextAction::ListRegions => {
                let wanted = desired.change.cross_backup_region.as_deref();
                let hint = wanted.filter(|_| memory.regions == Regions::Unknown);
                let answer = self.regions(&account_client, hint).await;
                memory.regions_listed(desired, answer, clock.now());
            }
            NextAction::Modify => self.attempt(&account_client, desired, memory).await,
            NextAction::ListBackups => {
                memory.listing_started(desired, clock.now());
                let reading = self.backups(&account_client, entry.subscription.as_ref()).await;
                memory.apply_listing(desired, reading, clock.now(), fastrand::f64());
            }
            NextAction::Wait(_) => {}
        }
    }

    async fn attempt(&self, account_client: &AccountClient<'_>, desired: &Desired, memory: &mut Memory) {
        let change = desired.change.clone();
        let seen = memory.difference_seen.unwrap_or(Timestamp::MIN);
        let (attempt, effect) = self.modify(account_client, &change, seen).await;
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

    fn through<'a>(&'a self, account: &'a Account) -> AccountClient<'a> {
        let call_context = self.call_context.clone().unwrap_or_else(|| self.caller_of(account));
        AccountClient::Account(&self.context.accounts, account, call_context)
    }

    fn caller_of(&self, account: &Account) -> CallContext {
        let purpose = self.purpose();
        self.context.call_context(account, &self.namespace, &self.uid, purpose)
    }

    /// Returns the environment: account, competing policy, and all other inputs of a decision besides the resource
    /// itself.
    fn environment(&self, memory: &Memory, now: Timestamp) -> ReconcileEnv {
        let purpose = self.purpose();
        let (env, view) = environment(self.context, &self.key, &self.namespace, purpose, now);
        self.update_claim(memory, &env.readiness, view.as_ref());
        let competitor = memory
            .facts
            .policy
            .as_ref()
            .and_then(|_| self.context.claims.competitor(&self.uid, &self.namespace));
        ReconcileEnv { competitor, ..env }
    }

    /// Marks a request as handled once a poll is complete, or if none is possible.
    fn finish_request(&self, memory: &mut Memory, desired: &Desired, env: &ReconcileEnv, now: Timestamp) {
        let described = memory.next_describe > now && !memory.backups.is_due(now);
        let acted_on = !desired.suspended
            && requests::is_handled(self.context, &self.key, &memory.request, &env.readiness, described);
        if acted_on {
            memory.handled_request();
        }
    }

    /// Sets the timer for the next reconcile: nothing is due before `until`.
    fn wait(&self, entry: &mut PolicyEntry, until: Option<Timestamp>) -> Action {
        let wait = |until| since(self.context.clock.now(), until).max(Duration::from_millis(1));
        entry.timer = until.map(|until| self.context.timers.set(self.mailbox.object_key(), wait(until)));
        Action::await_change()
    }

    /// Adds or removes the finalizer.
    async fn set_finalizer(&mut self, entry: &mut PolicyEntry, wanted: bool) -> FinalizerResult {
        if self.policy.finalizers().iter().any(|f| f == FINALIZER) == wanted {
            return FinalizerResult::UpToDate;
        }
        let failed_writes = &self.context.failed_writes;
        if let Some(wait) = failed_writes.wait(&self.policy.metadata, Part::Finalizers) {
            return FinalizerResult::Refused(wait);
        }
        let (api, object) = (self.api(), Box::new(self.guarded()));
        match Box::pin(set_finalizer(&api, &*object, FINALIZER, wanted)).await.map(readable) {
            Ok(Applied::Written(object)) => {
                failed_writes.succeeded(&self.policy.metadata, Part::Finalizers);
                self.policy = entry.latest.keep(object, &self.watched);
                FinalizerResult::UpToDate
            }
            Ok(Applied::Stale(Some(object))) => {
                self.context.refused(&*self.policy, &object);
                entry.latest.keep(object, &self.watched);
                FinalizerResult::Conflict(CONFLICT_REQUEUE)
            }
            Ok(Applied::Stale(None)) => FinalizerResult::Conflict(NOT_FOUND_REQUEUE),
            Err(error) => {
                let kind = CrossRegionBackupPolicy::kind(&());
                FinalizerResult::Refused(failed_writes.failed(
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
