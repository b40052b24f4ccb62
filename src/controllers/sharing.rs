//! Access to a `ClusterCloudAccount`: which namespaces may use it, and for what purpose.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::Resource;
use kube::core::{PartialObjectMeta, Selector, SelectorExt};
use kube::runtime::reflector::{ObjectRef, Store};

use super::guarded::Guarded;
use super::watch::Synced;
use crate::api::ClusterCloudAccount;
use crate::api::account::{AllowedFrom, AllowedNamespaces, AnyAccount, Permissions};

pub type Labels = BTreeMap<String, String>;

/// Shared accounts, and the namespaces that may be allowed to use them, as last delivered by the watches.
#[derive(Clone)]
pub struct Shared {
    pub accounts: Store<Guarded<ClusterCloudAccount>>,
    pub namespaces: Store<Guarded<PartialObjectMeta<Namespace>>>,
    pub synced: [Synced; 2],
}

/// Purpose for which a resource uses an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Reads the data of one instance.
    Observe,
    /// Modifies an instance's policy.
    Manage,
    /// Lists the whole account.
    AccountInventory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Allowed,
    /// The watches have not delivered account and namespace yet, or the account cannot be parsed.
    Unknown,
    Denied(Denial),
}

/// Reason why a resource may not use an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    Namespace,
    Manage,
    AccountInventory,
    /// The operator is limited to namespaces.
    Limited,
}

impl Denial {
    pub fn text(self) -> &'static str {
        match self {
            Denial::Namespace => "it does not allow this namespace",
            Denial::Manage => "it allows policies only to observe: permissions.manage is false",
            Denial::AccountInventory => {
                "it allows no inventories of scope Account: permissions.accountInventory is false"
            }
            Denial::Limited => {
                "the operator is limited to some namespaces (--watch-namespace) and uses no shared account"
            }
        }
    }
}

impl Shared {
    /// Resolves once accounts and namespaces have been listed.
    pub async fn synced(&self) {
        for synced in &self.synced {
            synced.wait().await;
        }
    }

    pub fn is_synced(&self) -> bool {
        self.synced.iter().all(Synced::is_synced)
    }

    /// Whether resources of this namespace may use the account for this purpose.
    pub fn admits(&self, account: &str, namespace: &str, purpose: Purpose) -> Admission {
        let Some(account) = self.accounts.get(&ObjectRef::new(account)) else { return Admission::Unknown };
        match account.0.as_ref().ok().and_then(AnyAccount::sharing) {
            Some((allowed, permissions)) => self.admits_by(allowed, permissions, namespace, purpose),
            None => Admission::Unknown,
        }
    }

    /// Like [`Self::admits`], for an account whose sharing the caller knows.
    pub fn admits_by(
        &self,
        allowed: &AllowedNamespaces,
        permissions: Permissions,
        namespace: &str,
        purpose: Purpose,
    ) -> Admission {
        let labels = || {
            let found = self.namespaces.get(&ObjectRef::new(namespace))?;
            Some(found.meta().labels.clone().unwrap_or_default())
        };
        admission(allowed, permissions, labels, purpose)
    }
}

/// Whether resources of a namespace with these labels may use an account with this sharing. `labels` returns `None`
/// while the labels are not known.
pub fn admission(
    allowed: &AllowedNamespaces,
    permissions: Permissions,
    labels: impl FnOnce() -> Option<Labels>,
    purpose: Purpose,
) -> Admission {
    let selected = match allowed.from {
        AllowedFrom::All => true,
        AllowedFrom::Selector => match labels() {
            Some(labels) => selects(allowed.selector.as_ref(), &labels),
            None => return Admission::Unknown,
        },
    };
    match purpose {
        _ if !selected => Admission::Denied(Denial::Namespace),
        Purpose::Manage if !permissions.manage => Admission::Denied(Denial::Manage),
        Purpose::AccountInventory if !permissions.account_inventory => {
            Admission::Denied(Denial::AccountInventory)
        }
        _ => Admission::Allowed,
    }
}

/// Returns the error in `allowedNamespaces`, which then selects nothing.
pub fn fault(allowed: &AllowedNamespaces) -> Option<String> {
    let selector = allowed.selector.as_ref()?;
    let labels = selector.match_labels.iter().flatten();
    let of_labels = labels.map(|(key, value)| pair_fault("matchLabels", key, std::iter::once(value)));
    let of_expressions = selector.match_expressions.iter().flatten().map(expression_fault);
    let fault = of_labels.chain(of_expressions).flatten().next()?;
    Some(format!("spec.allowedNamespaces.selector.{fault}"))
}

fn expression_fault(expression: &LabelSelectorRequirement) -> Option<String> {
    let values = expression.values.as_deref().unwrap_or_default();
    let wrong = match expression.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => Some("needs values with In and NotIn"),
        "In" | "NotIn" => None,
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            Some("takes no values with Exists and DoesNotExist")
        }
        "Exists" | "DoesNotExist" => None,
        _ => Some("needs the operator In, NotIn, Exists or DoesNotExist"),
    };
    match wrong {
        Some(wrong) => Some(format!("matchExpressions {wrong}")),
        None => pair_fault("matchExpressions", &expression.key, values.iter()),
    }
}

fn pair_fault<'a>(field: &str, key: &str, mut values: impl Iterator<Item = &'a String>) -> Option<String> {
    if !is_label_key(key) {
        return Some(format!("{field} has a key that no label can have"));
    }
    values
        .any(|value| !value.is_empty() && !is_label_name(value))
        .then(|| format!("{field} has a value that no label can have"))
}

