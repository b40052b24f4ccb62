//! More helpers of the stage, for tests with several policies, namespaces and operators.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cloud_simulator::InstanceSpec;
use serde_json::{Value, json};
use testbed::{Process, wait_until};

use crate::checks::{DESCRIBE, MODIFY};
use crate::client;
use crate::harness::{LIMIT, OPERATOR_NAMESPACE, Stage};

pub const FINALIZER: &str = "crossregionbackup.io/disable-on-delete";
/// User name of the operator in the API server.
pub const OPERATOR_USER: &str =
    "system:serviceaccount:cross-region-backup-operator:cross-region-backup-operator";

impl Stage<'_> {
    /// Requests the deletion without waiting for it.
    pub async fn delete(&self, kind: &str, name: &str) -> Result<()> {
        self.run(["delete", kind, name, "--wait=false"]).await.map(drop)
    }

    /// Waits until the object does not exist.
    pub async fn until_gone(&self, kind: &str, name: &str) -> Result<()> {
        let found = wait_until(LIMIT, format!("{kind} {name} to be gone"), async || {
            match client::get_opt(&self.client, kind, &self.namespace, name).await? {
                None => Ok(Some(())),
                Some(left) => bail!("{left:#}"),
            }
        });
        found.await.with_context(|| format!("operator:\n{}", self.log()))
    }

    /// Waits like [`Stage::until`], in another namespace.
    pub async fn until_in(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
        what: &str,
        mut holds: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        let found = wait_until(LIMIT, what, async || {
            let object = client::get(&self.client, kind, namespace, name).await?;
            if holds(&object) { Ok(Some(object)) } else { bail!("{object:#}") }
        });
        found.await.with_context(|| format!("operator:\n{}", self.log()))
    }

    /// Merges `spec` into the spec of the policy `name`.
    pub async fn patch_spec_of(&self, name: &str, spec: Value) -> Result<()> {
        let patch = json!({"spec": spec}).to_string();
        self.run(["patch", "crbp", name, "--type=merge", "-p", &patch]).await.map(drop)
    }

    /// Retries [`Stage::patch_spec_of`] until the API server accepts it: a changed CRD takes effect a moment later.
    pub async fn wait_for_patch(&self, name: &str, spec: Value) -> Result<()> {
        let patched = wait_until(LIMIT, "the API server to take it", async || {
            self.patch_spec_of(name, spec.clone()).await.map(Some)
        });
        patched.await
    }

    /// Applies a policy that is older than all later ones: creation times are whole seconds.
    pub async fn apply_elder(&self, name: &str, spec: Value) -> Result<()> {
        self.apply(self.policy_manifest(name, spec)).await?;
        let policy = self.get("crbp", name).await?;
        let created: jiff::Timestamp =
            policy["metadata"]["creationTimestamp"].as_str().unwrap_or_default().parse()?;
        self.wait("the next second", || jiff::Timestamp::now().as_second() > created.as_second()).await
    }

    /// Returns Active and CrossBackupRegion of every accepted Modify, oldest first.
    pub fn accepted(&self) -> Vec<(bool, String)> {
        let values = |body: &Value| {
            let target = body["CrossBackupRegion"].as_str().unwrap_or_default();
            (body["Active"] == true, target.to_owned())
        };
        let all = self.cloud.requests();
        let of = |r: &&cloud_simulator::RequestRecord| {
            r.action.as_deref() == Some(MODIFY) && r.outcome.as_deref() == Some("ok")
        };
        all.iter().filter(of).map(|r| values(&r.body)).collect()
    }

    /// Waits until the operator has polled the cloud `count` times more.
    pub async fn more_looks(&self, count: u64) -> Result<()> {
        let before = self.calls(DESCRIBE);
        self.wait("more looks", || self.calls(DESCRIBE) >= before + count).await
    }

    /// Returns the number of Modifies of one instance that took effect.
    pub fn modifies_of(&self, instance: &str) -> u64 {
        self.cloud.counters().modifies_applied_by_instance.get(instance).copied().unwrap_or_default()
    }

    /// Applies a CloudAccount with a Secret of its own, for another key of the same cloud.
    pub async fn apply_account_of(&self, name: &str, namespace: &str, key: &str, secret: &str) -> Result<()> {
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
            "stringData": {"accessKeyId": key, "secretAccessKey": secret},
        }))
        .await?;
        let mut account = self.account_manifest();
        account["metadata"] = json!({"name": name, "namespace": namespace});
        account["spec"]["credentials"]["secretRef"]["name"] = json!(name);
        self.apply(account).await.map(drop)
    }

    /// Starts another operator for this stage, under this ServiceAccount, with only the required flags and `flags`.
    pub async fn another_operator(
        &self,
        name: &str,
        account: (&str, &str),
        flags: &[&str],
    ) -> Result<Process> {
        let kubeconfig = self.plane.service_account_kubeconfig(account.0, account.1).await?;
        self.another_operator_by(name, &kubeconfig, flags)
    }

    /// Starts an operator like [`Stage::another_operator`], with a kubeconfig of its own.
    pub fn another_operator_by(&self, name: &str, kubeconfig: &Path, flags: &[&str]) -> Result<Process> {
        let mut command = self.operator_command(kubeconfig);
        command
            .args(["--watch-namespace", &self.namespace, "--operator-namespace", &self.namespace])
            .args(["--log-format", "text", "--log-level", "debug", "--resync-interval-override", "2s"])
            .args(flags);
        Process::spawn(command, self.plane.file(&format!("operator-{}-{name}.log", self.namespace)))
    }

    /// Lets the operator's ServiceAccount use a Lease in this stage's namespace, as deploy/ does in the operator's own.
    pub async fn grant_lease(&self) -> Result<()> {
        let subject = format!("--serviceaccount={OPERATOR_NAMESPACE}:{OPERATOR_NAMESPACE}");
        self.run(["create", "role", "lease", "--verb=create,get,update", "--resource=leases"]).await?;
        self.run(["create", "rolebinding", "lease", "--role=lease", &subject]).await.map(drop)
    }

    /// Returns the operator's memory in KiB: `VmRSS` is the current size, `VmHWM` the peak.
    pub fn memory_kib(&mut self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.operator().id()))?;
        let line = status.lines().find(|line| line.starts_with(field)).context("no such line")?;
        Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
    }

    pub fn add_instances(&self, ids: &[&str]) -> Result<()> {
        for id in ids {
            let spec = InstanceSpec { instance_id: (*id).to_owned(), ..InstanceSpec::default() };
            self.cloud.put_instance(spec)?;
        }
        Ok(())
    }
}

/// Fails with the log unless the process exits by itself with this code within `limit`.
pub async fn ends_with(process: &mut Process, code: i32, limit: Duration) -> Result<()> {
    let status = process.wait(limit).await?;
    ensure!(status.code() == Some(code), "{status}\n{}", process.log_tail());
    Ok(())
}
