//! Account controller: obtains the credentials, verifies them by one cheap call, and reports the result in Ready.

mod report;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::guarded::Guarded;
use super::watch::Deleted;
use super::{Context, NotReported, quota_demand, requeue, sharing, unreadable};
use crate::accounts::{
    Account, AccountClient, AccountKey, Accounts, CredentialsError, CredentialsRequest, Sharing, home_region,
    provider_name,
};
use crate::api::account::{AnyAccount, CloudAccountSpec};
use crate::api::{CloudAccount, ClusterCloudAccount, RECONCILE_REQUESTED_AT, handled_value};
use crate::cloud::{CallContext, Site};
use crate::cluster::last_change;
use crate::domain::condition::types;
use crate::domain::{ConditionStatus, Kind as FailureKind};
use crate::metrics::ReconcileResult;
use crate::plan::account::VerificationState;
use crate::plan::demand::shortfall;
use crate::plan::polling::DEFAULT_INTERVAL;
use crate::plan::slow_listing::SlowListing;
use crate::plan::{after, staleness};

/// Request annotations that were handled, by account UID, until status reports them.
#[derive(Default)]
pub struct HandledRequests(Mutex<HashMap<String, String>>);

impl HandledRequests {
    fn get(&self, uid: &str) -> Option<String> {
        self.lock().get(uid).cloned()
    }

    fn set(&self, uid: String, value: String) {
        self.lock().insert(uid, value);
    }

    fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Delay before a token file that is missing or unusable is read again.
const TOKEN_FILE_REQUEUE: Duration = Duration::from_secs(60);
/// Delay before a Secret that could not be read is read again.
const SECRET_READ_REQUEUE: Duration = Duration::from_secs(5);

/// Either account kind, as it is watched and written.
pub trait Kind:
    AnyAccount + DeserializeOwned + Clone + std::fmt::Debug + PartialEq + Send + Sync + 'static
{
    /// Returns the API of the account's namespace, or of the cluster.
    fn api(kube: &kube::Client, key: &AccountKey) -> Api<Guarded<Self>>;
}

impl Kind for CloudAccount {
    fn api(kube: &kube::Client, key: &AccountKey) -> Api<Guarded<Self>> {
        Api::namespaced(kube.clone(), key.namespace.as_deref().unwrap_or_default())
    }
}

impl Kind for ClusterCloudAccount {
    fn api(kube: &kube::Client, _: &AccountKey) -> Api<Guarded<Self>> {
        Api::all(kube.clone())
    }
}

/// Whether an account's credentials come from a Secret of this name; the Secret's namespace follows from the account's
/// kind.
pub fn uses_secret<K: AnyAccount>(account: &Guarded<K>, secret: &str) -> bool {
    let spec = account.0.as_ref().map(AnyAccount::settings);
    spec.is_ok_and(|spec| spec.credentials.secret_ref.as_ref().is_some_and(|found| found.name == secret))
}

pub fn forget(context: &Context, gone: Deleted) {
    match gone {
        Deleted::Object(meta) => {
            if let (namespace, Some(name), Some(uid)) = (meta.namespace, meta.name, meta.uid) {
                context.account_requests.forget(&uid);
                context.failed_writes.forget(&uid);
                context.accounts.unregister(&AccountKey { namespace, name }, &uid);
            }
        }
        Deleted::Relisted => {
            for (key, uid) in context.accounts.keys() {
                if context.account(&key).is_none() {
                    context.account_requests.forget(&uid);
                    context.failed_writes.forget(&uid);
                    context.accounts.unregister(&key, &uid);
                }
            }
        }
    }
}

/// Records the sharing and the suspension of an account as soon as the watch delivers them: its reconcile may be in the
/// middle of a verification. An account that cannot be parsed is shared with no namespace.
pub fn notice<K: AnyAccount>(accounts: &Accounts, found: &Guarded<K>) {
    let meta = found.meta();
    let key = AccountKey { namespace: meta.namespace.clone(), name: meta.name.clone().unwrap_or_default() };
    let read = found.0.as_ref().ok();
    accounts.record_generation(&key, meta.uid.as_deref().unwrap_or_default(), meta.generation);
    let suspended = read.is_some_and(|account| account.settings().suspend);
    accounts.record_sharing(
        &key,
        meta.uid.as_deref().unwrap_or_default(),
        read.and_then(sharing_of),
        suspended,
    );
}

fn sharing_of<K: AnyAccount>(account: &K) -> Option<Sharing> {
    account.sharing().map(|(allowed, permissions)| (allowed.clone(), permissions))
}

pub async fn reconcile<K: Kind>(
    object: Arc<Guarded<K>>,
    context: Arc<Context>,
) -> Result<(Action, ReconcileResult), NotReported> {
    context.ready().await;
    let meta = object.meta();
    let key = AccountKey { namespace: meta.namespace.clone(), name: meta.name.clone().unwrap_or_default() };
    let api = K::api(&context.kube, &key);
    let uid = meta.uid.clone().unwrap_or_default();
    let stored = match &object.0 {
        Ok(account) => account,
        Err(invalid) => {
            let account = context.accounts.register(&key, &uid, "", false);
            let verification = VerificationState::Invalid(unreadable::words(invalid));
            let asked = account.memory().is_due(context.clock.now());
            context.accounts.update(&account, |c| c.close(verification, false));
            // Requests of resources that wait for this verification are handled now, as far as possible.
            if asked {
                context.accounts.trigger_resources(&key);
            }
            let requeue = unreadable::report_parse_error(&context, &api, invalid, &[types::READY]).await?;
            return Ok((requeue, ReconcileResult::NeedsPerson));
        }
    };
    let spec = stored.settings();
    let provider = provider_name(spec.provider);
    let account = context.accounts.register(&key, &uid, provider, was_verified(stored));
    account.record_change(last_change(meta));
    let rate = account.configure_budget(spec);
    let demands = quota_demand::demands(&context, &key);
    let interval = quota_demand::shortest(&demands);
    let staleness = staleness(interval.unwrap_or(DEFAULT_INTERVAL));
    let sharing = sharing_of(stored);
    let fault = sharing.as_ref().and_then(|(allowed, _)| sharing::fault(allowed));
    let slow_listing = context.backup_lister.slowest(&key);
    let slow_listing = slow_listing.map(|(region, interval)| SlowListing::new(region, interval, &demands));
    let min_interval = context.accounts.min_interval(&key);
    context.accounts.update(&account, |change| {
        change.memory().limit_probe_interval(interval, context.clock.now());
        change.memory().set_shortfall(shortfall(&demands, rate), context.clock.now());
        change.memory().set_slow_listing(slow_listing);
    });
    // The remaining resources may be polled more often.
    if context.accounts.min_interval(&key) < min_interval {
        context.accounts.trigger_resources(&key);
    }
    context.accounts.record_sharing(&key, &uid, sharing, spec.suspend);
    let mut next = NextReconcile::default();
    let request = unhandled_request(&context, stored, &uid);
    if let Some(fault) = fault.filter(|_| !spec.suspend) {
        context.accounts.update(&account, |change| change.close(VerificationState::Invalid(fault), false));
        if let Some(value) = request {
            context.account_requests.set(uid, value);
        }
    } else if !spec.suspend {
        let asked = request.is_some() || account.memory().is_due(context.clock.now());
        let generation = meta.generation.unwrap_or_default();
        next = observe(&context, spec, generation, &account, interval, request.is_some()).await;
        if asked {
            context.accounts.trigger_resources(&key);
        }
        // A request that could not be handled stays pending.
        if let Some(value) = request.filter(|_| next.blocked.is_none()) {
            context.account_requests.set(uid, value);
        }
    }
    let latest = context.account(&key).and_then(|account| account.spec);
    if !spec.suspend && latest.is_none_or(|latest| !latest.suspend) {
        // The suspension is lifted last, when changes made during it are in force; it stays if the account was
        // suspended again meanwhile.
        context.accounts.update(&account, |change| change.suspend(false));
    }
    let now = context.clock.now();
    let (again, ended) = report::report(&context, &api, &object, &account, stored, staleness).await;
    let visit = account.memory().next_reconcile(spec.suspend, next.blocked, staleness, now);
    let visit = [visit, next.again, again.map(|again| after(now, again))].into_iter().flatten().min();
    Ok((requeue(visit, now), ended))
}

/// When an account has to be reconciled again.
#[derive(Default)]
struct NextReconcile {
    /// Earliest time of a verification that is due.
    blocked: Option<Timestamp>,
    /// Time to renew the credentials, to look for missing ones, or to probe an unreachable host.
    again: Option<Timestamp>,
}

impl NextReconcile {
    fn blocked(until: Timestamp) -> Self {
        Self { blocked: Some(until), again: None }
    }

