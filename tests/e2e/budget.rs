//! A request budget that the resources of an account ask too much of, and how they share it.

use anyhow::{Result, ensure};
use cloud_simulator::{InstanceSpec, Policy};
use serde_json::json;

use crate::checks::{DESCRIBE, With, expect, message, seconds};
use crate::harness::{Stage, condition};

/// Instances that are in sync from the beginning, so that nothing is modified.
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
    // One call for each of six policies, and one for the backups of all, every 2 s; 2 a second are allowed.
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

    // Fewer resources need less.
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
