//! Deletion with `deletionPolicy: Disable` through a shared account.

use anyhow::{Result, ensure};
use cloud_simulator::{Effect, FaultSpec, Policy, RequestRecord};
use serde_json::{Value, json};

use super::scene::{LABEL, SECRET_KEY, Scene, secret_manifest};
use super::words::{HOST, ROLE};
use crate::checks::{DESCRIBE, VERIFY, message};
use crate::harness::POLICY;
use crate::objects::FINALIZER;

const CRBP: &str = "CrossRegionBackupPolicy";
const ACCOUNT: &str = "ClusterCloudAccount";

async fn synced(name: &str) -> Result<Scene> {
    let scene = Scene::synced(name, json!({"deletionPolicy": "Disable"})).await?;
    ensure!(finalizers(&scene.get(CRBP, POLICY).await?) == [FINALIZER]);
    Ok(scene)
}

fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Waits until the policy is gone, and checks that its deletion disabled the instance.
async fn until_disabled(scene: &Scene) -> Result<()> {
    scene.until_gone(CRBP, POLICY).await?;
    ensure!(!scene.held()?.active && scene.modifies() == 2);
    scene.until_event(POLICY, "DisabledOnDelete").await.map(drop)
}

/// Waits until another policy of the scene is ready: the operator has then sent all earlier requests.
async fn until_another_is_ready(scene: &Scene) -> Result<()> {
    let name = format!("after-{}", scene.namespace);
    let (instance, key) = (format!("redis-{name}"), format!("AKLT{}0000000055", name.replace('-', "")));
    scene.add_instance(&instance)?;
    scene.put_key(&key, SECRET_KEY)?;
    let data = json!({"accessKeyId": key, "secretAccessKey": SECRET_KEY});
    scene.put(secret_manifest(&scene.namespace, &name, data)).await?;
    scene.put(scene.own_account(&scene.namespace, &name)).await?;
    let spec = json!({"accountRef": {"kind": "CloudAccount", "name": name}, "instanceId": instance});
    scene.put_policy(&name, spec).await?;
    scene.until_reason(CRBP, &name, "InSync").await.map(drop)
}

#[tokio::test]
async fn an_allowed_namespace_switches_off() -> Result<()> {
    let scene = synced("off").await?;
    scene.delete(CRBP, POLICY).await?;
    until_disabled(&scene).await
}

#[tokio::test]
async fn a_namespace_that_is_not_allowed_any_more_releases_without_a_call() -> Result<()> {
    let scene = synced("released").await?;
    scene.allow_namespace(false).await?;
    scene.until_policy("AccountNotAllowed").await?;
    let sent = scene.sent();
    scene.delete(CRBP, POLICY).await?;
    scene.until_gone(CRBP, POLICY).await?;
    let event = scene.until_event(POLICY, "DisableSkipped").await?;
    let why =
        format!("AccountNotAllowed: ClusterCloudAccount {}: it does not allow this namespace", scene.account);
    ensure!(event == format!("DisableSkipped: {why}"), "{event}");
    until_another_is_ready(&scene).await?;
    ensure!(scene.sent() == sent && scene.held()? == Policy::to_region("cn-shanghai"));
    Ok(())
}

#[tokio::test]
async fn without_manage_it_releases_without_a_call() -> Result<()> {
    let scene = synced("unmanaged").await?;
    scene.patch_account(json!({"permissions": {"manage": false}})).await?;
    scene.until_policy("AccountNotAllowed").await?;
    let sent = scene.sent();
    scene.delete(CRBP, POLICY).await?;
    scene.until_gone(CRBP, POLICY).await?;
    let event = scene.until_event(POLICY, "DisableSkipped").await?;
    ensure!(event.contains("permissions.manage is false"), "{event}");
    until_another_is_ready(&scene).await?;
    ensure!(scene.sent() == sent && scene.held()?.active);
    Ok(())
}

#[tokio::test]
async fn without_its_account_it_goes_on_with_the_credentials_last_seen() -> Result<()> {
    let scene = synced("orphan").await?;
    scene.delete(ACCOUNT, &scene.account).await?;
    scene.until_policy("AccountNotFound").await?;
    scene.delete("Secret", &scene.secret).await?;
    scene.delete(CRBP, POLICY).await?;
    until_disabled(&scene).await
}

#[tokio::test]
async fn without_its_secret_it_goes_on_with_the_credentials_last_seen() -> Result<()> {
    let scene = synced("keyless").await?;
    scene.delete("Secret", &scene.secret).await?;
    scene.until_policy("CredentialsMissing").await?;
    scene.delete(CRBP, POLICY).await?;
    until_disabled(&scene).await
}

