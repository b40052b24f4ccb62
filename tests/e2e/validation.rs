//! Validation: wrong manifests are refused at `kubectl apply` with a message that names the field.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::documents::blocks;
use crate::harness::{Stage, plane};

/// Applies a manifest and expects a refusal that contains every word.
pub async fn refused(stage: &Stage<'_>, manifest: Value, words: &[&str]) -> Result<()> {
    let error = match stage.apply(manifest.clone()).await {
        Ok(_) => anyhow::bail!("was taken: {manifest:#}"),
        Err(error) => format!("{error:#}"),
    };
    for word in words {
        ensure!(error.contains(word), "{word:?} is not in: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_policy_that_cannot_be_meant_is_refused() -> Result<()> {
    let stage = Stage::new("validation-policy").await?;
    let with = |spec: Value| stage.policy_manifest("p", spec);
    let without_target = || {
        let mut manifest = with(json!({}));
        if let Some(spec) = manifest["spec"].as_object_mut() {
            spec.remove("crossBackupRegion");
        }
        manifest
    };
    refused(&stage, without_target(), &["crossBackupRegion is required when active is true"]).await?;
    let same = json!({"crossBackupRegion": "cn-beijing"});
    refused(&stage, with(same), &["crossBackupRegion must be different from region"]).await?;
    for (spec, words) in [
        (json!({"managementPolicy": "Own"}), vec!["spec.managementPolicy", "Manage", "Observe"]),
        (json!({"deletionPolicy": "Delete"}), vec!["spec.deletionPolicy", "Retain", "Disable"]),
        (json!({"resyncInterval": "59s"}), vec!["spec.resyncInterval", "1m to 24h"]),
        (json!({"resyncInterval": "25h"}), vec!["spec.resyncInterval", "1m to 24h"]),
        (json!({"resyncInterval": "10"}), vec!["spec.resyncInterval"]),
        (json!({"resyncInterval": "ten minutes"}), vec!["spec.resyncInterval"]),
        (json!({"recoveryPointObjective": "8761h"}), vec!["spec.recoveryPointObjective", "1m to 8760h"]),
        (json!({"recoveryPointObjective": "1d"}), vec!["spec.recoveryPointObjective"]),
        (json!({"backups": {"limit": -1}}), vec!["spec.backups.limit", "0"]),
        (json!({"backups": {"limit": 101}}), vec!["spec.backups.limit", "100"]),
        (json!({"region": "Beijing"}), vec!["spec.region"]),
        (json!({"crossBackupRegion": "cn_shanghai"}), vec!["spec.crossBackupRegion"]),
        (json!({"instanceId": "redis"}), vec!["spec.instanceId"]),
        (json!({"instanceId": "Redis-1"}), vec!["spec.instanceId"]),
        (json!({"instanceId": format!("redis-{}", "a".repeat(60))}), vec!["spec.instanceId", "64"]),
        (json!({"accountRef": {"name": "UPPER"}}), vec!["spec.accountRef.name"]),
        (
            json!({"accountRef": {"name": "prod", "kind": "Secret"}}),
            vec!["spec.accountRef.kind", "CloudAccount"],
        ),
        (json!({"resyncinterval": "10m"}), vec!["resyncinterval"]),
    ] {
        refused(&stage, with(spec), &words).await?;
    }
    let long = stage.policy_manifest(&"p".repeat(64), json!({}));
    refused(&stage, long, &["metadata.name must be at most 63 characters"]).await?;

    stage.apply(with(json!({}))).await?;
    let moved = json!({"region": "cn-guangzhou"});
    refused(&stage, with(moved), &["region is immutable"]).await?;
    let other = json!({"instanceId": "redis-cnother"});
    refused(&stage, with(other), &["instanceId is immutable"]).await?;
    Ok(())
}

#[tokio::test]
async fn an_account_that_cannot_be_meant_is_refused() -> Result<()> {
    let stage = Stage::new("validation-account").await?;
    let with = |spec: Value| {
        let mut manifest = stage.account_manifest();
        if let (Some(base), Value::Object(more)) = (manifest["spec"].as_object_mut(), spec) {
            base.extend(more);
        }
        manifest
    };
    for (spec, words) in [
        (json!({"provider": "Acme"}), vec!["spec.provider", "Volcengine", "BytePlus"]),
        (
            json!({"credentials": {}}),
            vec!["spec.credentials", "exactly one of secretRef and workloadIdentity"],
        ),
        (
            json!({"credentials": {"secretRef": {"name": "Bad_Name"}}}),
            vec!["spec.credentials.secretRef.name"],
        ),
        (
            json!({"credentials": {"secretRef": {"name": "s", "accessKeyIdKey": "a b"}}}),
            vec!["spec.credentials.secretRef.accessKeyIdKey"],
        ),
        (json!({"endpoint": "ftp://example.com"}), vec!["spec.endpoint"]),
        (json!({"endpoint": "https://example.com/path"}), vec!["spec.endpoint"]),
        (json!({"requestTimeout": "61s"}), vec!["spec.requestTimeout", "1s to 60s"]),
        (json!({"requestTimeout": "0s"}), vec!["spec.requestTimeout", "1s to 60s"]),
        (json!({"requestBudget": {"requestsPerSecond": 0}}), vec!["spec.requestBudget.requestsPerSecond"]),
        (json!({"requestBudget": {"burst": 10001}}), vec!["spec.requestBudget.burst"]),
        (json!({"region": "x"}), vec!["spec.region"]),
    ] {
        refused(&stage, with(spec), &words).await?;
    }
    stage.apply(with(json!({}))).await?;
    refused(&stage, with(json!({"provider": "BytePlus"})), &["provider is immutable"]).await
}

#[tokio::test]
async fn defaults_columns_and_selectors_are_the_contracts() -> Result<()> {
    let stage = Stage::new("columns").await?;
    stage.apply_account().await?;
    stage.apply_policy(json!({})).await?;
    let policy = stage.policy().await?;
    let spec = &policy["spec"];
    ensure!(policy["status"] == json!({"observedGeneration": -1}), "{policy:#}");
    ensure!(spec["accountRef"]["kind"] == "CloudAccount" && spec["managementPolicy"] == "Manage", "{spec:#}");
    ensure!(spec["deletionPolicy"] == "Retain" && spec["suspend"] == false, "{spec:#}");
    ensure!(spec["resyncInterval"] == "10m" && spec["backups"]["limit"] == 10, "{spec:#}");
    let account = stage.get("cacct", "prod").await?;
    let reference = &account["spec"]["credentials"]["secretRef"];
    ensure!(reference["sessionTokenKey"] == "sessionToken", "{account:#}");

    let header = |table: &str| {
        table.lines().next().unwrap_or("").split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    let narrow = header(&stage.run(["get", "crbp"]).await?);
    ensure!(narrow == "NAME INSTANCE ACTIVE TARGET READY REASON RECOVERY-POINT BACKUPS AGE", "{narrow}");
    let wide = header(&stage.run(["get", "crbp", "-o", "wide"]).await?);
    ensure!(wide.ends_with("AGE ACCOUNT REGION TTL RPO MESSAGE"), "{wide}");
    let accounts = header(&stage.run(["get", "cloudaccounts", "-o", "wide"]).await?);
    ensure!(accounts == "NAME PROVIDER READY REASON AGE MESSAGE", "{accounts}");

    for (selector, found) in [
        ("spec.instanceId=redis-cn0a1b2c3d4e5f6", true),
        ("spec.region=cn-beijing,spec.accountRef.name=prod", true),
        ("spec.instanceId=redis-other", false),
    ] {
        let names = stage.run(["get", "crbp", "--field-selector", selector, "-o", "name"]).await?;
        ensure!(names.contains("sessions") == found, "{selector}: {names}");
    }
    let all = stage.run(["get", "crossregionbackup", "-o", "name"]).await?;
    ensure!(all.contains("cloudaccount") && all.contains("crossregionbackuppolicy"), "{all}");
    Ok(())
}

#[tokio::test]
async fn the_examples_and_the_whole_deployment_are_taken_without_a_warning() -> Result<()> {
    let plane = plane().await?;
    let root = env!("CARGO_MANIFEST_DIR");
    let examples = ["account", "policies", "inventories", "shared-account", "tencent"]
        .map(|name| ("-f", format!("examples/{name}.yaml")));
    for (flag, path) in [("-k", "deploy".to_owned())].into_iter().chain(examples) {
        let path = format!("{root}/{path}");
        let output = plane.kubectl().output(["apply", flag, &path]).await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && stderr.is_empty(), "{path}: {stderr}");
    }
    Ok(())
}

#[tokio::test]
async fn every_manifest_in_the_documents_is_taken() -> Result<()> {
    let plane = plane().await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Namespace of the examples and of the manifests in the documentation.
    let example = root.join("examples/account.yaml");
    plane.kubectl().run(["apply", "-f", &example.display().to_string()]).await?;
    let mut pages = vec![root.join("README.md")];
    for entry in std::fs::read_dir(root.join("docs"))? {
        pages.push(entry?.path());
    }
    let mut taken = 0;
    for page in pages.iter().filter(|page| page.extension().is_some_and(|e| e == "md")) {
        // Blocks marked `yaml fragment` are not complete manifests.
        for manifest in blocks(&std::fs::read_to_string(page)?, "yaml") {
            let file = plane.file("document.yaml");
            std::fs::write(&file, &manifest)?;
            let path = file.display().to_string();
            let args = ["apply", "--dry-run=server", "-f", &path];
            let mut output = plane.kubectl().output(args).await?;
            // The tests of the documents create the same objects: one may come into being between kubectl's get and its create.
            if String::from_utf8_lossy(&output.stderr).contains("(AlreadyExists)") {
                output = plane.kubectl().output(args).await?;
            }
            let stderr = String::from_utf8_lossy(&output.stderr);
            let fine = output.status.success() && stderr.is_empty();
            ensure!(fine, "{}: {stderr}\n{manifest}", page.display());
            taken += 1;
        }
    }
    ensure!(taken >= 4, "only {taken} manifests were found");
    Ok(())
}
