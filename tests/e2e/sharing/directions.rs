//! Granting and withdrawing access to a shared account take effect at once: the operator polls only once an hour.

use anyhow::{Result, ensure};
use cloud_simulator::Policy;
use serde_json::{Value, json};

use super::scene::{LABEL, Scene, namespace};
use crate::checks::{BACKUPS, DESCRIBE, MODIFY, With, expect};
use crate::harness::{POLICY, condition};

const CRBP: &str = "CrossRegionBackupPolicy";
const BKINV: &str = "BackupInventory";
const NOT_THIS_NAMESPACE: &str = "it does not allow this namespace";

/// Returns the status without the parts that describe the outcome: observed facts only.
fn facts(object: &Value) -> Value {
    let mut status = object["status"].clone();
    for field in ["conditions", "observedGeneration", "lastHandledReconcileAt"] {
        status[field] = Value::Null;
    }
    status
}

/// Withdraws access from policy and inventory by `close` and restores it by `open`. In between the operator sends
/// nothing, neither for a reconcile request nor for a new spec, and the observed facts stay.
async fn closes_and_opens(
    scene: &Scene,
    close: impl AsyncFn() -> Result<()>,
    open: impl AsyncFn() -> Result<()>,
) -> Result<()> {
    let before = [scene.get(CRBP, POLICY).await?, scene.get(BKINV, "one").await?];
    close().await?;
    scene.until_not_allowed(CRBP, POLICY, NOT_THIS_NAMESPACE).await?;
    scene.until_not_allowed(BKINV, "one", NOT_THIS_NAMESPACE).await?;
    let sent = scene.sent();
    // With access the operator would observe this drift, correct it, and list the backups.
    scene.cloud.set_policy(&scene.instance, Policy::default())?;
    let request = format!("closed after {sent}");
    let policy = scene.ask(CRBP, POLICY, &request).await?;
    let inventory = scene.ask(BKINV, "one", &request).await?;
    ensure!(facts(&policy) == facts(&before[0]), "{policy:#}");
    ensure!(facts(&inventory) == facts(&before[1]), "{inventory:#}");
    let target =
        if before[0]["spec"]["crossBackupRegion"] == "cn-shanghai" { "cn-guangzhou" } else { "cn-shanghai" };
    scene.patch(CRBP, POLICY, json!({"spec": {"crossBackupRegion": target}})).await?;
    scene.until_not_allowed(CRBP, POLICY, NOT_THIS_NAMESPACE).await?;
    ensure!(scene.sent() == sent, "{} requests were sent", scene.sent() - sent);
    open().await?;
    scene.until_policy("InSync").await?;
    scene.until_reason(BKINV, "one", "Listed").await?;
    ensure!(scene.held()? == Policy::to_region(target));
    ensure!(scene.sent() > sent);
    Ok(())
}

async fn with_both(name: &str) -> Result<Scene> {
    let scene = Scene::synced(name, json!({})).await?;
    scene.put_inventory("one", json!({})).await?;
    scene.until_reason(BKINV, "one", "Listed").await?;
    Ok(scene)
}

#[tokio::test]
async fn a_namespaces_label_opens_and_closes() -> Result<()> {
    let scene = with_both("label").await?;
    closes_and_opens(
        &scene,
        async || scene.allow_namespace(false).await,
        async || scene.allow_namespace(true).await,
    )
    .await?;
    // A label with another value grants no more than a missing label.
    closes_and_opens(
        &scene,
        async || scene.put_namespace(&scene.namespace, "another").await,
        async || scene.put_namespace(&scene.namespace, &scene.account).await,
    )
    .await
}

#[tokio::test]
async fn the_accounts_selector_opens_and_closes() -> Result<()> {
    let scene = with_both("selector").await?;
    let select = |selector: Value| json!({"allowedNamespaces": {"from": "Selector", "selector": selector}});
    closes_and_opens(
        &scene,
        async || scene.patch_account(select(json!({"matchLabels": {LABEL: "others"}}))).await,
        async || scene.patch_account(json!({"allowedNamespaces": {"from": "All", "selector": null}})).await,
    )
    .await?;
    let not_this = json!([{"key": LABEL, "operator": "NotIn", "values": [scene.account]}]);
    closes_and_opens(
        &scene,
        async || scene.patch_account(select(json!({"matchExpressions": not_this}))).await,
        async || {
            let exists = json!([{"key": LABEL, "operator": "Exists"}]);
            scene.patch_account(select(json!({"matchExpressions": exists}))).await
        },
    )
    .await
}

#[tokio::test]
async fn without_manage_only_observe_works() -> Result<()> {
    let scene = Scene::synced("manage", json!({})).await?;
    let why = "it allows policies only to observe: permissions.manage is false";
    scene.patch_account(json!({"permissions": {"manage": false}})).await?;
    scene.until_not_allowed(CRBP, POLICY, why).await?;
    let sent = scene.sent();
    scene.cloud.set_policy(&scene.instance, Policy::default())?;
    scene.ask(CRBP, POLICY, "closed").await?;
    ensure!(scene.sent() == sent, "not even to look");

    // An inventory of the instance and a policy that observes only need read access.
    scene.put_inventory("one", json!({})).await?;
    scene.until_reason(BKINV, "one", "Listed").await?;
    scene.patch(CRBP, POLICY, json!({"spec": {"managementPolicy": "Observe"}})).await?;
    let policy = scene.until_policy("DriftDetected").await?;
    expect(&policy, "False", "DriftDetected", With::Stalled)?;
    scene.patch(CRBP, POLICY, json!({"spec": {"managementPolicy": "Manage"}})).await?;
    scene.until_not_allowed(CRBP, POLICY, why).await?;
    ensure!(scene.modifies() == 1, "nothing was modified meanwhile");

    scene.patch_account(json!({"permissions": {"manage": true}})).await?;
    scene.until_policy("InSync").await?;
    ensure!(scene.modifies() == 2 && scene.held()?.active);
    Ok(())
}

