//! Ownership of an instance: competing policies, and changes made outside the operator.

use anyhow::{Result, ensure};
use cloud_simulator::{KeySpec, Policy};
use serde_json::{Value, json};

use crate::checks::{MODIFY, message};
use crate::harness::{INSTANCE, KEY_ID, LIMIT, POLICY, SECRET_KEY, Stage, condition};

const ELDER: &str = "elder";
const YOUNGER: &str = "younger";

fn to(region: &str) -> (bool, String) {
    (true, region.to_owned())
}

/// Creates an older policy that copies to cn-shanghai, and a younger one that requests cn-guangzhou and is in conflict.
async fn rivals(name: &str) -> Result<Stage<'static>> {
    let stage = Stage::running(name).await?;
    stage.apply_elder(ELDER, json!({})).await?;
    stage.until_reason_of(ELDER, "InSync").await?;
    stage.apply(stage.policy_manifest(YOUNGER, json!({"crossBackupRegion": "cn-guangzhou"}))).await?;
    stage.until_reason_of(YOUNGER, "Conflict").await?;
    Ok(stage)
}

#[tokio::test]
async fn the_older_manages_and_the_younger_takes_over_after_it() -> Result<()> {
    let stage = rivals("conflict").await?;
    let younger = stage.get("crbp", YOUNGER).await?;
    ensure!(condition(&younger, "Stalled")["status"] == "True", "{younger:#}");
    ensure!(condition(&younger, "Ready")["status"] == "False", "{younger:#}");
    ensure!(message(&younger) == "CrossRegionBackupPolicy elder manages this instance", "{younger:#}");
    stage.until_event(YOUNGER, "Conflict").await?;
    stage.more_looks(6).await?;
    ensure!(stage.accepted() == [to("cn-shanghai")], "{:#?}", stage.accepted());

    stage.delete("crbp", ELDER).await?;
    let younger = stage.until_reason_of(YOUNGER, "InSync").await?;
    ensure!(condition(&younger, "Stalled").is_null());
    ensure!(stage.accepted() == [to("cn-shanghai"), to("cn-guangzhou")], "{:#?}", stage.accepted());
    ensure!(stage.held()? == Policy::to_region("cn-guangzhou"));
    Ok(())
}

#[tokio::test]
async fn the_elder_keeps_its_place_while_suspended_and_the_loser_goes_on_looking() -> Result<()> {
    let stage = rivals("conflict-suspended").await?;
    stage.patch_spec_of(ELDER, json!({"suspend": true})).await?;
    stage.until_reason_of(ELDER, "Suspended").await?;
    stage.drift(Policy::default())?;
    let sees = |o: &Value| o["status"]["policy"]["active"] == false;
    let younger = stage.until("crbp", YOUNGER, "what the cloud holds", sees).await?;
    ensure!(condition(&younger, "Ready")["reason"] == "Conflict", "{younger:#}");
    stage.more_looks(2).await?;
    ensure!(stage.accepted() == [to("cn-shanghai")]);
    stage.patch_spec_of(ELDER, json!({"suspend": false})).await?;
    stage.until_reason_of(ELDER, "InSync").await?;
    ensure!(stage.accepted() == [to("cn-shanghai"), to("cn-shanghai")], "{:#?}", stage.accepted());
    stage.until_reason_of(YOUNGER, "Conflict").await.map(drop)
}

#[tokio::test]
async fn the_winner_is_the_same_after_a_restart() -> Result<()> {
    let mut stage = rivals("conflict-restart").await?;
    stage.start_operator().await?;
    stage.more_looks(4).await?;
    stage.until_reason_of(ELDER, "InSync").await?;
    stage.until_reason_of(YOUNGER, "Conflict").await?;
    ensure!(stage.accepted() == [to("cn-shanghai")], "{:#?}", stage.accepted());
    Ok(())
}

