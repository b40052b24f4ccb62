//! One test's own part of the shared environment: a namespace, a cloud account with roles, and an instance.

use std::ops::Deref;

use anyhow::{Context, Result, ensure};
use cloud_simulator::{InstanceSpec, KeySpec, TencentBackupSpec, TencentInstanceSpec};
use kube::Api;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use testbed::wait_until;

use super::{TOKEN, World, world};
use crate::checks::{With, expect, message};
use crate::client;
use crate::harness::{LIMIT, POLICY, condition, settled};

pub const SECRET_KEY: &str = "Um9sZVNlY3JldEtleU11c3ROb3RBcHBlYXI=";

/// Source of the account's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A CloudAccount with a Secret of its namespace.
    Secret,
    /// A ClusterCloudAccount with the operator's identity.
    Identity,
}

pub struct Scene {
    world: &'static World,
    client: kube::Client,
    pub name: String,
    pub tencent: bool,
    pub by: By,
    /// Access key id in the Secret.
    pub key: String,
    pub instance: String,
    /// Cloud account that owns the key, the roles and the instance; no other test uses it.
    pub account_id: u64,
}

impl Deref for Scene {
    type Target = World;

    fn deref(&self) -> &World {
        self.world
    }
}

impl Scene {
    /// Creates the scene with the roles `assumed`, which keys of the account may assume, and `trusted`, which trusts
    /// the operator's identity.
    pub async fn new(name: &str, tencent: bool, by: By) -> Result<Self> {
        let world = world().await?;
        let number = name.bytes().fold(7_u64, |n, b| n.wrapping_mul(131).wrapping_add(u64::from(b)));
        let start = if tencent { "AKID" } else { "AKLT" };
        let scene = Self {
            world,
            client: client::client(world.plane.kubeconfig()).await?,
            name: name.to_owned(),
            tencent,
            by,
            key: format!("{start}{}0000000077", name.replace('-', "")),
            instance: if tencent { format!("crs-{name}") } else { format!("redis-{name}") },
            account_id: number % 1_000_000_000 + 1,
        };
        let account_id = scene.account_id;
        scene.cloud.put_key(KeySpec { account_id, ..KeySpec::new(&scene.key, SECRET_KEY) })?;
        if tencent {
            let instance = TencentInstanceSpec::new(&scene.instance, "ap-guangzhou");
            scene.cloud.put_tencent_instance(TencentInstanceSpec { account_id, ..instance })?;
            let backup = TencentBackupSpec::new(format!("1-{name}"), &scene.instance, 60.0);
            scene.cloud.put_tencent_backup(TencentBackupSpec { account_id, ..backup })?;
        } else {
            let instance = InstanceSpec::new(&scene.instance, "cn-beijing");
            scene.cloud.put_instance(InstanceSpec { account_id, ..instance })?;
        }
        scene.put_role(scene.new_role("assumed"))?;
        scene.trust(&[TOKEN])?;
        scene.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await?;
        if by == By::Secret {
            let data = json!({"accessKeyId": scene.key, "secretAccessKey": SECRET_KEY});
            scene.put_secret(data).await?;
        }
        Ok(scene)
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        self.api_in(kind, &self.name)
    }

    fn api_in(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        client::api(&self.client, kind, namespace)
    }

