//! One test's own part of the shared environment: a namespace, a shared account with its Secret, a key and an instance.

use std::ops::Deref;

use anyhow::{Context, Result};
use cloud_simulator::{Effect, FaultSpec, InstanceSpec, KeySpec, Policy, RequestRecord};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use testbed::Kubectl;

use super::{World, world};
use crate::checks::{DESCRIBE, MODIFY};
use crate::client;
use crate::harness::{OPERATOR_NAMESPACE, POLICY, condition, settled};

/// Label that grants a namespace access; its value is the account's name.
pub const LABEL: &str = "uses-account";
pub const SECRET_KEY: &str = "U2hhcmVkU2VjcmV0S2V5TXVzdE5vdEFwcGVhcg==";

pub struct Scene {
    world: &'static World,
    pub client: kube::Client,
    pub namespace: String,
    /// Name of the ClusterCloudAccount.
    pub account: String,
    /// Name of its Secret, in the operator's namespace.
    pub secret: String,
    pub key: String,
    pub instance: String,
    /// Cloud account that owns key and instance; no other test uses it.
    pub account_id: u64,
}

impl Deref for Scene {
    type Target = World;

    fn deref(&self) -> &World {
        self.world
    }
}

impl Scene {
    /// Creates a namespace with the label, and a key and an instance in the cloud. All names derive from `name`.
    pub async fn new(name: &str) -> Result<Self> {
        let world = world().await?;
        let number =
            name.bytes().fold(1_u64, |n, b| n.wrapping_mul(131).wrapping_add(u64::from(b))) % 1_000_000_000;
        let scene = Self {
            world,
            client: client::client(world.plane.kubeconfig()).await?,
            namespace: name.to_owned(),
            account: format!("account-{name}"),
            secret: format!("hidden-key-of-{name}"),
            key: format!("AKLT{}0000000077", name.replace('-', "")),
            instance: format!("redis-{number}"),
            account_id: number,
        };
        scene.put_key(&scene.key, SECRET_KEY)?;
        scene.add_instance(&scene.instance)?;
        scene.put_namespace(name, &scene.account).await?;
        Ok(scene)
    }

    /// Creates a scene with the Secret and the account.
    pub async fn shared(name: &str) -> Result<Self> {
        let scene = Self::new(name).await?;
        scene.put_secret(json!({"accessKeyId": scene.key, "secretAccessKey": SECRET_KEY})).await?;
        scene.put(scene.account_manifest()).await?;
        Ok(scene)
    }

    /// Creates a scene with a policy that is in sync.
    pub async fn synced(name: &str, spec: Value) -> Result<Self> {
        let scene = Self::shared(name).await?;
        scene.put_policy(POLICY, spec).await?;
        scene.until_policy("InSync").await?;
        Ok(scene)
    }

    // The cloud

    pub fn put_key(&self, id: &str, secret: &str) -> Result<()> {
        let account_id = self.account_id;
        Ok(self.cloud.put_key(KeySpec { account_id, ..KeySpec::new(id, secret) })?)
    }

    pub fn add_instance(&self, id: &str) -> Result<()> {
        let account_id = self.account_id;
        Ok(self.cloud.put_instance(InstanceSpec { account_id, ..InstanceSpec::new(id, "cn-beijing") })?)
    }

    /// Makes the cloud refuse every call of an action about the instance with this error.
    pub fn refuse(&self, action: &str, status: u16, code: &str, message: &str) -> Result<u64> {
        let (code, message) = (code.to_owned(), message.to_owned());
        let effect = Effect::Error { status, code, message, code_n: None };
        let fault = FaultSpec::new(effect).on_action(action).on_instance(&self.instance);
        Ok(self.cloud.place_fault(fault)?)
    }

    pub fn held(&self) -> Result<Policy> {
        Ok(self.cloud.policy(&self.instance)?.current)
    }

    pub fn requests(&self, of: impl Fn(&RequestRecord) -> bool) -> Vec<RequestRecord> {
        let mut all = self.cloud.requests();
        all.retain(of);
        all
    }

    /// Returns the number of requests about an instance.
    pub fn sent_about(&self, instance: &str) -> usize {
        self.requests(|r| r.instance_id.as_deref() == Some(instance)).len()
    }

    pub fn sent(&self) -> usize {
        self.sent_about(&self.instance)
    }

    /// Returns the number of requests of an action that the scene's key signed.
    pub fn asked(&self, action: &str) -> usize {
        self.sent_with(&self.key, action)
    }

    pub fn sent_with(&self, key: &str, action: &str) -> usize {
        let of = |r: &RequestRecord| {
            r.access_key_id.as_deref() == Some(key) && (action == "*" || r.action.as_deref() == Some(action))
        };
        self.requests(of).len()
    }

    pub fn modifies(&self) -> usize {
        self.asked(MODIFY)
    }

    // Kubernetes, as the administrator. The kube client is faster than kubectl, which the tenants use.

    pub fn kubectl(&self) -> &Kubectl {
        self.plane.kubectl()
    }

