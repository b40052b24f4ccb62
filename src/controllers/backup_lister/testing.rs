//! Test fixtures: a region without a task, and subscribers.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};

use super::{AccountRegion, RegionLister, State};
use crate::accounts::AccountKey;
use crate::controllers::inventory::InventoryMailbox;
use crate::controllers::policy::Mailbox;
use crate::controllers::triggers::Triggers;
use crate::domain::ObjectKey;
use crate::plan::shared_listing::{InventorySelector, Subscriber};

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A region with `total` backups.
pub fn region(total: u64) -> RegionLister {
    let account = AccountKey { namespace: None, name: "shared".to_owned() };
    RegionLister {
        key: AccountRegion { account, uid: "uid".to_owned(), region: "cn-beijing".to_owned() },
        poll_offset: 0,
        state: State { total: Some((total, at(0))), ..State::default() }.into(),
        delivery_slots: Arc::new(Semaphore::new(1)),
        changed: Notify::new(),
    }
}

/// A subscriber that was last listed at `at(0)`.
fn subscriber<W, D>(mailbox: D, what: W, minutes: u64, calls: u64) -> Subscriber<W, D> {
    let interval = Duration::from_secs(60 * minutes);
    Subscriber { mailbox, what, interval, own: interval, calls, read: Some(at(0)), waits: false }
}

pub fn policies(region: &RegionLister, namespace: &str, count: usize) {
    for n in 0..count {
        let uid = format!("{namespace}-{n}");
        let mailbox = Arc::new(Mailbox::new(ObjectKey::new(&uid, namespace, &uid), Triggers::default()));
        region.state().subscribers.subscribe(
            uid,
            subscriber(mailbox, format!("redis-{n}").into(), 10, 1),
            at(0),
        );
    }
}

/// Subscribes an inventory whose UID is its namespace.
pub fn inventory(region: &RegionLister, namespace: &str, minutes: u64) -> Arc<InventoryMailbox> {
    let mailbox =
        Arc::new(InventoryMailbox::new(namespace.to_owned(), "all".to_owned(), Triggers::default(), None));
    let inventory = subscriber(mailbox.clone(), InventorySelector::default(), minutes, u64::MAX);
    region.state().inventories.subscribe(namespace, inventory, at(0));
    mailbox
}
