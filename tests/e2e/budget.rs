//! Account request budgets that are smaller than the demand of the account's resources, and how they are shared.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use cloud_simulator::{InstanceSpec, Policy};
use serde_json::{Value, json};
use testbed::{ControlPlane, Options, wait_until};

use crate::checks::{DESCRIBE, MODIFY, With, expect, message, seconds};
use crate::client;
use crate::harness::{KEY_ID, OPERATOR_NAMESPACE, SECRET_KEY, Stage, condition, install};

/// Adds an instance that is already in sync, so that no Modify is sent.
fn add(stage: &Stage<'_>, instance: &str) -> Result<()> {
    Ok(stage.cloud.put_instance(InstanceSpec {
        instance_id: instance.to_owned(),
        region: "cn-beijing".to_owned(),
        policy: Policy::to_region("cn-shanghai"),
        ..InstanceSpec::default()
    })?)
}

#[tokio::test]
async fn a_budget_that_is_too_small_is_told_and_makes_looks_rarer_until_it_suffices() -> Result<()> {
    let mut stage = Stage::new("budget-small").await?;
    stage.apply_secret(crate::harness::KEY_ID, crate::harness::SECRET_KEY).await?;
    let mut account = stage.account_manifest();
    account["spec"]["requestBudget"] = json!({"requestsPerSecond": 2, "burst": 1});
    stage.apply(account).await?;
    let names: Vec<_> = (1..=6).map(|number| format!("tight-{number}")).collect();
    for name in &names {
        let instance = format!("redis-{name}");
        add(&stage, &instance)?;
        stage.apply(stage.policy_manifest(name, json!({"instanceId": instance}))).await?;
    }
    stage.start_operator().await?;
    // Every 2 s: one call for each of six policies plus one list of all backups. The budget allows 2 calls a second.
    let account = stage.until_account("BudgetTooSmall").await?;
    expect(&account, "True", "BudgetTooSmall", With::Nothing)?;
    ensure!(
        message(&account)
            == "the request budget allows one look at each resource every 4s; at their own intervals the resources need 4 \
                requests per second",
        "{}",
        message(&account)
    );
    for name in &names {
        stage.until_reason_of(name, "InSync").await?;
    }
    let first = jiff::Timestamp::now();
    let since = |name: &str| {
        let instance = format!("redis-{name}");
        let all = stage.requests(DESCRIBE);
        all.into_iter()
            .filter(|r| r.at > first && r.instance_id.as_deref() == Some(&instance))
            .collect::<Vec<_>>()
    };
    stage.wait("three more looks at each", || names.iter().all(|name| since(name).len() >= 3)).await?;
    for name in &names {
        let looks = since(name);
        let between = seconds(looks[0].at, looks[2].at) / 2.0;
        ensure!((2.5..7.0).contains(&between), "{name} is looked at every {between} s");
    }
    let events = stage.events("prod").await?;
    ensure!(events.iter().filter(|e| e.starts_with("AccountVerified")).count() == 1, "{events:#?}");

    for name in &names[1..] {
        stage.delete("crbp", name).await?;
    }
    let account = stage.until_account("CredentialsVerified").await?;
    expect(&account, "True", "CredentialsVerified", With::Nothing)?;
    stage.more_looks(2).await?;
    let now = jiff::Timestamp::now();
    stage.wait("three looks", || since(&names[0]).iter().filter(|r| r.at > now).count() >= 3).await?;
    let looks: Vec<_> = since(&names[0]).into_iter().filter(|r| r.at > now).collect();
    let between = seconds(looks[0].at, looks[2].at) / 2.0;
    ensure!(between < 2.8, "it is looked at every {between} s again");
    Ok(())
}

#[tokio::test]
async fn a_larger_budget_ends_it_and_a_suspended_resource_asks_for_nothing() -> Result<()> {
    let mut stage = Stage::new("budget-raised").await?;
    stage.apply_secret(crate::harness::KEY_ID, crate::harness::SECRET_KEY).await?;
    let mut account = stage.account_manifest();
    account["spec"]["requestBudget"] = json!({"requestsPerSecond": 1});
    stage.apply(account).await?;
    for name in ["one", "two"] {
        let instance = format!("redis-raised-{name}");
        add(&stage, &instance)?;
        stage.apply(stage.policy_manifest(name, json!({"instanceId": instance}))).await?;
    }
    stage.start_operator().await?;
    stage.until_account("BudgetTooSmall").await?;
    stage.patch_spec_of("two", json!({"suspend": true})).await?;
    stage.until_account("CredentialsVerified").await?;
    stage.patch_spec_of("two", json!({"suspend": false})).await?;
    let account = stage.until_account("BudgetTooSmall").await?;
    let moved = condition(&account, "Ready")["lastTransitionTime"].clone();
    stage.patch_account(json!({"requestBudget": {"requestsPerSecond": 10}})).await?;
    let account = stage.until_account("CredentialsVerified").await?;
    ensure!(condition(&account, "Ready")["lastTransitionTime"] == moved, "True all the time");
    Ok(())
}

