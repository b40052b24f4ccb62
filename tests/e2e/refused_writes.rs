//! Writes that the API server refuses, and Secrets that are recreated.

use anyhow::{Result, ensure};
use cloud_simulator::Policy;
use serde_json::{Value, json};

use crate::harness::{INSTANCE, KEY_ID, POLICY, SECRET_KEY, Stage, condition};

/// Applies an admission policy that refuses every status of a policy in this namespace.
async fn refuse_statuses(stage: &Stage<'_>) -> Result<String> {
    let name = format!("no-status-{}", stage.namespace);
    let rule = json!({
        "apiGroups": ["crossregionbackup.io"], "apiVersions": ["*"], "operations": ["UPDATE"],
        "resources": ["crossregionbackuppolicies/status"],
    });
    stage
        .apply(json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail", "matchConstraints": {"resourceRules": [rule]},
                "validations": [{"expression": "false", "message": "no status today"}],
            },
        }))
        .await?;
    stage
        .apply(json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {
                "policyName": name, "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}}},
            },
        }))
        .await?;
    Ok(name)
}

fn is_in_sync(object: &Value) -> bool {
    condition(object, "Ready")["reason"] == "InSync"
}

#[tokio::test]
async fn refused_statuses_hold_no_correction_up_and_are_told_when_they_may_be() -> Result<()> {
    let mut stage = Stage::new("refused-status").await?;
    stage.may_be_refused = true;
    stage.apply_account().await?;
    let other = "refused-status-not";
    stage.kubectl().run(["create", "namespace", other]).await?;
    stage.apply_account_of("prod", other, KEY_ID, SECRET_KEY).await?;
    stage.add_instance("redis-cnother00000001")?;
    stage.flag("--watch-namespace=refused-status-not");
    stage.start_operator().await?;
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;

    let name = refuse_statuses(&stage).await?;
    // The admission policy takes effect a moment later; until then each correction is still reported.
    let is_refused = |stage: &Stage<'_>| stage.log().contains("no status today");
    let mut drifts = 0;
    while !is_refused(&stage) {
        ensure!(drifts < 100, "it is never refused: {}", stage.log_tail());
        drifts += 1;
        stage.drift(Policy::to_region("cn-guangzhou"))?;
        let corrected = || stage.held().is_ok_and(|held| held == Policy::to_region("cn-shanghai"));
        stage.wait("a correction", corrected).await?;
        stage.more_looks(2).await?;
    }
    let version = stage.policy().await?["metadata"]["resourceVersion"].clone();
    for round in 0..3 {
        stage.drift(Policy::to_region("cn-guangzhou"))?;
        let corrected = || stage.held().is_ok_and(|held| held == Policy::to_region("cn-shanghai"));
        stage.wait(&format!("correction {round}"), corrected).await?;
        stage.more_looks(2).await?;
    }
    ensure!(stage.policy().await?["metadata"]["resourceVersion"] == version, "its status was written");
    let mut elsewhere = stage.policy_manifest("elsewhere", json!({"instanceId": "redis-cnother00000001"}));
    elsewhere["metadata"]["namespace"] = json!(other);
    stage.apply(elsewhere).await?;
    stage.until_in(other, "crbp", "elsewhere", "InSync", is_in_sync).await?;
    let lines = stage.log().lines().filter(|line| line.contains("no status today")).count();
    ensure!(lines == 1, "{lines} lines: {}", stage.log_tail());

    stage.run(["delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", &name]).await?;
    let corrections = stage.modifies_of(INSTANCE) - 1;
    // A reconcile request is tried at once, however long the backoff; the test repeats it while the refusal is still in
    // force.
    let mut round = 0;
    loop {
        round += 1;
        stage.request_now("crbp", POLICY, &format!("now-{round}")).await?;
        stage.more_looks(2).await?;
        if stage.policy().await?["metadata"]["resourceVersion"] != version
            && stage.policy().await?["status"]["lastHandledReconcileAt"] == format!("now-{round}")
        {
            break;
        }
        ensure!(round < 100, "{}", stage.log_tail());
    }
    let policy = stage.policy().await?;
    ensure!(policy["status"]["drift"]["corrections"] == corrections, "{corrections}: {policy:#}");
    ensure!(is_in_sync(&policy), "{policy:#}");
    Ok(())
}

#[tokio::test]
async fn a_secret_that_is_replaced_by_force_writes_no_status() -> Result<()> {
    let stage = Stage::running("secret-replaced").await?;
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;
    stage.more_looks(2).await?;
    let versions = async || -> Result<[Value; 2]> {
        let account = stage.get("cacct", "prod").await?;
        Ok([stage.policy().await?, account].map(|mut object| object["metadata"]["resourceVersion"].take()))
    };
    let before = versions().await?;
    for _ in 0..3 {
        let mut secret = stage.get("secret", "cloud-key").await?;
        let uid = secret["metadata"]["uid"].take();
        secret["metadata"] = json!({"name": "cloud-key", "namespace": stage.namespace});
        let file = stage.plane.file(&format!("secret-{}.json", stage.namespace));
        std::fs::write(&file, secret.to_string())?;
        let path = file.display().to_string();
        stage.run(["replace", "--force", "-f", &path]).await?;
        let again = stage.get("secret", "cloud-key").await?;
        ensure!(again["metadata"]["uid"] != uid, "it was not created again");
        stage.more_looks(3).await?;
        ensure!(versions().await? == before, "{}", stage.log_tail());
    }
    Ok(())
}
