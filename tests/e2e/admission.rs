//! The optional admission policy in deploy/ that requires a label on inactive policies.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::wait_until;

use crate::harness::{LIMIT, POLICY, Stage};

const LABEL: &str = "crossregionbackup.io/allow-inactive";

/// Installs the manifest with its binding limited to this test's namespace, because all tests share one control plane.
async fn install(stage: &Stage<'_>) -> Result<()> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/admission/inactive-needs-a-label.yaml");
    let printed = stage.kubectl().run(["create", "--dry-run=server", "-f", file, "-o", "json"]).await?;
    for object in serde_json::Deserializer::from_str(&printed).into_iter::<Value>() {
        let mut object = object?;
        if object["kind"] == "ValidatingAdmissionPolicyBinding" {
            let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}});
            object["spec"]["matchResources"]["namespaceSelector"] = selector;
        }
        if let Some(meta) = object["metadata"].as_object_mut() {
            meta.retain(|name, _| name == "name" || name == "labels");
        }
        stage.apply(object).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_policy_is_switched_off_with_the_label_only() -> Result<()> {
    let stage = Stage::running("admission").await?;
    stage.apply_policy(json!({"deletionPolicy": "Disable"})).await?;
    stage.until_reason("InSync").await?;
    install(&stage).await?;
    let inactive = |name: &str, label: Option<&str>| {
        let mut manifest: Value = stage.policy_manifest(name, json!({"active": false}));
        if let Some(value) = label {
            manifest["metadata"]["labels"] = json!({LABEL: value});
        }
        manifest
    };
    // The API server enforces the policy a moment after storing it, so the test retries until it refuses.
    let refusal = wait_until(LIMIT, "a refusal", async || match stage.apply(inactive(POLICY, None)).await {
        Ok(_) => {
            stage.apply_policy(json!({"deletionPolicy": "Disable"})).await?;
            Ok(None)
        }
        Err(refusal) => Ok(Some(format!("{refusal:#}"))),
    })
    .await?;
    ensure!(refusal.contains("spec.active: false switches cross-region backup off"), "{refusal}");
    ensure!(refusal.contains(&format!("{LABEL}=true")), "{refusal}");
    ensure!(stage.apply(inactive("other", None)).await.is_err(), "nor may one be made so");
    ensure!(stage.apply(inactive(POLICY, Some("yes"))).await.is_err(), "the label says true");

    let mut labelled = inactive(POLICY, Some("true"));
    labelled["spec"]["deletionPolicy"] = json!("Disable");
    stage.apply(labelled).await?;
    stage.until_reason("InSync").await?;
    ensure!(!stage.held()?.active);
    // A policy that is already inactive may lose the label, change, and be deleted; the operator can remove its finalizer.
    stage.run(["label", "crbp", POLICY, &format!("{LABEL}-")]).await?;
    stage.patch_policy(json!({"resyncInterval": "20m"})).await?;
    stage.delete("crbp", POLICY).await?;
    stage.until_gone("crbp", POLICY).await
}
