//! What policies claim: the instances that their accounts have been proved to reach.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::desired::{account_of, instance_of};
use super::{Turn, purpose_of};
use crate::api::policy::CrossRegionBackupPolicySpec;
use crate::controllers::{Admission, Context, Purpose};
use crate::domain::Named;
use crate::observe::{View, provider_name};
use crate::plan::conflict::Claim;
use crate::plan::memory::Memory;

/// What stored statuses prove, before the first reconcile.
pub fn seed_claims(context: &Context) {
    for policy in context.policy_stores.iter().flat_map(|store| store.state()) {
        let Ok(lean) = &policy.0 else { continue };
        let policy = lean.whole();
        let proven = policy.status.is_some_and(|status| status.policy.is_some());
        let account = context.account(&account_of(&policy.spec, lean.named.namespace()));
        let provider = account.and_then(|account| account.spec).map(|spec| spec.provider);
        if let Some(provider) = provider.filter(|_| proven) {
            let instance = instance_of(&policy.spec);
            let claim = claim(context, &policy.spec, &lean.named, lean.created(), false);
            let claim = claim.map(|claim| (provider_name(provider), &instance, claim));
            context.claims.set(&lean.named.uid, claim);
        }
    }
}

impl Turn<'_> {
    /// Claims the instance where this policy has proved that its account reaches it.
    pub(super) fn stake(&self, memory: &Memory, view: Option<&View>) {
        let Some(view) = view else { return };
        let proven = memory.facts.policy.is_some();
        let admission = self.context.admission(&self.key, &self.namespace, self.purpose());
        // Who may not use the account any more ranks as who was refused by the cloud.
        let refused = memory.refused.is_some() || matches!(admission, Admission::Denied(_));
        let created = self.policy.metadata.creation_timestamp.as_ref();
        let claim = claim(self.context, &self.policy.spec, self.desk.named(), created, refused);
        let claim = claim.filter(|_| proven).map(|claim| (view.provider, &self.instance, claim));
        self.context.claims.set(&self.uid, claim);
    }
}

fn claim(
    context: &Context,
    spec: &CrossRegionBackupPolicySpec,
    named: &Arc<Named>,
    created: Option<&Time>,
    refused: bool,
) -> Option<Claim> {
    (purpose_of(context, spec) == Purpose::Manage).then(|| Claim {
        named: named.clone(),
        created: created.map_or(Timestamp::UNIX_EPOCH, |created| created.0),
        refused,
    })
}