    fn again(at: Option<Timestamp>) -> Self {
        Self { blocked: None, again: at }
    }
}

/// Obtains the credentials, and verifies them if that is due.
async fn observe(
    context: &Context,
    spec: &CloudAccountSpec,
    generation: i64,
    account: &Account,
    interval: Option<Duration>,
    requested: bool,
) -> NextReconcile {
    let accounts = &context.accounts;
    let recipe = match accounts.recipe(&account.key, spec, generation) {
        Ok(recipe) => recipe,
        Err(not_allowed) => {
            accounts
                .update(account, |c| c.close(VerificationState::EndpointNotAllowed(not_allowed.0), false));
            return NextReconcile::default();
        }
    };
    let due = requested || account.memory().is_due(context.clock.now());
    let why = if due { CredentialsRequest::ByUser } else { CredentialsRequest::Due };
    let resolved = match accounts.resolve_credentials(account, &recipe, why).await {
        Ok(resolved) => resolved,
        Err(CredentialsError::Missing { text, gone }) => {
            let now = context.clock.now();
            let spared =
                |account| accounts.update(account, |change| change.secret_grace_end(generation, now));
            if let Some(until) = Some(account).filter(|_| gone).and_then(spared) {
                return NextReconcile::blocked(until);
            }
            accounts.update(account, |c| c.close(VerificationState::CredentialsMissing(text), gone));
            // No watch reports a file that appears.
            return NextReconcile::again(
                recipe.has_identity().then(|| after(context.clock.now(), TOKEN_FILE_REQUEUE)),
            );
        }
        Err(CredentialsError::Refused(failure)) => {
            let now = context.clock.now();
            accounts.update(account, |change| {
                change.store_unusable_spec(recipe.clone());
                let memory = change.memory();
                if requested || memory.next_verification.is_none_or(|at| at <= now) {
                    memory.refused(&failure, interval, now, fastrand::f64());
                }
            });
            return NextReconcile::default();
        }
        Err(CredentialsError::Unreadable(error)) => {
            tracing::warn!(account = %account.key.name, namespace = account.key.namespace, %error, "a Secret could not be read");
            let now = context.clock.now();
            // An existing client stays in use. Without one nothing can be sent, which is reported if it lasts.
            if !account.has_client() && account.memory().trial_is_over(now) {
                let secret = spec.credentials.secret_ref.as_ref().map_or("", |secret| &secret.name);
                let text = format!("Secret {secret} cannot be read by the operator");
                accounts.update(account, |c| c.close(VerificationState::CredentialsMissing(text), false));
            }
            return NextReconcile::blocked(after(now, SECRET_READ_REQUEUE));
        }
    };
    let renewal = resolved.again.map(|at| at.saturating_duration_since(Instant::now()));
    accounts.install_credentials(account, &recipe, resolved);
    let now = context.clock.now();
    let renewal = renewal.map(|duration| after(now, duration));
    if requested {
        accounts.update(account, |change| change.memory().next_verification = Some(now));
    }
    if account.memory().is_due(now) {
        // Requeued rather than awaited: during a wait no other change of the account would be noticed.
        let paused = context.accounts.view(&account.key).and_then(|view| view.paused_until);
        if let Some(until) = paused.filter(|until| *until > now) {
            return NextReconcile::blocked(until);
        }
        verify(context, spec, account, interval).await;
    }
    let probe = probe(context, account).await;
    NextReconcile::again([renewal, probe].into_iter().flatten().min())
}

/// Probes the hosts that could not be connected to, and returns the time of the next probe. A host is skipped if the
/// request budget has no free permit: the calls in flight probe it as well.
async fn probe(context: &Context, account: &Account) -> Option<Timestamp> {
    let outages = account.budget.outages();
    for region in outages.due() {
        let Some(permit) = account.budget.try_acquire(&CallContext::default()) else { continue };
        let account_client =
            AccountClient::Account(&context.accounts, account, CallContext::default().with_permit(permit));
        let action = account.site().map_or("DescribeInstances", Site::instances_action);
        // The call itself records the result, as any call does.
        let _ = account_client
            .call_as_owner(action, |client| {
                let region = region.clone();
                async move { client.verify(&region).await }
            })
            .await;
    }
    let next = outages.next()?.saturating_duration_since(Instant::now());
    Some(after(context.clock.now(), next))
}

async fn verify(context: &Context, spec: &CloudAccountSpec, account: &Account, interval: Option<Duration>) {
    let region = home_region(spec).to_owned();
    let accounts = &context.accounts;
    let action = account.site().map_or("DescribeInstances", Site::instances_action);
    let answer = AccountClient::Account(accounts, account, CallContext::default())
        .call_as_owner(action, |client| {
            let region = region.clone();
            async move { client.verify(&region).await }
        })
        .await;
    let now = context.clock.now();
    accounts.update(account, |change| match &answer {
        Ok(()) => change.memory().accepted(now),
        // The call itself has recorded the rejection, unless the Secret has other credentials by now; those are
        // verified instead.
        Err(failure) if failure.kind == FailureKind::CredentialsRejected => {}
        Err(failure) => change.memory().refused(failure, interval, now, fastrand::f64()),
    });
}

/// Whether the stored status reports this generation of the spec as verified.
fn was_verified<K: AnyAccount>(account: &K) -> bool {
    account.status().is_some_and(|status| {
        status.observed_generation == account.meta().generation
            && status
                .conditions
                .iter()
                .any(|c| c.type_ == types::READY && c.status == ConditionStatus::True.as_str())
    })
}

fn unhandled_request<K: AnyAccount>(context: &Context, account: &K, uid: &str) -> Option<String> {
    let wanted = account.annotations().get(RECONCILE_REQUESTED_AT)?;
    let stored = account.status().and_then(|s| s.last_handled_reconcile_at.as_deref()).map(handled_value);
    let handled = context.account_requests.get(uid);
    (stored.as_ref() != Some(wanted) && handled.as_ref() != Some(wanted)).then(|| wanted.clone())
}
