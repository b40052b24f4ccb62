//! The `status` command as a kubectl plugin: kubectl finds it on the path by its name.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::harness::{POLICY, Stage, operator_binary};

/// Runs `kubectl crossregionbackup …`, with the binary on the path under that name.
fn plugin(stage: &Stage<'_>, kubeconfig: &Path, args: &[&str]) -> Result<Output> {
    let folder = tempfile::tempdir()?;
    std::os::unix::fs::symlink(operator_binary(), folder.path().join("kubectl-crossregionbackup"))?;
    let path = std::env::var_os("PATH").context("no PATH")?;
    let path =
        std::env::join_paths([folder.path().to_owned()].into_iter().chain(std::env::split_paths(&path)))?;
    let mut command = Command::new(stage.kubectl().program());
    command.arg("crossregionbackup").args(args).env("PATH", path).env("KUBECONFIG", kubeconfig);
    Ok(command.output()?)
}

#[tokio::test]
async fn kubectl_explains_a_policy_by_its_plugin() -> Result<()> {
    let stage = Stage::running("plugin").await?;
    stage.add_backup("b-1", 3600.0)?;
    stage.apply_policy(json!({"recoveryPointObjective": "26h"})).await?;
    stage.until_reason("InSync").await?;
    let ours = stage.kubectl().kubeconfig().to_owned();
    let name = format!("{}/{POLICY}", stage.namespace);

    let output = plugin(&stage, &ours, &["status", &name])?;
    let (text, told) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    ensure!(output.status.success(), "{told}");
    ensure!(text.starts_with(&format!("{name}\nThe newest usable copy in cn-shanghai is ")), "{text}");
    ensure!(text.contains("within its objective of 26h") && text.contains("Nothing to do."), "{text}");
    // Without a terminal the output has no colours.
    ensure!(!text.contains('\u{1b}'), "{text:?}");

    let output = plugin(&stage, &ours, &["status", POLICY, "-n", &stage.namespace, "-o", "json"])?;
    let value: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(value["policy"] == name.as_str(), "{value:#}");

    let output = plugin(&stage, &ours, &["status", "missing", "-n", &stage.namespace])?;
    let told = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(1)
            && told.starts_with("error: there is no CrossRegionBackupPolicy missing"),
        "{told}"
    );

    let output = plugin(&stage, &ours, &["status"])?;
    let told = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(1) && told.contains("Usage: kubectl crossregionbackup status"),
        "{told}"
    );

    let nobody = stage.plane.service_account_kubeconfig(&stage.namespace, "default").await?;
    let output = plugin(&stage, &nobody, &["status", &name])?;
    let told = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1) && told.contains("you may not read the policy"), "{told}");

    let output = plugin(&stage, Path::new("/nowhere"), &["status", &name])?;
    let told = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(1) && told.contains("no Kubernetes cluster to ask: set KUBECONFIG"),
        "{told}"
    );
    Ok(())
}
