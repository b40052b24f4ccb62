//! Deletion: the instance's policy is switched off first where `deletionPolicy: Disable` asks for it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use tokio::time::timeout;

use super::{AGAIN, STEPS, Slot, Turn};
use crate::api::{CloudAccount, FINALIZER};
use crate::controllers::{NotReported, requeue};
use crate::domain::Reason;
use crate::observe::Reached;
use crate::plan::deletion::{self, Farewell, Reach, Release, switched_off};
use crate::plan::memory::Memory;
use crate::plan::{Desired, Gate, Surroundings};

const READ: Duration = Duration::from_secs(10);

impl Turn<'_> {
    pub(super) async fn say_farewell(
        &mut self,
        slot: &mut Slot,
        desired: &Desired,
        memory: &mut Memory,
    ) -> Result<Action, NotReported> {
        if !self.policy.finalizers().iter().any(|f| f == FINALIZER) {
            return Ok(Action::await_change());
        }
        let desired = switched_off(desired);
        for _ in 0..STEPS {
            let now = self.context.clock.now();
            let around = self.surroundings(memory, now);
            memory.notice(&desired, around.epoch, now);
            let (reach, reached) = self.reach(&around).await;
            deletion::notice(memory, reach, now);
            match deletion::next(&desired, &around, memory, reach, now) {
                Farewell::Look => {
                    let Some(reached) = &reached else { return Ok(Action::requeue(AGAIN)) };
                    let answer = self.describe(reached).await;
                    memory.looked(&desired, answer, self.context.clock.now(), fastrand::f64());
                    deletion::looked(memory);
                }
                Farewell::Modify => {
                    let Some(reached) = &reached else { return Ok(Action::requeue(AGAIN)) };
                    self.attempt(reached, &desired, memory).await;
                }
                Farewell::Wait(until) => {
                    // Why it takes so long is told; that it could not be told holds nothing up.
                    if let Err(error) = self.report(slot, &desired, &around, memory).await {
                        tracing::warn!(policy = %self.policy.name_any(), %error, "a status could not be written");
                    }
                    return Ok(requeue(until, self.context.clock.now()));
                }
                Farewell::Release(release) => {
                    self.announce(release).await;
                    self.finalizer_is(slot, false).await?;
                    return Ok(Action::await_change());
                }
            }
            if !self.is_current() {
                return Ok(Action::requeue(Duration::from_millis(100)));
            }
        }
        Ok(Action::requeue(AGAIN))
    }

    async fn announce(&self, release: Release) {
        match release {
            Release::Retained => {}
            Release::Disabled => {
                self.tell(false, "DisabledOnDelete", "cross-region backup is off".to_owned()).await;
            }
            Release::Skipped(why) => self.tell(false, "DisableSkipped", why).await,
            Release::Abandoned(why) => {
                tracing::error!(
                    namespace = %self.key.namespace,
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

    /// How the account can be reached. Only a GET that says 404 proves that account or Secret are gone.
    async fn reach(&self, around: &Surroundings) -> (Reach, Option<Reached<'_>>) {
        let gone = match &around.gate {
            Gate::Open => {
                return match self.account {
                    Some(account) => (Reach::Open, Some(Reached::Account(&self.context.accounts, account))),
                    None => (Reach::Waiting, None),
                };
            }
            Gate::Closed(Reason::AccountNotFound, _) => self.account_is_gone().await,
            Gate::Closed(Reason::CredentialsMissing, _) => self.secret_is_gone().await,
            Gate::Closed(Reason::CredentialsRejected, _) => return (Reach::Hopeless, None),
            // Only a person can make an account readable.
            Gate::Closed(..) if self.context.account(&self.key).is_some_and(|account| account.0.is_err()) => {
                return (Reach::Hopeless, None);
            }
            _ => Some(false),
        };
        match gone {
            Some(true) => match self.context.accounts.last_seen(&self.key) {
                Some(client) => (Reach::Open, Some(Reached::LastSeen(client))),
                None => (Reach::Hopeless, None),
            },
            Some(false) if matches!(around.gate, Gate::Closed(Reason::CredentialsMissing, _)) => {
                (Reach::Hopeless, None)
            }
            _ => (Reach::Waiting, None),
        }
    }

    /// `None` where the API server did not say.
    async fn account_is_gone(&self) -> Option<bool> {
        let api = Api::<CloudAccount>::namespaced(self.context.kube.clone(), &self.key.namespace);
        timeout(READ, api.get_metadata_opt(&self.key.name)).await.ok()?.ok().map(|found| found.is_none())
    }

    async fn secret_is_gone(&self) -> Option<bool> {
        let account = self.context.account(&self.key)?;
        let name = account.0.as_ref().ok()?.spec.credentials.secret_ref.name.clone();
        let api = Api::<Secret>::namespaced(self.context.kube.clone(), &self.key.namespace);
        timeout(READ, api.get_metadata_opt(&name)).await.ok()?.ok().map(|found| found.is_none())
    }
}
