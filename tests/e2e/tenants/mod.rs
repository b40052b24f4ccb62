//! A tenant that has the built-in role `admin` in its namespace attacks the operator, beside an honest tenant whose policies
//! must be polled in time throughout.

mod objects;
mod secrets;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use cloud_simulator::RequestRecord;
use jiff::Timestamp;
use serde_json::{Value, json};
use testbed::{ControlPlane, Kubectl, wait_until};

use crate::checks::{DESCRIBE, seconds};
use crate::client;
use crate::harness::{LIMIT, Stage};

/// Poll interval of every resource.
const INTERVAL: &str = "2s";
/// Longest time between two polls of an honest policy: three intervals, since other tests share the machine.
const MAX_GAP: f64 = 6.0;
const HONEST: [&str; 3] = ["redis-honest-1", "redis-honest-2", "redis-honest-3"];

/// One operator that watches the namespaces of two tenants.
pub struct TenantStage {
    /// The honest tenant's namespace, and the operator. Its policies are in sync.
    pub honest: Stage<'static>,
    /// The attacker's namespace.
    pub namespace: String,
    /// kubectl as the attacker: a ServiceAccount that is bound to ClusterRole `admin` in `namespace`, and to nothing else.
    pub kubectl: Kubectl,
}

impl TenantStage {
    /// Creates the namespaces `<name>-honest` and `<name>-attacker`, starts the operator, and waits until the honest
    /// policies are in sync.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_with(name, &[]).await
    }

    /// [`TenantStage::start`] with more flags for the operator.
    pub async fn start_with(name: &str, flags: &[&str]) -> Result<Self> {
        let mut honest = Stage::new(&format!("{name}-honest")).await?;
        let namespace = format!("{name}-attacker");
        honest.kubectl().run(["create", "namespace", &namespace]).await?;
        let kubectl = namespace_admin(honest.plane, &namespace).await?;
        honest.flag(&format!("--watch-namespace={namespace}"));
        honest.flag(&format!("--resync-interval-override={INTERVAL}"));
        flags.iter().for_each(|flag| honest.flag(flag));
        honest.add_instances(&HONEST)?;
        honest.apply_account().await?;
        honest.start_operator().await?;
        for instance in HONEST {
            let manifest = honest.policy_manifest(instance, json!({"instanceId": instance}));
            honest.apply(manifest).await?;
        }
        let stage = Self { honest, namespace, kubectl };
        stage.honest_are_in_sync().await?;
        Ok(stage)
    }

    /// Applies manifests as the attacker, in the attacker's namespace.
    pub async fn apply(&self, manifests: &[Value]) -> Result<()> {
        let mut manifests = manifests.to_vec();
        for manifest in &mut manifests {
            manifest["metadata"]["namespace"] = json!(self.namespace);
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": manifests});
        self.kubectl.apply(&list.to_string()).await.map(drop)
    }

    /// Runs kubectl as the attacker, in the attacker's namespace.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        self.kubectl.run(["-n", &self.namespace].iter().chain(args)).await
    }

    /// The API server as the attacker, for more objects than kubectl creates in time.
    pub async fn client(&self) -> Result<kube::Client> {
        client::client(self.kubectl.kubeconfig()).await
    }

    /// Waits until one of the attacker's objects passes.
    pub async fn until(
        &self,
        kind: &str,
        name: &str,
        what: &str,
        holds: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        self.honest.until_in(&self.namespace, kind, name, what, holds).await
    }

    /// Runs the attack. Fails unless every honest policy is polled in time from its start to its end and once more after it,
    /// stays in sync, and the operator is the same process throughout.
    pub async fn attack(&mut self, attack: impl AsyncFnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mut requests = self.honest.cloud.listen();
        let begin = Timestamp::now();
        attack(self).await.with_context(|| self.honest.log_tail())?;
        let end = Timestamp::now();
        let mut polls = BTreeMap::from(HONEST.map(|instance| (instance, vec![begin])));
        let polled_after = wait_until(LIMIT, "a poll of each honest policy after the attack", async || {
            while let Ok(request) = requests.try_recv() {
                if let Some(polls) = instance_polled(&request).and_then(|instance| polls.get_mut(instance)) {
                    polls.push(request.at);
                }
            }
            Ok(polls.values().all(|polls| polls.last().is_some_and(|last| *last > end)).then_some(()))
        });
        polled_after.await.with_context(|| self.honest.log_tail())?;
        for (instance, polls) in polls {
            let gap = polls.windows(2).map(|two| seconds(two[0], two[1])).fold(0.0, f64::max);
            ensure!(gap <= MAX_GAP, "{instance} was not polled for {gap} s\n{}", self.honest.log_tail());
        }
        self.honest_are_in_sync().await?;
        let operator = self.honest.operator();
        ensure!(operator.try_wait()?.is_none(), "the operator has ended\n{}", operator.log_tail());
        Ok(())
    }

    async fn honest_are_in_sync(&self) -> Result<()> {
        for instance in HONEST {
            self.honest.until_reason_of(instance, "InSync").await?;
        }
        Ok(())
    }
}

fn instance_polled(request: &RequestRecord) -> Option<&str> {
    request.instance_id.as_deref().filter(|_| request.action.as_deref() == Some(DESCRIBE))
}

/// kubectl as a new ServiceAccount that is bound to the built-in ClusterRole `admin` in this namespace.
pub async fn namespace_admin(plane: &ControlPlane, namespace: &str) -> Result<Kubectl> {
    let name = "tenant";
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace},
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    });
    for manifest in [account, binding] {
        plane.kubectl().apply(&manifest.to_string()).await?;
    }
    let kubeconfig = plane.service_account_kubeconfig(namespace, name).await?;
    let kubectl = plane.kubectl().with_kubeconfig(kubeconfig);
    let client = client::client(kubectl.kubeconfig()).await?;
    // A controller aggregates the operator's kinds into the role some moments after deploy/ was applied.
    wait_until(LIMIT, "ClusterRole admin to hold the operator's kinds", async || {
        Ok(client::may(&client, "create", "crossregionbackup.io", "cloudaccounts", namespace)
            .await?
            .then_some(()))
    })
    .await?;
    Ok(kubectl)
}
