//! Claims of policies: to the instances that their accounts have been proved to reach.
//!
//! After a start, the proof that the last process made for another spec is void, since the account may be another one.
//! The claim stays all the same until the first Describe is complete: otherwise a younger competing policy would modify
//! the instance in that moment.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::desired::{account_of, instance_of};
use super::{Reconcile, purpose_of};
use crate::accounts::{AccountView, provider_name};
use crate::api::CrossRegionBackupPolicy;
use crate::api::policy::CrossRegionBackupPolicySpec;
use crate::controllers::{Admission, Context, Purpose};
use crate::domain::ObjectKey;
use crate::domain::condition::types;
use crate::plan::AccountReadiness;
use crate::plan::conflict::{Claim, Refusal};
use crate::plan::memory::Memory;

/// Sets the claims that stored statuses prove, before the first reconcile.
pub fn seed_claims(context: &Context) {
    for policy in context.policy_stores.iter().flat_map(|store| store.state()) {
        let Ok(compact) = &policy.0 else { continue };
        let policy = compact.expand();
        let proven = policy.status.as_ref().is_some_and(|status| status.policy.is_some());
        let account = context.account(&account_of(&policy.spec, compact.object_key.namespace()));
        let provider = account.and_then(|account| account.spec).map(|spec| spec.provider);
        if let Some(provider) = provider.filter(|_| proven) {
            let instance = instance_of(&policy.spec);
            let refused = stored_refusal(&policy);
            let claim = claim(context, &policy.spec, &compact.object_key, compact.created(), refused);
            let claim = claim.map(|claim| (provider_name(provider), &instance, claim));
            context.claims.set(&compact.object_key.uid, claim);
        }
    }
}

/// Returns whether the stored status means that the cloud refused the policy.
pub fn stored_refusal(policy: &CrossRegionBackupPolicy) -> Refusal {
    let Some(status) = &policy.status else { return Refusal::None };
    if status.modify_refused.is_some() {
        // A deletion raises the generation by one although the spec stays.
        let raised = i64::from(policy.metadata.deletion_timestamp.is_some());
        let observed = status.observed_generation.unwrap_or(-1);
        let is_of_now = |now: i64| (now - raised..=now).contains(&observed);
        return Refusal::known(policy.metadata.generation.is_some_and(is_of_now));
    }
    let mut synced = status.conditions.iter().filter(|condition| condition.type_ == types::SYNCED);
    synced.next().map_or(Refusal::None, |synced| Refusal::of_reason(&synced.reason))
}

impl Reconcile<'_> {
    /// Sets the claim to the instance if this policy has proved that its account reaches it; otherwise removes it.
    pub(super) fn update_claim(
        &self,
        memory: &Memory,
        readiness: &AccountReadiness,
        view: Option<&AccountView>,
    ) {
        let may_look = !self.policy.spec.suspend
            && matches!(readiness, AccountReadiness::Open | AccountReadiness::Pending(_));
        if memory.awaits_proof() && may_look {
            return;
        }
        let proven = memory.is_proven();
        // The provider of a deleted account is not known: a claim made with it stays.
        let Some(view) = view else {
            if !proven {
                self.context.claims.set(&self.uid, None);
            }
            return;
        };
        let admission = self.context.admission(&self.key, &self.namespace, self.purpose());
        // A policy that lost access ranks like one the cloud refused.
        let refused = memory.refusal().max(Refusal::known(matches!(admission, Admission::Denied(_))));
        let created = self.policy.metadata.creation_timestamp.as_ref();
        let claim = claim(self.context, &self.policy.spec, self.mailbox.object_key(), created, refused);
        let claim = claim.filter(|_| proven).map(|claim| (view.provider, &self.instance, claim));
        self.context.claims.set(&self.uid, claim);
    }
}

fn claim(
    context: &Context,
    spec: &CrossRegionBackupPolicySpec,
    object_key: &Arc<ObjectKey>,
    created: Option<&Time>,
    refused: Refusal,
) -> Option<Claim> {
    (purpose_of(context, spec) == Purpose::Manage).then(|| Claim {
        object_key: object_key.clone(),
        created: created.map_or(Timestamp::UNIX_EPOCH, |created| created.0),
        refused,
    })
}
