//! Fixture of the load benchmark: the control plane, the cloud with its instances and backups, accounts and policies.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use cloud_simulator::{BackupSpec, Effect, FaultSpec, InstanceSpec, KeySpec};
use cross_region_backup_operator::api::CrossRegionBackupPolicy;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::arrivals::Arrivals;
use crate::harness::{KEY_ID, SECRET_KEY, Stage, condition, settled};
use crate::options::Options;
use crate::ready::Readiness;

/// Upper bound of every wait; generous, as a wait ends as soon as its condition is true.
pub const LIMIT: Duration = Duration::from_secs(3600);
pub const REGION: &str = "cn-beijing";
/// Interval of the checks that the operator still runs.
const LOOK: Duration = Duration::from_secs(5);
/// Concurrent creations. Enough to saturate the API server while the operator writes too; few enough that Lease renewals still
/// get their response in time: the testbed disables API priority and fairness.
const CREATE_AT_ONCE: usize = 32;

/// One account and the policies that use it.
pub struct Fleet {
    /// Name of the account and of its Secret; prefix of its policies' names.
    pub name: &'static str,
    pub key: &'static str,
    account_id: u64,
}

pub const FLEET: Fleet = Fleet { name: "prod", key: KEY_ID, account_id: cloud_simulator::DEFAULT_ACCOUNT };
pub const OTHER: Fleet =
    Fleet { name: "other", key: "AKLTAnotherAccessKeyId000000077", account_id: 2_100_000_001 };

impl Fleet {
    pub fn policy(&self, number: usize) -> String {
        format!("{}-{number:06}", self.name)
    }

    pub fn instance(&self, number: usize) -> String {
        format!("redis-{}{number:06}", self.name)
    }
}

pub struct Scene {
    pub stage: Stage<'static>,
    pub options: Options,
    pub kube: kube::Client,
    pub policies: Api<CrossRegionBackupPolicy>,
    pub arrivals: Arrivals,
    pub ready: Readiness,
    /// Number of spec changes by policy name.
    pub changed: BTreeMap<String, usize>,
    /// The account's requestsPerSecond in force.
    pub rate: u32,
}

impl Scene {
    /// Sets up everything except the operator and the policies.
    pub async fn new(options: Options) -> Result<Self> {
        let mut stage = Stage::new("fleet").await?;
        let interval = format!("--resync-interval-override={}s", options.resync_seconds);
        for flag in [&interval, "--leader-elect=true", "--log-level=info", "--log-format=json"] {
            stage.flag(flag);
        }
        stage.watches_all = true;
        let arrivals = Arrivals::of(&stage.cloud);
        let latency = Effect::Delay { seconds: f64::from(options.latency_ms) / 1000.0 };
        stage.cloud.place_fault(FaultSpec::new(latency))?;
        let kubeconfig = Kubeconfig::read_from(stage.plane.kubeconfig())?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let kube = kube::Client::try_from(config)?;
        let policies = Api::namespaced(kube.clone(), &stage.namespace);
        let ready = Readiness::of(policies.clone());
        let rate = options.create_rate;
        let scene = Self { stage, options, kube, policies, arrivals, ready, changed: BTreeMap::new(), rate };
        scene.furnish(&FLEET, 0..scene.options.policies)?;
        scene.apply_account(&FLEET, rate).await?;
        Ok(scene)
    }

    /// Adds instances to the cloud with hourly backups.
    pub fn furnish(&self, fleet: &Fleet, numbers: Range<usize>) -> Result<()> {
        let account_id = fleet.account_id;
        for number in numbers {
            let instance_id = fleet.instance(number);
            for backup in 0..self.options.backups {
                let id = format!("cbp-{}-{number:06}-{backup:03}", fleet.name);
                let age = (backup * 3600 + number % 3600) as f64;
                self.stage.cloud.put_backup(BackupSpec {
                    backup_point_name: format!("automated-{number:06}-{backup:03}"),
                    account_id,
                    ..BackupSpec::new(id, &instance_id, age)
                })?;
            }
            self.stage
                .cloud
                .put_instance(InstanceSpec { account_id, ..InstanceSpec::new(instance_id, REGION) })?;
        }
        Ok(())
    }

