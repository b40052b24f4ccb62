//! Life cycle of a Helm release on its own control plane: install the first chart, upgrade, uninstall. The operator runs as a
//! local process with the release's ServiceAccount and exactly the arguments and environment of its Deployment.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use testbed::{ControlPlane, Options, Process, wait_until};

use super::RELEASE;
use crate::harness::{LIMIT, OPERATOR_NAMESPACE, POLICY, Stage, operator_binary, root};
use crate::replicas::until_logged;
use crate::tools::{read, run, set, tool};

/// The first packed chart, from which the test upgrades. Never changed.
const FIRST: &str = "tests/data/charts/cross-region-backup-operator-0.1.0.tgz";

struct Release<'a> {
    plane: &'a ControlPlane,
    home: tempfile::TempDir,
    started: usize,
}

impl<'a> Release<'a> {
    fn new(plane: &'a ControlPlane) -> Result<Self> {
        Ok(Self { plane, home: tempfile::tempdir()?, started: 0 })
    }

    /// Returns a helm command with these leading arguments, run as the administrator.
    fn helm(&self, words: &[&str]) -> Result<Command> {
        let mut helm = tool("helm")?;
        helm.args(words)
            .args(["--namespace", OPERATOR_NAMESPACE])
            .env("KUBECONFIG", self.plane.kubeconfig())
            // Isolates helm from the user's own configuration.
            .env("HELM_CACHE_HOME", self.home.path())
            .env("HELM_CONFIG_HOME", self.home.path())
            .env("HELM_DATA_HOME", self.home.path());
        Ok(helm)
    }

    fn install(&self, chart: &Path, values: &[String]) -> Result<String> {
        run(set(self.helm(&["install", "--create-namespace", RELEASE])?.arg(chart), values))
    }

    fn upgrade(&self, chart: &Path, values: &[String]) -> Result<String> {
        run(set(self.helm(&["upgrade", "--reset-then-reuse-values", RELEASE])?.arg(chart), values))
    }

    async fn pod(&self) -> Result<Value> {
        let args = ["get", "deployment", RELEASE, "-n", OPERATOR_NAMESPACE];
        Ok(self.plane.kubectl().json(args).await?["spec"]["template"]["spec"].take())
    }

    /// Starts the operator as the kubelet would start the Deployment's pod, as far as a local process allows.
    async fn start_operator(&mut self) -> Result<Process> {
        let pod = self.pod().await?;
        let container = &pod["containers"][0];
        let account = pod["serviceAccountName"].as_str().context("no ServiceAccount")?;
        let kubeconfig = self.plane.service_account_kubeconfig(OPERATOR_NAMESPACE, account).await?;
        let mut command = Command::new(operator_binary());
        command.env_clear().env("HOSTNAME", "a-pod").env("KUBECONFIG", kubeconfig);
        for arg in container["args"].as_array().context("no arguments")? {
            command.arg(arg.as_str().context("an argument that is no text")?);
        }
        for variable in container["env"].as_array().context("no environment")? {
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.namespace") => OPERATOR_NAMESPACE,
                None => variable["value"].as_str().context("a variable without a value")?,
                Some(other) => bail!("no such field here: {other}"),
            };
            command.env(variable["name"].as_str().context("a variable without a name")?, value);
        }
        self.started += 1;
        Process::spawn(command, self.plane.file(&format!("release-{}.log", self.started)))
    }

    /// Returns the names of the release's objects, except CRDs.
    async fn left(&self) -> Result<String> {
        let kinds = "deployments,services,serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets,\
            clusterroles,clusterrolebindings";
        let selector = format!("app.kubernetes.io/instance={RELEASE}");
        self.plane.kubectl().run(["get", kinds, "-A", "-l", &selector, "-o", "name"]).await
    }
}

/// Returns chart values for the simulator's endpoint and a free port.
fn values(stage: &Stage<'_>) -> Vec<String> {
    vec![
        format!("allowedEndpoints={{{}}}", stage.endpoint),
        "extraArgs={--http-address=127.0.0.1:0,--resync-interval-override=2s}".to_owned(),
        "logFormat=text".to_owned(),
    ]
}

async fn ends_well(mut operator: Process) -> Result<()> {
    operator.terminate(LIMIT).await?;
    let log = operator.log();
    let refused: Vec<_> = log.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
    ensure!(refused.is_empty(), "{refused:#?}");
    Ok(())
}

/// Copies the current chart as the next version, with an additional short name in a CRD.
fn next_chart(folder: &Path) -> Result<PathBuf> {
    let next = folder.join("next");
    run(Command::new("cp").arg("-R").arg(root("deploy/helm")).arg(&next))?;
    let change = |file: &str, from: &str, to: &str| -> Result<()> {
        let text = std::fs::read_to_string(next.join(file))?;
        ensure!(text.matches(from).count() == 1, "{file}: {from}");
        Ok(std::fs::write(next.join(file), text.replace(from, to))?)
    };
    let crd = "files/crds/crossregionbackup.io_crossregionbackuppolicies.yaml";
    change(crd, "    - crbp\n", "    - crbp\n    - crbpolicy\n")?;
    change("Chart.yaml", "\nversion: ", "\nversion: 9.9.9 # after ")?;
    Ok(next)
}