#[tokio::test]
async fn over_two_namespaces_the_other_is_not_named() -> Result<()> {
    let mut stage = Stage::new("conflict-one").await?;
    stage.apply_account().await?;
    let other = "conflict-two";
    stage.kubectl().run(["create", "namespace", other]).await?;
    stage.apply_account_of("prod", other, KEY_ID, SECRET_KEY).await?;
    stage.flag("--watch-namespace=conflict-two");
    stage.start_operator().await?;
    stage.apply_elder(ELDER, json!({})).await?;
    stage.until_reason_of(ELDER, "InSync").await?;

    let mut younger = stage.policy_manifest(YOUNGER, json!({"crossBackupRegion": "cn-guangzhou"}));
    younger["metadata"]["namespace"] = json!(other);
    stage.apply(younger).await?;
    let holds = |o: &Value| condition(o, "Ready")["reason"] == "Conflict";
    let younger = stage.until_in(other, "crbp", YOUNGER, "Conflict", holds).await?;
    let text = message(&younger);
    ensure!(text == "a CrossRegionBackupPolicy of another namespace manages this instance", "{text}");
    ensure!(stage.accepted() == [to("cn-shanghai")]);
    stage.delete("crbp", ELDER).await?;
    let holds = |o: &Value| condition(o, "Ready")["reason"] == "InSync";
    stage.until_in(other, "crbp", YOUNGER, "InSync", holds).await?;
    ensure!(stage.accepted() == [to("cn-shanghai"), to("cn-guangzhou")]);
    Ok(())
}

#[tokio::test]
async fn who_may_not_modify_ranks_behind_until_something_changes() -> Result<()> {
    let stage = refused_elder("conflict-refused").await?;
    let elder = stage.until_reason_of(ELDER, "Conflict").await?;
    ensure!(message(&elder).contains(YOUNGER), "{elder:#}");
    stage.more_looks(4).await?;
    ensure!(stage.accepted() == [to("cn-guangzhou")], "{:#?}", stage.accepted());

    stage.cloud.allow(KEY_ID, ["*".to_owned()].into())?;
    stage.request_now("crbp", ELDER, "now").await?;
    stage.until_reason_of(ELDER, "InSync").await?;
    stage.until_reason_of(YOUNGER, "Conflict").await?;
    stage.more_looks(4).await?;
    ensure!(stage.accepted() == [to("cn-guangzhou"), to("cn-shanghai")], "{:#?}", stage.accepted());
    Ok(())
}

#[tokio::test]
async fn who_observes_does_not_compete() -> Result<()> {
    let stage = Stage::running("conflict-observe").await?;
    stage.apply_elder(ELDER, json!({"managementPolicy": "Observe"})).await?;
    stage.until_reason_of(ELDER, "DriftDetected").await?;
    stage.apply(stage.policy_manifest(YOUNGER, json!({}))).await?;
    stage.until_reason_of(YOUNGER, "InSync").await?;
    stage.until_reason_of(ELDER, "Observed").await?;
    // The policy competes as soon as it manages again.
    stage.patch_spec_of(ELDER, json!({"managementPolicy": "Manage"})).await?;
    stage.until_reason_of(ELDER, "InSync").await?;
    stage.until_reason_of(YOUNGER, "Conflict").await?;
    ensure!(stage.modifies_of(INSTANCE) == 1);
    Ok(())
}

#[tokio::test]
async fn what_is_changed_back_again_and_again_is_contested() -> Result<()> {
    let stage = Stage::running("contested").await?;
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;
    for round in 1..=3 {
        let policy = stage.policy().await?;
        ensure!(condition(&policy, "Contested").is_null(), "{policy:#}");
        stage.drift(Policy::to_region("cn-guangzhou"))?;
        stage.until("crbp", POLICY, "a correction", |o| o["status"]["drift"]["corrections"] == round).await?;
    }
    let contested = |o: &Value| condition(o, "Contested")["status"] == "True";
    let policy = stage.until("crbp", POLICY, "Contested", contested).await?;
    ensure!(condition(&policy, "Synced")["reason"] == "InSync", "{policy:#}");
    ensure!(condition(&policy, "Ready")["status"] == "True", "{policy:#}");
    ensure!(stage.held()? == Policy::to_region("cn-shanghai") && stage.modifies() == 4);
    stage.until_event(POLICY, "Contested").await
}

