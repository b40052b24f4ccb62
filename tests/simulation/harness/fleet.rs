//! Fleets: an account, its instances with their backups, and one policy per instance.

use std::ops::Range;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud_simulator::{BackupSpec, InstanceSpec, KeySpec, Policy};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{OWN_NAMESPACE, TestCluster};

pub const SECRET: &str = "RXhhbXBsZVNlY3JldEtleTAwMDAwMDAwMDAwMDAwMDE=";
pub const API: &str = "/apis/crossregionbackup.io/v1alpha1";
pub const API_VERSION: &str = "crossregionbackup.io/v1alpha1";
/// Target region of the policies; the instances offer [`OTHER_TARGET`] as well.
pub const TARGET: &str = "cn-shanghai";
pub const OTHER_TARGET: &str = "cn-guangzhou";

/// One account with its instances, and a policy for each.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    /// Distinguishes the fleet's account, namespaces and instances from those of others. Lower-case letters.
    pub name: &'static str,
    /// Account id in the cloud.
    pub account: u64,
    pub policies: usize,
    /// Number of namespaces. With more than one, the account is a ClusterCloudAccount.
    pub namespaces: usize,
    /// Backups of each instance.
    pub backups: usize,
    /// Request budget. The burst is the default, a quarter of it.
    pub requests_per_second: u32,
    pub interval: &'static str,
    /// Recovery point objective; empty for none.
    pub objective: &'static str,
    /// Whether the instances already copy to the policies' target region.
    pub in_sync: bool,
}

impl Fleet {
    /// One policy whose instance needs a Modify, with an ample request budget.
    pub const DEFAULT: Self = Self {
        name: "first",
        account: 2_100_000_001,
        policies: 1,
        namespaces: 1,
        backups: 10,
        requests_per_second: 10_000,
        interval: "10m",
        objective: "",
        in_sync: false,
    };

    pub fn key(&self) -> String {
        format!("AKLT{:0<20}", self.name)
    }

    pub fn instance(&self, number: usize) -> String {
        format!("redis-{}{number:05}", self.name)
    }

    pub fn policy(&self, number: usize) -> String {
        format!("{}-{number:05}", self.name)
    }

    pub fn path(&self, number: usize) -> String {
        format!("{}/{}", self.collection(number), self.policy(number))
    }

    pub fn namespace(&self, number: usize) -> String {
        format!("{}-{}", self.name, number % self.namespaces)
    }

    pub fn collection(&self, number: usize) -> String {
        format!("{API}/namespaces/{}/crossregionbackuppolicies", self.namespace(number))
    }

    pub fn manifest(&self, number: usize) -> Value {
        let kind = if self.namespaces > 1 { "ClusterCloudAccount" } else { "CloudAccount" };
        let mut manifest = json!({
            "apiVersion": API_VERSION, "kind": "CrossRegionBackupPolicy", "metadata": {"name": self.policy(number)},
            "spec": {
                "accountRef": {"kind": kind, "name": self.name},
                "region": "cn-beijing", "instanceId": self.instance(number),
                "active": true, "crossBackupRegion": TARGET,
                "managementPolicy": "Manage", "deletionPolicy": "Retain", "suspend": false,
                "resyncInterval": self.interval, "backups": {"limit": 10},
            },
        });
        if !self.objective.is_empty() {
            manifest["spec"]["recoveryPointObjective"] = json!(self.objective);
        }
        manifest
    }

    /// Returns the CloudAccount, or the ClusterCloudAccount if it is shared.
    pub fn account_manifest(&self, shared: bool) -> Value {
        let mut account = json!({
            "apiVersion": API_VERSION, "kind": "CloudAccount", "metadata": {"name": self.name},
            "spec": {
                "provider": "Volcengine", "credentials": {"secretRef": {"name": self.name}},
                "requestBudget": {"requestsPerSecond": self.requests_per_second},
                "requestTimeout": "10s", "suspend": false,
            },
        });
        if shared {
            account["kind"] = json!("ClusterCloudAccount");
            account["spec"]["allowedNamespaces"] = json!({"from": "All"});
        }
        account
    }
}