    pub fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        client::api(&self.client, kind, namespace)
    }

    pub fn of(&self, kind: &str) -> Api<DynamicObject> {
        self.api(kind, &self.namespace)
    }

    /// Applies a manifest.
    pub async fn put(&self, manifest: Value) -> Result<()> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, meta) = (text(&manifest["kind"]), &manifest["metadata"]);
        let api = self.api(&kind, &text(&meta["namespace"]));
        let params = PatchParams::apply("tests").force();
        let put = api.patch(&text(&meta["name"]), &params, &Patch::Apply(&manifest)).await;
        put.map(drop).with_context(|| format!("{manifest:#}"))
    }

    pub async fn put_namespace(&self, name: &str, label: &str) -> Result<()> {
        self.put(namespace(name, label)).await
    }

    /// Adds the label to the namespace, or removes it.
    pub async fn allow_namespace(&self, allowed: bool) -> Result<()> {
        let value = if allowed { json!(self.account) } else { Value::Null };
        let patch = json!({"metadata": {"labels": {LABEL: value}}});
        let api = self.of("Namespace");
        api.patch(&self.namespace, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// Replaces the account's Secret.
    pub async fn put_secret(&self, data: Value) -> Result<()> {
        self.delete("Secret", &self.secret).await?;
        self.put(secret_manifest(OPERATOR_NAMESPACE, &self.secret, data)).await
    }

    pub fn account_manifest(&self) -> Value {
        json!({
            "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "ClusterCloudAccount",
            "metadata": {"name": self.account},
            "spec": {
                "provider": "Volcengine",
                "credentials": {"secretRef": {"name": self.secret}},
                "endpoint": self.endpoint,
                "requestBudget": {"requestsPerSecond": 1000, "burst": 100},
                "requestTimeout": "5s",
                "allowedNamespaces": {
                    "from": "Selector", "selector": {"matchLabels": {LABEL: self.account}},
                },
            },
        })
    }

    /// Returns a CloudAccount of a namespace, with a Secret of the same name.
    pub fn own_account(&self, namespace: &str, name: &str) -> Value {
        let mut manifest = self.account_manifest();
        manifest["kind"] = json!("CloudAccount");
        manifest["metadata"] = json!({"name": name, "namespace": namespace});
        manifest["spec"]["credentials"]["secretRef"]["name"] = json!(name);
        if let Some(spec) = manifest["spec"].as_object_mut() {
            spec.remove("allowedNamespaces");
        }
        manifest
    }

    /// Returns an active policy to cn-shanghai on the shared account; `spec` is merged over its spec.
    pub fn policy(&self, namespace: &str, name: &str, spec: Value) -> Value {
        let base = json!({
            "accountRef": {"kind": "ClusterCloudAccount", "name": self.account}, "region": "cn-beijing",
            "instanceId": self.instance, "active": true, "crossBackupRegion": "cn-shanghai",
        });
        manifest("CrossRegionBackupPolicy", namespace, name, base, spec)
    }

    /// Returns an inventory of the instance; `spec` is merged over its spec.
    pub fn inventory(&self, namespace: &str, name: &str, spec: Value) -> Value {
        let mut base = json!({
            "accountRef": {"kind": "ClusterCloudAccount", "name": self.account}, "region": "cn-beijing",
            "scope": "Instance", "instanceId": self.instance,
        });
        if let Some(base) = base.as_object_mut().filter(|_| spec["scope"] == "Account") {
            base.remove("instanceId");
        }
        manifest("BackupInventory", namespace, name, base, spec)
    }

    pub async fn put_policy(&self, name: &str, spec: Value) -> Result<()> {
        self.put(self.policy(&self.namespace, name, spec)).await
    }

    pub async fn put_inventory(&self, name: &str, spec: Value) -> Result<()> {
        self.put(self.inventory(&self.namespace, name, spec)).await
    }

    /// Merges `patch` into a stored object of the scene's namespace, or a cluster-scoped one.
    pub async fn patch(&self, kind: &str, name: &str, patch: Value) -> Result<()> {
        self.of(kind).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    pub async fn patch_account(&self, spec: Value) -> Result<()> {
        self.patch("ClusterCloudAccount", &self.account, json!({"spec": spec})).await
    }

    /// Requests a reconcile.
    pub async fn ask_only(&self, kind: &str, name: &str, value: &str) -> Result<()> {
        let annotations = json!({"crossregionbackup.io/reconcile-requested-at": value});
        self.patch(kind, name, json!({"metadata": {"annotations": annotations}})).await
    }

    /// Requests a reconcile, and waits until it was handled.
    pub async fn ask(&self, kind: &str, name: &str, value: &str) -> Result<Value> {
        self.ask_only(kind, name, value).await?;
        self.until(kind, name, "the request to be handled", |o| {
            o["status"]["lastHandledReconcileAt"] == value
        })
        .await
    }

    /// Requests the deletion of an object that may be gone already. Secrets are those of the operator's namespace.
    pub async fn delete(&self, kind: &str, name: &str) -> Result<()> {
        let api = if kind == "Secret" { self.api(kind, OPERATOR_NAMESPACE) } else { self.of(kind) };
        match api.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map(drop).map_err(Into::into),
        }
    }

    /// Returns the number of describes of the instance with the scene's key.
    pub fn looks(&self) -> usize {
        self.asked(DESCRIBE)
    }
}

impl Drop for Scene {
    /// Checks that no test made the operator use a right that deploy/ does not grant.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let log = self.operator.log().to_lowercase();
            let refused: Vec<_> = log.lines().filter(|line| line.contains("forbidden")).collect();
            assert!(refused.is_empty(), "{refused:#?}");
        }
    }
}

/// Returns whether Ready has this reason for the current generation.
pub fn says(object: &Value, reason: &str) -> bool {
    settled(object) && condition(object, "Ready")["reason"] == reason
}

pub fn namespace(name: &str, label: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {LABEL: label}}})
}

pub fn secret_manifest(namespace: &str, name: &str, data: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
        "stringData": data,
    })
}

fn manifest(kind: &str, namespace: &str, name: &str, mut spec: Value, more: Value) -> Value {
    if let (Some(base), Value::Object(more)) = (spec.as_object_mut(), more) {
        base.extend(more);
    }
    json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}
