//! Test fixture of the soak test: sets up cloud, accounts and inventories, performs the steps and undoes their faults.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use cloud_simulator::{BackupSpec, InstanceSpec, KeySpec};
use cross_region_backup_operator::api::{BackupInventory, ClusterCloudAccount, CrossRegionBackupPolicy};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use testbed::ControlPlane;
use tokio::time::sleep;

use crate::decide::{Blow, SHARED, Step, Wanted, account};
use crate::harness::{KEY_ID, OPERATOR_NAMESPACE, SECRET_KEY, Stage};
use crate::options::Options;
use crate::replicas::Replicas;
use crate::trouble::Remedy;

/// Interval of the checks for faults to undo and replicas to restart.
const TEND: Duration = Duration::from_millis(100);
/// Limit for a request to the API server, which may be down, or may still be deleting an object of the same name.
const LIMIT: Duration = Duration::from_secs(120);
/// How long a replaced key stays valid, or how long the Secret lacks the new one.
const ROTATION: Duration = Duration::from_secs(2);
/// Key of the shared account, which is never rotated.
const SHARED_KEY: (&str, &str) = ("AKLTSoakSharedKeyId0000000001", "U2hhcmVkU2VjcmV0S2V5T2ZUaGVTb2Fr");
/// Instance whose backups one inventory lists through the shared account; the other inventory lists the whole account.
pub const LISTED: usize = 0;
pub const INVENTORIES: [&str; 2] = ["of-one", "of-all"];

pub fn instance(number: usize) -> String {
    format!("redis-soak{number:05}")
}

pub fn policy(number: usize) -> String {
    format!("soak-{number:05}")
}

/// Returns the id of an instance's backup with this number.
pub fn backup(number: usize, of_instance: usize) -> String {
    format!("bp-{number:05}-{of_instance:05}")
}

/// A pending cleanup with a due time.
enum Undo {
    Trouble(Remedy),
    /// The cloud forgets a key that was replaced.
    Key(String),
}

pub struct Scene<'a> {
    pub stage: Stage<'a>,
    pub policies: Api<CrossRegionBackupPolicy>,
    pub inventories: Api<BackupInventory>,
    pub replicas: Replicas,
    pub resync: Duration,
    /// Number of performed steps by kind.
    pub done: BTreeMap<String, u64>,
    shared: Api<ClusterCloudAccount>,
    secrets: Api<Secret>,
    undo: Vec<(Instant, Undo)>,
    key: String,
    keys: usize,
}

impl<'a> Scene<'a> {
    pub async fn new(plane: &'a ControlPlane, options: &Options) -> Result<Self> {
        let mut stage = Stage::on(plane, "soak").await?;
        for number in 0..options.policies as usize {
            stage.cloud.put_instance(InstanceSpec::new(instance(number), "cn-beijing"))?;
        }
        stage.apply_account().await?;
        share(&stage).await?;
        // A restarted API server refuses requests until it has loaded its RBAC roles; that is no failure here.
        stage.may_be_refused = true;
        let kubeconfig = Kubeconfig::read_from(plane.kubeconfig())?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let kube = kube::Client::try_from(config)?;
        let replicas = Replicas::start(&stage, options.resync).await?;
        Ok(Self {
            policies: Api::namespaced(kube.clone(), &stage.namespace),
            inventories: Api::namespaced(kube.clone(), &stage.namespace),
            shared: Api::all(kube.clone()),
            secrets: Api::namespaced(kube, &stage.namespace),
            replicas,
            stage,
            resync: options.resync,
            done: BTreeMap::new(),
            undo: Vec::new(),
            key: KEY_ID.to_owned(),
            keys: 0,
        })
    }

