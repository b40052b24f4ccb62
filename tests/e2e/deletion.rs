//! Deletion of policies: what stays on in the cloud, what is disabled, and that no deletion gets stuck.

use anyhow::{Result, ensure};
use cloud_simulator::{Effect, Policy};
use serde_json::{Value, json};
use testbed::wait_until;

use crate::checks::{DESCRIBE, MODIFY};
use crate::client;
use crate::harness::{INSTANCE, LIMIT, POLICY, Stage};
use crate::objects::FINALIZER;

fn finalizers(policy: &Value) -> Vec<&str> {
    policy["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn outage() -> Effect {
    Effect::Error { status: 500, code: "InternalError".to_owned(), message: String::new(), code_n: None }
}

/// Returns a stage whose only policy is in sync and has this `deletionPolicy`.
async fn synced(name: &str, deletion_policy: &str) -> Result<Stage<'static>> {
    let stage = Stage::running(name).await?;
    stage.apply_policy(json!({"deletionPolicy": deletion_policy})).await?;
    stage.until_reason("InSync").await?;
    ensure!(stage.modifies() == 1);
    Ok(stage)
}

async fn no_event_of_disabling(stage: &Stage<'_>) -> Result<()> {
    let events = stage.events(POLICY).await?;
    ensure!(!events.iter().any(|e| e.starts_with("Disable")), "{events:#?}");
    Ok(())
}

#[tokio::test]
async fn retain_goes_at_once_and_leaves_the_cloud_alone() -> Result<()> {
    let stage = synced("delete-retain", "Retain").await?;
    ensure!(finalizers(&stage.policy().await?).is_empty());
    stage.run(["delete", "crbp", POLICY, "--timeout=10s"]).await?;
    // Reconciling a newer policy proves that the operator has seen the deletion.
    stage.add_instances(&["redis-other"])?;
    stage.apply(stage.policy_manifest("other", json!({"instanceId": "redis-other"}))).await?;
    stage.until_reason_of("other", "InSync").await?;
    ensure!(stage.modifies_of(INSTANCE) == 1 && stage.held()? == Policy::to_region("cn-shanghai"));
    no_event_of_disabling(&stage).await
}

#[tokio::test]
async fn disable_switches_off_once_and_was_ready_to_from_the_beginning() -> Result<()> {
    let stage = Stage::running("delete-disable").await?;
    stage.fault(MODIFY, Some(1), Effect::Delay { seconds: 2.0 })?;
    stage.apply_policy(json!({"deletionPolicy": "Disable"})).await?;
    stage.wait("the first Modify", || stage.calls(MODIFY) == 1).await?;
    let policy = stage.policy().await?;
    ensure!(stage.modifies() == 0, "the Modify was to take longer");
    ensure!(finalizers(&policy) == [FINALIZER], "{policy:#}");
    stage.until_reason("InSync").await?;

    stage.delete("crbp", POLICY).await?;
    stage.until_gone("crbp", POLICY).await?;
    ensure!(!stage.held()?.active);
    ensure!(stage.calls(MODIFY) == 2 && stage.modifies() == 2, "{:#?}", stage.accepted());
    stage.until_event(POLICY, "DisabledOnDelete").await
}

#[tokio::test]
async fn disable_that_became_retain_changes_nothing() -> Result<()> {
    let stage = synced("delete-switched", "Disable").await?;
    stage.patch_policy(json!({"deletionPolicy": "Retain"})).await?;
    stage.until("crbp", POLICY, "no finalizer", |o| finalizers(o).is_empty()).await?;
    stage.run(["delete", "crbp", POLICY, "--timeout=10s"]).await?;
    ensure!(stage.calls(MODIFY) == 1 && stage.held()?.active);
    no_event_of_disabling(&stage).await
}

#[tokio::test]
async fn what_passes_is_retried_until_the_instance_is_off() -> Result<()> {
    let stage = synced("delete-retried", "Disable").await?;
    stage.fault(DESCRIBE, Some(3), outage())?;
    stage.fault(MODIFY, Some(2), outage())?;
    stage.patch_instance(json!({"status": "Scaling"}))?;
    stage.delete("crbp", POLICY).await?;
    stage.wait("a Modify", || stage.calls(MODIFY) >= 4).await?;
    ensure!(stage.held()?.active);
    stage.policy().await?;
    stage.patch_instance(json!({"status": "Running"}))?;
    stage.until_gone("crbp", POLICY).await?;
    ensure!(!stage.held()?.active && stage.modifies() == 2);
    stage.until_event(POLICY, "DisabledOnDelete").await
}

