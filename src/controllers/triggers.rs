//! Triggers that enqueue the resources and accounts of each watch scope, besides their own changes.

use std::sync::Arc;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::runtime::reflector::ObjectRef;

use super::cached::Cached;
use crate::accounts::AccountKey;
use crate::api::{BackupInventory, CrossRegionBackupPolicy};
use crate::domain::ObjectKey;

/// Trigger that enqueues resources, besides their own changes.
#[derive(Clone)]
pub enum Trigger {
    /// Change of their account.
    Account(AccountKey),
    /// Change of the labels of their namespace, which may gain or lose access to a shared account.
    Namespace(String),
    Policy(ObjectRef<Cached<CrossRegionBackupPolicy>>),
    Inventory(ObjectRef<Cached<BackupInventory>>),
}

impl Trigger {
    /// Whether the trigger can affect a resource of this namespace. Checked before a spec is expanded, which takes
    /// long: a trigger for one account of many would otherwise expand the resources of all.
    pub fn may_affect(&self, namespace: &str) -> bool {
        match self {
            Trigger::Account(key) => key.is_usable_from(namespace),
            Trigger::Namespace(name) => name == namespace,
            Trigger::Policy(_) | Trigger::Inventory(_) => false,
        }
    }

    pub fn affects(&self, account: &AccountKey, namespace: Option<&str>) -> bool {
        match self {
            Trigger::Account(key) => key == account,
            Trigger::Namespace(name) => account.is_shared() && namespace == Some(name),
            Trigger::Policy(_) | Trigger::Inventory(_) => false,
        }
    }
}

/// Receivers of the triggers of one watch scope, one for each of its controllers.
pub struct ScopeReceivers {
    pub policy_triggers: UnboundedReceiver<Trigger>,
    pub inventory_triggers: UnboundedReceiver<Trigger>,
    pub account_triggers: UnboundedReceiver<AccountKey>,
}

/// Senders of the triggers of all scopes. Each policy holds a copy, which is one pointer.
#[derive(Clone, Default)]
pub struct Triggers(Arc<Senders>);

#[derive(Default)]
struct Senders {
    policies: Vec<UnboundedSender<Trigger>>,
    inventories: Vec<UnboundedSender<Trigger>>,
    accounts: Vec<UnboundedSender<AccountKey>>,
    shared_accounts: Option<UnboundedSender<AccountKey>>,
}

impl Triggers {
    pub fn account(&self, key: &AccountKey) {
        let senders = if key.is_shared() { self.0.shared_accounts.as_slice() } else { &self.0.accounts };
        for sender in senders {
            // Sending fails only if the receiving controller has ended.
            let _ = sender.unbounded_send(key.clone());
        }
    }

    pub fn resources(&self, trigger: &Trigger) {
        for sender in self.0.policies.iter().chain(&self.0.inventories) {
            let _ = sender.unbounded_send(trigger.clone());
        }
    }

    pub fn policy(&self, object_key: &ObjectKey) {
        for sender in &self.0.policies {
            let reference = ObjectRef::new(object_key.name()).within(object_key.namespace());
            let _ = sender.unbounded_send(Trigger::Policy(reference));
        }
    }

    pub fn inventory(&self, reference: &ObjectRef<Cached<BackupInventory>>) {
        for sender in &self.0.inventories {
            let _ = sender.unbounded_send(Trigger::Inventory(reference.clone()));
        }
    }
}

/// Returns the watch scopes: each namespace on its own; `None`: all namespaces at once.
pub fn watch_scopes(namespaces: &[String]) -> Vec<Option<String>> {
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
pub fn scopes(count: usize, shared_accounts: UnboundedSender<AccountKey>) -> (Triggers, Vec<ScopeReceivers>) {
    let mut senders = Senders { shared_accounts: Some(shared_accounts), ..Senders::default() };
    let scopes = (0..count)
        .map(|_| {
            let (policy, policy_triggers) = unbounded();
            let (inventory, inventory_triggers) = unbounded();
            let (account, account_triggers) = unbounded();
            senders.policies.push(policy);
            senders.inventories.push(inventory);
            senders.accounts.push(account);
            ScopeReceivers { policy_triggers, inventory_triggers, account_triggers }
        })
        .collect();
    (Triggers(Arc::new(senders)), scopes)
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
            for trigger in [Trigger::Account(used.clone()), Trigger::Namespace("payments".to_owned())] {
                assert!(!trigger.affects(&used, Some("payments")) || trigger.may_affect("payments"));
            }
        }
        assert!(Trigger::Account(account(None)).may_affect("payments"));
        assert!(
            Trigger::Account(own.clone()).may_affect("payments")
                && !Trigger::Account(own).may_affect("search")
        );
        assert!(!Trigger::Namespace("payments".to_owned()).may_affect("search"));
    }
}