#[tokio::test]
async fn installed_upgraded_and_uninstalled_it_leaves_what_is_told() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let stage = Stage::on(&plane, "payments").await?;
    let mut release = Release::new(&plane)?;
    release.install(&root(FIRST), &values(&stage))?;
    stage.kubectl().run(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]).await?;
    let operator = release.start_operator().await?;
    stage.apply_account().await?;
    stage.apply_policy(json!({"deletionPolicy": "Disable"})).await?;
    let in_sync = stage.until_reason("InSync").await.map_err(|error| operator.with_log(&error))?;
    ends_well(operator).await?;

    // The upgrade changes the CRDs and keeps the stored objects.
    let told = release.upgrade(&next_chart(release.home.path())?, &["replicaCount=3".to_owned()])?;
    ensure!(told.contains("deletionPolicy: Disable have a finalizer"), "{told}");
    let crd = ["get", "crd", "crossregionbackuppolicies.crossregionbackup.io"];
    ensure!(stage.kubectl().json(crd).await?["spec"]["names"]["shortNames"] == json!(["crbp", "crbpolicy"]));
    ensure!(stage.policy().await?["metadata"]["uid"] == in_sync["metadata"]["uid"]);
    let operator = release.start_operator().await?;
    stage.drift(cloud_simulator::Policy::default())?;
    let corrected =
        stage.until("crbp", POLICY, "a correction", |o| o["status"]["drift"]["corrections"] == 1).await;
    corrected.map_err(|error| operator.with_log(&error))?;
    ends_well(operator).await?;

    // Uninstalling removes the operator's RBAC before the process ends, so the operator cannot release its Lease.
    let mut operator = release.start_operator().await?;
    until_logged(&operator, ": leading").await?;
    run(&mut release.helm(&["uninstall", RELEASE])?)?;
    operator.terminate(LIMIT).await?;
    let leases = ["get", "leases", "-n", OPERATOR_NAMESPACE, "-o", "name"];
    let left = stage.kubectl().run(leases).await?;
    ensure!(left.is_empty(), "{left}\n{}", operator.log_tail());
    wait_until(LIMIT, "nothing of the release", async || {
        let left = release.left().await?;
        if left.is_empty() { Ok(Some(())) } else { bail!("{left}") }
    })
    .await?;
    // CRDs and custom resources remain. The finalizer remains too, and must be removed by hand as docs/install.md describes.
    let mut policy = stage.policy().await?;
    ensure!(
        policy["metadata"]["finalizers"] == json!(["crossregionbackup.io/disable-on-delete"]),
        "{policy:#}"
    );
    stage.delete("crbp", POLICY).await?;
    policy = stage.policy().await?;
    ensure!(!policy["metadata"]["deletionTimestamp"].is_null(), "{policy:#}");
    let release_it = r#"{"metadata":{"finalizers":null}}"#;
    ensure!(read("docs/install.md")?.contains(&format!("--type=merge -p '{release_it}'")));
    stage.run(["patch", "crbp", POLICY, "--type=merge", "-p", release_it]).await?;
    stage.until_gone("crbp", POLICY).await?;
    ensure!(stage.held()?.active, "the cloud stays as it was");

    // A new installation adopts the CRDs that remained.
    release.install(&root("deploy/helm"), &values(&stage))?;
    Ok(())
}

#[tokio::test]
async fn it_takes_over_from_the_plain_manifests_and_is_limited_to_namespaces() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let stage = Stage::on(&plane, "limited-release").await?;
    stage.kubectl().run(["apply", "-k", &root("deploy").display().to_string()]).await?;
    stage.kubectl().run(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]).await?;
    let mut release = Release::new(&plane)?;
    let mut values = values(&stage);
    values.push(format!("watchNamespaces={{{}}}", stage.namespace));
    let chart = root("deploy/helm");
    ensure!(release.install(&chart, &values).is_err(), "they are not its own");
    let mut helm = release.helm(&["install", RELEASE, "--take-ownership", "--force-conflicts"])?;
    run(set(helm.arg(&chart), &values))?;
    let shared =
        ["clusterrole/cross-region-backup-operator", "clusterrolebinding/cross-region-backup-operator"];
    // A release limited to namespaces neither needs nor manages the cluster-wide roles of the plain manifests.
    stage.kubectl().run(["delete"].into_iter().chain(shared)).await?;

    let operator = release.start_operator().await?;
    stage.apply_account().await?;
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await.map_err(|error| operator.with_log(&error))?;
    stage.until_event(POLICY, "PolicyModified").await?;
    ends_well(operator).await
}
