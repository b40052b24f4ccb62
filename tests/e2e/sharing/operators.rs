//! Operators with other settings: limited to namespaces, read-only, restarted; and accounts that this version cannot
//! read.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::{ControlPlane, Options, wait_until};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::scene::{LABEL, namespace};
use crate::checks::{DESCRIBE, MODIFY, With, expect, message};
use crate::harness::{
    KEY_ID, LIMIT, OPERATOR_NAMESPACE, POLICY, SECRET_KEY, Stage, condition, install, settled,
};
use crate::unreadable::relax;

/// Locks a control plane for one test at a time: an operator that watches all namespaces would see another test's
/// objects.
async fn plane() -> Result<MutexGuard<'static, ControlPlane>> {
    static PLANE: OnceCell<Result<Mutex<ControlPlane>, String>> = OnceCell::const_new();
    let start = || async {
        let plane = ControlPlane::start(Options::default()).await?;
        install(&plane).await?;
        anyhow::Ok(Mutex::new(plane))
    };
    let plane = PLANE.get_or_init(|| async { start().await.map_err(|error| format!("{error:#}")) }).await;
    Ok(plane.as_ref().map_err(|error| anyhow::anyhow!("no plane: {error}"))?.lock().await)
}

/// Starts a stage whose namespace has the label that its shared account requires. The account has the namespace's name.
async fn stage<'a>(plane: &'a ControlPlane, name: &str) -> Result<Stage<'a>> {
    let mut stage = Stage::on(plane, name).await?;
    stage.watches_all = true;
    stage.add_instances(&[&instance_of(&stage)])?;
    stage.apply(namespace(name, name)).await?;
    stage
        .apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": OPERATOR_NAMESPACE},
            "stringData": {"accessKeyId": KEY_ID, "secretAccessKey": SECRET_KEY},
        }))
        .await?;
    stage.apply(account(&stage)).await?;
    Ok(stage)
}

/// Returns a name that is unique per test: objects left by one test would compete with those of the next.
fn instance_of(stage: &Stage<'_>) -> String {
    format!("redis-{}", stage.namespace)
}

fn account(stage: &Stage<'_>) -> Value {
    let mut manifest = stage.account_manifest();
    let name = stage.namespace.as_str();
    manifest["kind"] = json!("ClusterCloudAccount");
    manifest["metadata"] = json!({"name": name});
    manifest["spec"]["credentials"]["secretRef"]["name"] = json!(name);
    manifest["spec"]["allowedNamespaces"] =
        json!({"from": "Selector", "selector": {"matchLabels": {LABEL: name}}});
    manifest
}

fn through(stage: &Stage<'_>, more: Value) -> Value {
    let reference = json!({"kind": "ClusterCloudAccount", "name": stage.namespace});
    let mut spec = json!({"accountRef": reference, "instanceId": instance_of(stage)});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    spec
}

async fn patch_account(stage: &Stage<'_>, spec: Value) -> Result<()> {
    let patch = json!({ "spec": spec }).to_string();
    stage.kubectl().run(["patch", "ccacct", &stage.namespace, "--type=merge", "-p", &patch]).await.map(drop)
}

#[tokio::test]
async fn limited_to_namespaces_it_uses_no_shared_account_and_says_so() -> Result<()> {
    let plane = plane().await?;
    let mut stage = stage(&plane, "limited").await?;
    stage.watches_all = false;
    stage.flag("--resync-interval-override=1h");
    stage.apply_policy(through(&stage, json!({"deletionPolicy": "Disable"}))).await?;
    stage.apply_inventory("one", through(&stage, json!({"scope": "Instance"}))).await?;
    stage
        .apply_inventory("missing", json!({"accountRef": {"kind": "ClusterCloudAccount", "name": "missing"}}))
        .await?;
    stage.start_operator().await?;
    let why = "the operator is limited to some namespaces (--watch-namespace) and uses no shared account";
    let policy = stage.until_reason("AccountNotAllowed").await?;
    expect(&policy, "False", "AccountNotAllowed", With::Stalled)?;
    ensure!(message(&policy) == format!("ClusterCloudAccount limited: {why}"), "{}", message(&policy));
    for (name, account) in [("one", "limited"), ("missing", "missing")] {
        let inventory = stage.until_inventory(name, "AccountNotAllowed").await?;
        ensure!(
            message(&inventory) == format!("ClusterCloudAccount {account}: {why}"),
            "{}",
            message(&inventory)
        );
    }
    stage.delete("crbp", POLICY).await?;
    stage.until_gone("crbp", POLICY).await?;
    stage.until_event(POLICY, "DisableSkipped: AccountNotAllowed").await?;
    ensure!(stage.cloud.counters().requests == 0);
    // A CloudAccount of the namespace works, also under the same name.
    stage.apply_account().await?;
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;
    let shared = stage.get("ccacct", "limited").await?;
    ensure!(shared["status"] == json!({"observedGeneration": -1}), "{shared:#}");
    Ok(())
}

#[tokio::test]
async fn read_only_it_observes_also_without_manage_and_releases_without_a_call() -> Result<()> {
    let plane = plane().await?;
    let mut stage = stage(&plane, "read-only").await?;
    stage.flag("--read-only=true");
    patch_account(&stage, json!({"permissions": {"manage": false}})).await?;
    stage.apply_policy(through(&stage, json!({"deletionPolicy": "Disable"}))).await?;
    stage.start_operator().await?;
    let policy = stage.until_reason("DriftDetected").await?;
    expect(&policy, "False", "DriftDetected", With::Stalled)?;
    stage.delete("crbp", POLICY).await?;
    stage.until_gone("crbp", POLICY).await?;
    stage.until_event(POLICY, "DisableSkipped").await?;
    ensure!(stage.calls(MODIFY) == 0 && stage.calls(DESCRIBE) > 0);
    Ok(())
}