/// Creates an older policy whose key may not modify, and a younger one with another account that manages instead.
async fn refused_elder(name: &str) -> Result<Stage<'static>> {
    let stage = Stage::running(name).await?;
    let second = "AKLTSecondAccessKeyId0000000088";
    stage.cloud.put_key(KeySpec {
        access_key_id: second.to_owned(),
        secret_access_key: SECRET_KEY.to_owned(),
        ..KeySpec::default()
    })?;
    stage.cloud.deny(KEY_ID, [MODIFY.to_owned()].into())?;
    stage.apply_account_of("second", &stage.namespace, second, SECRET_KEY).await?;
    stage.apply_elder(ELDER, json!({})).await?;
    stage.until_reason_of(ELDER, "PermissionDenied").await?;
    let spec = json!({"crossBackupRegion": "cn-guangzhou", "accountRef": {"name": "second"}});
    stage.apply(stage.policy_manifest(YOUNGER, spec)).await?;
    stage.until_reason_of(YOUNGER, "InSync").await?;
    stage.until_reason_of(ELDER, "Conflict").await?;
    // The losing policy keeps polling, and observes the other policy's change to the instance.
    let sees = |o: &Value| o["status"]["policy"]["crossBackupRegion"] == "cn-guangzhou";
    stage.until("crbp", ELDER, "what the younger has made", sees).await?;
    Ok(stage)
}

/// Returns the older and the younger policy, with their resource versions.
async fn both(stage: &Stage<'_>) -> Result<[Value; 2]> {
    Ok([stage.get("crbp", ELDER).await?, stage.get("crbp", YOUNGER).await?])
}

#[tokio::test]
async fn who_may_not_modify_ranks_behind_over_restarts() -> Result<()> {
    let mut stage = refused_elder("conflict-refused-restart").await?;
    let elder = stage.get("crbp", ELDER).await?;
    ensure!(elder["status"]["modifyRefused"]["code"] == "AccessDenied", "{elder:#}");
    let before = both(&stage).await?;
    for _ in 0..3 {
        stage.start_operator().await?;
        stage.more_looks(6).await?;
        let after = both(&stage).await?;
        ensure!(after == before, "a restart writes nothing: {before:#?} became {after:#?}");
    }
    ensure!(stage.accepted() == [to("cn-guangzhou")], "{:#?}", stage.accepted());

    // A change of the Secret while the operator is down ends the lower rank, because the new key may have the permission.
    stage.operator().terminate(LIMIT).await?;
    stage.cloud.allow(KEY_ID, ["*".to_owned()].into())?;
    let refused =
        elder["status"]["modifyRefused"]["time"].as_str().unwrap_or_default().parse::<jiff::Timestamp>()?;
    stage.wait("the next second", || jiff::Timestamp::now().as_second() > refused.as_second() + 1).await?;
    stage.run(["annotate", "secret", "cloud-key", "changed=yes"]).await?;
    stage.start_operator().await?;
    let elder = stage.until_reason_of(ELDER, "InSync").await?;
    ensure!(elder["status"]["modifyRefused"].is_null(), "{elder:#}");
    stage.until_reason_of(YOUNGER, "Conflict").await?;
    ensure!(stage.accepted() == [to("cn-guangzhou"), to("cn-shanghai")], "{:#?}", stage.accepted());
    Ok(())
}

#[tokio::test]
async fn who_turns_to_an_account_that_does_not_exist_leaves_the_instance_to_the_other() -> Result<()> {
    let stage = rivals("conflict-account").await?;
    stage.patch_spec_of(ELDER, json!({"accountRef": {"name": "missing"}})).await?;
    stage.until_reason_of(YOUNGER, "InSync").await?;
    let elder = stage.until_reason_of(ELDER, "AccountNotFound").await?;
    ensure!(elder["status"]["policy"].is_null(), "{elder:#}");
    ensure!(stage.accepted() == [to("cn-shanghai"), to("cn-guangzhou")], "{:#?}", stage.accepted());
    stage.patch_spec_of(ELDER, json!({"accountRef": {"name": "prod"}})).await?;
    stage.until_reason_of(ELDER, "InSync").await?;
    stage.until_reason_of(YOUNGER, "Conflict").await.map(drop)
}

#[tokio::test]
async fn and_so_does_one_that_did_while_the_operator_was_down() -> Result<()> {
    let mut stage = rivals("conflict-account-down").await?;
    stage.operator().terminate(LIMIT).await?;
    stage.patch_spec_of(ELDER, json!({"accountRef": {"name": "missing"}})).await?;
    for _ in 0..2 {
        stage.start_operator().await?;
        stage.until_reason_of(YOUNGER, "InSync").await?;
        stage.until_reason_of(ELDER, "AccountNotFound").await?;
        stage.more_looks(3).await?;
    }
    ensure!(stage.accepted() == [to("cn-shanghai"), to("cn-guangzhou")], "{:#?}", stage.accepted());
    ensure!(stage.held()? == Policy::to_region("cn-guangzhou"));
    Ok(())
}