    /// Sleeps, and meanwhile runs cleanups that become due and restarts replicas.
    pub async fn pause(&mut self, length: Duration) -> Result<()> {
        let end = Instant::now() + length;
        loop {
            self.tend(false)?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(TEND)).await;
        }
    }

    /// Removes all faults and continues frozen replicas.
    pub fn end_troubles(&mut self) -> Result<()> {
        self.tend(true)
    }

    fn tend(&mut self, all: bool) -> Result<()> {
        let now = Instant::now();
        for (_, undo) in self.undo.extract_if(.., |(at, _)| all || *at <= now) {
            match undo {
                Undo::Trouble(remedy) => remedy.apply(&self.stage.cloud)?,
                Undo::Key(key) => self.stage.cloud.remove_key(&key)?,
            }
        }
        self.replicas.tend(&self.stage, all)
    }

    pub async fn perform(&mut self, step: Step) -> Result<()> {
        let kind = step.kind();
        self.act(step).await.with_context(|| kind.clone())?;
        *self.done.entry(kind).or_default() += 1;
        Ok(())
    }

    async fn act(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Create(number, wanted) => self.create(number, wanted).await,
            Step::Change(number, _, wanted) => {
                let (policies, patch) = (self.policies.clone(), Patch::Merge(json!({"spec": wanted.spec()})));
                self.insist(async || policies.patch(&policy(number), &PatchParams::default(), &patch).await)
                    .await
            }
            Step::Delete(number) => {
                let policies = self.policies.clone();
                self.insist(async || policies.delete(&policy(number), &DeleteParams::default()).await).await
            }
            Step::Drift(number, to) => Ok(self.stage.cloud.set_policy(&instance(number), to)?),
            Step::Copied(number, of_instance) => {
                let spec = BackupSpec::new(backup(number, of_instance), instance(number), 1.0);
                Ok(self.stage.cloud.put_backup(spec)?)
            }
            Step::Expired(number, of_instance) => {
                Ok(self.stage.cloud.remove_backup(&backup(number, of_instance))?)
            }
            Step::Allow(allowed) => {
                let whom = allowed_namespaces(if allowed { &self.stage.namespace } else { "another" });
                let patch = Patch::Merge(json!({"spec": {"allowedNamespaces": whom}}));
                let shared = self.shared.clone();
                self.insist(async || shared.patch(SHARED, &PatchParams::default(), &patch).await).await
            }
            Step::Rotate { overlap } => self.rotate(overlap).await,
            Step::Trouble(trouble) => {
                let remedy = trouble.begin(&self.stage.cloud)?;
                self.undo.push((Instant::now() + trouble.length, Undo::Trouble(remedy)));
                Ok(())
            }
            Step::Blow(Blow::Terminate(who)) => self.replicas.terminate(who),
            Step::Blow(Blow::Kill(who)) => self.replicas.kill(who),
            Step::Blow(Blow::Freeze(who, length)) => self.replicas.freeze(who, length),
            Step::Blow(Blow::ApiServer(length)) => {
                self.stage.plane.stop_apiserver().await?;
                self.pause(length).await?;
                self.stage.plane.start_apiserver().await
            }
        }
    }

    pub async fn create(&mut self, number: usize, wanted: Wanted) -> Result<()> {
        let mut spec = wanted.spec();
        spec["instanceId"] = json!(instance(number));
        let manifest = self.stage.policy_manifest(&policy(number), spec);
        let (policies, created) = (self.policies.clone(), serde_json::from_value(manifest)?);
        self.insist(async || policies.create(&PostParams::default(), &created).await).await
    }

    async fn rotate(&mut self, overlap: bool) -> Result<()> {
        self.keys += 1;
        let old = std::mem::replace(&mut self.key, format!("AKLTSoakAccessKeyId{:08}", self.keys));
        let secret_key = format!("{SECRET_KEY}{}", self.keys);
        self.stage.cloud.put_key(KeySpec::new(&self.key, &secret_key))?;
        if overlap {
            self.undo.push((Instant::now() + ROTATION, Undo::Key(old)));
        } else {
            self.stage.cloud.remove_key(&old)?;
            self.pause(ROTATION).await?;
        }
        let values = json!({"stringData": {"accessKeyId": self.key, "secretAccessKey": secret_key}});
        let (secrets, patch) = (self.secrets.clone(), Patch::Merge(values));
        self.insist(async || secrets.patch("cloud-key", &PatchParams::default(), &patch).await).await
    }

    /// Retries a request until the API server accepts it; cleanups and restarts go on meanwhile.
    async fn insist<T>(&mut self, attempt: impl AsyncFn() -> kube::Result<T>) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            match attempt().await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(anyhow!(error).context("the API server does not take it"));
                }
                Err(_) => self.pause(TEND).await?,
            }
        }
    }
}

fn allowed_namespaces(name: &str) -> Value {
    json!({"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": name}}})
}

/// Creates the ClusterCloudAccount, which initially allows the stage's namespace, and an inventory for each account.
async fn share(stage: &Stage<'_>) -> Result<()> {
    let (id, secret_key) = SHARED_KEY;
    stage.cloud.put_key(KeySpec::new(id, secret_key))?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "soak-shared-key", "namespace": OPERATOR_NAMESPACE},
        "stringData": {"accessKeyId": id, "secretAccessKey": secret_key},
    });
    let mut shared = stage.account_manifest();
    shared["kind"] = json!("ClusterCloudAccount");
    shared["metadata"] = json!({"name": SHARED});
    shared["spec"]["credentials"]["secretRef"]["name"] = json!("soak-shared-key");
    shared["spec"]["allowedNamespaces"] = allowed_namespaces(&stage.namespace);
    let [of_one, of_all] = INVENTORIES;
    let inventory = |name: &str, spec: Value| {
        json!({
            "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "BackupInventory",
            "metadata": {"name": name, "namespace": stage.namespace}, "spec": spec,
        })
    };
    let one = json!({
        "accountRef": account(true), "region": "cn-beijing", "scope": "Instance", "instanceId": instance(LISTED),
    });
    let all = json!({"accountRef": account(false), "region": "cn-beijing", "scope": "Account"});
    for manifest in [secret, shared, inventory(of_one, one), inventory(of_all, all)] {
        stage.apply(manifest).await?;
    }
    Ok(())
}
