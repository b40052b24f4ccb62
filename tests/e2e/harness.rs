//! Test fixture: each test has its own namespace, simulated cloud and operator process on the shared control plane.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cloud_simulator::{
    BackupSpec, Clock, Effect, FaultSpec, InstanceSpec, KeySpec, Policy, Server, Simulator,
};
use serde_json::{Value, json};
use testbed::{ControlPlane, Kubectl, Process, wait_until};
use tokio::sync::OnceCell;

use crate::client;

/// Timeout of every wait, long enough for a busy machine; a wait ends as soon as its condition is met.
pub const LIMIT: Duration = Duration::from_secs(60);
pub const OPERATOR_NAMESPACE: &str = "cross-region-backup-operator";
pub const KEY_ID: &str = "AKLTCanaryAccessKeyId0000000077";
/// Canary value that must appear nowhere but in the Secret.
pub const SECRET_KEY: &str = "Q2FuYXJ5U2VjcmV0S2V5TXVzdE5vdEFwcGVhcg==";
pub const INSTANCE: &str = "redis-cn0a1b2c3d4e5f6";
pub const POLICY: &str = "sessions";

pub fn operator_binary() -> &'static str {
    env!("CARGO_BIN_EXE_cross-region-backup-operator")
}

pub fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Installs the CRDs and the operator's RBAC as a user would; every warning is a failure.
pub async fn install(plane: &ControlPlane) -> Result<()> {
    let kubectl = plane.kubectl();
    install_without_crds(plane).await?;
    apply_file(kubectl, &root("crds")).await?;
    kubectl.run(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]).await.map(drop)
}

pub async fn install_without_crds(plane: &ControlPlane) -> Result<()> {
    for file in ["deploy/namespace.yaml", "deploy/operator-rbac.yaml", "deploy/user-roles.yaml"] {
        apply_file(plane.kubectl(), &root(file)).await?;
    }
    Ok(())
}

async fn apply_file(kubectl: &Kubectl, path: &Path) -> Result<()> {
    let flag = if path.is_dir() { "-k" } else { "-f" };
    let output = kubectl.output(["apply", flag, &path.display().to_string()]).await?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && stderr.is_empty(), "{}: {stderr}", path.display());
    Ok(())
}

/// Returns the control plane that all tests share, with CRDs and RBAC installed.
pub async fn plane() -> Result<&'static ControlPlane> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let plane = testbed::shared().await?;
    INSTALLED.get_or_try_init(|| install(plane)).await?;
    Ok(plane)
}

/// The environment of one test: a namespace, a simulated cloud and an operator.
pub struct Stage<'a> {
    pub plane: &'a ControlPlane,
    /// Client with the administrator's rights.
    pub client: kube::Client,
    pub namespace: String,
    pub cloud: Simulator,
    pub endpoint: String,
    _server: Server,
    operator: Option<Process>,
    flags: Vec<String>,
    started: usize,
    /// Allows "forbidden" in the operator's log, for an API server that refuses everything until it has loaded its roles.
    pub may_be_refused: bool,
    /// Whether the operator watches all namespaces; only for a control plane that no other test uses.
    pub watches_all: bool,
}

impl Stage<'static> {
    /// Creates a namespace and a cloud with one key and one instance, without an operator.
    pub async fn new(name: &str) -> Result<Self> {
        Self::on(plane().await?, name).await
    }

    /// Creates a stage like [`Stage::new`], with an account, its Secret, and a running operator.
    pub async fn running(name: &str) -> Result<Self> {
        let mut stage = Self::new(name).await?;
        stage.apply_account().await?;
        stage.start_operator().await?;
        Ok(stage)
    }
}

impl<'a> Stage<'a> {
    pub async fn on(plane: &'a ControlPlane, name: &str) -> Result<Self> {
        let cloud = Simulator::new(Clock::system());
        cloud.put_key(KeySpec {
            access_key_id: KEY_ID.to_owned(),
            secret_access_key: SECRET_KEY.to_owned(),
            ..KeySpec::default()
        })?;
        let server = Server::start(cloud.clone()).await?;
        let stage = Self {
            plane,
            client: client::client(plane.kubeconfig()).await?,
            namespace: name.to_owned(),
            endpoint: server.url(),
            cloud,
            _server: server,
            operator: None,
            flags: [
                "--resync-interval-override=2s",
                "--leader-elect=false",
                "--log-format=text",
                "--log-level=debug",
            ]
            .map(str::to_owned)
            .to_vec(),
            started: 0,
            may_be_refused: false,
            watches_all: false,
        };
        stage.add_instance(INSTANCE)?;
        plane.kubectl().run(["create", "namespace", name]).await?;
        Ok(stage)
    }

    pub fn add_instance(&self, id: &str) -> Result<()> {
        let spec = InstanceSpec {
            instance_id: id.to_owned(),
            instance_name: format!("name-of-{id}"),
            region: "cn-beijing".to_owned(),
            ..InstanceSpec::default()
        };
        Ok(self.cloud.put_instance(spec)?)
    }

