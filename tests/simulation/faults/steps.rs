//! External events: actions of users, and changes in the cloud by others.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud_simulator::{Effect, FaultSpec, InstanceSpec, KeySpec, Policy, Visibility};
use serde_json::{Value, json};

use crate::harness::fleet::{API, API_VERSION, Fleet, SECRET};
use crate::harness::measurements::MODIFY;
use crate::harness::{OWN_NAMESPACE, TestCluster};

/// The scenarios' fleet. Steps create its policies and inventories, for its only instance unless a spec names another.
pub const FLEET: Fleet = Fleet { backups: 1, interval: "1m", ..Fleet::DEFAULT };
/// Another key of the same account.
const NEXT_KEY: &str = "AKLTnext0000000000000000";

#[derive(Clone, Debug)]
pub enum Step {
    /// Creates a policy whose spec differs from the usual one in these fields.
    Create(&'static str, Value),
    /// Changes these fields of a policy's spec.
    Change(&'static str, Value),
    Delete(&'static str),
    CreateInventory,
    /// Another actor sets the instance's policy.
    Drift(Policy),
    /// Injects a fault into the next call of this action.
    InjectFault(&'static str, Effect),
    /// The instance is created.
    Appear,
    /// Changes these fields of the account's spec.
    ChangeAccount(Value),
    /// Deletes the account; [`Step::RestoreAccount`] creates it again, with another UID.
    DeleteAccount,
    RestoreAccount,
    /// Adds a ClusterCloudAccount with its own Secret, which the namespace may use.
    ShareAccount,
    /// Sets whether policies may modify through the ClusterCloudAccount.
    Permit(bool),
    /// Puts another key into the Secret, then removes the old one from the cloud.
    Rotate,
    /// Adds the account `second`, with its own key, for the same instances.
    AddAccount,
    /// Denies Modify to the key of the first account.
    DenyModify,
    /// Deletes the account and its Secret for good.
    DeleteAccountAndSecret,
}

impl Step {
    pub fn happen(&self, cluster: &TestCluster) {
        match self {
            Self::Create(name, spec) => cluster.api.create(&FLEET.collection(0), policy(name, spec)),
            Self::Change(name, spec) => drop(cluster.api.patch(&policy_path(name), &json!({"spec": spec}))),
            Self::Delete(name) => cluster.api.delete(&policy_path(name)),
            Self::CreateInventory => cluster.api.create(&collection("backupinventories"), inventory()),
            Self::Drift(policy) => cluster.cloud.set_policy(&FLEET.instance(0), policy.clone()).unwrap(),
            Self::InjectFault(action, effect) => {
                let fault = FaultSpec::new(effect.clone()).on_action(*action).times(1);
                cluster.cloud.place_fault(fault).unwrap();
            }
            Self::Appear => add_instance(cluster, Policy::default(), 0.0),
            Self::ChangeAccount(spec) => drop(cluster.api.patch(&account_path(), &json!({"spec": spec}))),
            Self::DeleteAccount => cluster.api.delete(&account_path()),
            Self::RestoreAccount => {
                cluster.api.create(&collection("cloudaccounts"), FLEET.account_manifest(false))
            }
            Self::ShareAccount => share(cluster),
            Self::Permit(manage) => permit(cluster, *manage),
            Self::Rotate => rotate(cluster),
            Self::AddAccount => add_account(cluster),
            Self::DenyModify => cluster.cloud.deny(&FLEET.key(), [MODIFY.to_owned()].into()).unwrap(),
            Self::DeleteAccountAndSecret => {
                cluster.api.delete(&account_path());
                cluster.api.delete(&secret_path());
            }
        }
    }
}

pub fn add_instance(cluster: &TestCluster, policy: Policy, visible_after: f64) {
    let visibility = match visible_after {
        0.0 => Visibility::AtOnce,
        seconds => Visibility::AfterSeconds(seconds),
    };
    let spec = InstanceSpec::new(FLEET.instance(0), "cn-beijing");
    let spec = InstanceSpec { account_id: FLEET.account, policy, visibility, ..spec };
    cluster.cloud.put_instance(spec).unwrap();
}

fn collection(kind: &str) -> String {
    format!("{API}/namespaces/{}/{kind}", FLEET.namespace(0))
}

pub fn inventory_path() -> String {
    format!("{}/all", collection("backupinventories"))
}

fn policy_path(name: &str) -> String {
    format!("{}/{name}", FLEET.collection(0))
}

fn account_path() -> String {
    format!("{}/{}", collection("cloudaccounts"), FLEET.name)
}

fn secret_path() -> String {
    format!("/api/v1/namespaces/{}/secrets/{}", FLEET.namespace(0), FLEET.name)
}

fn policy(name: &str, spec: &Value) -> Value {
    let mut policy = FLEET.manifest(0);
    policy["metadata"]["name"] = json!(name);
    let fields = policy["spec"].as_object_mut().unwrap();
    fields.extend(spec.as_object().unwrap().clone());
    fields.retain(|_, value| !value.is_null());
    policy
}

fn share(cluster: &TestCluster) {
    let mut secret = cluster.api.get(&secret_path());
    secret["metadata"] = json!({"name": FLEET.name});
    cluster.api.create(&format!("/api/v1/namespaces/{OWN_NAMESPACE}/secrets"), secret);
    cluster.api.create(&format!("{API}/clustercloudaccounts"), FLEET.account_manifest(true));
}

fn permit(cluster: &TestCluster, manage: bool) {
    let permissions = json!({"spec": {"permissions": {"manage": manage, "accountInventory": false}}});
    cluster.api.patch(&format!("{API}/clustercloudaccounts/{}", FLEET.name), &permissions);
}

fn inventory() -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": "BackupInventory", "metadata": {"name": "all"},
        "spec": {
            "accountRef": {"kind": "CloudAccount", "name": FLEET.name}, "region": "cn-beijing", "scope": "Account",
            "includeDetails": false, "limit": 50, "refreshInterval": "1m", "suspend": false,
        },
    })
}

/// Name of the account that [`Step::AddAccount`] adds.
pub const SECOND: &str = "second";

fn add_account(cluster: &TestCluster) {
    let fleet = Fleet { name: SECOND, policies: 0, ..FLEET };
    cluster
        .cloud
        .put_key(KeySpec { account_id: FLEET.account, ..KeySpec::new(fleet.key(), SECRET) })
        .unwrap();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECOND},
        "data": {"accessKeyId": STANDARD.encode(fleet.key()), "secretAccessKey": STANDARD.encode(SECRET)},
    });
    cluster.api.create(&format!("/api/v1/namespaces/{}/secrets", FLEET.namespace(0)), secret);
    cluster.api.create(&collection("cloudaccounts"), fleet.account_manifest(false));
}

fn rotate(cluster: &TestCluster) {
    let key = KeySpec { account_id: FLEET.account, ..KeySpec::new(NEXT_KEY, SECRET) };
    cluster.cloud.put_key(key).unwrap();
    cluster.api.patch(&secret_path(), &json!({"data": {"accessKeyId": STANDARD.encode(NEXT_KEY)}}));
    cluster.cloud.remove_key(&FLEET.key()).unwrap();
}
