//! An operator that is limited to namespaces and has only the rights that `deploy/namespaced/` grants in each.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::checks::{With, expect, message};
use crate::harness::{KEY_ID, LIMIT, POLICY, SECRET_KEY, Stage, condition};

/// Grants the role of `deploy/namespaced/` in this namespace to another ServiceAccount.
async fn grant(stage: &Stage<'_>, namespace: &str, account: &str) -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/namespaced/role.yaml");
    let (head, subject) = std::fs::read_to_string(file)?
        .split_once("subjects:")
        .map(|(head, subject)| (head.to_owned(), subject.to_owned()))
        .unwrap_or_default();
    ensure!(subject.matches("cross-region-backup-operator").count() == 2, "{subject}");
    let subject = subject.replacen("cross-region-backup-operator", account, 1).replacen(
        "cross-region-backup-operator",
        &stage.namespace,
        1,
    );
    let manifest = tempfile::NamedTempFile::new()?;
    std::fs::write(manifest.path(), format!("{head}subjects:{subject}"))?;
    stage.kubectl().run(["apply", "-n", namespace, "-f", &manifest.path().display().to_string()]).await?;
    Ok(())
}

#[tokio::test]
async fn it_works_with_a_role_in_each_of_its_namespaces_and_uses_no_shared_account() -> Result<()> {
    let stage = Stage::new("limited").await?;
    let other = "limited-too";
    stage.kubectl().run(["create", "namespace", other]).await?;
    stage.run(["create", "serviceaccount", "limited-operator"]).await?;
    for namespace in [stage.namespace.as_str(), other] {
        grant(&stage, namespace, "limited-operator").await?;
    }
    let subject = format!("--serviceaccount={}:limited-operator", stage.namespace);
    stage.run(["create", "role", "lease", "--verb=create,get,update", "--resource=leases"]).await?;
    stage.run(["create", "rolebinding", "lease", "--role=lease", &subject]).await?;
    let account = (stage.namespace.as_str(), "limited-operator");
    let mut operator = stage.another_operator("limited", account, &["--watch-namespace", other]).await?;

    stage.apply_account().await?;
    stage.apply_policy(json!({"deletionPolicy": "Disable"})).await?;
    stage.until_reason("InSync").await?;
    stage.until_event(POLICY, "PolicyModified").await?;

    stage.add_instances(&["redis-of-the-other"])?;
    stage.apply_account_of("prod", other, KEY_ID, SECRET_KEY).await?;
    let mut policy = stage.policy_manifest(POLICY, json!({"instanceId": "redis-of-the-other"}));
    policy["metadata"]["namespace"] = json!(other);
    stage.apply(policy.clone()).await?;
    let in_sync = |o: &serde_json::Value| condition(o, "Ready")["reason"] == "InSync";
    stage.until_in(other, "crbp", POLICY, "InSync", in_sync).await?;

    let shared = json!({
        "instanceId": "redis-of-the-other", "accountRef": {"kind": "ClusterCloudAccount", "name": "shared"},
    });
    stage.apply(stage.policy_manifest("by-shared", shared)).await?;
    let refused = stage.until_reason_of("by-shared", "AccountNotAllowed").await?;
    expect(&refused, "False", "AccountNotAllowed", With::Stalled)?;
    ensure!(
        message(&refused)
            == "ClusterCloudAccount shared: the operator is limited to some namespaces (--watch-namespace) and uses no \
                shared account",
        "{}",
        message(&refused)
    );
    let log = operator.log();
    let refusals: Vec<_> = log.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
    ensure!(refusals.is_empty(), "{refusals:#?}");
    operator.terminate(LIMIT).await?;
    Ok(())
}
