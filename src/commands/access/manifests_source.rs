//! Accounts, Secrets and namespaces that the files declare.

use std::collections::HashMap;

use serde_json::Value;

use crate::accounts::{AccountKey, Sharing};
use crate::api::account::SecretRef;
use crate::api::account::{AnyAccount, CloudAccountSpec};
use crate::api::{CloudAccount, ClusterCloudAccount};
use crate::cluster::secrets::{InMemory, NotASecret, Secret};
use crate::controllers::sharing::Labels;

/// Account from a file or from the cluster.
#[derive(Clone, Debug)]
pub struct Declared {
    pub spec: CloudAccountSpec,
    pub sharing: Option<Sharing>,
}

impl<K: AnyAccount> From<&K> for Declared {
    fn from(account: &K) -> Self {
        let sharing = account.sharing().map(|(allowed, permissions)| (allowed.clone(), permissions));
        Self { spec: account.settings().clone(), sharing }
    }
}

/// Objects of the files other than policies.
#[derive(Default)]
pub struct ManifestsSource {
    accounts: HashMap<AccountKey, Declared>,
    labels: HashMap<String, Labels>,
    /// Keyed by namespace and name.
    secrets: HashMap<(String, String), Result<Secret, SecretProblem>>,
}

/// Reason why a Secret of the files has no usable credentials.
#[derive(Clone, Copy, Debug)]
pub enum SecretProblem {
    /// The Secret is encrypted or not filled in; another source may provide the credentials.
    Placeholder(&'static str),
    Malformed(NotASecret),
}

impl ManifestsSource {
    /// Adds one document, which must be valid if it is of this operator's API group. Ignores kinds other than accounts,
    /// Secrets and Namespaces.
    pub fn take(&mut self, kind: &str, namespace: &str, value: &Value) {
        match kind {
            "CloudAccount" => {
                if let Ok(account) = serde_json::from_value::<CloudAccount>(value.clone()) {
                    let key = AccountKey { namespace: Some(namespace.to_owned()), name: name_of(value) };
                    self.accounts.insert(key, Declared::from(&account));
                }
            }
            "ClusterCloudAccount" => {
                if let Ok(account) = serde_json::from_value::<ClusterCloudAccount>(value.clone()) {
                    let key = AccountKey { namespace: None, name: name_of(value) };
                    self.accounts.insert(key, Declared::from(&account));
                }
            }
            "Secret" => {
                let secret = match value.get("sops") {
                    Some(_) => Err(SecretProblem::Placeholder("it is encrypted by SOPS")),
                    None => Secret::from_manifest(value).map_err(SecretProblem::Malformed),
                };
                self.secrets.insert((namespace.to_owned(), name_of(value)), secret);
            }
            "Namespace" => {
                let labels = value.pointer("/metadata/labels").cloned().unwrap_or_default();
                let labels = serde_json::from_value(labels).unwrap_or_default();
                self.labels.insert(name_of(value), labels);
            }
            _ => {}
        }
    }

    pub fn account(&self, key: &AccountKey) -> Option<&Declared> {
        self.accounts.get(key)
    }

    pub fn accounts(&self) -> impl Iterator<Item = &AccountKey> {
        self.accounts.keys()
    }

    pub fn labels(&self, namespace: &str) -> Option<&Labels> {
        self.labels.get(namespace)
    }

    /// Returns whether the files have this Secret of an account.
    ///
    /// # Errors
    /// The files have the Secret, but it has no usable credentials.
    pub fn has_secret(&self, namespace: &str, reference: &SecretRef) -> Result<bool, SecretProblem> {
        let secret = match self.secrets.get(&(namespace.to_owned(), reference.name.clone())) {
            None => return Ok(false),
            Some(secret) => secret.as_ref().map_err(|not| *not)?,
        };
        let keys =
            [&reference.access_key_id_key, &reference.secret_access_key_key, &reference.session_token_key];
        match secret.placeholder_of(keys.map(String::as_str)) {
            None => Ok(true),
            Some(what) => Err(SecretProblem::Placeholder(what)),
        }
    }

    /// Returns the Secrets that have credentials; the caller adds those from other sources.
    pub fn held(&self) -> InMemory {
        let held = InMemory::default();
        for ((namespace, _), secret) in &self.secrets {
            if let Ok(secret) = secret {
                held.put(namespace, secret.clone());
            }
        }
        held
    }
}

fn name_of(value: &Value) -> String {
    value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned()
}