impl TestCluster {
    /// Creates the fleet's cloud resources, namespaces, Secret and account, but no policies.
    pub fn install(&self, fleet: &Fleet) {
        self.cloud
            .put_key(KeySpec { account_id: fleet.account, ..KeySpec::new(fleet.key(), SECRET) })
            .unwrap();
        for number in 0..fleet.policies {
            self.add_instance(fleet, number);
        }
        for number in 0..fleet.namespaces {
            let name = fleet.namespace(number);
            self.api.create(
                "/api/v1/namespaces",
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
            );
        }
        let shared = fleet.namespaces > 1;
        let home = if shared { OWN_NAMESPACE.to_owned() } else { fleet.namespace(0) };
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": fleet.name},
            "data": {"accessKeyId": STANDARD.encode(fleet.key()), "secretAccessKey": STANDARD.encode(SECRET)},
        });
        self.api.create(&format!("/api/v1/namespaces/{home}/secrets"), secret);
        let collection = match shared {
            true => format!("{API}/clustercloudaccounts"),
            false => format!("{API}/namespaces/{home}/cloudaccounts"),
        };
        let account = fleet.account_manifest(shared);
        self.api.create(&collection, account);
    }

    pub fn add_instance(&self, fleet: &Fleet, number: usize) {
        let policy = if fleet.in_sync { Policy::to_region(TARGET) } else { Policy::default() };
        let instance = fleet.instance(number);
        let spec =
            InstanceSpec { account_id: fleet.account, policy, ..InstanceSpec::new(&instance, "cn-beijing") };
        self.cloud.put_instance(spec).unwrap();
        for backup in 0..fleet.backups {
            self.add_backup(fleet, number, backup, 3600.0 * (backup + 1) as f64);
        }
    }

    pub fn add_backup(&self, fleet: &Fleet, number: usize, backup: usize, age_seconds: f64) {
        let instance = fleet.instance(number);
        let spec = BackupSpec::new(format!("b-{instance}-{backup}"), instance, age_seconds);
        self.cloud.put_backup(BackupSpec { account_id: fleet.account, ..spec }).unwrap();
    }

    /// Creates the policies with these numbers.
    pub fn create(&self, fleet: &Fleet, numbers: Range<usize>) {
        for number in numbers {
            self.api.create(&fleet.collection(number), fleet.manifest(number));
        }
    }

    /// Creates fleets that are in sync, with the statuses a run would leave: runs the controllers with one policy of
    /// each fleet, and copies its status to the other policies with their own instance ids.
    pub async fn install_in_sync(&mut self, fleets: &[Fleet]) {
        for fleet in fleets {
            self.install(fleet);
            self.create(fleet, 0..1);
        }
        self.start(self.clock.now());
        self.until("one policy of each is Ready", Duration::from_secs(60), |cluster| {
            fleets.iter().all(|fleet| cluster.is_ready(fleet, 0))
        })
        .await;
        sleep(Duration::from_secs(5)).await;
        self.stop().await;
        for fleet in fleets {
            let status = self.api.get(&fleet.path(0))["status"].to_string();
            for number in 1..fleet.policies {
                let own = status.replace(&fleet.instance(0), &fleet.instance(number));
                let mut policy = fleet.manifest(number);
                policy["status"] = serde_json::from_str(&own).unwrap();
                self.api.create(&fleet.collection(number), policy);
            }
        }
        self.clear_records();
    }

    pub fn is_ready(&self, fleet: &Fleet, number: usize) -> bool {
        let policy = self.api.get(&fleet.path(number));
        ready_generation(&policy) == policy["metadata"]["generation"].as_i64()
    }
}

/// Returns the generation at which a policy is Ready.
pub fn ready_generation(policy: &Value) -> Option<i64> {
    let conditions = policy["status"]["conditions"].as_array()?;
    let is_ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    policy["status"]["observedGeneration"].as_i64().filter(|_| is_ready)
}
