//! What wakes the resources and accounts of each watched scope, besides their own changes.

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::runtime::reflector::ObjectRef;

use super::cached::Cached;
use crate::api::{BackupInventory, CrossRegionBackupPolicy};
use crate::observe::AccountKey;

/// What wakes resources besides their own changes.
#[derive(Clone)]
pub enum Wake {
    /// Something about their account.
    Account(AccountKey),
    /// The labels of their namespace: a shared account may have become theirs, or ceased to be.
    Namespace(String),
    Policy(ObjectRef<Cached<CrossRegionBackupPolicy>>),
    Inventory(ObjectRef<Cached<BackupInventory>>),
}

impl Wake {
    pub fn concerns(&self, account: &AccountKey, namespace: Option<&str>) -> bool {
        match self {
            Wake::Account(key) => key == account,
            Wake::Namespace(name) => account.is_shared() && namespace == Some(name),
            Wake::Policy(_) | Wake::Inventory(_) => false,
        }
    }
}

/// One watched scope: its ends of the channels that wake its controllers.
pub struct Scope {
    pub namespace: Option<String>,
    pub policy_wakes: UnboundedReceiver<Wake>,
    pub inventory_wakes: UnboundedReceiver<Wake>,
    pub account_wakes: UnboundedReceiver<AccountKey>,
}

#[derive(Clone, Default)]
pub struct Wakes {
    policies: Vec<UnboundedSender<Wake>>,
    inventories: Vec<UnboundedSender<Wake>>,
    accounts: Vec<UnboundedSender<AccountKey>>,
    pub shared_accounts: Option<UnboundedSender<AccountKey>>,
}

impl Wakes {
    pub fn account(&self, key: &AccountKey) {
        let senders = if key.is_shared() { self.shared_accounts.as_slice() } else { &self.accounts };
        for sender in senders {
            // A receiver that is gone belongs to a controller that has ended.
            let _ = sender.unbounded_send(key.clone());
        }
    }

    pub fn resources(&self, wake: &Wake) {
        for sender in self.policies.iter().chain(&self.inventories) {
            let _ = sender.unbounded_send(wake.clone());
        }
    }

    pub fn policy(&self, reference: &ObjectRef<Cached<CrossRegionBackupPolicy>>) {
        for sender in &self.policies {
            let _ = sender.unbounded_send(Wake::Policy(reference.clone()));
        }
    }

    pub fn inventory(&self, reference: &ObjectRef<Cached<BackupInventory>>) {
        for sender in &self.inventories {
            let _ = sender.unbounded_send(Wake::Inventory(reference.clone()));
        }
    }
}

pub fn scopes(namespaces: &[String]) -> (Wakes, Vec<Scope>) {
    let mut wakes = Wakes::default();
    let mut wanted: Vec<Option<String>> = namespaces.iter().cloned().map(Some).collect();
    wanted.sort();
    wanted.dedup();
    if wanted.is_empty() {
        wanted.push(None);
    }
    let scopes = wanted
        .into_iter()
        .map(|namespace| {
            let (policy, policy_wakes) = unbounded();
            let (inventory, inventory_wakes) = unbounded();
            let (account, account_wakes) = unbounded();
            wakes.policies.push(policy);
            wakes.inventories.push(inventory);
            wakes.accounts.push(account);
            Scope { namespace, policy_wakes, inventory_wakes, account_wakes }
        })
        .collect();
    (wakes, scopes)
}
