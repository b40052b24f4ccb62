//! Helpers shared by the failure tests: complete checks of an object's conditions, the cloud's request log, keys and faults.

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

/// The kstatus condition expected in addition to Ready (and to a policy's Synced).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    Nothing,
    Reconciling,
    Stalled,
}

/// Checks all conditions of an object against one row of the documented condition table.
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

/// Returns the message of the Ready condition.
pub fn message(object: &Value) -> &str {
    condition(object, "Ready")["message"].as_str().unwrap_or_default()
}

pub fn time(value: &Value) -> Result<Timestamp> {
    Ok(value.as_str().context("no time")?.parse()?)
}

/// Returns the seconds between two times.
pub fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

impl Stage<'_> {
    /// Returns the requests of one action, oldest first.
    pub fn requests(&self, action: &str) -> Vec<RequestRecord> {
        let mut all = self.cloud.requests();
        all.retain(|r| r.action.as_deref() == Some(action));
        all
    }

    pub fn place(&self, fault: FaultSpec) -> Result<u64> {
        Ok(self.cloud.place_fault(fault)?)
    }

    /// Returns the number of requests that a fault affected.
    pub fn fired(&self, id: u64) -> u64 {
        self.cloud.faults().iter().find(|f| f.id == id).map_or(0, |f| f.fired)
    }

    pub fn deny(&self, action: &str) -> Result<()> {
        Ok(self.cloud.deny(KEY_ID, [action.to_owned()].into())?)
    }

    pub fn allow(&self, action: &str) -> Result<()> {
        Ok(self.cloud.allow(KEY_ID, [action.to_owned()].into())?)
    }

    /// Adds a key to the cloud; `more` is merged into its specification.
    pub fn add_key(&self, id: &str, secret: &str, more: Value) -> Result<()> {
        let mut key = json!({"accessKeyId": id, "secretAccessKey": secret});
        if let (Some(key), Value::Object(more)) = (key.as_object_mut(), more) {
            key.extend(more);
        }
        let key: KeySpec = serde_json::from_value(key)?;
        Ok(self.cloud.put_key(key)?)
    }

    /// Replaces the data of the account's Secret with exactly these keys.
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

    /// Adds a second account, `other`, with its own key, instance and policy.
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

    /// Waits until the named policy has this reason at its current generation.
    pub async fn until_reason_of(&self, name: &str, reason: &str) -> Result<Value> {
        self.until("crbp", name, reason, |o| settled(o) && condition(o, "Ready")["reason"] == reason).await
    }

    /// Waits until the operator handled this value of the reconcile-request annotation.
    pub async fn until_handled(&self, kind: &str, name: &str, value: &str) -> Result<Value> {
        self.until(kind, name, "the request to be handled", |o| {
            o["status"]["lastHandledReconcileAt"] == value
        })
        .await
    }

    /// Returns the policy's Events whose text starts with `start`.
    pub async fn policy_events(&self, start: &str) -> Result<Vec<String>> {
        let mut all = self.events(POLICY).await?;
        all.retain(|e| e.starts_with(start));
        Ok(all)
    }

    /// Waits for one more successful Describe of the first policy's instance.
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