#[tokio::test]
async fn after_a_start_nothing_is_sent_for_who_is_not_allowed_any_more() -> Result<()> {
    let plane = plane().await?;
    let mut stage = stage(&plane, "again").await?;
    stage.flag("--resync-interval-override=1s");
    let own = instance_of(&stage);
    stage.add_instances(&["redis-again-other"])?;
    stage.apply(namespace("again-other", "again")).await?;
    stage.start_operator().await?;
    stage.apply_policy(through(&stage, json!({}))).await?;
    let mut other =
        stage.policy_manifest(POLICY, through(&stage, json!({"instanceId": "redis-again-other"})));
    other["metadata"]["namespace"] = json!("again-other");
    stage.apply(other).await?;
    stage.until_reason("InSync").await?;
    let says =
        |reason: &'static str| move |o: &Value| settled(o) && condition(o, "Ready")["reason"] == reason;
    stage.until_in("again-other", "crbp", POLICY, "InSync", says("InSync")).await?;

    // The operator polls every second: the allowed namespace, and no longer the other.
    stage.apply(namespace("again-other", "nobody")).await?;
    stage.until_in("again-other", "crbp", POLICY, "a refusal", says("AccountNotAllowed")).await?;
    let sent_about = |instance: &str| {
        stage.cloud.requests().iter().filter(|r| r.instance_id.as_deref() == Some(instance)).count()
    };
    let sent = sent_about("redis-again-other");
    let seen = sent_about(&own);
    stage.wait("looks at the one that is allowed", || sent_about(&own) >= seen + 4).await?;
    ensure!(sent_about("redis-again-other") == sent, "it is looked at all the same");

    stage.apply(namespace("again-other", "again")).await?;
    stage.until_in("again-other", "crbp", POLICY, "InSync", says("InSync")).await?;
    let sent_about = |stage: &Stage<'_>, instance: &str| {
        stage.cloud.requests().iter().filter(|r| r.instance_id.as_deref() == Some(instance)).count()
    };
    let before = stage.policy().await?;
    stage.operator().terminate(LIMIT).await?;
    stage.apply(namespace("again-other", "nobody")).await?;
    let sent = sent_about(&stage, "redis-again-other");
    let seen = sent_about(&stage, &own);
    stage.start_operator().await?;
    stage.until_in("again-other", "crbp", POLICY, "a refusal", says("AccountNotAllowed")).await?;
    stage.wait("looks at the one that is allowed", || sent_about(&stage, &own) >= seen + 3).await?;
    ensure!(sent_about(&stage, "redis-again-other") == sent, "it was looked at after the start");
    // The status of the allowed namespace never changed.
    ensure!(stage.policy().await?["status"] == before["status"]);
    let changed = |line: &&str| line.contains("Ready has changed") && line.contains("namespace=again ");
    ensure!(!stage.log().lines().any(|line| changed(&line)), "{}", stage.log_tail());
    Ok(())
}

#[tokio::test]
async fn a_shared_account_that_cannot_be_read_is_told_to_its_owner_and_admits_nobody() -> Result<()> {
    let plane = plane().await?;
    let mut stage = stage(&plane, "strange").await?;
    let own = instance_of(&stage);
    stage.flag("--resync-interval-override=1h");
    stage.start_operator().await?;
    stage.apply_policy(through(&stage, json!({"deletionPolicy": "Disable"}))).await?;
    let before = stage.until_reason("InSync").await?;
    relax(&plane, "clustercloudaccounts", "allowedNamespaces/properties/from").await?;
    let hidden = json!({"allowedNamespaces": {"from": "HiddenPlace", "selector": null}});
    wait_until(LIMIT, "the API server to take it", async || {
        patch_account(&stage, hidden.clone()).await.map(Some)
    })
    .await?;
    let found = wait_until(LIMIT, "InvalidRequest", async || {
        let account = stage.get("ccacct", "strange").await?;
        let told = settled(&account) && condition(&account, "Ready")["reason"] == "InvalidRequest";
        Ok(told.then_some(account))
    });
    let account_told = found.await.with_context(|| stage.log_tail())?;
    expect(&account_told, "False", "InvalidRequest", With::Stalled)?;
    ensure!(message(&account_told).contains("HiddenPlace"), "{}", message(&account_told));
    let policy = stage.until_reason("AccountNotReady").await?;
    expect(&policy, "False", "AccountNotReady", With::Reconciling)?;
    ensure!(message(&policy) == "ClusterCloudAccount strange: it cannot be used", "{}", message(&policy));
    ensure!(policy["status"]["policy"] == before["status"]["policy"], "{policy:#}");

    // The unreadable account causes no request, neither for a reconcile request nor for a deletion, and delays nothing
    // else.
    let sent = stage.cloud.counters().requests;
    stage.request_now("crbp", POLICY, "now").await?;
    stage.until_handled("crbp", POLICY, "now").await?;
    stage.delete("crbp", POLICY).await?;
    stage.until("crbp", POLICY, "the deletion", |o| o["metadata"]["deletionTimestamp"].is_string()).await?;
    ensure!(stage.cloud.counters().requests == sent);
    stage.add_other_account("AKLTofAnotherAccount000044", "redis-other").await?;
    stage.until_reason_of("other", "InSync").await?;
    ensure!(stage.modifies_of(&own) == 1 && stage.cloud.policy(&own)?.current.active);

    // Once the account is readable, the deletion continues.
    stage.apply(account(&stage)).await?;
    stage.until_gone("crbp", POLICY).await?;
    stage.until_event(POLICY, "DisabledOnDelete").await?;
    ensure!(!stage.cloud.policy(&own)?.current.active);
    Ok(())
}