/// Number of namespaces; each holds three policies, and all use one account.
const NAMESPACES: usize = 100;
const POLICIES: usize = 3 * NAMESPACES;
/// Time limit for the roll-out: three calls per policy at 10 a second take 90 s, doubled.
const ROLL_OUT: Duration = Duration::from_secs(180);

#[tokio::test]
async fn three_hundred_policies_of_a_hundred_namespaces_wait_for_the_budget_without_a_failure() -> Result<()>
{
    let plane = ControlPlane::start(Options::default()).await?;
    install(&plane).await?;
    let mut stage = Stage::on(&plane, "budget-waits").await?;
    stage.watches_all = true;
    stage.flag("--leader-elect=true");
    stage.flag("--resync-interval-override=1h");
    let mut account = stage.account_manifest();
    account["kind"] = json!("ClusterCloudAccount");
    account["metadata"] = json!({"name": "shared"});
    account["spec"]["allowedNamespaces"] = json!({"from": "All"});
    account["spec"]["requestBudget"] = json!({"requestsPerSecond": 10});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cloud-key", "namespace": OPERATOR_NAMESPACE},
        "stringData": {"accessKeyId": KEY_ID, "secretAccessKey": SECRET_KEY},
    });
    let mut objects = vec![account, secret];
    objects.extend((0..NAMESPACES).map(|number| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("team-{number}")}})
    }));
    let instance = |number: usize| format!("redis-waits-{number}");
    for number in 0..POLICIES {
        stage.add_instance(&instance(number))?;
        let reference = json!({"kind": "ClusterCloudAccount", "name": "shared"});
        let spec = json!({"accountRef": reference, "instanceId": instance(number)});
        let mut policy = stage.policy_manifest(&format!("waits-{number}"), spec);
        policy["metadata"]["namespace"] = json!(format!("team-{}", number % NAMESPACES));
        objects.push(policy);
    }
    // All objects exist before the operator starts.
    stage.apply(json!({"apiVersion": "v1", "kind": "List", "items": objects})).await?;
    stage.start_operator().await?;
    wait_until(ROLL_OUT, "all to be modified", async || {
        Ok((stage.modifies() == POLICIES as u64).then_some(()))
    })
    .await?;
    let ready = async || {
        let policies = client::list(&stage.client, "crbp", None).await?;
        let is_ready = |policy: &&Value| condition(policy, "Ready")["reason"] == "InSync";
        Ok((policies.iter().filter(is_ready).count() == POLICIES).then_some(()))
    };
    wait_until(ROLL_OUT, "all to be Ready", ready).await?;
    let events = client::list(&stage.client, "Event", None).await?;
    let mut reasons = BTreeMap::<&str, usize>::new();
    for event in &events {
        if event["regarding"]["kind"] == "CrossRegionBackupPolicy" {
            *reasons.entry(event["reason"].as_str().unwrap_or_default()).or_default() += 1;
        }
    }
    // Each policy is polled once after its Modify; the next scheduled poll is an hour away.
    let modified: BTreeMap<_, _> =
        stage.requests(MODIFY).into_iter().map(|modify| (modify.instance_id, modify.at)).collect();
    let looks = stage.requests(DESCRIBE);
    let before = looks.iter().filter(|look| modified.get(&look.instance_id).is_some_and(|at| look.at < *at));
    let before = before.count();
    println!("{} Describes, {} Modifies, Events {reasons:?}", stage.calls(DESCRIBE), stage.calls(MODIFY));
    ensure!(reasons == BTreeMap::from([("PolicyModified", POLICIES)]), "{reasons:?}");
    ensure!(stage.calls(MODIFY) == POLICIES as u64 && modified.len() == POLICIES, "{}", modified.len());
    ensure!(before == POLICIES, "{before} looks before the Modifies");
    ensure!(looks.len() <= 2 * POLICIES + POLICIES / 10, "{} looks", looks.len());
    Ok(())
}
