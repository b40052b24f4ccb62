//! Data of a broken shared account that a tenant could learn.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{BKINV, CRBP, Tenant, names_none_of};
use crate::checks::{BACKUPS, DESCRIBE, MODIFY, REGIONS};
use crate::harness::POLICY;
use crate::sharing::scene::{SECRET_KEY, Scene};
use crate::sharing::words::{HOST, ROLE};

const KEY_NAME: &str = "hiddenKeyInTheSecret";

/// Creates a tenant that the account allows, with a policy that would disable on deletion, and inventories of both
/// scopes.
async fn with_everything(scene: &Scene, name: &str) -> Result<Tenant> {
    let tenant = Tenant::of(scene, name, &scene.account).await?;
    tenant
        .apply(&[
            scene.policy(name, POLICY, json!({"deletionPolicy": "Disable"})),
            scene.inventory(name, "one", json!({})),
            scene.inventory(name, "all", json!({"scope": "Account"})),
        ])
        .await?;
    Ok(tenant)
}

/// Waits until all its resources have this reason, and checks that nothing the tenant can read names the account's
/// data.
async fn learns_only(scene: &Scene, tenant: &Tenant, reason: &str) -> Result<()> {
    for (kind, name) in [(CRBP, POLICY), (BKINV, "one"), (BKINV, "all")] {
        tenant.until(scene, kind, name, reason).await?;
    }
    names_nothing(scene, &tenant.reads().await?)
}

fn names_nothing(scene: &Scene, all: &str) -> Result<()> {
    ensure!(all.contains(&scene.account), "{all}");
    let server = scene.endpoint.trim_start_matches("http://");
    let words = [
        HOST,
        ROLE,
        "hidden-",
        KEY_NAME,
        &scene.secret,
        &scene.key,
        SECRET_KEY,
        "AKLT",
        server,
        "cross-region-backup-operator/",
        "127.0.0.1",
    ];
    names_none_of(all, &words)
}

async fn shared(name: &str) -> Result<Scene> {
    let scene = Scene::new(name).await?;
    let mut account = scene.account_manifest();
    account["spec"]["permissions"] = json!({"accountInventory": true});
    account["spec"]["credentials"]["secretRef"]["secretAccessKeyKey"] = json!(KEY_NAME);
    scene.put(account).await?;
    Ok(scene)
}

#[tokio::test]
async fn it_cannot_learn_it_while_credentials_are_missing() -> Result<()> {
    let scene = shared("learn-missing").await?;
    let tenant = with_everything(&scene, "learn-missing-tenant").await?;
    learns_only(&scene, &tenant, "CredentialsMissing").await?;
    scene.put_secret(json!({"accessKeyId": scene.key})).await?;
    let named = |o: &serde_json::Value| o["status"].to_string().contains(KEY_NAME);
    scene.until("ClusterCloudAccount", &scene.account, "the key to be named", named).await?;
    learns_only(&scene, &tenant, "CredentialsMissing").await?;
    tenant.run(&["delete", "crbp", POLICY, "--wait=false"]).await?;
    names_nothing(&scene, &tenant.reads().await?)
}

#[tokio::test]
async fn it_cannot_learn_it_while_credentials_are_rejected() -> Result<()> {
    let scene = shared("learn-rejected").await?;
    let tenant = with_everything(&scene, "learn-rejected-tenant").await?;
    scene.put_secret(json!({"accessKeyId": scene.key, KEY_NAME: "wrong"})).await?;
    learns_only(&scene, &tenant, "CredentialsRejected").await?;
    scene.put_secret(json!({"accessKeyId": "AKLThiddenUnknown0000001", KEY_NAME: "wrong"})).await?;
    let told = |o: &serde_json::Value| o["status"].to_string().contains("InvalidAccessKey");
    scene.until_in("learn-rejected-tenant", CRBP, POLICY, "the other code", told).await?;
    learns_only(&scene, &tenant, "CredentialsRejected").await
}

#[tokio::test]
async fn it_cannot_learn_it_while_the_endpoint_is_refused_or_cannot_be_reached() -> Result<()> {
    let scene = shared("learn-endpoint").await?;
    let tenant = with_everything(&scene, "learn-endpoint-tenant").await?;
    // The endpoint changes first: an account that was verified once is not reported as unreachable.
    scene.patch_account(json!({"endpoint": format!("https://{HOST}")})).await?;
    scene.put_secret(json!({"accessKeyId": scene.key, KEY_NAME: SECRET_KEY})).await?;
    learns_only(&scene, &tenant, "EndpointNotAllowed").await?;
    // The host name is allowed and does not exist.
    scene.patch_account(json!({"endpoint": "https://hidden-name.volcengineapi.com"})).await?;
    learns_only(&scene, &tenant, "AccountNotReady").await?;
    tenant.run(&["delete", "crbp", POLICY, "--wait=false"]).await?;
    names_nothing(&scene, &tenant.reads().await?)
}

async fn cloud_says(name: &str, status: u16, code: &str, reason: &str) -> Result<()> {
    let scene = shared(name).await?;
    let said = format!("{ROLE} at {HOST} with {} of {} may not", scene.key, scene.secret);
    for action in [DESCRIBE, MODIFY, REGIONS, BACKUPS] {
        let effect = json!({"type": "error", "status": status, "code": code, "message": said});
        let fault = json!({"action": action, "accessKeyId": scene.key, "effect": effect});
        scene.cloud.place_fault(serde_json::from_value(fault)?)?;
    }
    scene.put_secret(json!({"accessKeyId": scene.key, KEY_NAME: SECRET_KEY})).await?;
    let tenant = with_everything(&scene, &format!("{name}-tenant")).await?;
    learns_only(&scene, &tenant, reason).await?;
    // A deletion, which reports its reasons in an Event, discloses nothing either.
    let looks = scene.looks();
    tenant.run(&["delete", "crbp", POLICY, "--wait=false"]).await?;
    tenant
        .run(&["annotate", "crbp,bkinv", "--all", "crossregionbackup.io/reconcile-requested-at=now"])
        .await?;
    if reason != "NotSupported" {
        scene.wait("another look", || scene.looks() > looks).await?;
    }
    let handled = |o: &serde_json::Value| o["status"]["lastHandledReconcileAt"] == "now";
    scene.until_in(&tenant.namespace, BKINV, "all", "the request", handled).await?;
    names_nothing(&scene, &tenant.reads().await?)
}

#[tokio::test]
async fn it_cannot_learn_it_by_a_clouds_words_about_a_permission() -> Result<()> {
    cloud_says("learn-denied", 403, "AccessDenied", "PermissionDenied").await
}

#[tokio::test]
async fn it_cannot_learn_it_by_a_clouds_words_about_a_request() -> Result<()> {
    cloud_says("learn-invalid", 400, "ParamError", "InvalidRequest").await
}

#[tokio::test]
async fn it_cannot_learn_it_by_a_clouds_words_about_what_it_lacks() -> Result<()> {
    cloud_says("learn-unsupported", 400, "InvalidOperator", "NotSupported").await
}

#[tokio::test]
async fn it_cannot_learn_it_by_a_clouds_words_about_its_own_trouble() -> Result<()> {
    cloud_says("learn-trouble", 500, "InternalError", "CloudUnavailable").await
}
