//! Deletion of a policy: the instance's policy is disabled first if `deletionPolicy: Disable` requests that.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use tokio::time::timeout;

use super::report::ReportResult;
use super::{FinalizerResult, MAX_STEPS, PolicyEntry, RETRY_REQUEUE, Reconcile};
use crate::accounts::{AccountClient, LastSeen, account_just_changed};
use crate::api::{CloudAccount, ClusterCloudAccount, FINALIZER};
use crate::cloud::{CallContext, Priority};
use crate::controllers::account::Kind;
use crate::controllers::guarded::Guarded;
use crate::controllers::sharing::Shared;
use crate::controllers::{Admission, CONFLICT_REQUEUE, Purpose, requeue};
use crate::domain::Reason;
use crate::plan::account::VerificationState;
use crate::plan::deletion::{self, AccountAccess, FinalizeStep, Release, switched_off};
use crate::plan::memory::Memory;
use crate::plan::{AccountReadiness, Desired, ReconcileEnv};

const GET_TIMEOUT: Duration = Duration::from_secs(10);
/// Requeue delay of a deletion that waits for a permit, should the permit not trigger it.
const PERMIT_REQUEUE: Duration = Duration::from_secs(30);

impl Reconcile<'_> {
    pub(super) async fn finalize(
        &mut self,
        entry: &mut PolicyEntry,
        desired: &Desired,
        memory: &mut Memory,
    ) -> Action {
        if !self.policy.finalizers().iter().any(|f| f == FINALIZER) {
            return Action::await_change();
        }
        let desired = switched_off(desired);
        entry.subscription = None;
        drop(self.mailbox.take_listing());
        for _ in 0..MAX_STEPS {
            let now = self.context.clock.now();
            let env = self.environment(memory, now);
            memory.notice(&desired, env.access_generation, now);
            let (reach, account_client) = self.reach(&env).await;
            deletion::notice(memory, reach, now);
            let step = deletion::next(&desired, &env, memory, reach, now);
            let calls = matches!(step, FinalizeStep::Describe | FinalizeStep::Modify);
            if calls
                && matches!(account_client, Some(AccountClient::Account(..)))
                && self.call_context.is_none()
            {
                drop(account_client);
                match self.acquire_permit(entry, Priority::Change) {
                    true => continue,
                    false => return Action::requeue(PERMIT_REQUEUE),
                }
            }
            entry.waiting = None;
            match step {
                FinalizeStep::Describe => {
                    let Some(account_client) = &account_client else { return Action::requeue(RETRY_REQUEUE) };
                    let answer = self.describe(account_client).await;
                    memory.described(&desired, answer, self.context.clock.now(), fastrand::f64());
                    deletion::described(memory);
                }
                FinalizeStep::Modify => {
                    let Some(account_client) = &account_client else { return Action::requeue(RETRY_REQUEUE) };
                    self.attempt(account_client, &desired, memory).await;
                }
                FinalizeStep::Wait(until) => {
                    // Status reports why the deletion is delayed; a failed write of it does not hold up the deletion.
                    let later = match self.report(entry, &desired, &env, memory).await {
                        ReportResult::Later(at) => Some(at),
                        ReportResult::All | ReportResult::Outdated | ReportResult::Deleted => None,
                    };
                    let until = until.into_iter().chain(later).min();
                    return requeue(until, self.context.clock.now());
                }
                FinalizeStep::Release(release) => {
                    if deletion::is_news(memory, &release) {
                        self.publish_release(release).await;
                    }
                    // A refused write causes no watch event that would trigger the policy.
                    return match self.set_finalizer(entry, false).await {
                        FinalizerResult::UpToDate => Action::await_change(),
                        FinalizerResult::Conflict(again) | FinalizerResult::Refused(again) => {
                            Action::requeue(again)
                        }
                    };
                }
            }
            if !self.is_current() {
                return Action::requeue(CONFLICT_REQUEUE);
            }
        }
        Action::requeue(RETRY_REQUEUE)
    }

    async fn publish_release(&self, release: Release) {
        match release {
            Release::Retained => {}
            Release::Disabled => {
                self.publish_event(false, "DisabledOnDelete", "cross-region backup is off".to_owned()).await;
            }
            Release::Skipped(why) => self.publish_event(false, "DisableSkipped", why).await,
            Release::Abandoned(why) => {
                self.context.metrics_state.abandoned(&self.key, self.context.clock.now());
                tracing::error!(
                    namespace = %self.namespace,
                    policy = %self.policy.name_any(),
                    instance = %self.instance.id,
                    region = %self.instance.region,
                    %why,
                    "the instance was not disabled: cross-region backup may still be on"
                );
                let text = format!("cross-region backup of {} may still be on: {why}", self.instance.id);
                self.publish_event(true, "DisableAbandoned", text).await;
            }
        }
    }

    /// Returns how the account can be reached. Only a GET with status 404 proves that account or Secret are deleted.
    async fn reach(&self, env: &ReconcileEnv) -> (AccountAccess, Option<AccountClient<'_>>) {
        let gone = match &env.readiness {
            AccountReadiness::Open => {
                return match self.account {
                    Some(account) => (AccountAccess::Open, Some(self.through(account))),
                    None => (AccountAccess::Waiting, None),
                };
            }
            AccountReadiness::Closed(Reason::AccountNotFound, _) => self.account_is_gone().await,
            AccountReadiness::Closed(Reason::CredentialsMissing, _) => self.secret_is_gone().await,
            AccountReadiness::Closed(Reason::CredentialsRejected, _) => {
                return (AccountAccess::Hopeless, None);
            }
            // Only a person can fix an account that cannot be parsed, or to which the cloud gives no credentials.
            AccountReadiness::Closed(..) if self.is_invalid() => return (AccountAccess::Hopeless, None),
            _ => Some(false),
        };
        match gone {
            Some(true) => {
                let last_seen = self.context.accounts.last_seen(&self.key);
                // A new account of the same name is another one.
                let last_seen = last_seen.filter(|last| self.account.is_none_or(|a| a.uid == last.uid));
                match last_seen
                    .filter(|last| was_admitted(self.context.shared.as_ref(), &self.namespace, last))
                {
                    Some(last_seen) => (AccountAccess::Open, Some(self.through_last_seen(last_seen))),
                    None => (AccountAccess::Hopeless, None),
                }
            }
            Some(false)
                if matches!(env.readiness, AccountReadiness::Closed(Reason::CredentialsMissing, _)) =>
            {
                (AccountAccess::Hopeless, None)
            }
            _ => (AccountAccess::Waiting, None),
        }
    }

    /// Whether the account is deleted; `None` if the API server did not answer that.
    async fn account_is_gone(&self) -> Option<bool> {
        match self.key.is_shared() {
            true => self.is_gone(ClusterCloudAccount::api(&self.context.kube, &self.key)).await,
            false => self.is_gone(CloudAccount::api(&self.context.kube, &self.key)).await,
        }
    }

    async fn is_gone<K: Kind>(&self, api: Api<Guarded<K>>) -> Option<bool> {
        timeout(GET_TIMEOUT, api.get_metadata_opt(&self.key.name))
            .await
            .ok()?
            .ok()
            .map(|found| found.is_none())
    }

    fn is_invalid(&self) -> bool {
        self.account
            .is_some_and(|account| matches!(account.memory().verification, VerificationState::Invalid(_)))
    }

    /// Returns the client last used for the account. Right before each call it is checked again that the namespace was,
    /// and is, allowed to use the account.
    fn through_last_seen(&self, last_seen: LastSeen) -> AccountClient<'static> {
        let (shared, namespace) = (self.context.shared.clone(), self.namespace.clone());
        let client = last_seen.client.clone();
        let is_shared = last_seen.key.is_shared();
        let call_context = CallContext::new(&self.namespace, &self.uid).with_check(Arc::new(move || {
            let admitted = was_admitted(shared.as_ref(), &namespace, &last_seen);
            if admitted { Ok(()) } else { Err(account_just_changed("")) }
        }));
        AccountClient::LastSeen(client, is_shared, call_context)
    }

    /// Whether the Secret is deleted; `None` if the API server did not answer that. `Some(false)` also if the account
    /// names no Secret: no Secret can then restore the credentials.
    async fn secret_is_gone(&self) -> Option<bool> {
        let Some(reference) = self.context.account(&self.key)?.spec?.credentials.secret_ref else {
            return Some(false);
        };
        let name = reference.name;
        let namespace = self.context.accounts.secrets_of(&self.key);
        let api = Api::<Secret>::namespaced(self.context.kube.clone(), namespace);
        timeout(GET_TIMEOUT, api.get_metadata_opt(&name)).await.ok()?.ok().map(|found| found.is_none())
    }
}

/// Whether the deleted account was shared with this namespace, with the labels that the namespace has now.
fn was_admitted(shared: Option<&Shared>, namespace: &str, last_seen: &LastSeen) -> bool {
    let Some((allowed, permissions)) = &last_seen.sharing else { return !last_seen.key.is_shared() };
    shared.is_some_and(|shared| {
        shared.admits_by(allowed, *permissions, namespace, Purpose::Manage) == Admission::Allowed
    })
}