    /// Applies a manifest.
    pub async fn put(&self, manifest: Value) -> Result<()> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let params = PatchParams::apply("tests").force();
        let api = self.api(&text(&manifest["kind"]));
        let put = api.patch(&text(&manifest["metadata"]["name"]), &params, &Patch::Apply(&manifest)).await;
        put.map(drop).with_context(|| format!("{manifest:#}"))
    }

    pub async fn put_secret(&self, data: Value) -> Result<()> {
        let meta = json!({"name": "key", "namespace": self.name});
        self.put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data})).await
    }

    pub fn kind(&self) -> &'static str {
        if self.by == By::Secret { "CloudAccount" } else { "ClusterCloudAccount" }
    }

    /// Returns the account, named like the scene; `more` is merged over its spec.
    pub fn account(&self, more: Value) -> Value {
        let mut spec = json!({
            "provider": if self.tencent { "Tencent" } else { "Volcengine" },
            "endpoint": self.endpoint, "stsEndpoint": self.endpoint, "requestTimeout": "2s",
            "requestBudget": {"requestsPerSecond": 1000, "burst": 100},
        });
        let mut meta = json!({"name": self.name});
        if self.by == By::Secret {
            meta["namespace"] = json!(self.name);
            spec["credentials"] = json!({"secretRef": {"name": "key"}});
            spec["assumeRole"] = json!({"role": self.role("assumed")});
        } else {
            let mut identity = json!({"role": self.role("trusted")});
            if self.tencent {
                identity["providerId"] = json!(format!("cls-{}", self.name));
            }
            spec["credentials"] = json!({"workloadIdentity": identity});
            spec["allowedNamespaces"] = json!({"from": "All"});
        }
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
            spec.retain(|_, value| !value.is_null());
        }
        json!({"apiVersion": "crossregionbackup.io/v1alpha1", "kind": self.kind(), "metadata": meta, "spec": spec})
    }

    pub async fn put_account(&self, more: Value) -> Result<()> {
        self.put(self.account(more)).await
    }

    /// Applies the resource that uses the account: a policy, or an inventory at Tencent Cloud.
    pub async fn put_resource(&self) -> Result<()> {
        self.put_resource_with(json!({})).await
    }

    /// Applies the resource with `more` merged over its spec.
    pub async fn put_resource_with(&self, more: Value) -> Result<()> {
        let mut spec = json!({
            "accountRef": {"kind": self.kind(), "name": self.name}, "instanceId": self.instance,
            "region": if self.tencent { "ap-guangzhou" } else { "cn-beijing" },
        });
        if self.tencent {
            spec["scope"] = json!("Instance");
        } else {
            (spec["active"], spec["crossBackupRegion"]) = (json!(true), json!("cn-shanghai"));
        }
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        let meta = json!({"name": POLICY, "namespace": self.name});
        let kind = self.resource();
        self.put(json!({"apiVersion": "crossregionbackup.io/v1alpha1", "kind": kind, "metadata": meta, "spec": spec})).await
    }

    pub fn resource(&self) -> &'static str {
        if self.tencent { "BackupInventory" } else { "CrossRegionBackupPolicy" }
    }

    fn good(&self) -> &'static str {
        if self.tencent { "Listed" } else { "InSync" }
    }

    /// Requests a reconcile, and waits until it was handled.
    pub async fn ask(&self, kind: &str, value: &str) -> Result<Value> {
        let name = self.name_of(kind);
        let annotations = json!({"crossregionbackup.io/reconcile-requested-at": value});
        let patch = json!({"metadata": {"annotations": annotations}});
        self.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        self.until(kind, "the request to be handled", |o| o["status"]["lastHandledReconcileAt"] == value)
            .await
    }

    /// Requests a reconcile of the account, and waits until it was handled.
    pub async fn ask_account(&self, value: &str) -> Result<Value> {
        self.ask(self.kind(), value).await
    }

    fn name_of(&self, kind: &str) -> &str {
        if kind.ends_with("Account") { &self.name } else { POLICY }
    }

    pub async fn get(&self, kind: &str) -> Result<Value> {
        client::get(&self.client, kind, &self.name, self.name_of(kind)).await
    }

    pub async fn until(
        &self,
        kind: &str,
        what: &str,
        mut holds: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        let mut last = Value::Null;
        let found = wait_until(LIMIT, what, async || {
            last = self.get(kind).await?;
            Ok(holds(&last).then(|| last.clone()))
        });
        found.await.with_context(|| format!("{}: last seen: {last:#}\n{}", self.name, self.log_tail()))
    }

    /// Waits for a condition that no object shows.
    pub async fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
        let found = wait_until(LIMIT, what, async || Ok(holds().then_some(())));
        found.await.with_context(|| self.log_tail())
    }

    /// Waits until the account's Ready has this reason and exactly this message for the current generation, and checks
    /// the contract.
    pub async fn until_account(&self, reason: &str, with: With, text: &str) -> Result<Value> {
        let holds = |o: &Value| settled(o) && condition(o, "Ready")["reason"] == reason && message(o) == text;
        let account = self.until(self.kind(), &format!("{reason}: {text}"), holds).await?;
        expect(&account, "False", reason, with)?;
        Ok(account)
    }

    /// Waits until the resource's Ready has exactly this message after the account's kind and name.
    pub async fn until_resource(&self, reason: &str, text: &str) -> Result<Value> {
        let text = format!("{} {}: {text}", self.kind(), self.name);
        let holds = |o: &Value| settled(o) && condition(o, "Ready")["reason"] == reason && message(o) == text;
        self.until(self.resource(), &format!("{reason}: {text}"), holds).await
    }

    /// Waits until account and resource are healthy.
    pub async fn until_good(&self) -> Result<Value> {
        let says = |o: &Value, reason: &str| settled(o) && condition(o, "Ready")["reason"] == reason;
        self.until(self.kind(), "CredentialsVerified", |o| says(o, "CredentialsVerified")).await?;
        self.until(self.resource(), self.good(), |o| says(o, self.good())).await
    }

    /// Creates a scene whose account and resource are healthy.
    pub async fn good_with(name: &str, tencent: bool, by: By, more: Value) -> Result<Self> {
        let scene = Self::new(name, tencent, by).await?;
        scene.put_account(more).await?;
        scene.put_resource().await?;
        scene.until_good().await?;
        Ok(scene)
    }

    /// Returns everything about the scene that its tenants and all users can read.
    pub async fn shown(&self) -> Result<String> {
        let mut all = String::new();
        for kind in
            ["CloudAccount", "ClusterCloudAccount", "CrossRegionBackupPolicy", "BackupInventory", "Event"]
        {
            let list = self.api(kind).list(&ListParams::default()).await?;
            all.push_str(&serde_json::to_string(&list)?);
        }
        // Events about cluster-scoped objects.
        let events = self.api_in("Event", "default").list(&ListParams::default()).await?;
        all.push_str(&serde_json::to_string(&events)?);
        ensure!(all.contains(&format!("\"{}\"", self.name)) && all.contains("AccountVerified"), "{all}");
        Ok(all)
    }

    pub fn log_tail(&self) -> String {
        let log = self.operator.log();
        let of = |line: &&str| {
            line.contains(&self.name)
                && !line.contains("TRACE")
                && !line.contains("hyper")
                && line.len() < 2000
        };
        let lines: Vec<_> = log.lines().filter(of).collect();
        format!("the operator about it:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"))
    }

    /// Checks that the conditions have not changed: one that changed and returned has another transition time.
    pub async fn unmoved_since(&self, before: &Value) -> Result<()> {
        let kind = before["kind"].as_str().unwrap_or_default();
        let now = self.get(kind).await?;
        let same = |name: &str| condition(&now, name) == condition(before, name);
        ensure!(same("Ready") && same("Synced"), "{now:#}");
        Ok(())
    }
}