    pub fn add_backup(&self, id: &str, age_seconds: f64) -> Result<()> {
        self.add_backup_with(json!({"backupPointId": id, "instanceId": INSTANCE, "ageSeconds": age_seconds}))
    }

    pub fn add_backup_with(&self, spec: Value) -> Result<()> {
        let spec: BackupSpec = serde_json::from_value(spec)?;
        Ok(self.cloud.put_backup(spec)?)
    }

    /// Changes the policy in the cloud without a Modify.
    pub fn drift(&self, policy: Policy) -> Result<()> {
        Ok(self.cloud.set_policy(INSTANCE, policy)?)
    }

    #[allow(dead_code, reason = "a stage has it for whoever needs it")]
    pub fn patch_instance(&self, patch: Value) -> Result<()> {
        self.cloud.patch_instance(INSTANCE, patch)?;
        Ok(())
    }

    /// Injects a fault into the next `count` requests of an action; `None` affects all of them.
    pub fn fault(&self, action: &str, count: Option<u64>, effect: Effect) -> Result<u64> {
        let spec = json!({"action": action, "count": count, "effect": serde_json::to_value(effect)?});
        let spec: FaultSpec = serde_json::from_value(spec)?;
        Ok(self.cloud.place_fault(spec)?)
    }

    /// Returns the policy stored in the cloud.
    pub fn held(&self) -> Result<Policy> {
        Ok(self.cloud.policy(INSTANCE)?.current)
    }

    /// Returns the number of Modifies that took effect.
    pub fn modifies(&self) -> u64 {
        self.cloud.counters().modifies_applied
    }

    /// Returns the number of requests of one action, whatever their outcome.
    pub fn calls(&self, action: &str) -> u64 {
        self.cloud.counters().by_action.get(action).copied().unwrap_or_default()
    }

    // Kubernetes

    pub fn kubectl(&self) -> &Kubectl {
        self.plane.kubectl()
    }

    /// Runs kubectl in the test's namespace.
    pub async fn run(&self, args: impl IntoIterator<Item = impl AsRef<str>>) -> Result<String> {
        let args = self.in_namespace(args);
        self.kubectl().run(args).await
    }

    /// Returns an object of the test's namespace, or a cluster-scoped one.
    pub async fn get(&self, kind: &str, name: &str) -> Result<Value> {
        client::get(&self.client, kind, &self.namespace, name).await
    }

    /// Lists all objects of a kind in the test's namespace.
    pub async fn list(&self, kind: &str) -> Result<Vec<Value>> {
        client::list(&self.client, kind, Some(&self.namespace)).await
    }

    fn in_namespace(&self, args: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
        let own = ["-n".to_owned(), self.namespace.clone()];
        own.into_iter().chain(args.into_iter().map(|a| a.as_ref().to_owned())).collect()
    }

    pub async fn apply(&self, manifest: Value) -> Result<String> {
        self.kubectl().apply(&manifest.to_string()).await
    }