/// Checks that a policy in deletion causes no request, until `deletionPolicy: Retain` releases it.
async fn is_never_served(scene: &Scene) -> Result<()> {
    let sent = scene.sent();
    scene.delete(CRBP, POLICY).await?;
    let going = |o: &Value| o["metadata"]["deletionTimestamp"].is_string();
    scene.until(CRBP, POLICY, "the deletion", going).await?;
    scene.patch(CRBP, POLICY, json!({"spec": {"resyncInterval": "30m"}})).await?;
    scene.until_policy("AccountNotFound").await?;
    until_another_is_ready(scene).await?;
    scene.patch(CRBP, POLICY, json!({"spec": {"deletionPolicy": "Retain"}})).await?;
    scene.until_gone(CRBP, POLICY).await?;
    ensure!(scene.sent() == sent && scene.held()?.active);
    Ok(())
}

#[tokio::test]
async fn a_namespace_that_was_not_allowed_at_the_end_gets_no_credentials_last_seen() -> Result<()> {
    let scene = synced("outcast").await?;
    scene.allow_namespace(false).await?;
    scene.until_policy("AccountNotAllowed").await?;
    scene.delete(ACCOUNT, &scene.account).await?;
    scene.until_policy("AccountNotFound").await?;
    is_never_served(&scene).await
}

/// The account's last change and its deletion arrive as one event, since the operator is busy with the account.
#[tokio::test]
async fn an_account_that_ceases_to_allow_a_namespace_and_goes_leaves_it_no_credentials() -> Result<()> {
    let scene = synced("last-word").await?;
    verifies_slowly(&scene).await?;
    let others = json!({"from": "Selector", "selector": {"matchLabels": {LABEL: "others"}}});
    scene.patch_account(json!({"allowedNamespaces": others})).await?;
    scene.delete(ACCOUNT, &scene.account).await?;
    scene.until_policy("AccountNotFound").await?;
    is_never_served(&scene).await
}

/// Starts a verification of the account that takes seconds, and returns while it is in flight.
async fn verifies_slowly(scene: &Scene) -> Result<()> {
    let mut fault = FaultSpec::new(Effect::Delay { seconds: 4.0 }).on_action(VERIFY);
    fault.access_key_id = Some(scene.key.clone());
    let fault = scene.cloud.place_fault(fault)?;
    scene.ask_only(ACCOUNT, &scene.account, "slowly").await?;
    scene.wait("a verification", || fired(scene, fault) > 0).await
}

#[tokio::test]
async fn a_verification_that_takes_long_holds_no_refusal_up() -> Result<()> {
    let scene = synced("slow").await?;
    let verified = || {
        let of = |r: &RequestRecord| {
            r.access_key_id.as_deref() == Some(&scene.key)
                && r.action.as_deref() == Some(VERIFY)
                && r.outcome.is_some()
        };
        scene.requests(of).len()
    };
    let before = verified();
    verifies_slowly(&scene).await?;
    scene.patch_account(json!({"permissions": {"manage": false}})).await?;
    scene.until_policy("AccountNotAllowed").await?;
    ensure!(verified() == before, "the verification has ended already");
    Ok(())
}

#[tokio::test]
async fn what_the_cloud_says_to_the_credentials_last_seen_is_not_repeated_either() -> Result<()> {
    let scene = synced("last-words").await?;
    scene.delete(ACCOUNT, &scene.account).await?;
    scene.until_policy("AccountNotFound").await?;
    let said = format!("{ROLE} at {HOST} with {} may not", scene.secret);
    let denied = scene.refuse(DESCRIBE, 403, "AccessDenied", &said)?;
    scene.delete(CRBP, POLICY).await?;
    scene.wait("a look", || fired(&scene, denied) > 0).await?;
    // The outcome for a new generation is reported at once.
    scene.patch(CRBP, POLICY, json!({"spec": {"resyncInterval": "30m"}})).await?;
    let policy = scene.until(CRBP, POLICY, "a status of its own", |o| {
        o["status"]["observedGeneration"] == o["metadata"]["generation"]
    });
    let policy = policy.await?;
    ensure!(!policy["status"].to_string().contains(HOST), "{}", message(&policy));
    scene.cloud.remove_fault(denied)?;
    scene.refuse(DESCRIBE, 400, "InvalidOperator", &said)?;
    scene.ask_only(CRBP, POLICY, "now").await?;
    scene.until_gone(CRBP, POLICY).await?;
    let event = scene.until_event(POLICY, "DisableSkipped").await?;
    ensure!(event == format!("DisableSkipped: {DESCRIBE}: InvalidOperator"), "{event}");
    Ok(())
}

fn fired(scene: &Scene, fault: u64) -> u64 {
    scene.cloud.faults().iter().find(|found| found.id == fault).map_or(0, |found| found.fired)
}
