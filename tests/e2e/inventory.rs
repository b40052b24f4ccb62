//! BackupInventory on Volcengine and Tencent Cloud, end to end.

use std::time::Duration;

use anyhow::{Context, Result};
use cloud_simulator::{
    KeySpec, RequestRecord, Settings, TencentBackupSpec, TencentInstanceSpec, TencentSettings,
};
use serde_json::{Value, json};
use testbed::wait_until;

use crate::harness::{INSTANCE, Stage, condition, settled};

mod account;
mod canary;
mod details;
mod filters;
mod policies;
mod progress;
mod refusals;
mod rest;
mod rules;
mod scale;
mod shown;
mod strange;
mod tencent;
mod tencent_filters;
mod unreadable;
mod volcengine;
mod world;

pub const LIST: &str = "DescribeCrossRegionBackups";
pub const INSTANCES: &str = "DescribeDBInstances";
pub const T_LIST: &str = "DescribeInstanceBackups";
pub const T_DETAIL: &str = "DescribeBackupDetail";
pub const T_INSTANCES: &str = "DescribeInstances";

pub const T_INSTANCE: &str = "crs-ei43p3gr";
pub const T_SECRET_ID: &str = "AKIDCanarySecretId0000000000000077";
/// Secret key that must appear nowhere but in its Secret.
const T_SECRET_KEY: &str = "VGVuY2VudENhbmFyeVNlY3JldEtleQ==";

impl Stage<'_> {
    /// Returns an inventory on the account `prod`; `spec` is merged over its spec.
    pub fn inventory_manifest(&self, name: &str, spec: Value) -> Value {
        let mut manifest = json!({
            "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "BackupInventory",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"accountRef": {"name": "prod"}, "region": "cn-beijing", "scope": "Account"},
        });
        if let (Some(base), Value::Object(more)) = (manifest["spec"].as_object_mut(), spec) {
            base.extend(more);
        }
        manifest
    }

    pub async fn apply_inventory(&self, name: &str, spec: Value) -> Result<()> {
        self.apply(self.inventory_manifest(name, spec)).await.map(drop)
    }

    /// Waits until Ready has this reason for the current generation.
    pub async fn until_inventory(&self, name: &str, reason: &str) -> Result<Value> {
        self.until("bkinv", name, reason, |o| settled(o) && condition(o, "Ready")["reason"] == reason).await
    }

    /// Applies an inventory and returns its status after the first complete listing.
    pub async fn listed(&self, name: &str, spec: Value) -> Result<Value> {
        self.apply_inventory(name, spec).await?;
        Ok(self.until_inventory(name, "Listed").await?["status"].clone())
    }

    /// [`Stage::until_inventory`] for a listing that takes long.
    pub async fn until_long(&self, name: &str, reason: &str) -> Result<Value> {
        let found = wait_until(Duration::from_secs(300), reason, async || {
            let inventory = self.get("bkinv", name).await?;
            let ready = condition(&inventory, "Ready")["reason"] == reason && settled(&inventory);
            Ok(ready.then(|| inventory["status"].clone()))
        });
        found.await.with_context(|| format!("operator:\n{}", self.log_tail()))
    }

    pub fn tencent_settings(&self, change: impl FnOnce(&mut TencentSettings)) {
        let mut settings = Settings::default();
        change(&mut settings.tencent);
        self.cloud.set_settings(settings);
    }

    /// Returns the request bodies of one action, oldest first.
    pub fn asked(&self, action: &str) -> Vec<Value> {
        let of = |r: &RequestRecord| r.action.as_deref() == Some(action);
        self.cloud.requests().into_iter().filter(of).map(|r| r.body).collect()
    }

    /// Applies a CloudAccount `tencent` with a key of its own, on the same simulated host.
    pub async fn apply_tencent_account(&self) -> Result<()> {
        self.cloud.put_key(KeySpec {
            access_key_id: T_SECRET_ID.to_owned(),
            secret_access_key: T_SECRET_KEY.to_owned(),
            ..KeySpec::default()
        })?;
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "tencent-key", "namespace": self.namespace},
            "stringData": {"accessKeyId": T_SECRET_ID, "secretAccessKey": T_SECRET_KEY},
        }))
        .await?;
        let mut account = self.account_manifest();
        account["metadata"]["name"] = json!("tencent");
        account["spec"]["provider"] = json!("Tencent");
        account["spec"]["credentials"]["secretRef"]["name"] = json!("tencent-key");
        self.apply(account).await.map(drop)
    }

    /// Returns the spec of an inventory on one of the two accounts; `spec` is merged over it.
    pub fn whole(account: &str, spec: Value) -> Value {
        let region = if account == "tencent" { "ap-guangzhou" } else { "cn-beijing" };
        let mut whole = json!({"accountRef": {"name": account}, "region": region});
        if let (Some(base), Value::Object(more)) = (whole.as_object_mut(), spec) {
            base.extend(more);
        }
        whole
    }

    pub async fn patch_inventory(&self, name: &str, spec: Value) -> Result<()> {
        let patch = json!({ "spec": spec }).to_string();
        self.run(["patch", "bkinv", name, "--type=merge", "-p", &patch]).await.map(drop)
    }

    /// Starts a stage with both accounts and an operator with this resync interval.
    pub async fn with_both_accounts(name: &str, interval: &str) -> Result<Stage<'static>> {
        let mut stage = Stage::new(name).await?;
        stage.flag(&format!("--resync-interval-override={interval}"));
        stage.apply_account().await?;
        stage.apply_tencent_account().await?;
        stage.start_operator().await?;
        Ok(stage)
    }

    /// Adds `pages` × 100 backups to one instance of each cloud: a page holds a hundred.
    pub fn add_pages(&self, pages: usize) -> Result<()> {
        self.add_tencent_instance(json!({"instanceId": T_INSTANCE}))?;
        for number in 0..pages * 100 {
            let age = number as f64 * 60.0 + 60.0;
            self.add_backup(&format!("b-{number:06}"), age)?;
            let spec = TencentBackupSpec::new(format!("t-{number:06}"), T_INSTANCE, age);
            self.cloud.put_tencent_backup(spec)?;
        }
        Ok(())
    }

    pub fn add_tencent_instance(&self, spec: Value) -> Result<()> {
        let spec: TencentInstanceSpec = serde_json::from_value(spec)?;
        Ok(self.cloud.put_tencent_instance(spec)?)
    }

    pub fn add_tencent_backup(&self, spec: Value) -> Result<()> {
        let spec: TencentBackupSpec = serde_json::from_value(spec)?;
        Ok(self.cloud.put_tencent_backup(spec)?)
    }
}

/// Account of each cloud, its instance, and the action that lists backups.
pub const CLOUDS: [(&str, &str, &str); 2] = [("prod", INSTANCE, LIST), ("tencent", T_INSTANCE, T_LIST)];

/// Returns the page number of each request, from 1.
pub fn pages(asked: &[Value]) -> Vec<i64> {
    let page = |body: &Value| body["PageNumber"].as_i64().or(body["Offset"].as_i64().map(|o| o / 100 + 1));
    asked.iter().filter_map(page).collect()
}

/// Returns the ids in status.items, in their order.
pub fn ids(status: &Value) -> Result<Vec<&str>> {
    let items = status["items"].as_array().context("status.items is missing")?;
    Ok(items.iter().filter_map(|item| item["backupPointId"].as_str()).collect())
}
