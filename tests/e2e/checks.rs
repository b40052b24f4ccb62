//! What the tests of failures share: whole verdicts on an object, the cloud's request log, keys and faults.

use anyhow::{Context, Result, ensure};
use cloud_simulator::{FaultSpec, KeySpec, RequestRecord};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::{INSTANCE, KEY_ID, POLICY, Stage, condition, settled};

pub const DESCRIBE: &str = "DescribeCrossRegionBackupPolicy";
pub const MODIFY: &str = "ModifyCrossRegionBackupPolicy";
pub const REGIONS: &str = "DescribeAvailableCrossRegion";
pub const BACKUPS: &str = "DescribeCrossRegionBackups";
pub const VERIFY: &str = "DescribeDBInstances";

/// What an object's Ready (and a policy's Synced) says, with the condition that kstatus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    Nothing,
    Reconciling,
    Stalled,
}

/// Holds an object to one row of the contract's table, all conditions of it.
pub fn expect(object: &Value, status: &str, reason: &str, with: With) -> Result<()> {
    let shown = || format!("wanted {status} {reason} {with:?}: {object:#}");
    ensure!(settled(object), "{}", shown());
    let generation = &object["metadata"]["generation"];
    let says = |kind: &str, status: &str| {
        let found = condition(object, kind);
        found["status"] == status && found["reason"] == reason && found["observedGeneration"] == *generation
    };
    ensure!(says("Ready", status), "{}", shown());
    if object["kind"] == "CrossRegionBackupPolicy" {
        ensure!(says("Synced", status), "{}", shown());
        ensure!(condition(object, "Synced")["message"] == condition(object, "Ready")["message"]);
    }
    for (kind, wanted) in [("Reconciling", With::Reconciling), ("Stalled", With::Stalled)] {
        if with == wanted {
            ensure!(says(kind, "True"), "{}", shown());
        } else {
            ensure!(condition(object, kind).is_null(), "{}", shown());
        }
    }
    Ok(())
}

/// Ready's message.
pub fn message(object: &Value) -> &str {
    condition(object, "Ready")["message"].as_str().unwrap_or_default()
}

pub fn time(value: &Value) -> Result<Timestamp> {
    Ok(value.as_str().context("no time")?.parse()?)
}

/// Seconds from one request, or moment, to another.
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

impl Stage<'_> {
    /// The requests of one action, the oldest first.
    pub fn requests(&self, action: &str) -> Vec<RequestRecord> {
        let mut all = self.cloud.requests();
        all.retain(|r| r.action.as_deref() == Some(action));
        all
    }

    pub fn place(&self, fault: FaultSpec) -> Result<u64> {
        Ok(self.cloud.place_fault(fault)?)
    }

    /// How many requests a fault has spoilt.
    pub fn fired(&self, id: u64) -> u64 {
        self.cloud.faults().iter().find(|f| f.id == id).map_or(0, |f| f.fired)
    }

    pub fn deny(&self, action: &str) -> Result<()> {
        Ok(self.cloud.deny(KEY_ID, [action.to_owned()].into())?)
    }

    pub fn allow(&self, action: &str) -> Result<()> {
        Ok(self.cloud.allow(KEY_ID, [action.to_owned()].into())?)
    }

    /// A key that the cloud knows; `more` is merged over it.
    pub fn add_key(&self, id: &str, secret: &str, more: Value) -> Result<()> {
        let mut key = json!({"accessKeyId": id, "secretAccessKey": secret});
        if let (Some(key), Value::Object(more)) = (key.as_object_mut(), more) {
            key.extend(more);
        }
        let key: KeySpec = serde_json::from_value(key)?;
        Ok(self.cloud.put_key(key)?)
    }

    /// Replaces the account's Secret with exactly these keys.
    pub async fn put_secret(&self, data: Value) -> Result<()> {
        self.put_secret_named("cloud-key", data).await
    }

    pub async fn put_secret_named(&self, name: &str, data: Value) -> Result<()> {
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": self.namespace},
            "stringData": data,
        }))
        .await
        .map(drop)
    }

    pub async fn patch_account(&self, spec: Value) -> Result<()> {
        let patch = json!({"spec": spec}).to_string();
        self.run(["patch", "cacct", "prod", "--type=merge", "-p", &patch]).await.map(drop)
    }

    /// A second account `other` with a key, an instance and a policy of its own, all named so.
    pub async fn add_other_account(&self, key_id: &str, instance: &str) -> Result<()> {
        self.add_key(key_id, "the-other-secret", json!({}))?;
        self.add_instance(instance)?;
        let secret = json!({"accessKeyId": key_id, "secretAccessKey": "the-other-secret"});
        self.put_secret_named("other-key", secret).await?;
        let mut account = self.account_manifest();
        account["metadata"]["name"] = json!("other");
        account["spec"]["credentials"]["secretRef"]["name"] = json!("other-key");
        self.apply(account).await?;
        let policy = json!({"accountRef": {"name": "other"}, "instanceId": instance});
        self.apply(self.policy_manifest("other", policy)).await.map(drop)
    }

    /// Waits until a policy of any name has this reason at its present generation.
    pub async fn until_reason_of(&self, name: &str, reason: &str) -> Result<Value> {
        self.until("crbp", name, reason, |o| settled(o) && condition(o, "Ready")["reason"] == reason).await
    }

    /// Waits until the annotation's value was acted on.
    pub async fn until_handled(&self, kind: &str, name: &str, value: &str) -> Result<Value> {
        self.until(kind, name, "the request to be handled", |o| {
            o["status"]["lastHandledReconcileAt"] == value
        })
        .await
    }

    /// The Events about the policy that begin so.
    pub async fn policy_events(&self, start: &str) -> Result<Vec<String>> {
        let mut all = self.events(POLICY).await?;
        all.retain(|e| e.starts_with(start));
        Ok(all)
    }

    /// Waits for one more good look at the instance of the first policy.
    pub async fn until_another_look(&self) -> Result<()> {
        let good = || {
            let ok = |r: &RequestRecord| {
                r.outcome.as_deref() == Some("ok") && r.instance_id.as_deref() == Some(INSTANCE)
            };
            self.requests(DESCRIBE).iter().filter(|r| ok(r)).count()
        };
        let before = good();
        self.wait("another good look", || good() > before).await
    }
}
