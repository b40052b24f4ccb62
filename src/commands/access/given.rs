//! Accounts, Secrets and namespaces as the files declare them.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1 as core;
use serde_json::Value;

use crate::api::account::{AnyAccount, CloudAccountSpec};
use crate::api::{CloudAccount, ClusterCloudAccount};
use crate::cluster::secrets::Held;
use crate::controllers::sharing::Labels;
use crate::observe::{AccountKey, Sharing};

/// An account as a file or the cluster has it.
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

/// What the files hold besides policies.
#[derive(Default)]
pub struct Given {
    accounts: HashMap<AccountKey, Declared>,
    labels: HashMap<String, Labels>,
    secrets: Held,
    /// Namespaces and names: what is held later comes from elsewhere.
    secret_names: HashSet<(String, String)>,
}

impl Given {
    /// Takes in one document, which must be valid where it is of our own group. Other kinds than accounts, Secrets and
    /// Namespaces mean nothing here.
    ///
    /// # Errors
    /// A Secret that is none. What exactly is wrong with it is not told, since that may repeat a value.
    pub fn take(&mut self, kind: &str, namespace: &str, value: &Value) -> Result<(), String> {
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
            "Secret" => match serde_json::from_value::<core::Secret>(value.clone()) {
                Ok(secret) => {
                    self.secret_names.insert((namespace.to_owned(), name_of(value)));
                    self.secrets.put(namespace, secret.into());
                }
                Err(_) => {
                    let name = name_of(value);
                    return Err(format!(
                        "Secret {namespace}/{name}: data must be base64, and stringData text, for each key"
                    ));
                }
            },
            "Namespace" => {
                let labels = value.pointer("/metadata/labels").cloned().unwrap_or_default();
                let labels = serde_json::from_value(labels).unwrap_or_default();
                self.labels.insert(name_of(value), labels);
            }
            _ => {}
        }
        Ok(())
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

    /// Whether a Secret is one of the files.
    pub fn has_secret(&self, namespace: &str, name: &str) -> bool {
        self.secret_names.contains(&(namespace.to_owned(), name.to_owned()))
    }

    pub fn secrets(&self) -> &Held {
        &self.secrets
    }
}

fn name_of(value: &Value) -> String {
    value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned()
}
