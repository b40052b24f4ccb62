//! Secret of a shared account, in the operator's namespace: rotated, missing, wrong. Only the account names it.

use anyhow::{Result, ensure};
use cloud_simulator::KeyStatus;
use serde_json::{Value, json};

use super::scene::{SECRET_KEY, Scene, says, secret_manifest};
use crate::checks::{DESCRIBE, VERIFY, With, expect, message};
use crate::harness::{OPERATOR_NAMESPACE, POLICY};

const CRBP: &str = "CrossRegionBackupPolicy";
const BKINV: &str = "BackupInventory";

/// Waits until the account has the message `own`, and the resources that use it have the message `others`.
async fn until_told(scene: &Scene, reason: &str, own: &str, others: &str, with: With) -> Result<()> {
    let told = |o: &Value, text: &str| says(o, reason) && message(o) == text;
    let account = scene.until("ClusterCloudAccount", &scene.account, own, |o| told(o, own)).await?;
    expect(&account, "False", reason, with)?;
    let through = format!("ClusterCloudAccount {}: {others}", scene.account);
    for (kind, name) in [(CRBP, POLICY), (BKINV, "one")] {
        let object = scene.until(kind, name, others, |o| told(o, &through)).await?;
        expect(&object, "False", reason, with)?;
    }
    Ok(())
}

/// Waits until policy, inventory and account are healthy.
async fn until_well(scene: &Scene) -> Result<()> {
    scene.until_account("CredentialsVerified").await?;
    scene.until_policy("InSync").await?;
    scene.until_reason(BKINV, "one", "Listed").await?;
    Ok(())
}

async fn with_both(scene: Scene) -> Result<Scene> {
    scene.put_policy(POLICY, json!({})).await?;
    scene.put_inventory("one", json!({})).await?;
    Ok(scene)
}

#[tokio::test]
async fn a_rotation_in_the_operators_namespace_is_noticed_by_no_condition() -> Result<()> {
    const NEW: &str = "AKLTrotatedShared0000000088";
    let scene = with_both(Scene::shared("rotated").await?).await?;
    until_well(&scene).await?;
    let before = scene.get(CRBP, POLICY).await?;
    let account = scene.get("ClusterCloudAccount", &scene.account).await?;
    scene.put_key(NEW, "rotated-secret")?;
    // The Secret is replaced in one write, as by an edit, and never missing.
    let data = json!({"accessKeyId": NEW, "secretAccessKey": "rotated-secret"});
    scene.put(secret_manifest(OPERATOR_NAMESPACE, &scene.secret, data)).await?;
    scene.wait("a verification with the new key", || scene.sent_with(NEW, VERIFY) > 0).await?;
    scene.cloud.set_key_status(&scene.key, KeyStatus::Revoked)?;
    let policy = scene.ask(CRBP, POLICY, "after").await?;
    ensure!(scene.sent_with(NEW, DESCRIBE) > 0);
    ensure!(policy["status"]["conditions"] == before["status"]["conditions"], "{policy:#}");
    let hint = |o: &Value| o["status"]["accessKeyIdHint"] == "AKLT…0088";
    let rotated = scene.until("ClusterCloudAccount", &scene.account, "the hint", hint).await?;
    ensure!(rotated["status"]["conditions"] == account["status"]["conditions"], "{rotated:#}");
    Ok(())
}

