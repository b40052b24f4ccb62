//! Stored objects that this version cannot read, since an older or newer CRD accepted them.

use anyhow::{Result, ensure};
use cloud_simulator::Policy;
use serde_json::json;
use testbed::{ControlPlane, Options, wait_until};

use crate::checks::MODIFY;
use crate::harness::{INSTANCE, LIMIT, POLICY, Stage, condition, install};

/// Relaxes an enum in the schema to any string.
pub async fn relax(plane: &ControlPlane, crd: &str, field: &str) -> Result<()> {
    let path = format!("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/{field}/enum");
    let patch = json!([{"op": "remove", "path": path}]).to_string();
    let crd = format!("{crd}.crossregionbackup.io");
    plane.kubectl().run(["patch", "crd", &crd, "--type=json", "-p", &patch]).await.map(drop)
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_holds_nothing_up() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    install(&plane).await?;
    let mut stage = Stage::on(&plane, "unreadable").await?;
    stage.add_instances(&["redis-other", "redis-third"])?;
    stage.apply_account().await?;
    stage.start_operator().await?;
    stage.apply_policy(json!({"deletionPolicy": "Disable"})).await?;
    let before = stage.until_reason("InSync").await?;
    stage.operator().terminate(LIMIT).await?;

    relax(&plane, "crossregionbackuppolicies", "managementPolicy").await?;
    relax(&plane, "cloudaccounts", "provider").await?;
    stage.wait_for_patch(POLICY, json!({"managementPolicy": "Foo"})).await?;
    let mut account = stage.account_manifest();
    account["metadata"]["name"] = json!("strange");
    account["spec"]["provider"] = json!("Foo");
    wait_until(LIMIT, "the API server to take it", async || stage.apply(account.clone()).await.map(Some))
        .await?;
    stage.apply(stage.policy_manifest("other", json!({"instanceId": "redis-other"}))).await?;
    let of_strange = json!({"instanceId": "redis-third", "accountRef": {"name": "strange"}});
    stage.apply(stage.policy_manifest("third", of_strange)).await?;
    stage.start_operator().await?;

    let strange = stage.until_reason_of(POLICY, "InvalidRequest").await?;
    ensure!(condition(&strange, "Stalled")["status"] == "True", "{strange:#}");
    for field in ["policy", "lastModification", "protectedSince", "backups", "syncedGeneration"] {
        ensure!(strange["status"][field] == before["status"][field], "{field}: {strange:#}");
    }
    stage.until_reason_of("other", "InSync").await?;
    let invalid = |o: &serde_json::Value| condition(o, "Ready")["reason"] == "InvalidRequest";
    let account = stage.until("cacct", "strange", "InvalidRequest", invalid).await?;
    ensure!(condition(&account, "Stalled")["status"] == "True", "{account:#}");
    stage.until_reason_of("third", "AccountNotReady").await?;

    // The error is reported once; later reconciles leave status unchanged.
    stage.request_now("crbp", POLICY, "now").await?;
    stage.request_now("cacct", "strange", "now").await?;
    stage.more_looks(2).await?;
    stage.request_now("cacct", "strange", "again").await?;
    stage.more_looks(2).await?;
    let told = stage.get("crbp", POLICY).await?;
    ensure!(told["status"] == strange["status"], "{told:#}");
    let told = stage.get("cacct", "strange").await?;
    ensure!(told["status"] == account["status"], "{told:#}\n{account:#}");

    stage.delete("crbp", POLICY).await?;
    stage.until_gone("crbp", POLICY).await?;
    stage.until_event(POLICY, "DisableSkipped").await?;
    ensure!(stage.modifies_of(INSTANCE) == 1 && stage.held()? == Policy::to_region("cn-shanghai"));
    // With a readable spec the policy works again, and the other resources were never affected.
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;
    ensure!(stage.calls(MODIFY) == 2);
    Ok(())
}

#[tokio::test]
async fn one_that_becomes_unreadable_leaves_its_instance_to_others() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    install(&plane).await?;
    let mut stage = Stage::on(&plane, "unreadable-rival").await?;
    stage.apply_account().await?;
    stage.start_operator().await?;
    stage.apply_elder("elder", json!({})).await?;
    stage.until_reason_of("elder", "InSync").await?;
    stage.apply(stage.policy_manifest("younger", json!({"crossBackupRegion": "cn-guangzhou"}))).await?;
    stage.until_reason_of("younger", "Conflict").await?;
    relax(&plane, "crossregionbackuppolicies", "managementPolicy").await?;
    stage.wait_for_patch("elder", json!({"managementPolicy": "Foo"})).await?;
    stage.until_reason_of("elder", "InvalidRequest").await?;
    stage.until_reason_of("younger", "InSync").await?;
    ensure!(stage.held()? == Policy::to_region("cn-guangzhou"));
    stage.wait_for_patch("elder", json!({"managementPolicy": "Manage"})).await?;
    stage.until_reason_of("elder", "InSync").await?;
    stage.until_reason_of("younger", "Conflict").await.map(drop)
}
