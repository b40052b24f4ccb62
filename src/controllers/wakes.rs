//! Triggers that enqueue the resources and accounts of each watch scope, besides their own changes.

use std::sync::Arc;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::runtime::reflector::ObjectRef;

use super::cached::Cached;
use crate::api::{BackupInventory, CrossRegionBackupPolicy};
use crate::domain::Named;
use crate::observe::AccountKey;

/// Trigger that enqueues resources, besides their own changes.
#[derive(Clone)]
pub enum Wake {
    /// Change of their account.
    Account(AccountKey),
    /// Change of the labels of their namespace, which may gain or lose access to a shared account.
    Namespace(String),
    Policy(ObjectRef<Cached<CrossRegionBackupPolicy>>),
    Inventory(ObjectRef<Cached<BackupInventory>>),
}

impl Wake {
    /// Whether the trigger can affect a resource of this namespace. Checked before a spec is expanded, which takes
    /// long: a trigger for one account of many would otherwise expand the resources of all.
    pub fn reaches(&self, namespace: &str) -> bool {
        match self {
            Wake::Account(key) => key.is_within_reach_of(namespace),
            Wake::Namespace(name) => name == namespace,
            Wake::Policy(_) | Wake::Inventory(_) => false,
        }
    }

    pub fn concerns(&self, account: &AccountKey, namespace: Option<&str>) -> bool {
        match self {
            Wake::Account(key) => key == account,
            Wake::Namespace(name) => account.is_shared() && namespace == Some(name),
            Wake::Policy(_) | Wake::Inventory(_) => false,
        }
    }
}

/// Receivers of the triggers of one watch scope, one for each of its controllers.
pub struct Scope {
    pub policy_wakes: UnboundedReceiver<Wake>,
    pub inventory_wakes: UnboundedReceiver<Wake>,
    pub account_wakes: UnboundedReceiver<AccountKey>,
}

/// Senders of the triggers of all scopes. Each policy holds a copy, which is one pointer.
#[derive(Clone, Default)]
pub struct Wakes(Arc<Senders>);

#[derive(Default)]
struct Senders {
    policies: Vec<UnboundedSender<Wake>>,
    inventories: Vec<UnboundedSender<Wake>>,
    accounts: Vec<UnboundedSender<AccountKey>>,
    shared_accounts: Option<UnboundedSender<AccountKey>>,
}

impl Wakes {
    pub fn account(&self, key: &AccountKey) {
        let senders = if key.is_shared() { self.0.shared_accounts.as_slice() } else { &self.0.accounts };
        for sender in senders {
            // Sending fails only if the receiving controller has ended.
            let _ = sender.unbounded_send(key.clone());
        }
    }

    pub fn resources(&self, wake: &Wake) {
        for sender in self.0.policies.iter().chain(&self.0.inventories) {
            let _ = sender.unbounded_send(wake.clone());
        }
    }

    pub fn policy(&self, named: &Named) {
        for sender in &self.0.policies {
            let reference = ObjectRef::new(named.name()).within(named.namespace());
            let _ = sender.unbounded_send(Wake::Policy(reference));
        }
    }

    pub fn inventory(&self, reference: &ObjectRef<Cached<BackupInventory>>) {
        for sender in &self.0.inventories {
            let _ = sender.unbounded_send(Wake::Inventory(reference.clone()));
        }
    }
}

/// Returns the watch scopes: each namespace on its own; `None`: all namespaces at once.
pub fn watched_namespaces(namespaces: &[String]) -> Vec<Option<String>> {
    let mut wanted: Vec<Option<String>> = namespaces.iter().cloned().map(Some).collect();
    wanted.sort();
    wanted.dedup();
    if wanted.is_empty() {
        wanted.push(None);
    }
    wanted
}

/// Creates the channels of `count` scopes. `shared_accounts` triggers the controller of the accounts that are in no
/// scope.
pub fn scopes(count: usize, shared_accounts: UnboundedSender<AccountKey>) -> (Wakes, Vec<Scope>) {
    let mut senders = Senders { shared_accounts: Some(shared_accounts), ..Senders::default() };
    let scopes = (0..count)
        .map(|_| {
            let (policy, policy_wakes) = unbounded();
            let (inventory, inventory_wakes) = unbounded();
            let (account, account_wakes) = unbounded();
            senders.policies.push(policy);
            senders.inventories.push(inventory);
            senders.accounts.push(account);
            Scope { policy_wakes, inventory_wakes, account_wakes }
        })
        .collect();
    (Wakes(Arc::new(senders)), scopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_concerns_a_resource_reaches_its_namespace() {
        let account = |namespace: Option<&str>| AccountKey {
            namespace: namespace.map(str::to_owned),
            name: "prod".to_owned(),
        };
        let own = account(Some("payments"));
        for used in [account(None), own.clone()] {
            for wake in [Wake::Account(used.clone()), Wake::Namespace("payments".to_owned())] {
                assert!(!wake.concerns(&used, Some("payments")) || wake.reaches("payments"));
            }
        }
        assert!(Wake::Account(account(None)).reaches("payments"));
        assert!(Wake::Account(own.clone()).reaches("payments") && !Wake::Account(own).reaches("search"));
        assert!(!Wake::Namespace("payments".to_owned()).reaches("search"));
    }
}
