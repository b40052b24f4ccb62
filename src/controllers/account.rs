//! Accounts: reads the Secret, verifies the credentials by one cheap call, and says so in Ready.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};

use super::policy::interval_of;
use super::watch::{Gone, Guarded};
use super::{Context, NotReported, inventory, requeue, unreadable, write_status};
use crate::api::account::CloudAccountStatus;
use crate::api::{CloudAccount, RECONCILE_REQUESTED_AT};
use crate::cluster::events::Note;
use crate::cluster::status::Applied;
use crate::controllers::policy::convert;
use crate::domain::condition::{self, types};
use crate::domain::{Outcome, Progress, Reason, Truth};
use crate::observe::{Account, AccountKey, NoCredentials, Reached, home_region, provider_name};
use crate::plan::account::Standing;
use crate::plan::{after, events};

/// Requests by annotation that were acted on, by UID, until status says so.
#[derive(Default)]
pub struct Handled(Mutex<HashMap<String, String>>);

impl Handled {
    fn get(&self, uid: &str) -> Option<String> {
        self.lock().get(uid).cloned()
    }

    fn set(&self, uid: String, value: String) {
        self.lock().insert(uid, value);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Secret that could not be read is read again so soon.
const READ_AGAIN: Duration = Duration::from_secs(5);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(600);

/// Whether an account's credentials come from this Secret.
pub fn reads(account: &Guarded<CloudAccount>, namespace: Option<&str>, secret: &str) -> bool {
    let Ok(account) = &account.0 else { return false };
    account.metadata.namespace.as_deref() == namespace && account.spec.credentials.secret_ref.name == secret
}

pub fn forget(context: &Context, gone: Gone) {
    match gone {
        Gone::One(meta) => {
            if let (Some(namespace), Some(name), Some(uid)) = (meta.namespace, meta.name, meta.uid) {
                context.accounts.leave(&AccountKey { namespace, name }, &uid);
            }
        }
        Gone::Unlisted => {
            for (key, uid) in context.accounts.keys() {
                if context.account(&key).is_none() {
                    context.accounts.leave(&key, &uid);
                }
            }
        }
    }
}

pub async fn reconcile(
    object: Arc<Guarded<CloudAccount>>,
    context: Arc<Context>,
) -> Result<Action, NotReported> {
    context.ready().await;
    let meta = object.meta();
    let key = AccountKey {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    };
    let uid = meta.uid.clone().unwrap_or_default();
    let spec = match &object.0 {
        Ok(account) => account,
        Err(invalid) => {
            let account = context.accounts.enter(&key, &uid, "", false);
            let standing = Standing::Invalid(unreadable::words(invalid));
            let asked = account.memory().is_due(context.clock.now());
            context.accounts.update(&account, |c| c.close(standing, false));
            // A resource's request has been acted on, as far as that can be.
            if asked {
                context.accounts.tell(&key);
            }
            return unreadable::tell::<CloudAccount>(&context, invalid, &[types::READY]).await;
        }
    };
    let provider = provider_name(spec.spec.provider);
    let account = context.accounts.enter(&key, &uid, provider, was_verified(spec));
    configure_budget(spec, &account);
    let interval = shortest_interval(&context, &key);
    let staleness = (interval.unwrap_or(DEFAULT_INTERVAL) * 2).max(Duration::from_secs(120));
    context.accounts.update(&account, |change| {
        change.suspend(spec.spec.suspend);
        change.memory().probe_within(interval, context.clock.now());
    });
    let mut again = None;
    let request = unhandled_request(&context, spec, &uid);
    if !spec.spec.suspend {
        let asked = request.is_some() || account.memory().is_due(context.clock.now());
        again = observe(&context, spec, &account, interval, request.is_some()).await;
        if asked {
            context.accounts.tell(&key);
        }
        // One that could not be acted on stays.
        if let Some(value) = request.filter(|_| again.is_none()) {
            context.account_requests.set(uid, value);
        }
    }
    let now = context.clock.now();
    let action = report(&context, &object, &account, spec, staleness, now).await?;
    let visit = account.memory().next_visit(spec.spec.suspend, again, staleness, now);
    Ok(visit.map_or(action, |until| requeue(Some(until), now)))
}

/// Reads the Secret and verifies where that is due; the result says when to do so where it cannot be done now.
async fn observe(
    context: &Context,
    spec: &CloudAccount,
    account: &Account,
    interval: Option<Duration>,
    requested: bool,
) -> Option<Timestamp> {
    let accounts = &context.accounts;
    let recipe = match accounts.recipe(spec, &account.key.namespace) {
        Ok(recipe) => recipe,
        Err(not_allowed) => {
            accounts.update(account, |c| c.close(Standing::EndpointNotAllowed(not_allowed.0), false));
            return None;
        }
    };
    let credentials = match accounts.credentials(&recipe).await {
        Ok(credentials) => credentials,
        Err(NoCredentials::Missing { text, gone }) => {
            accounts.update(account, |c| c.close(Standing::CredentialsMissing(text), gone));
            return None;
        }
        Err(NoCredentials::Unreadable(error)) => {
            tracing::warn!(account = %account.key.name, namespace = %account.key.namespace, %error, "a Secret could not be read");
            let now = context.clock.now();
            // A client that was made before goes on; without one nothing can be sent, and that is told when it lasts.
            if account.client().is_none() && account.memory().trial_is_over(now) {
                let secret = &spec.spec.credentials.secret_ref.name;
                let text = format!("Secret {secret} cannot be read by the operator");
                accounts.update(account, |c| c.close(Standing::CredentialsMissing(text), false));
            }
            return Some(after(now, READ_AGAIN));
        }
    };
    accounts.supply(account, &recipe, credentials);
    let now = context.clock.now();
    if requested {
        accounts.update(account, |change| change.memory().next_verification = Some(now));
    }
    if account.memory().is_due(now) {
        // The end of a pause is not awaited within the call: nothing else about the account would be noticed meanwhile.
        let paused = context.accounts.view(&account.key).and_then(|view| view.paused_until);
        if let Some(until) = paused.filter(|until| *until > now) {
            return Some(until);
        }
        verify(context, spec, account, interval).await;
    }
    None
}

async fn verify(context: &Context, spec: &CloudAccount, account: &Account, interval: Option<Duration>) {
    let region = home_region(spec).to_owned();
    let accounts = &context.accounts;
    let action = account.client().map_or("DescribeInstances", |client| client.site().instances_action());
    let answer = Reached::Account(accounts, account)
        .call(action, |client| {
            let region = region.clone();
            async move { client.verify(&region).await }
        })
        .await;
    let now = context.clock.now();
    accounts.update(account, |change| match &answer {
        Ok(()) => change.memory().accepted(now),
        Err(failure) => change.memory().refused(failure, interval, now, fastrand::f64()),
    });
}

/// Whether the stored status says of this very spec that the credentials were accepted.
fn was_verified(account: &CloudAccount) -> bool {
    account.status.as_ref().is_some_and(|status| {
        status.observed_generation == account.metadata.generation
            && status
                .conditions
                .iter()
                .any(|c| c.type_ == types::READY && c.reason == Reason::CredentialsVerified.as_str())
    })
}

fn configure_budget(spec: &CloudAccount, account: &Account) {
    let budget = spec.spec.request_budget.clone().unwrap_or_default();
    let rate = budget.requests_per_second.unwrap_or_else(|| spec.spec.provider.default_requests_per_second());
    let burst = budget.burst.unwrap_or_else(|| (rate / 4).max(1));
    let positive = |number: i32| u32::try_from(number).unwrap_or(1).max(1);
    account.budget.reconfigure(positive(rate), positive(burst));
}

fn shortest_interval(context: &Context, key: &AccountKey) -> Option<Duration> {
    let policies = context.policies_of(key);
    let inventories = context.inventories_of(key);
    let of_policies = policies.iter().filter_map(|p| p.0.as_ref().ok()).map(|p| interval_of(context, p));
    let of_inventories =
        inventories.iter().filter_map(|i| i.0.as_ref().ok()).map(|i| inventory::interval_of(context, i));
    of_policies.chain(of_inventories).min()
}

fn unhandled_request(context: &Context, account: &CloudAccount, uid: &str) -> Option<String> {
    let wanted = account.annotations().get(RECONCILE_REQUESTED_AT)?;
    let stored = account.status.as_ref().and_then(|s| s.last_handled_reconcile_at.as_ref());
    let handled = context.account_requests.get(uid);
    (stored != Some(wanted) && handled.as_ref() != Some(wanted)).then(|| wanted.clone())
}

/// Writes the status where it differs.
async fn report(
    context: &Context,
    object: &Guarded<CloudAccount>,
    account: &Account,
    spec: &CloudAccount,
    staleness: Duration,
    now: Timestamp,
) -> Result<Action, NotReported> {
    let generation = object.meta().generation.unwrap_or_default();
    let stored = spec.status.clone().unwrap_or_default();
    let suspended = spec.spec.suspend;
    let memory = account.memory();
    let old: Vec<_> = stored.conditions.iter().map(convert::condition_from).collect();
    let mut new = stored.clone();
    let mut outcome = memory.outcome(suspended, staleness, now);
    // What was said before must not outlive its cause: only "verified", and the same passing failure, can go on being said.
    let outdated = old.iter().filter(|c| c.kind == types::READY).any(|c| {
        ![Reason::CredentialsVerified, Reason::EndpointUnreachable, Reason::Throttled]
            .iter()
            .any(|reason| reason.as_str() == c.reason)
    });
    if outcome.is_none() && (outdated || stored.observed_generation != Some(generation)) {
        outcome = unsettled(&memory.standing);
    }
    if let Some(outcome) = &outcome {
        let conditions = condition::merge(&old, &[types::READY], outcome, generation, now);
        new.conditions = conditions.iter().map(convert::condition_to).collect();
        new.observed_generation = Some(generation);
    }
    if let Some(client) = account.client().filter(|_| !suspended) {
        new.access_key_id_hint = client.credentials().access_key_id_hint();
    } else if matches!(memory.standing, Standing::CredentialsMissing(_)) {
        new.access_key_id_hint = None;
    }
    let uid = object.meta().uid.clone().unwrap_or_default();
    let handled = context.account_requests.get(&uid);
    new.last_handled_reconcile_at = handled.or(new.last_handled_reconcile_at);
    if new == stored || new.observed_generation.is_none_or(|g| g < 0) {
        return Ok(Action::await_change());
    }
    let api = Api::<Guarded<CloudAccount>>::namespaced(context.kube.clone(), &account.key.namespace);
    match write_status(&api, object, &new, status_of).await? {
        Applied::Written(_) => {
            tell(context, object, &old, &new, outcome.as_ref()).await;
            Ok(Action::await_change())
        }
        // Somebody else has written: the watch brings it.
        Applied::Stale(_) => Ok(Action::requeue(Duration::from_secs(1))),
    }
}

fn status_of(account: &Guarded<CloudAccount>) -> Option<&CloudAccountStatus> {
    account.0.as_ref().ok()?.status.as_ref()
}

/// A new spec whose verification fails in passing is told at once, although the account was believed before.
fn unsettled(standing: &Standing) -> Option<Outcome> {
    let (reason, text) = match standing {
        Standing::EndpointUnreachable(text) => (Reason::EndpointUnreachable, text),
        Standing::Throttled(text) => (Reason::Throttled, text),
        _ => return None,
    };
    let progress = Progress::Reconciling;
    Some(Outcome { status: Truth::False, reason, progress, cause: text.clone(), detail: None })
}

async fn tell(
    context: &Context,
    object: &Guarded<CloudAccount>,
    old: &[condition::Condition],
    new: &CloudAccountStatus,
    outcome: Option<&Outcome>,
) {
    let Some(outcome) = outcome else { return };
    let before = old.iter().find(|c| c.kind == types::READY).map(|c| (c.status, c.reason.as_str()));
    let text = new.conditions.iter().find(|c| c.type_ == types::READY).map_or("", |c| c.message.as_str());
    let reason = outcome.reason.as_str();
    if before.is_none_or(|(_, was)| was != reason) {
        let meta = object.meta();
        tracing::info!(
            namespace = meta.namespace.as_deref(),
            account = meta.name.as_deref(),
            reason,
            "Ready has changed"
        );
    }
    if let Some(happening) = events::of_account(before, (outcome.status, reason), text) {
        let note = Note {
            warning: happening.warning,
            reason: happening.reason,
            action: "Verify",
            text: happening.text,
        };
        context.events.publish(&object.object_ref(&()), note).await;
    }
}
