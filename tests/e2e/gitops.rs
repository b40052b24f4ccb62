//! Health of each object state as GitOps tools compute it with their own code: checks the tables in docs/gitops.md, objects
//! that the operator has written, and the test data of the Argo CD scripts.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use cloud_simulator::{Effect, Policy};
use serde_json::{Value, json};

use crate::checks::DESCRIBE;
use crate::harness::{INSTANCE, KEY_ID, SECRET_KEY, Stage, condition, plane, root};
use crate::tools::{documents, read, run_with, tool, yaml};

const GROUP: &str = "crossregionbackup.io";
const KINDS: [&str; 4] =
    ["BackupInventory", "CloudAccount", "ClusterCloudAccount", "CrossRegionBackupPolicy"];

/// Returns the tools' health assessments of these objects, in the same order.
fn judged(objects: &[Value]) -> Result<Vec<Value>> {
    let mut judge = tool("judge")?;
    judge
        .arg("--argocd")
        .arg(root("deploy/argocd"))
        .arg("--flux")
        .arg(root("deploy/flux/kustomization.yaml"));
    let lines: Vec<_> = objects.iter().map(Value::to_string).collect();
    let printed = run_with(&mut judge, &lines.join("\n"))?;
    let verdicts: Vec<Value> = printed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(verdicts.len() == objects.len(), "{} of {}", verdicts.len(), objects.len());
    Ok(verdicts)
}

/// A table row of the page: the kinds that it covers, its first cell, and the other cells by column heading.
struct Row {
    kinds: Vec<&'static str>,
    state: String,
    cells: BTreeMap<String, String>,
}

fn rows() -> Result<Vec<Row>> {
    let page = read("docs/gitops.md")?;
    let section =
        page.split("\n## ").find(|part| part.starts_with("Each state")).context("no such section")?;
    let (mut kinds, mut headings, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for line in section.lines() {
        let cells: Vec<String> =
            line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        if !line.starts_with('|') {
            headings.clear();
            let named = |kind: &&str| {
                line == "Any kind:"
                    || line.split(';').next().is_some_and(|l| l.contains(&format!("`{kind}`")))
            };
            if line.ends_with(':') || line.starts_with("`BackupInventory`;") {
                kinds = KINDS.into_iter().filter(named).collect();
            }
        } else if headings.is_empty() {
            headings = cells;
        } else if !cells[0].starts_with("---") {
            let state = cells[0].clone();
            let rest = headings.iter().cloned().zip(cells).skip(1).collect();
            found.push(Row { kinds: kinds.clone(), state, cells: rest });
        }
    }
    ensure!(found.len() > 15 && found.iter().all(|row| !row.kinds.is_empty()), "{} rows", found.len());
    Ok(found)
}

fn manifest(kind: &str, name: &str, namespace: &str) -> Value {
    let spec = match kind {
        "CrossRegionBackupPolicy" => json!({
            "accountRef": {"name": "prod"}, "region": "cn-beijing", "instanceId": INSTANCE,
            "active": true, "crossBackupRegion": "cn-shanghai",
        }),
        "BackupInventory" => {
            json!({"accountRef": {"name": "prod"}, "region": "cn-beijing", "scope": "Account"})
        }
        "CloudAccount" => json!({"provider": "Volcengine", "credentials": {"secretRef": {"name": "key"}}}),
        _ => json!({
            "provider": "Volcengine", "credentials": {"secretRef": {"name": "key"}},
            "allowedNamespaces": {"from": "All"},
        }),
    };
    let mut meta = json!({"name": name});
    if kind != "ClusterCloudAccount" {
        meta["namespace"] = json!(namespace);
    }
    json!({"apiVersion": format!("{GROUP}/v1alpha1"), "kind": kind, "metadata": meta, "spec": spec})
}

fn status(kind: &str, ready: &str, with: &str, reason: &str) -> Value {
    let says = |name: &str, status: &str| {
        json!({
            "type": name, "status": status, "reason": reason, "message": format!("why it is {reason}"),
            "lastTransitionTime": "2026-11-20T08:00:00Z", "observedGeneration": 1,
        })
    };
    let mut conditions = vec![says("Ready", ready)];
    if kind == "CrossRegionBackupPolicy" {
        conditions.push(says("Synced", ready));
    }
    if !with.is_empty() {
        conditions.push(says(with, "True"));
    }
    json!({"observedGeneration": 1, "conditions": conditions})
}

/// An object in the API server, and the health that the page documents for it.
struct Case {
    kind: &'static str,
    name: String,
    shown: String,
    said: BTreeMap<String, String>,
}

impl Case {
    fn object<'a>(&self, all: &'a [Value]) -> Result<&'a Value> {
        let is = |o: &&Value| o["kind"] == self.kind && o["metadata"]["name"] == self.name;
        all.iter().find(is).with_context(|| self.shown.clone())
    }
}