    pub async fn apply_account(&self, fleet: &Fleet, rate: u32) -> Result<()> {
        self.stage
            .cloud
            .put_key(KeySpec { account_id: fleet.account_id, ..KeySpec::new(fleet.key, SECRET_KEY) })?;
        let namespace = &self.stage.namespace;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": fleet.name, "namespace": namespace},
            "stringData": {"accessKeyId": fleet.key, "secretAccessKey": SECRET_KEY},
        });
        self.stage.apply(secret).await?;
        let mut account = self.stage.account_manifest();
        account["metadata"]["name"] = json!(fleet.name);
        account["spec"]["credentials"]["secretRef"]["name"] = json!(fleet.name);
        account["spec"]["requestBudget"] = budget(rate);
        self.stage.apply(account).await.map(drop)
    }

    /// Changes the account's request budget, and waits until the operator has observed it.
    pub async fn set_rate(&mut self, rate: u32) -> Result<()> {
        if self.rate != rate {
            self.apply_account(&FLEET, rate).await?;
            // Any reason: one reports a budget that is too small for all policies, which applies nevertheless.
            let in_force =
                |account: &Value| settled(account) && condition(account, "Ready")["status"] == "True";
            self.stage.until("cacct", FLEET.name, "the budget", in_force).await?;
            self.rate = rate;
        }
        Ok(())
    }

    /// Burst of the request budget, where the account sets none.
    pub fn burst(&self) -> u32 {
        (self.rate / 4).max(1)
    }

    /// Creates the policies, and waits until all are Ready; returns when the last was created, and when the last became Ready.
    pub async fn create(&mut self, fleet: &Fleet, numbers: Range<usize>) -> Result<(Timestamp, Timestamp)> {
        let wanted: Vec<_> = numbers.clone().map(|number| (fleet.policy(number), 1)).collect();
        let post = &PostParams::default();
        let scene = &*self;
        stream::iter(numbers)
            .map(|number| async move {
                let policy = serde_json::from_value(scene.manifest(fleet, number))?;
                scene.policies.create(post, &policy).await?;
                anyhow::Ok(())
            })
            .buffer_unordered(CREATE_AT_ONCE)
            .try_collect::<()>()
            .await?;
        let created = Timestamp::now();
        let deadline = Instant::now() + LIMIT;
        loop {
            let since = self.ready.since(&wanted, LOOK).await;
            let late = since.iter().filter(|since| since.is_none()).count();
            if late == 0 {
                return Ok((created, since.into_iter().flatten().max().unwrap_or(created)));
            }
            self.operator_pid()?;
            ensure!(
                Instant::now() < deadline,
                "{late} policies did not become Ready\n{}",
                self.stage.log_tail()
            );
        }
    }

    /// Returns the operator's process id.
    ///
    /// # Errors
    /// When the operator has ended, as it does when it loses the Lease; the message has the end of its log.
    pub fn operator_pid(&mut self) -> Result<String> {
        let operator = self.stage.operator();
        match operator.try_wait()? {
            Some(status) => Err(operator.with_log(&anyhow!("the operator ended with {status}"))),
            None => Ok(operator.id().to_string()),
        }
    }

    fn manifest(&self, fleet: &Fleet, number: usize) -> Value {
        let mut spec = json!({"accountRef": {"name": fleet.name}, "instanceId": fleet.instance(number)});
        if let Some(objective) = &self.options.objective {
            spec["recoveryPointObjective"] = json!(objective);
        }
        self.stage.policy_manifest(&fleet.policy(number), spec)
    }
}

fn budget(rate: u32) -> Value {
    json!({"requestsPerSecond": rate})
}
