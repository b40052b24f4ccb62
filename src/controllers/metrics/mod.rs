//! Series of resources at `/metrics`. Each scrape computes them from the watch caches: they exist right after a
//! start, on any replica, and disappear with their resource.

mod accounts;
mod inventories;
mod policies;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::reflector::Store;

use super::cached::Cached;
use super::guarded::Guarded;
use crate::accounts::{AccountKey, Accounts};
use crate::api::{BackupInventory, CloudAccount, ClusterCloudAccount, CrossRegionBackupPolicy};
use crate::cluster::elector::Leadership;
use crate::domain::condition::types;
use crate::domain::{Class, Reason};
use crate::metrics::{Exposition, Family, MetricType, ReconcileResult};

/// Data sources of a scrape.
pub struct Sources {
    pub policies: Vec<Store<Cached<CrossRegionBackupPolicy>>>,
    pub inventories: Vec<Store<Cached<BackupInventory>>>,
    pub accounts: Vec<Store<Guarded<CloudAccount>>>,
    /// `None` where the operator is limited to namespaces.
    pub shared: Option<Store<Guarded<ClusterCloudAccount>>>,
    /// Accounts of the current leadership term; `None` while this replica stands by.
    pub known: Option<Arc<Accounts>>,
    pub interval_override: Option<Duration>,
    pub metrics_state: Arc<MetricsState>,
    /// Last leadership of this process, which may have ended.
    pub leadership: Option<Leadership>,
}

/// Metric state that no status contains.
#[derive(Default)]
pub struct MetricsState {
    /// Time at which each policy was last in sync, by UID.
    synced: Mutex<HashMap<Arc<str>, Timestamp>>,
    /// Number of instances that may have been left on, by account, and the last time.
    abandoned: Mutex<HashMap<AccountKey, (u64, Timestamp)>>,
}

/// How long the series of a deleted account is kept after a failed disable.
const ABANDONED_RETENTION: Duration = Duration::from_secs(3600);

impl MetricsState {
    /// Records that a poll found the policy in sync.
    pub fn in_sync(&self, uid: &Arc<str>, now: Timestamp) {
        lock(&self.synced).insert(uid.clone(), now);
    }

    pub fn forget(&self, uid: &str) {
        lock(&self.synced).remove(uid);
    }

    /// Counts an instance of the account that may have been left on.
    pub fn abandoned(&self, key: &AccountKey, now: Timestamp) {
        let mut abandoned = lock(&self.abandoned);
        let (count, last) = abandoned.entry(key.clone()).or_insert((0, now));
        (*count, *last) = (*count + 1, now);
    }

    fn synced(&self) -> MutexGuard<'_, HashMap<Arc<str>, Timestamp>> {
        lock(&self.synced)
    }
}

impl Sources {
    /// Writes all series.
    ///
    /// # Errors
    /// Errors of the writer.
    pub fn write(&self, out: &mut Exposition<'_>, now: Timestamp) -> io::Result<()> {
        let leads = self.leadership.as_ref().is_some_and(Leadership::is_current);
        out.family("crossregionbackup_leader", MetricType::Gauge, "Whether this replica leads.")?
            .series(&[], u8::from(leads))?;
        let mut intervals = HashMap::new();
        self.write_policies(out, &mut intervals)?;
        self.write_inventories(out, &mut intervals)?;
        self.write_accounts(out, &intervals, now)
    }
}

/// Shortest interval that the resources of each account request.
type RequestedIntervals = HashMap<AccountKey, Duration>;

fn request_interval(intervals: &mut RequestedIntervals, key: AccountKey, interval: Duration) {
    intervals.entry(key).and_modify(|shortest| *shortest = interval.min(*shortest)).or_insert(interval);
}

/// Returns the value of the label `account`.
fn account_label(key: &AccountKey) -> String {
    format!("{}/{}", key.namespace.as_deref().unwrap_or_default(), key.name)
}

/// A condition as metrics report it: type, status, reason.
type ConditionLabels = [Box<str>; 3];

fn condition_labels(conditions: &[Condition]) -> Vec<ConditionLabels> {
    let condition_labels = |c: &Condition| [&c.type_, &c.status, &c.reason].map(|text| text.as_str().into());
    conditions.iter().map(condition_labels).collect()
}

fn write_conditions(
    family: &mut Family<'_>,
    labels: &[(&str, &str)],
    conditions: &[ConditionLabels],
) -> io::Result<()> {
    for [kind, status, reason] in conditions {
        let own = [("type", &**kind), ("status", &**status), ("reason", &**reason)];
        family.series(&[labels, &own].concat(), 1)?;
    }
    Ok(())
}

/// Converts to Unix time in seconds.
fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

/// Classifies a finished reconcile by the conditions that it left, and by the class of its failure where the
/// conditions do not report that yet.
pub fn ended<'a>(
    conditions: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    failed: Option<Class>,
) -> ReconcileResult {
    let has = |kind: &str| conditions.clone().find(|(of, _)| *of == kind);
    let reason = has(types::READY).map_or("", |(_, reason)| reason);
    let is = |reasons: &[Reason]| reasons.iter().any(|of| of.as_str() == reason);
    match failed {
        Some(Class::Throttled) => ReconcileResult::Throttled,
        Some(Class::Transient) => ReconcileResult::Transient,
        _ if is(&[Reason::Throttled]) => ReconcileResult::Throttled,
        _ if is(&[Reason::CloudUnavailable, Reason::InstanceNotReady, Reason::EndpointUnreachable]) => {
            ReconcileResult::Transient
        }
        _ if failed.is_some() || has(types::STALLED).is_some() => ReconcileResult::NeedsPerson,
        _ if has(types::RECONCILING).is_some() => ReconcileResult::Waiting,
        _ => ReconcileResult::Ok,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