#[tokio::test]
async fn without_account_inventory_no_whole_account_is_listed() -> Result<()> {
    let scene = Scene::shared("whole").await?;
    let why = "it allows no inventories of scope Account: permissions.accountInventory is false";
    scene.put_inventory("all", json!({"scope": "Account"})).await?;
    scene.until_not_allowed(BKINV, "all", why).await?;
    // Shows that the account works; the operator lists it after the inventory that must not be listed.
    scene.put_inventory("one", json!({})).await?;
    scene.until_reason(BKINV, "one", "Listed").await?;
    let of_account = || {
        let listing = |r: &cloud_simulator::RequestRecord| {
            r.access_key_id.as_deref() == Some(&scene.key)
                && r.action.as_deref() == Some(BACKUPS)
                && r.instance_id.is_none()
        };
        scene.requests(listing).len()
    };
    ensure!(of_account() == 0);
    scene.patch_account(json!({"permissions": {"accountInventory": true}})).await?;
    let listed = scene.until_reason(BKINV, "all", "Listed").await?;
    ensure!(of_account() > 0);
    scene.patch_account(json!({"permissions": {"accountInventory": false}})).await?;
    let refused = scene.until_not_allowed(BKINV, "all", why).await?;
    ensure!(facts(&refused) == facts(&listed), "{refused:#}");
    let before = of_account();
    scene.ask(BKINV, "all", "closed").await?;
    ensure!(of_account() == before);
    scene.patch_account(json!({"permissions": {"accountInventory": true}})).await?;
    scene.until_reason(BKINV, "all", "Listed").await?;
    ensure!(of_account() > before);
    Ok(())
}

/// The permission is checked again right before each call, also within an attempt that has started.
#[tokio::test]
async fn an_attempt_that_has_begun_ends_with_the_permission() -> Result<()> {
    let scene = Scene::shared("attempt").await?;
    let fault = scene.refuse(MODIFY, 500, "InternalError", "")?;
    scene.put_policy(POLICY, json!({})).await?;
    scene.wait("a second try", || scene.modifies() >= 2).await?;
    scene.allow_namespace(false).await?;
    let tries = scene.modifies();
    scene.until_not_allowed(CRBP, POLICY, NOT_THIS_NAMESPACE).await?;
    ensure!(scene.modifies() <= tries + 1, "{} tries after that", scene.modifies() - tries);
    scene.cloud.remove_fault(fault)?;
    ensure!(!scene.held()?.active);
    scene.allow_namespace(true).await?;
    scene.until_policy("InSync").await?;
    Ok(())
}

/// A refusal caused by the account disappears once access is restored, whatever error the cloud returns then.
#[tokio::test]
async fn a_refusal_is_not_said_any_longer_than_it_holds() -> Result<()> {
    let scene = with_both("said").await?;
    scene.allow_namespace(false).await?;
    scene.until_not_allowed(CRBP, POLICY, NOT_THIS_NAMESPACE).await?;
    scene.until_not_allowed(BKINV, "one", NOT_THIS_NAMESPACE).await?;
    scene.refuse(DESCRIBE, 500, "InternalError", "")?;
    scene.refuse(BACKUPS, 500, "InternalError", "")?;
    scene.allow_namespace(true).await?;
    let policy = scene.until_policy("CloudUnavailable").await?;
    expect(&policy, "Unknown", "CloudUnavailable", With::Reconciling)?;
    scene
        .until(BKINV, "one", "something else", |o| condition(o, "Ready")["reason"] != "AccountNotAllowed")
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_namespace_that_has_just_been_made_is_never_said_to_be_refused() -> Result<()> {
    let scene = Scene::shared("fresh").await?;
    let names: Vec<_> = (0..6).map(|number| format!("fresh-{number}")).collect();
    // All at once: namespaces and policies arrive through separate watches.
    let all = names.iter().map(async |name| -> Result<()> {
        let instance = format!("redis-{name}");
        scene.add_instance(&instance)?;
        let allowed = !name.ends_with('5');
        let label = if allowed { scene.account.as_str() } else { "another" };
        scene.put(namespace(name, label)).await?;
        scene.put(scene.policy(name, POLICY, json!({"instanceId": instance}))).await?;
        let reason = if allowed { "InSync" } else { "AccountNotAllowed" };
        scene.until_in(name, CRBP, POLICY, reason, |o| super::scene::says(o, reason)).await?;
        Ok(())
    });
    futures::future::try_join_all(all).await?;
    for name in &names {
        let said = scene.logged(&["Ready has changed", &format!("namespace={name} "), "AccountNotAllowed"]);
        ensure!(said.is_empty() != name.ends_with('5'), "{name}: {said:#?}");
    }
    ensure!(scene.sent_about("redis-fresh-5") == 0);
    Ok(())
}
