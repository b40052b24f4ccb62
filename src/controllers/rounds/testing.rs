//! Test fixtures: a region without a task, and subscribers.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};

use super::{Place, Region, State};
use crate::controllers::inventory::Tray;
use crate::controllers::policy::Desk;
use crate::controllers::wakes::Wakes;
use crate::domain::Named;
use crate::observe::AccountKey;
use crate::plan::round::{Member, Tap};

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A region with `total` backups.
pub fn region(total: u64) -> Region {
    let account = AccountKey { namespace: None, name: "shared".to_owned() };
    Region {
        place: Place { account, uid: "uid".to_owned(), region: "cn-beijing".to_owned() },
        phase: 0,
        state: State { total: Some((total, at(0))), ..State::default() }.into(),
        slots: Arc::new(Semaphore::new(1)),
        changed: Notify::new(),
    }
}

/// A subscriber that was last listed at `at(0)`.
fn member<W, D>(desk: D, what: W, minutes: u64, calls: u64) -> Member<W, D> {
    let interval = Duration::from_secs(60 * minutes);
    Member { desk, what, interval, own: interval, calls, read: Some(at(0)), waits: false }
}

pub fn policies(region: &Region, namespace: &str, count: usize) {
    for n in 0..count {
        let uid = format!("{namespace}-{n}");
        let desk = Arc::new(Desk::new(Named::new(&uid, namespace, &uid), Wakes::default()));
        region.state().members.join(uid, member(desk, format!("redis-{n}").into(), 10, 1), at(0));
    }
}

/// Subscribes an inventory whose UID is its namespace.
pub fn tap(region: &Region, namespace: &str, minutes: u64) -> Arc<Tray> {
    let tray = Arc::new(Tray::new(namespace.to_owned(), "all".to_owned(), Wakes::default(), None));
    let tap = member(tray.clone(), Tap::default(), minutes, u64::MAX);
    region.state().taps.join(namespace, tap, at(0));
    tray
}