    pub async fn apply_secret(&self, key_id: &str, secret_key: &str) -> Result<()> {
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "cloud-key", "namespace": self.namespace},
            "stringData": {"accessKeyId": key_id, "secretAccessKey": secret_key},
        }))
        .await
        .map(drop)
    }

    /// Returns a `CloudAccount` named `prod` that uses this stage's cloud.
    pub fn account_manifest(&self) -> Value {
        json!({
            "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CloudAccount",
            "metadata": {"name": "prod", "namespace": self.namespace},
            "spec": {
                "provider": "Volcengine",
                "credentials": {"secretRef": {"name": "cloud-key"}},
                "endpoint": self.endpoint,
                "requestBudget": {"requestsPerSecond": 1000, "burst": 100},
                "requestTimeout": "5s",
            },
        })
    }

    pub async fn apply_account(&self) -> Result<()> {
        self.apply_secret(KEY_ID, SECRET_KEY).await?;
        self.apply(self.account_manifest()).await.map(drop)
    }

    /// Returns an active policy with the target cn-shanghai; `spec` is merged into it.
    pub fn policy_manifest(&self, name: &str, spec: Value) -> Value {
        let mut manifest = json!({
            "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CrossRegionBackupPolicy",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "accountRef": {"name": "prod"}, "region": "cn-beijing", "instanceId": INSTANCE,
                "active": true, "crossBackupRegion": "cn-shanghai",
            },
        });
        if let (Some(base), Value::Object(more)) = (manifest["spec"].as_object_mut(), spec) {
            base.extend(more);
        }
        manifest
    }

    pub async fn apply_policy(&self, spec: Value) -> Result<()> {
        self.apply(self.policy_manifest(POLICY, spec)).await.map(drop)
    }

    /// Merges `spec` into the stored policy's spec.
    pub async fn patch_policy(&self, spec: Value) -> Result<()> {
        let patch = json!({"spec": spec}).to_string();
        self.run(["patch", "crbp", POLICY, "--type=merge", "-p", &patch]).await.map(drop)
    }

    pub async fn request_now(&self, kind: &str, name: &str, value: &str) -> Result<()> {
        let annotation = format!("crossregionbackup.io/reconcile-requested-at={value}");
        self.run(["annotate", kind, name, "--overwrite", &annotation]).await.map(drop)
    }

    pub async fn policy(&self) -> Result<Value> {
        self.get("crbp", POLICY).await
    }

    /// Waits until the object meets the condition and returns it; a failure shows the last object and the operator's log.
    pub async fn until(
        &self,
        kind: &str,
        name: &str,
        what: &str,
        mut holds: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        let mut last = Value::Null;
        let found = wait_until(LIMIT, what, async || {
            last = self.get(kind, name).await?;
            Ok(holds(&last).then(|| last.clone()))
        })
        .await;
        found.with_context(|| format!("last seen: {last:#}\noperator:\n{}", self.log_tail()))
    }

    /// Waits until the policy's Ready has this reason at the current generation.
    pub async fn until_reason(&self, reason: &str) -> Result<Value> {
        self.until("crbp", POLICY, reason, |o| settled(o) && condition(o, "Ready")["reason"] == reason).await
    }

    pub async fn until_account(&self, reason: &str) -> Result<Value> {
        self.until("cacct", "prod", reason, |o| settled(o) && condition(o, "Ready")["reason"] == reason).await
    }

    /// Waits for a condition that is not about an object.
    pub async fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
        wait_until(LIMIT, what, async || Ok(holds().then_some(())))
            .await
            .with_context(|| format!("operator:\n{}", self.log_tail()))
    }

    /// Returns the Events about an object, as `reason: note`.
    pub async fn events(&self, name: &str) -> Result<Vec<String>> {
        let events = self.list("Event").await?;
        Ok(events.iter().filter(|e| e["regarding"]["name"] == name).map(client::event_text).collect())
    }

    pub async fn until_event(&self, name: &str, start: &str) -> Result<()> {
        let mut last = Vec::new();
        wait_until(LIMIT, format!("an Event {start}"), async || {
            last = self.events(name).await?;
            Ok(last.iter().any(|e| e.starts_with(start)).then_some(()))
        })
        .await
        .with_context(|| format!("seen: {last:#?}\noperator:\n{}", self.log_tail()))
    }

    // The operator

    /// Sets a flag for the next start, replacing one of the same name.
    pub fn flag(&mut self, flag: &str) {
        let name = flag.split('=').next().unwrap_or(flag).to_owned();
        self.flags.retain(|f| f.split('=').next() != Some(name.as_str()));
        self.flags.push(flag.to_owned());
    }

    /// Returns a command for the operator with only the flags that every start needs.
    pub fn operator_command(&self, kubeconfig: &Path) -> Command {
        let mut command = Command::new(operator_binary());
        command
            .arg("run")
            .args(["--http-address", "127.0.0.1:0"])
            .args(["--allowed-endpoint", &self.endpoint])
            .env("KUBECONFIG", kubeconfig);
        command
    }

    /// Starts the operator as its ServiceAccount, with the RBAC from deploy/.
    pub async fn start_operator(&mut self) -> Result<()> {
        let kubeconfig =
            self.plane.service_account_kubeconfig(OPERATOR_NAMESPACE, OPERATOR_NAMESPACE).await?;
        let mut command = self.operator_command(&kubeconfig);
        command
            .args(["--watch-namespace", &self.namespace].iter().filter(|_| !self.watches_all))
            .args(&self.flags);
        self.started += 1;
        let log = self.plane.file(&format!("operator-{}-{}.log", self.namespace, self.started));
        self.operator = Some(Process::spawn(command, log)?);
        Ok(())
    }

    pub fn operator(&mut self) -> &mut Process {
        self.operator.as_mut().expect("the operator was started")
    }

    pub fn log(&self) -> String {
        self.operator.as_ref().map(Process::log).unwrap_or_default()
    }

    pub fn log_tail(&self) -> String {
        self.operator.as_ref().map(Process::log_tail).unwrap_or_default()
    }
}

impl Drop for Stage<'_> {
    /// Fails the test if the operator logged a request that its RBAC from deploy/ forbids.
    fn drop(&mut self) {
        if std::thread::panicking() || self.may_be_refused {
            return;
        }
        for number in 1..=self.started {
            let log = self.plane.file(&format!("operator-{}-{number}.log", self.namespace));
            let log = std::fs::read_to_string(log).unwrap_or_default();
            let refused: Vec<&str> = log.lines().filter(|l| l.to_lowercase().contains("forbidden")).collect();
            assert!(refused.is_empty(), "{refused:#?}");
        }
    }
}

/// Returns the condition of a type, or null.
pub fn condition<'v>(object: &'v Value, kind: &str) -> &'v Value {
    object["status"]["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|c| c["type"] == kind))
        .unwrap_or(&Value::Null)
}

/// Returns whether the status and its Ready condition describe the current generation.
pub fn settled(object: &Value) -> bool {
    let generation = &object["metadata"]["generation"];
    object["status"]["observedGeneration"] == *generation
        && condition(object, "Ready")["observedGeneration"] == *generation
}