#[tokio::test]
async fn what_is_missing_is_named_by_the_account_alone() -> Result<()> {
    let scene = Scene::new("missing").await?;
    scene.put(scene.account_manifest()).await?;
    let scene = with_both(scene).await?;
    let others = "its credentials are missing";
    let name = scene.secret.as_str();
    let (reason, with) = ("CredentialsMissing", With::Reconciling);
    until_told(&scene, reason, &format!("Secret {name} does not exist"), others, with).await?;
    scene.put_secret(json!({"accessKeyId": scene.key})).await?;
    until_told(&scene, reason, &format!("Secret {name} has no key secretAccessKey"), others, with).await?;
    scene.put_secret(json!({"accessKeyId": "", "secretAccessKey": SECRET_KEY})).await?;
    let empty = format!("Secret {name}, key accessKeyId: the value is empty");
    until_told(&scene, reason, &empty, others, with).await?;
    // Every reader of Events in `default` sees those of cluster-scoped objects.
    let events = scene.events_in("default", &scene.account).await?;
    let told = "ReconcileFailed: CredentialsMissing: the account's condition says why";
    ensure!(events.iter().any(|e| e == told) && !events.iter().any(|e| e.contains(name)), "{events:#?}");
    ensure!(scene.sent_with(&scene.key, "*") == 0, "nothing can be sent");
    scene.put_secret(json!({"accessKeyId": scene.key, "secretAccessKey": SECRET_KEY})).await?;
    until_well(&scene).await?;
    scene.delete("Secret", name).await?;
    until_told(&scene, reason, &format!("Secret {name} does not exist"), others, with).await
}

#[tokio::test]
async fn a_key_that_is_rejected_is_told_by_its_code() -> Result<()> {
    let scene = Scene::new("rejected").await?;
    scene.put_secret(json!({"accessKeyId": scene.key, "secretAccessKey": "wrong"})).await?;
    scene.put(scene.account_manifest()).await?;
    let scene = with_both(scene).await?;
    let text = |code: &str| format!("the cloud rejected the credentials: {code}");
    let told = text("SignatureDoesNotMatch");
    until_told(&scene, "CredentialsRejected", &told, &told, With::Stalled).await?;
    ensure!(scene.looks() == 0, "rejected credentials are tried once per account");
    scene.put_secret(json!({"accessKeyId": "AKLTunknown000000001", "secretAccessKey": "wrong"})).await?;
    let told = text("InvalidAccessKey");
    until_told(&scene, "CredentialsRejected", &told, &told, With::Stalled).await?;
    scene.put_secret(json!({"accessKeyId": scene.key, "secretAccessKey": SECRET_KEY})).await?;
    until_well(&scene).await
}

#[tokio::test]
async fn an_endpoint_that_is_not_allowed_is_told_without_its_host() -> Result<()> {
    let scene = with_both(Scene::shared("endpoint").await?).await?;
    until_well(&scene).await?;
    let sent = scene.sent_with(&scene.key, "*");
    scene.patch_account(json!({"endpoint": "https://redis.hidden-host.example"})).await?;
    let account = scene.until_account("EndpointNotAllowed").await?;
    expect(&account, "False", "EndpointNotAllowed", With::Stalled)?;
    ensure!(message(&account).contains("--allowed-endpoint"), "{}", message(&account));
    let own = message(&account).to_owned();
    until_told(&scene, "EndpointNotAllowed", &own, "its endpoint is not allowed", With::Stalled).await?;
    scene.ask(CRBP, POLICY, "refused").await?;
    ensure!(scene.sent_with(&scene.key, "*") == sent);
    scene.patch_account(json!({"endpoint": scene.endpoint})).await?;
    until_well(&scene).await
}

#[tokio::test]
async fn a_secret_of_the_same_name_in_a_tenants_namespace_is_not_read() -> Result<()> {
    const OWN: &str = "AKLTofTheTenant0000000066";
    let scene = Scene::new("namesake").await?;
    scene.put_key(OWN, "of-the-tenant")?;
    let data = json!({"accessKeyId": OWN, "secretAccessKey": "of-the-tenant"});
    scene.put(secret_manifest(&scene.namespace, &scene.secret, data)).await?;
    scene.put(scene.account_manifest()).await?;
    let scene = with_both(scene).await?;
    let missing = format!("Secret {} does not exist", scene.secret);
    let (others, with) = ("its credentials are missing", With::Reconciling);
    until_told(&scene, "CredentialsMissing", &missing, others, with).await?;
    scene.put_secret(json!({"accessKeyId": scene.key, "secretAccessKey": SECRET_KEY})).await?;
    until_well(&scene).await?;
    ensure!(scene.sent_with(OWN, "*") == 0 && scene.looks() > 0);
    Ok(())
}
