//! The cloud's own messages may name hosts, roles and keys of a shared account: users of the account see code and
//! action only.

use anyhow::{Result, ensure};
use serde_json::json;

use super::scene::{SECRET_KEY, Scene, secret_manifest};
use crate::checks::{BACKUPS, DESCRIBE, message};
use crate::harness::POLICY;

const CRBP: &str = "CrossRegionBackupPolicy";
const BKINV: &str = "BackupInventory";
/// Host in the cloud's messages: a cloud may repeat any part of a request.
pub const HOST: &str = "redis.hidden-host.example";
pub const ROLE: &str = "trn:iam::2100000000:role/hidden-role";

/// Returns everything that a namespace shows of its own resources.
async fn shown(scene: &Scene) -> Result<String> {
    let mut all = String::new();
    for args in [
        ["describe", "crbp,bkinv", "-n", &scene.namespace].as_slice(),
        &["get", "crbp,bkinv,events", "-o", "yaml", "-n", &scene.namespace],
        &["get", "crbp", "-o", "wide", "-n", &scene.namespace],
    ] {
        all.push_str(&scene.kubectl().run(args).await?);
    }
    Ok(all)
}

async fn says_what_the_cloud_says(name: &str, code: &str, status: u16, reason: &str) -> Result<()> {
    let scene = Scene::shared(name).await?;
    let said = format!("{ROLE} at {HOST} with {} may not", scene.secret);
    for action in [DESCRIBE, BACKUPS] {
        scene.refuse(action, status, code, &said)?;
    }
    let looked = format!("{DESCRIBE}: {code}");
    let listed = format!("{BACKUPS}: {code}");

    // On an account of its own the namespace sees the cloud's message for the same fault.
    let secret = json!({"accessKeyId": scene.key, "secretAccessKey": SECRET_KEY});
    scene.put(secret_manifest(&scene.namespace, "own", secret)).await?;
    scene.put(scene.own_account(&scene.namespace, "own")).await?;
    let own = json!({"accountRef": {"kind": "CloudAccount", "name": "own"}});
    scene.put_policy("own", own.clone()).await?;
    scene.put_inventory("own", own).await?;
    let policy = scene.until_reason(CRBP, "own", reason).await?;
    ensure!(message(&policy) == format!("{looked}: {said}"), "{}", message(&policy));
    let inventory = scene.until_reason(BKINV, "own", reason).await?;
    ensure!(message(&inventory) == format!("{listed}: {said}"), "{}", message(&inventory));
    scene.until_event("own", &format!("ReconcileFailed: {reason}: {looked}: {said}")).await?;
    ensure!(shown(&scene).await?.contains(HOST));
    for kind in [CRBP, BKINV] {
        scene.delete(kind, "own").await?;
    }
    for event in scene.kubectl().run(["get", "events", "-o", "name", "-n", &scene.namespace]).await?.lines() {
        scene.kubectl().run(["delete", event, "-n", &scene.namespace]).await?;
    }

    scene.put_policy(POLICY, json!({})).await?;
    scene.put_inventory("one", json!({})).await?;
    let policy = scene.until_policy(reason).await?;
    ensure!(message(&policy) == looked, "{}", message(&policy));
    let inventory = scene.until_reason(BKINV, "one", reason).await?;
    ensure!(message(&inventory) == listed, "{}", message(&inventory));
    let event = scene.until_event(POLICY, "ReconcileFailed").await?;
    ensure!(event == format!("ReconcileFailed: {reason}: {looked}"), "{event}");
    let event = scene.until_event("one", "ReconcileFailed").await?;
    ensure!(event == format!("ReconcileFailed: {reason}: {listed}"), "{event}");
    let all = shown(&scene).await?;
    ensure!(all.contains(&looked));
    for word in [HOST, ROLE, &scene.secret, &scene.key] {
        ensure!(!all.contains(word), "{word} in {all}");
    }
    Ok(())
}

#[tokio::test]
async fn of_an_invalid_request_the_code_alone_is_told() -> Result<()> {
    says_what_the_cloud_says("words-invalid", "ParamError", 400, "InvalidRequest").await
}

#[tokio::test]
async fn of_a_missing_permission_the_code_alone_is_told() -> Result<()> {
    says_what_the_cloud_says("words-denied", "AccessDenied", 403, "PermissionDenied").await
}

#[tokio::test]
async fn of_what_is_not_supported_the_code_alone_is_told() -> Result<()> {
    says_what_the_cloud_says("words-unsupported", "InvalidOperator", 400, "NotSupported").await
}

/// The operator's own messages are shown: the features that a provider lacks are no secret.
#[tokio::test]
async fn what_the_operator_itself_refuses_is_told_in_full() -> Result<()> {
    let scene = Scene::new("words-own").await?;
    scene.put_secret(json!({"accessKeyId": "AKIDofTencent00000001", "secretAccessKey": "x"})).await?;
    let mut account = scene.account_manifest();
    account["spec"]["provider"] = json!("Tencent");
    scene.put(account).await?;
    let key = json!({"accessKeyId": "AKIDofTencent00000001", "secretAccessKey": "x"});
    scene.cloud.put_key(serde_json::from_value(key)?)?;
    scene.put_policy(POLICY, json!({"region": "ap-guangzhou"})).await?;
    let policy = scene.until_policy("NotSupported").await?;
    ensure!(message(&policy).contains("BackupInventory"), "{}", message(&policy));
    Ok(())
}
