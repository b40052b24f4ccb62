//! Writes the status of an account and publishes its Events where they differ from what is stored.

use std::time::Duration;

use kube::{Api, Resource};

use super::{Context, Kind};
use crate::accounts::Account;
use crate::api::account::{AnyAccount, CloudAccountStatus};
use crate::api::handled_value;
use crate::cluster::events::Note;
use crate::cluster::status::Applied;
use crate::controllers::guarded::Guarded;
use crate::controllers::metrics;
use crate::controllers::policy::convert;
use crate::controllers::{Part, write_status};
use crate::domain::condition::{self, types};
use crate::domain::{ConditionStatus, Outcome, Progress, Reason};
use crate::metrics::ReconcileResult;
use crate::plan::account::VerificationState;
use crate::plan::events;

/// Writes the status if it differs. Returns the delay before a retry, if one is needed, and the outcome for the
/// metrics.
pub async fn report<K: Kind>(
    context: &Context,
    api: &Api<Guarded<K>>,
    object: &Guarded<K>,
    account: &Account,
    of: &K,
    staleness: Duration,
) -> (Option<Duration>, ReconcileResult) {
    let now = context.clock.now();
    let generation = object.meta().generation.unwrap_or_default();
    let stored = of.status().cloned().unwrap_or_default();
    let suspended = of.settings().suspend;
    let memory = account.memory();
    let old = stored.conditions.iter().map(convert::condition_from).collect();
    let old = condition::credible(old, &types::OF_ACCOUNT, now);
    let mut new = stored.clone();
    new.conditions = old.iter().map(convert::condition_to).collect();
    let mut outcome = memory.outcome(suspended, staleness, now);
    // A reported reason must not outlive its cause: only "verified", and the same transient failure, may stay.
    let outdated = old.iter().filter(|c| c.kind == types::READY).any(|c| {
        [Reason::CredentialsVerified, Reason::BudgetTooSmall, Reason::EndpointUnreachable, Reason::Throttled]
            .iter()
            .all(|reason| reason.as_str() != c.reason)
    });
    if outcome.is_none() && (outdated || stored.observed_generation != Some(generation)) {
        outcome = transient_failure(&memory.verification);
    }
    // A spec that was not tried yet is not verified, whether or not the previous one was.
    let tried = account.generation() == Some(generation) && memory.is_proven();
    outcome = outcome.filter(|o| {
        o.status != ConditionStatus::True || tried || stored.observed_generation == Some(generation)
    });
    if let Some(outcome) = &outcome {
        let conditions = condition::merge(&old, &[types::READY], outcome, generation, now);
        new.conditions = conditions.iter().map(convert::condition_to).collect();
        new.observed_generation = Some(generation);
    }
    if account.has_client() && !suspended {
        new.access_key_id_hint = account.hint();
    } else if matches!(memory.verification, VerificationState::CredentialsMissing(_)) {
        new.access_key_id_hint = None;
    }
    let uid = object.meta().uid.clone().unwrap_or_default();
    let handled = context.account_requests.get(&uid);
    new.last_handled_reconcile_at =
        handled.or_else(|| stored.last_handled_reconcile_at.as_deref().map(handled_value));
    let ended = metrics::ended(new.conditions.iter().map(|c| (&*c.type_, &*c.reason)), None);
    if new == stored || new.observed_generation.is_none_or(|g| g < 0) {
        return (None, ended);
    }
    if let Some(wait) = context.failed_writes.wait(object.meta(), Part::Status) {
        return (Some(wait), ended);
    }
    let _place = context.write_permit().await;
    match write_status(context, api, object, &new, AnyAccount::status).await {
        Ok(Applied::Written(_)) => {
            context.failed_writes.succeeded(object.meta(), Part::Status);
            publish_event(context, object, &old, &new, outcome.as_ref()).await;
            (None, ended)
        }
        // Another writer has changed the object: the watch will deliver it.
        Ok(Applied::Stale(_)) => (Some(Duration::from_secs(1)), ended),
        Err(error) => {
            let kind = Guarded::<K>::kind(&());
            (Some(context.failed_writes.failed(&kind, object.meta(), Part::Status, &error)), ended)
        }
    }
}

/// Returns the outcome of a new spec whose verification fails transiently: it is reported at once, although the account
/// was verified before.
fn transient_failure(verification: &VerificationState) -> Option<Outcome> {
    let (reason, text) = match verification {
        VerificationState::EndpointUnreachable(text) => (Reason::EndpointUnreachable, text),
        VerificationState::Throttled(text) => (Reason::Throttled, text),
        _ => return None,
    };
    let progress = Progress::Reconciling;
    Some(Outcome { status: ConditionStatus::False, reason, progress, cause: text.clone(), detail: None })
}

async fn publish_event<K: Kind>(
    context: &Context,
    object: &Guarded<K>,
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
    // Events of cluster-scoped objects are in `default`, where others than their owners read them.
    let own = [Reason::CredentialsMissing, Reason::EndpointNotAllowed, Reason::InvalidRequest];
    let shared = object.meta().namespace.is_none();
    let text =
        if shared && own.contains(&outcome.reason) { "the account's condition says why" } else { text };
    if let Some(event) = events::of_account(before, (outcome.status, reason), text) {
        let note = Note { warning: event.warning, reason: event.reason, action: "Verify", text: event.text };
        context.events.publish(&object.object_ref(&()), note).await;
    }
}
