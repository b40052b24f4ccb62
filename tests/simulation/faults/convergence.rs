//! Checks that all is well: the cloud is as the specs want it, and status is true.

use bytes::Bytes;
use serde_json::Value;

use super::checker::objects::{Policy, Setting};
use super::steps::FLEET;
use crate::harness::TestCluster;

/// Checks the whole cluster.
///
/// # Errors
/// The first deviation found.
pub fn check_converged(cluster: &TestCluster) -> Result<(), String> {
    let objects = cluster.api.all("crossregionbackuppolicies");
    let policies: Vec<_> =
        objects.iter().map(|object| Policy::read(&Bytes::from(object.to_string()))).collect();
    let cloud = cluster
        .cloud
        .policy(&FLEET.instance(0))
        .ok()
        .map(|view| Setting { active: view.current.active, target: view.current.region });
    let claims = policies.iter().filter(|policy| policy.manages() && policy.is_proven());
    let manager = claims.reduce(|best, other| if other.ranks_before(best) { other } else { best });
    let manager = manager.map(|policy| &policy.uid);
    for policy in &policies {
        is_policy_well(policy, Account::of(cluster, policy), cloud.as_ref(), manager == Some(&policy.uid))
            .map_err(|why| format!("{}: {why}; it is {policy:?}, the cloud has {cloud:?}", policy.name))?;
    }
    accounts_are_well(cluster)?;
    inventories_are_well(cluster)
}

/// Checks a policy that alone manages its instance, through a usable account.
///
/// # Errors
/// The first deviation found.
pub fn check_as_wanted(policy: &Policy, cloud: &Setting) -> Result<(), String> {
    is_policy_well(policy, Account::Open, Some(cloud), true)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Account {
    Open,
    Suspended,
    NotAllowed,
    Gone,
}

impl Account {
    fn of(cluster: &TestCluster, policy: &Policy) -> Self {
        let (kind, name) = policy.account();
        let account = cluster.api.all(&kind).into_iter().find(|account| account["metadata"]["name"] == name);
        let Some(spec) = account.map(|mut account| account["spec"].take()) else { return Self::Gone };
        if spec["permissions"]["manage"] == false && policy.manages() {
            Self::NotAllowed
        } else if spec["suspend"] == true {
            Self::Suspended
        } else {
            Self::Open
        }
    }
}

fn accounts_are_well(cluster: &TestCluster) -> Result<(), String> {
    for account in ["cloudaccounts", "clustercloudaccounts"].iter().flat_map(|kind| cluster.api.all(kind)) {
        let expected = if account["spec"]["suspend"] == true { "Suspended" } else { "CredentialsVerified" };
        let conditions = account["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if !conditions.iter().any(|c| c["type"] == "Ready" && c["reason"] == expected) {
            return Err(format!("an account is not {expected}: {}", account["status"]));
        }
    }
    Ok(())
}

fn is_policy_well(
    policy: &Policy,
    account: Account,
    cloud: Option<&Setting>,
    is_manager: bool,
) -> Result<(), String> {
    if policy.deleted {
        return Err("it is still there".to_owned());
    }
    let is_met = cloud.is_some_and(|cloud| cloud.meets(&policy.spec));
    let is_quiet = policy.is_suspended() || account != Account::Open;
    let expected = match account {
        _ if policy.is_suspended() => "Suspended",
        Account::Suspended => "Suspended",
        Account::NotAllowed => "AccountNotAllowed",
        Account::Gone => "AccountNotFound",
        Account::Open if cloud.is_none() => "InstanceNotFound",
        Account::Open if policy.manages() && !is_manager => "Conflict",
        Account::Open if policy.manages() => "InSync",
        Account::Open if is_met => "Observed",
        Account::Open => "DriftDetected",
    };
    says(policy, "Synced", expected)?;
    says(policy, "Ready", expected)?;
    if expected == "InSync" && !is_met {
        return Err("it says InSync".to_owned());
    }
    if policy.status["observedGeneration"].as_i64() != Some(policy.generation) {
        return Err("its status is of another generation".to_owned());
    }
    let told = Setting::of_object(&policy.status["policy"]);
    let is_shown = is_quiet || cloud.is_none_or(|cloud| cloud.equals(&told));
    if is_shown { Ok(()) } else { Err("it shows something else".to_owned()) }
}

fn says(policy: &Policy, kind: &str, reason: &str) -> Result<(), String> {
    let condition = policy.condition(kind);
    let of_now = condition.filter(|c| c["observedGeneration"].as_i64() == Some(policy.generation));
    match of_now.and_then(|c| c["reason"].as_str()) {
        Some(said) if said == reason => Ok(()),
        said => Err(format!("{kind} says {said:?} and not {reason}")),
    }
}

fn inventories_are_well(cluster: &TestCluster) -> Result<(), String> {
    for inventory in cluster.api.all("backupinventories") {
        let conditions = inventory["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let listed = |c: &Value| c["type"] == "Ready" && c["status"] == "True" && c["reason"] == "Listed";
        if !conditions.iter().any(listed) {
            return Err(format!("an inventory is not listed: {}", inventory["status"]));
        }
    }
    Ok(())
}