/// Stores an object for each reason, or state, of each row.
async fn store(stage: &Stage<'_>) -> Result<Vec<Case>> {
    let (mut cases, mut objects, mut statuses, mut changed, mut deleted) =
        (vec![], vec![], vec![], vec![], vec![]);
    for row in rows()? {
        let reasons: Vec<&str> = row.state.split('`').skip(1).step_by(2).collect();
        for kind in row.kinds {
            for reason in if reasons.is_empty() { vec![""] } else { reasons.clone() } {
                let name = format!("gitops-{}", cases.len());
                let mut object = manifest(kind, &name, &stage.namespace);
                let told = match row.state.as_str() {
                    "just created" => None,
                    "spec changed, not looked at yet" => {
                        changed.push((kind, name.clone()));
                        Some(status(kind, "True", "", "Before"))
                    }
                    "being deleted, with a finalizer" => {
                        object["metadata"]["finalizers"] = json!([format!("{GROUP}/disable-on-delete")]);
                        deleted.push((kind, name.clone()));
                        Some(status(kind, "True", "", "Before"))
                    }
                    state if reason.is_empty() => bail!("no such state: {state}"),
                    _ => Some(status(kind, &row.cells["Ready"], &row.cells["with"], reason)),
                };
                objects.push(object.to_string());
                if let Some(told) = told {
                    let mut with_status = manifest(kind, &name, &stage.namespace);
                    with_status["status"] = told;
                    statuses.push(with_status.to_string());
                }
                let shown = format!("{kind}, {} {reason}", row.state);
                cases.push(Case { kind, name, shown, said: row.cells.clone() });
            }
        }
    }
    let file = tempfile::NamedTempFile::new()?;
    let path = file.path().display().to_string();
    for (texts, more) in [(objects, vec![]), (statuses, vec!["--subresource=status"])] {
        std::fs::write(file.path(), texts.join("\n"))?;
        stage.kubectl().run(["apply", "--server-side", "-f", &path].into_iter().chain(more)).await?;
    }
    for (kind, name) in changed {
        stage.run(["patch", kind, &name, "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#]).await?;
    }
    for (kind, name) in deleted {
        stage.run(["delete", kind, &name, "--wait=false"]).await?;
    }
    Ok(cases)
}

#[tokio::test]
async fn every_tool_says_of_each_state_what_the_page_says() -> Result<()> {
    let stage = Stage::new("gitops").await?;
    let cases = store(&stage).await?;
    let mut all = Vec::new();
    for kind in KINDS {
        all.extend(stage.list(kind).await?);
    }
    let objects: Vec<Value> = cases.iter().map(|case| case.object(&all).cloned()).collect::<Result<_>>()?;
    for ((case, object), verdict) in cases.iter().zip(&objects).zip(judged(&objects)?) {
        for (judge, heading) in [("kstatus", "kstatus"), ("argocd", "Argo CD"), ("flux", "Flux")] {
            let said = &case.said[heading];
            ensure!(verdict[judge]["status"] == said.as_str(), "{}: {verdict:#}\n{object:#}", case.shown);
        }
        // `--timeout=0` checks once without waiting.
        let args =
            ["-n", &stage.namespace, "wait", case.kind, &case.name, "--for=condition=Ready", "--timeout=0"];
        let returned = stage.kubectl().output(args).await?.status.success();
        ensure!(returned == (case.said["kubectl wait"] == "returns"), "{}: kubectl wait", case.shown);
    }
    for kind in KINDS {
        for object in objects.iter().filter(|o| o["kind"] == kind && !o["metadata"]["finalizers"].is_null()) {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            stage
                .run(["patch", kind, name, "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#])
                .await?;
        }
    }
    Ok(())
}

/// Returns the row for an object by its conditions. An inventory uses the policy rows for reasons that it has no own row for.
fn said_of<'r>(rows: &'r [Row], object: &Value) -> Result<&'r Row> {
    let reason = format!("`{}`", condition(object, "Ready")["reason"].as_str().unwrap_or_default());
    let with = ["Reconciling", "Stalled"].into_iter().find(|kind| !condition(object, kind).is_null());
    let own = object["kind"].as_str().unwrap_or_default();
    let of = |kind: &str| {
        rows.iter().find(|row| {
            let fits = row.cells.get("with").is_some_and(|cell| cell == with.unwrap_or_default());
            row.kinds.contains(&kind) && fits && row.state.contains(&reason)
        })
    };
    let fallback = || of("CrossRegionBackupPolicy").filter(|_| own == "BackupInventory");
    of(own).or_else(fallback).with_context(|| format!("docs/gitops.md has no row for {object:#}"))
}

#[tokio::test]
async fn what_the_operator_itself_has_written_is_judged_as_the_page_says() -> Result<()> {
    let mut stage = Stage::new("gitops-life").await?;
    stage.start_operator().await?;
    let mut written = Vec::new();
    stage.apply_policy(json!({})).await?;
    written.push(stage.until_reason("AccountNotFound").await?);
    stage.apply(stage.account_manifest()).await?;
    written.push(stage.until_account("CredentialsMissing").await?);
    written.push(stage.until_reason("CredentialsMissing").await?);
    stage.apply_secret(KEY_ID, "bm90IHRoZSByaWdodCBvbmU=").await?;
    written.push(stage.until_account("CredentialsRejected").await?);
    written.push(stage.until_reason("CredentialsRejected").await?);
    stage.apply_secret(KEY_ID, SECRET_KEY).await?;
    written.push(stage.until_account("CredentialsVerified").await?);
    written.push(stage.until_reason("InSync").await?);
    stage.apply(manifest("BackupInventory", "all", &stage.namespace)).await?;
    let listed = |o: &Value| condition(o, "Ready")["reason"] == "Listed";
    written.push(stage.until("bkinv", "all", "Listed", listed).await?);

    stage.patch_policy(json!({"suspend": true})).await?;
    written.push(stage.until_reason("Suspended").await?);
    stage.patch_policy(json!({"suspend": false, "managementPolicy": "Observe"})).await?;
    written.push(stage.until_reason("Observed").await?);
    stage.drift(Policy::default())?;
    written.push(stage.until_reason("DriftDetected").await?);
    stage.patch_instance(json!({"visibility": "never"}))?;
    stage.patch_policy(json!({"managementPolicy": "Manage"})).await?;
    written.push(stage.until_reason("Modifying").await?);
    stage.patch_instance(json!({"visibility": "atOnce"}))?;
    // Without this request, the poll after the next would be 60 s away.
    stage.request_now("crbp", "sessions", "now").await?;
    written.push(stage.until_reason("InSync").await?);
    let mut limit = 20;
    let refusals = [
        (400, "InstanceStatusNotMatch", "InstanceNotReady"),
        (403, "AccessDenied", "PermissionDenied"),
        (400, "InvalidOperator", "NotSupported"),
        (404, "InstanceNotExist", "InstanceNotFound"),
        (400, "ParamError", "InvalidRequest"),
        (500, "InternalError", "CloudUnavailable"),
        (429, "FlowLimitExceeded", "Throttled"),
    ];
    for (status, code, reason) in refusals {
        stage.cloud.clear_faults();
        let effect = Effect::Error { status, code: code.to_owned(), message: "no".to_owned(), code_n: None };
        stage.fault(DESCRIBE, None, effect)?;
        // A failure is reported at once only for a new generation.
        limit += 1;
        stage.patch_policy(json!({"backups": {"limit": limit}})).await?;
        written.push(stage.until_reason(reason).await?);
    }
    let rows = rows()?;
    for (object, verdict) in written.iter().zip(judged(&written)?) {
        let row = said_of(&rows, object)?;
        for (judge, heading) in [("kstatus", "kstatus"), ("argocd", "Argo CD"), ("flux", "Flux")] {
            let said = row.cells[heading].as_str();
            ensure!(verdict[judge]["status"] == said, "{}: {verdict:#}\n{object:#}", row.state);
        }
        ensure!(condition(object, "Ready")["status"] == row.cells["Ready"].as_str(), "{object:#}");
    }
    Ok(())
}

#[test]
fn the_scripts_of_argo_cd_pass_their_own_tests() -> Result<()> {
    for kind in KINDS {
        let folder = format!("deploy/argocd/{GROUP}/{kind}");
        let tests = yaml(&format!("{folder}/health_test.yaml"))?;
        let tests = tests["tests"].as_array().context("no tests")?;
        let mut inputs = Vec::new();
        for test in tests {
            let path = test["inputPath"].as_str().context("no input")?;
            inputs.push(yaml(&format!("{folder}/{path}"))?);
        }
        ensure!(inputs.iter().all(|input| input["kind"] == kind), "{folder}");
        let said = judged(&inputs)?;
        for (test, said) in tests.iter().zip(&said) {
            ensure!(said["argocd"] == test["healthStatus"], "{folder}: {test}: {said}");
        }
        for health in ["Healthy", "Degraded", "Progressing", "Suspended"] {
            ensure!(said.iter().any(|s| s["argocd"]["status"] == health), "{kind}: no test data is {health}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_component_adds_the_scripts_to_argo_cd_s_settings() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let base = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm"}, "data": {"url": "u"}});
    let copied =
        std::process::Command::new("cp").arg("-R").arg(root("deploy/argocd")).arg(folder.path()).status()?;
    ensure!(copied.success());
    std::fs::write(folder.path().join("base.yaml"), base.to_string())?;
    let overlay = json!({"namespace": "argocd", "resources": ["base.yaml"], "components": ["argocd"]});
    std::fs::write(folder.path().join("kustomization.yaml"), overlay.to_string())?;
    let built = plane().await?.kubectl().run(["kustomize", &folder.path().display().to_string()]).await?;
    let objects = documents(&built)?;
    ensure!(objects.len() == 1 && objects[0]["metadata"]["name"] == "argocd-cm", "{built}");
    let data = &objects[0]["data"];
    ensure!(data["url"] == "u" && data.as_object().is_some_and(|d| d.len() == 1 + KINDS.len()), "{data:#}");
    for kind in KINDS {
        let script = read(&format!("deploy/argocd/{GROUP}/{kind}/health.lua"))?;
        ensure!(data[format!("resource.customizations.health.{GROUP}_{kind}")] == script, "{kind}");
    }
    Ok(())
}