/// Whether this is an optional DNS subdomain and a slash, followed by a name (Kubernetes, "Labels and Selectors",
/// syntax and character set).
pub fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_subdomain = |prefix: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        prefix.len() <= 253
            && prefix.split('.').all(|label| {
                label.bytes().all(|b| plain(b) || b == b'-')
                    && label.bytes().next().is_some_and(plain)
                    && label.bytes().last().is_some_and(plain)
            })
    };
    prefix.is_none_or(is_subdomain) && is_label_name(name)
}

pub fn is_label_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric();
    name.len() <= 63
        && name.bytes().all(|b| plain(b) || matches!(b, b'-' | b'_' | b'.'))
        && name.bytes().next().is_some_and(plain)
        && name.bytes().last().is_some_and(plain)
}

fn selects(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    let valid = selector.filter(|selector| {
        let allowed = AllowedNamespaces { from: AllowedFrom::Selector, selector: Some((*selector).clone()) };
        fault(&allowed).is_none()
    });
    valid.and_then(|s| Selector::try_from(s.clone()).ok()).is_some_and(|selector| selector.matches(labels))
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::store::Writer;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::*;

    fn allowed(value: Value) -> AllowedNamespaces {
        serde_json::from_value(value).unwrap()
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn selects_as_kubernetes_does_and_nothing_where_the_selector_is_invalid() {
        let team = labels(&[("team", "pay"), ("example.com/tier", "gold")]);
        let expression = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        for (selector, selected) in [
            (json!({}), Some(true)),
            (json!({"matchLabels": {"team": "pay"}}), Some(true)),
            (json!({"matchLabels": {"team": "pay", "example.com/tier": "tin"}}), Some(false)),
            (json!({"matchLabels": {"team": ""}}), Some(false)),
            (expression("team", "In", json!(["other", "pay"])), Some(true)),
            (expression("team", "NotIn", json!(["pay"])), Some(false)),
            // As in Kubernetes, `NotIn` selects objects without the label.
            (expression("absent", "NotIn", json!(["pay"])), Some(true)),
            (expression("absent", "In", json!(["pay"])), Some(false)),
            (expression("team", "Exists", json!([])), Some(true)),
            (expression("team", "DoesNotExist", json!([])), Some(false)),
            (expression("team", "In", json!([])), None),
            (expression("team", "Exists", json!(["pay"])), None),
            (expression("team", "Equals", json!(["pay"])), None),
            (expression("", "NotIn", json!(["pay"])), None),
            (expression("no key", "NotIn", json!(["pay"])), None),
            (expression("Example.com/tier", "NotIn", json!(["pay"])), None),
            (expression("team", "NotIn", json!(["no value"])), None),
            (json!({"matchLabels": {"a/b/c": "x"}}), None),
        ] {
            let given = allowed(json!({"from": "Selector", "selector": selector}));
            assert_eq!(fault(&given).is_none(), selected.is_some(), "{selector}: {:?}", fault(&given));
            assert_eq!(selects(given.selector.as_ref(), &team), selected.unwrap_or(false), "{selector}");
        }
    }

    fn shared(account: Value) -> Shared {
        let spec = json!({
            "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "ClusterCloudAccount", "metadata": {"name": "shared"},
            "spec": account,
        });
        let mut accounts = Writer::default();
        accounts.apply_watcher_event(&Event::Apply(serde_json::from_value(spec).unwrap()));
        let mut namespaces = Writer::default();
        for (name, team) in [("payments", "pay"), ("search", "find")] {
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": team}},
            });
            namespaces.apply_watcher_event(&Event::Apply(serde_json::from_value(namespace).unwrap()));
        }
        let synced = Synced::listed_now();
        Shared {
            accounts: accounts.as_reader(),
            namespaces: namespaces.as_reader(),
            synced: [synced.clone(), synced],
        }
    }

    #[test]
    fn namespace_and_permissions_decide() {
        let account = |allowed: Value, permissions: Value| {
            shared(json!({
                "provider": "Volcengine", "credentials": {"secretRef": {"name": "key"}},
                "allowedNamespaces": allowed, "permissions": permissions,
            }))
        };
        let one = json!({"from": "Selector", "selector": {"matchLabels": {"team": "pay"}}});
        let all = json!({"from": "All"});
        let nobody = json!({"from": "Selector", "selector": {"matchLabels": {"team": "no value"}}});
        use Admission::{Allowed, Denied, Unknown};
        use Purpose::{AccountInventory, Manage, Observe};
        for (allowed, permissions, namespace, purpose, expected) in [
            (&one, json!({}), "payments", Manage, Allowed),
            (&one, json!({}), "payments", AccountInventory, Denied(Denial::AccountInventory)),
            (&one, json!({"manage": false}), "payments", Manage, Denied(Denial::Manage)),
            (&one, json!({"manage": false}), "payments", Observe, Allowed),
            (&one, json!({"accountInventory": true}), "payments", AccountInventory, Allowed),
            (&one, json!({"accountInventory": true}), "search", AccountInventory, Denied(Denial::Namespace)),
            (&one, json!({}), "search", Observe, Denied(Denial::Namespace)),
            (&one, json!({}), "new", Observe, Unknown),
            (&all, json!({}), "new", Manage, Allowed),
            (&nobody, json!({}), "payments", Observe, Denied(Denial::Namespace)),
        ] {
            let shared = account(allowed.clone(), permissions.clone());
            assert_eq!(
                shared.admits("shared", namespace, purpose),
                expected,
                "{allowed} {permissions} {namespace}"
            );
            assert_eq!(shared.admits("another", namespace, purpose), Unknown);
        }
    }
}
