//! Attacks of a tenant that may write everything in its own namespace, and nothing elsewhere.

mod access;
mod learning;
mod network;
mod taking;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::Kubectl;

use super::scene::{SECRET_KEY, Scene, secret_manifest};
use crate::tenants::namespace_admin;

const CRBP: &str = "CrossRegionBackupPolicy";
const BKINV: &str = "BackupInventory";

/// A ServiceAccount that has the built-in role `admin` in one namespace.
struct Tenant {
    namespace: String,
    kubectl: Kubectl,
    /// Access key id of its own cloud account.
    key: String,
    instance: String,
}

impl Tenant {
    /// Creates the namespace of this name, which no account allows unless `label` does.
    async fn of(scene: &Scene, name: &str, label: &str) -> Result<Self> {
        scene.put_namespace(name, label).await?;
        let kubectl = namespace_admin(&scene.plane, name).await?;
        Ok(Self {
            namespace: name.to_owned(),
            kubectl,
            key: format!("AKLT{}0000000033", name.replace('-', "")),
            instance: format!("redis-of-{name}"),
        })
    }

    /// Adds a key, an instance and a CloudAccount `own`, which the tenant may use freely.
    async fn with_account(scene: &Scene, name: &str, label: &str) -> Result<Self> {
        let tenant = Self::of(scene, name, label).await?;
        let account_id = scene.account_id + 1;
        let key = cloud_simulator::KeySpec::new(&tenant.key, SECRET_KEY);
        scene.cloud.put_key(cloud_simulator::KeySpec { account_id, ..key })?;
        let instance = cloud_simulator::InstanceSpec::new(&tenant.instance, "cn-beijing");
        scene.cloud.put_instance(cloud_simulator::InstanceSpec { account_id, ..instance })?;
        tenant.apply(&[tenant.secret("own"), scene.own_account(name, "own")]).await?;
        Ok(tenant)
    }

    fn secret(&self, name: &str) -> Value {
        let data = json!({"accessKeyId": self.key, "secretAccessKey": SECRET_KEY});
        secret_manifest(&self.namespace, name, data)
    }

    async fn apply(&self, manifests: &[Value]) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
        self.kubectl.apply(&list.to_string()).await.map(drop)
    }

    async fn run(&self, args: &[&str]) -> Result<String> {
        self.kubectl.run(["-n", &self.namespace].iter().chain(args)).await
    }

    /// Runs kubectl and checks that the API server forbids the request.
    async fn is_forbidden(&self, args: &[&str]) -> Result<()> {
        let output = self.kubectl.output(args).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "{args:?} was done");
        ensure!(said.contains("Forbidden") || said.contains("forbidden"), "{args:?}: {said}");
        Ok(())
    }

    async fn may(&self, verb: &str, resource: &str) -> Result<bool> {
        let args = ["auth", "can-i", verb, resource, "-n", &self.namespace];
        let said = String::from_utf8(self.kubectl.output(args).await?.stdout)?;
        Ok(said.trim() == "yes")
    }

    /// Waits for a policy on the tenant's own account and instance to be in sync: the operator has then done all
    /// earlier work.
    async fn proves_that_the_operator_works(&self, scene: &Scene) -> Result<()> {
        let spec = json!({"accountRef": {"name": "own"}, "instanceId": self.instance});
        self.apply(&[scene.policy(&self.namespace, "proof", spec)]).await?;
        self.until(scene, CRBP, "proof", "InSync").await.map(drop)
    }

    async fn until(&self, scene: &Scene, kind: &str, name: &str, reason: &str) -> Result<Value> {
        let holds = |o: &Value| super::scene::says(o, reason);
        scene.until_in(&self.namespace, kind, name, reason, holds).await
    }

    /// Returns everything that the tenant can read of its own namespace, in every output format of kubectl.
    async fn reads(&self) -> Result<String> {
        let mut all = String::new();
        for args in [
            ["describe", "crossregionbackup,events"].as_slice(),
            &["get", "crbp,bkinv,cacct,events", "-o", "yaml", "--show-managed-fields"],
            &["get", "crbp,bkinv,cacct", "-o", "wide"],
        ] {
            let output = self.kubectl.output(["-n", &self.namespace].iter().chain(args)).await?;
            all.push_str(&String::from_utf8_lossy(&output.stdout));
            all.push_str(&String::from_utf8_lossy(&output.stderr));
        }
        Ok(all)
    }
}

/// Checks that the text contains none of these words.
fn names_none_of(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        let around: Vec<_> = text.lines().filter(|line| line.contains(word)).take(3).collect();
        ensure!(around.is_empty(), "{word} in {around:#?}");
    }
    Ok(())
}