#[tokio::test]
async fn retain_meanwhile_releases_a_deletion_that_cannot_go_on() -> Result<()> {
    let stage = synced("delete-released", "Disable").await?;
    stage.fault(DESCRIBE, None, outage())?;
    stage.delete("crbp", POLICY).await?;
    stage.more_looks(2).await?;
    ensure!(finalizers(&stage.policy().await?) == [FINALIZER]);
    stage.patch_policy(json!({"deletionPolicy": "Retain"})).await?;
    stage.until_gone("crbp", POLICY).await?;
    ensure!(stage.calls(MODIFY) == 1 && stage.held()?.active);
    no_event_of_disabling(&stage).await
}

#[tokio::test]
async fn without_its_secret_it_goes_on_with_the_credentials_last_seen() -> Result<()> {
    let stage = synced("delete-no-secret", "Disable").await?;
    stage.run(["delete", "secret", "cloud-key"]).await?;
    stage.until_reason("CredentialsMissing").await?;
    stage.delete("crbp", POLICY).await?;
    stage.until_gone("crbp", POLICY).await?;
    ensure!(!stage.held()?.active && stage.modifies() == 2);
    stage.until_event(POLICY, "DisabledOnDelete").await
}

#[tokio::test]
async fn without_its_account_it_goes_on_with_the_credentials_last_seen() -> Result<()> {
    let stage = synced("delete-no-account", "Disable").await?;
    stage.run(["delete", "cacct", "prod"]).await?;
    stage.until_reason("AccountNotFound").await?;
    stage.run(["delete", "secret", "cloud-key"]).await?;
    stage.delete("crbp", POLICY).await?;
    stage.until_gone("crbp", POLICY).await?;
    ensure!(!stage.held()?.active && stage.modifies() == 2);
    stage.until_event(POLICY, "DisabledOnDelete").await
}

#[tokio::test]
async fn a_whole_namespace_goes_and_its_instance_is_off() -> Result<()> {
    let stage = synced("delete-namespace", "Disable").await?;
    let namespace = stage.namespace.as_str();
    stage.kubectl().run(["delete", "namespace", namespace, "--timeout=60s"]).await?;
    ensure!(!stage.held()?.active && stage.modifies() == 2);
    // A terminating namespace accepts no new Events, so the Event is in the namespace `default`.
    wait_until(LIMIT, "the Event in default", async || {
        let events = client::list(&stage.client, "Event", Some("default")).await?;
        let told = events.iter().any(|e| {
            e["reason"] == "DisabledOnDelete" && e["regarding"]["namespace"] == stage.namespace.as_str()
        });
        Ok(told.then_some(()))
    })
    .await
}

#[tokio::test]
async fn what_would_not_modify_otherwise_does_not_disable_either() -> Result<()> {
    let stage = Stage::running("delete-skipped").await?;
    stage.add_instances(&["redis-suspended", "redis-shared", "redis-vanished"])?;
    let disable = |name: &str, more: Value| {
        let mut manifest = stage.policy_manifest(name, json!({"deletionPolicy": "Disable"}));
        if let (Some(spec), Value::Object(more)) = (manifest["spec"].as_object_mut(), more) {
            spec.extend(more);
        }
        manifest["spec"].clone()
    };
    let observes = disable("observes", json!({"managementPolicy": "Observe"}));
    stage.apply(stage.policy_manifest("observes", observes)).await?;
    stage.until_reason_of("observes", "DriftDetected").await?;
    let suspended = disable("suspended", json!({"instanceId": "redis-suspended", "suspend": true}));
    stage.apply(stage.policy_manifest("suspended", suspended)).await?;
    stage.until_reason_of("suspended", "Suspended").await?;
    let vanished = disable("vanished", json!({"instanceId": "redis-vanished"}));
    stage.apply(stage.policy_manifest("vanished", vanished)).await?;
    stage.until_reason_of("vanished", "InSync").await?;
    stage.cloud.remove_instance("redis-vanished")?;
    stage.apply_elder("elder", json!({"instanceId": "redis-shared"})).await?;
    stage.until_reason_of("elder", "InSync").await?;
    let loser = disable("loser", json!({"instanceId": "redis-shared", "crossBackupRegion": "cn-guangzhou"}));
    stage.apply(stage.policy_manifest("loser", loser)).await?;
    stage.until_reason_of("loser", "Conflict").await?;
    let modifies = stage.calls(MODIFY);
    for name in ["observes", "suspended", "loser", "vanished"] {
        ensure!(finalizers(&stage.get("crbp", name).await?) == [FINALIZER], "{name}");
        stage.delete("crbp", name).await?;
        stage.until_gone("crbp", name).await?;
        stage.until_event(name, "DisableSkipped").await?;
    }
    ensure!(stage.calls(MODIFY) == modifies, "{:#?}", stage.accepted());
    ensure!(stage.cloud.policy("redis-shared")?.current == Policy::to_region("cn-shanghai"));
    Ok(())
}
