//! Deletion of a policy: the instance's policy is disabled first if `deletionPolicy: Disable` requests that.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use tokio::time::timeout;

use super::report::Told;
use super::{AGAIN, Finalizer, STEPS, Slot, Turn};
use crate::api::{CloudAccount, ClusterCloudAccount, FINALIZER};
use crate::cloud::{Caller, Lane};
use crate::controllers::account::Kind;
use crate::controllers::guarded::Guarded;
use crate::controllers::sharing::Shared;
use crate::controllers::{Admission, OVERTAKEN, Purpose, requeue};
use crate::domain::Reason;
use crate::observe::{LastSeen, Reached, just_changed};
use crate::plan::account::Standing;
use crate::plan::deletion::{self, Farewell, Reach, Release, switched_off};
use crate::plan::memory::Memory;
use crate::plan::{Desired, Gate, Surroundings};

const READ: Duration = Duration::from_secs(10);
/// Requeue delay of a deletion that waits for a permit, should the permit not trigger it.
const GRANT: Duration = Duration::from_secs(30);

impl Turn<'_> {
    pub(super) async fn say_farewell(
        &mut self,
        slot: &mut Slot,
        desired: &Desired,
        memory: &mut Memory,
    ) -> Action {
        if !self.policy.finalizers().iter().any(|f| f == FINALIZER) {
            return Action::await_change();
        }
        let desired = switched_off(desired);
        slot.seat = None;
        drop(self.desk.take_delivery());
        for _ in 0..STEPS {
            let now = self.context.clock.now();
            let around = self.surroundings(memory, now);
            memory.notice(&desired, around.epoch, now);
            let (reach, reached) = self.reach(&around).await;
            deletion::notice(memory, reach, now);
            let step = deletion::next(&desired, &around, memory, reach, now);
            let calls = matches!(step, Farewell::Look | Farewell::Modify);
            if calls && matches!(reached, Some(Reached::Account(..))) && self.caller.is_none() {
                drop(reached);
                match self.may_begin(slot, Lane::Change) {
                    true => continue,
                    false => return Action::requeue(GRANT),
                }
            }
            slot.waiting = None;
            match step {
                Farewell::Look => {
                    let Some(reached) = &reached else { return Action::requeue(AGAIN) };
                    let answer = self.describe(reached).await;
                    memory.looked(&desired, answer, self.context.clock.now(), fastrand::f64());
                    deletion::looked(memory);
                }
                Farewell::Modify => {
                    let Some(reached) = &reached else { return Action::requeue(AGAIN) };
                    self.attempt(reached, &desired, memory).await;
                }
                Farewell::Wait(until) => {
                    // Status reports why the deletion is delayed; a failed write of it does not hold up the deletion.
                    let later = match self.report(slot, &desired, &around, memory).await {
                        Told::Later(at) => Some(at),
                        Told::All | Told::Outdated | Told::Gone => None,
                    };
                    let until = until.into_iter().chain(later).min();
                    return requeue(until, self.context.clock.now());
                }
                Farewell::Release(release) => {
                    if deletion::is_news(memory, &release) {
                        self.announce(release).await;
                    }
                    // A refused write causes no watch event that would trigger the policy.
                    return match self.set_finalizer(slot, false).await {
                        Finalizer::AsWanted => Action::await_change(),
                        Finalizer::Overtaken(again) | Finalizer::Refused(again) => Action::requeue(again),
                    };
                }
            }
            if !self.is_current() {
                return Action::requeue(OVERTAKEN);
            }
        }
        Action::requeue(AGAIN)
    }

    async fn announce(&self, release: Release) {
        match release {
            Release::Retained => {}
            Release::Disabled => {
                self.tell(false, "DisabledOnDelete", "cross-region backup is off".to_owned()).await;
            }
            Release::Skipped(why) => self.tell(false, "DisableSkipped", why).await,
            Release::Abandoned(why) => {
                self.context.noted.abandoned(&self.key, self.context.clock.now());
                tracing::error!(
                    namespace = %self.namespace,
                    policy = %self.policy.name_any(),
                    instance = %self.instance.id,
                    region = %self.instance.region,
                    %why,
                    "the instance was not disabled: cross-region backup may still be on"
                );
                let text = format!("cross-region backup of {} may still be on: {why}", self.instance.id);
                self.tell(true, "DisableAbandoned", text).await;
            }
        }
    }

    /// Returns how the account can be reached. Only a GET with status 404 proves that account or Secret are deleted.
    async fn reach(&self, around: &Surroundings) -> (Reach, Option<Reached<'_>>) {
        let gone = match &around.gate {
            Gate::Open => {
                return match self.account {
                    Some(account) => (Reach::Open, Some(self.through(account))),
                    None => (Reach::Waiting, None),
                };
            }
            Gate::Closed(Reason::AccountNotFound, _) => self.account_is_gone().await,
            Gate::Closed(Reason::CredentialsMissing, _) => self.secret_is_gone().await,
            Gate::Closed(Reason::CredentialsRejected, _) => return (Reach::Hopeless, None),
            // Only a person can fix an account that cannot be parsed, or to which the cloud gives no credentials.
            Gate::Closed(..) if self.is_invalid() => return (Reach::Hopeless, None),
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
                    Some(last_seen) => (Reach::Open, Some(self.through_last_seen(last_seen))),
                    None => (Reach::Hopeless, None),
                }
            }
            Some(false) if matches!(around.gate, Gate::Closed(Reason::CredentialsMissing, _)) => {
                (Reach::Hopeless, None)
            }
            _ => (Reach::Waiting, None),
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
        timeout(READ, api.get_metadata_opt(&self.key.name)).await.ok()?.ok().map(|found| found.is_none())
    }

    fn is_invalid(&self) -> bool {
        self.account.is_some_and(|account| matches!(account.memory().standing, Standing::Invalid(_)))
    }

    /// Returns the client last used for the account. Right before each call it is checked again that the namespace was,
    /// and is, allowed to use the account.
    fn through_last_seen(&self, last_seen: LastSeen) -> Reached<'static> {
        let (shared, namespace) = (self.context.shared.clone(), self.namespace.clone());
        let client = last_seen.client.clone();
        let is_shared = last_seen.key.is_shared();
        let caller = Caller::new(&self.namespace, &self.uid).checked(Arc::new(move || {
            let admitted = was_admitted(shared.as_ref(), &namespace, &last_seen);
            if admitted { Ok(()) } else { Err(just_changed("")) }
        }));
        Reached::LastSeen(client, is_shared, caller)
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
        timeout(READ, api.get_metadata_opt(&name)).await.ok()?.ok().map(|found| found.is_none())
    }
}

/// Whether the deleted account was shared with this namespace, with the labels that the namespace has now.
fn was_admitted(shared: Option<&Shared>, namespace: &str, last_seen: &LastSeen) -> bool {
    let Some((allowed, permissions)) = &last_seen.sharing else { return !last_seen.key.is_shared() };
    shared.is_some_and(|shared| {
        shared.admits_by(allowed, *permissions, namespace, Purpose::Manage) == Admission::Allowed
    })
}
