//! What the resources of an account ask of it.

use std::time::Duration;

use kube::ResourceExt;

use super::sharing::{Admission, Purpose};
use super::{Context, inventory, policy};
use crate::api::CrossRegionBackupPolicy;
use crate::api::inventory::Scope;
use crate::observe::AccountKey;
use crate::plan::demand::Demand;

/// A page of a listing of backups (DescribeCrossRegionBackups, DescribeInstanceBackups).
const PAGE: i64 = 100;
/// The most pages that a status is believed: who may write one must not slow the others down that share the account.
const PAGES_OF_INSTANCE: u32 = 10;
const PAGES_OF_ACCOUNT: u32 = 1000;

/// The looks at the resources that may use the account, at the intervals of their specs: one call for the policy, and one for
/// each page of its backups, as many as were listed last.
pub fn demands(context: &Context, key: &AccountKey) -> Vec<Demand> {
    let admitted = |namespace: Option<String>, purpose: Purpose| {
        context.admission(key, &namespace.unwrap_or_default(), purpose) == Admission::Allowed
    };
    let policies = context.policies_of(key);
    let inventories = context.inventories_of(key);
    let of_policies = policies
        .iter()
        .filter_map(|policy| policy.0.as_ref().ok())
        .filter(|p| !p.spec.suspend && admitted(p.namespace(), policy::purpose_of(context, p)))
        .map(|policy| Demand { interval: policy::own_interval(context, policy), calls: calls_of(policy) });
    let of_inventories = inventories
        .iter()
        .filter_map(|inventory| inventory.0.as_ref().ok())
        .filter(|i| !i.spec.suspend && admitted(i.namespace(), inventory::purpose_of(i)))
        .map(|inventory| {
            let listed = inventory.status.as_ref().and_then(|status| status.total);
            let most = match inventory.spec.scope {
                Scope::Instance => PAGES_OF_INSTANCE,
                Scope::Account => PAGES_OF_ACCOUNT,
            };
            Demand { interval: inventory::own_interval(context, inventory), calls: pages(listed).min(most) }
        });
    of_policies.chain(of_inventories).collect()
}

pub fn shortest(demands: &[Demand]) -> Option<Duration> {
    demands.iter().map(|demand| demand.interval).min()
}

/// What a look at a policy takes, as far as its status tells.
pub fn calls_of(policy: &CrossRegionBackupPolicy) -> u32 {
    let listed = policy.status.as_ref().and_then(|status| status.backups.as_ref());
    1 + pages(listed.map(|backups| backups.total)).min(PAGES_OF_INSTANCE)
}

fn pages(total: Option<i64>) -> u32 {
    let total = total.unwrap_or_default().max(1);
    u32::try_from((total - 1) / PAGE + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_look_takes_a_call_for_each_page_of_what_a_status_may_be_believed_to_tell() {
        for (total, calls) in [(0, 2), (1, 2), (100, 2), (101, 3), (1000, 11), (i64::MAX, 11), (-5, 2)] {
            let policy = serde_json::from_value(json!({
                "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CrossRegionBackupPolicy", "metadata": {"name": "p"},
                "spec": {"accountRef": {"name": "prod"}, "region": "cn-beijing", "instanceId": "redis-a1", "active": false},
                "status": {"backups": {"total": total, "byStatus": {}, "items": []}},
            }));
            assert_eq!(calls_of(&policy.unwrap()), calls, "{total}");
        }
    }
}
