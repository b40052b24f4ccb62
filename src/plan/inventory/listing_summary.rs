//! Summary of a complete listing, ready to be reported.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::tally::Tally;
use crate::domain::{Backup, Instance};

/// Statuses of backups that can be restored from. Locked, Exporting and Exported are Tencent Cloud's, whose backups
/// stay usable while something else reads them.
const USABLE: [&str; 4] = ["Available", "Exporting", "Exported", "Locked"];
/// Instance class without cross-region backup (Redis API, ModifyCrossRegionBackupPolicy: InvalidOperator).
const STANDALONE: &str = "Standalone";

pub fn is_usable(status: &str) -> bool {
    USABLE.contains(&status)
}

/// Result of one complete listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListingSummary {
    /// Whether the backups are copies in other regions, or the instances' own.
    pub cross_region: bool,
    /// Whether the details of `items` were requested.
    pub with_details: bool,
    pub total: i64,
    pub size_bytes: i64,
    pub by_status: BTreeMap<String, i64>,
    pub newest: Option<Newest>,
    /// Newest first.
    pub items: Vec<Backup>,
    /// Every instance, if the listing covers the account.
    pub instances: Option<Vec<InstanceSummary>>,
    pub unprotected: Option<Unprotected>,
}

/// Newest usable backup; ordered by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Newest {
    pub time: Timestamp,
    pub backup_point_id: String,
    pub instance_id: String,
}

/// One instance of the account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceSummary {
    pub id: String,
    pub name: Option<String>,
    pub total: i64,
    pub newest_usable: Option<Timestamp>,
    pub policy_active: Option<bool>,
}

/// Instances without cross-region backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unprotected {
    /// Id and name, sorted by id.
    pub items: Vec<(String, Option<String>)>,
    pub unsupported: i64,
    pub unknown: i64,
    /// Time of the oldest describe.
    pub as_of: Option<Timestamp>,
}

/// Observed cross-region backup policy of an instance, and the time of the observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyObservation {
    pub policy: PolicySetting,
    pub at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicySetting {
    Active(bool),
    /// The instance cannot have a policy.
    Unsupported,
    /// Describe is not permitted, or not supported by the cloud.
    Unknown,
}

/// Whether the instance cannot have cross-region backup, decided without a call.
pub fn is_standalone(instance: &Instance) -> bool {
    instance.class.as_deref() == Some(STANDALONE)
}

/// Returns counts, the newest backup and at most `limit` items; `always`: statuses that are counted even at zero.
pub fn of_backups(tally: &Tally, limit: usize, always: &[&str]) -> ListingSummary {
    ListingSummary {
        total: tally.total(),
        size_bytes: tally.size_bytes(),
        by_status: tally.by_status(always),
        newest: tally.newest().cloned(),
        items: tally.items(limit),
        ..ListingSummary::default()
    }
}

/// Returns every instance with its backups: those without a usable one first, then by the age of the newest one, oldest
/// first.
pub fn of_instances(
    instances: &[Instance],
    backups: &Tally,
    policies: &HashMap<String, PolicyObservation>,
) -> Vec<InstanceSummary> {
    let by_instance = backups.by_instance();
    let mut lines: Vec<_> = instances
        .iter()
        .map(|instance| {
            let own = by_instance.get(instance.id.as_str()).cloned().unwrap_or_default();
            let policy_active = match policies.get(&instance.id).map(|known| known.policy) {
                Some(PolicySetting::Active(active)) => Some(active),
                _ => None,
            };
            InstanceSummary {
                id: instance.id.clone(),
                name: instance.name.clone(),
                total: own.total,
                newest_usable: own.newest_usable,
                policy_active,
            }
        })
        .collect();
    lines.sort_by(|a, b| (a.newest_usable, &a.id).cmp(&(b.newest_usable, &b.id)));
    lines
}

/// Returns the instances whose cross-region backup is off.
pub fn unprotected(instances: &[Instance], policies: &HashMap<String, PolicyObservation>) -> Unprotected {
    let mut found = Unprotected::default();
    for instance in instances {
        if is_standalone(instance) {
            found.unsupported += 1;
            continue;
        }
        let known = policies.get(&instance.id);
        found.as_of = [found.as_of, known.map(|known| known.at)].into_iter().flatten().min();
        match known.map(|known| known.policy) {
            Some(PolicySetting::Active(true)) => {}
            Some(PolicySetting::Active(false)) => {
                found.items.push((instance.id.clone(), instance.name.clone()))
            }
            Some(PolicySetting::Unsupported) => found.unsupported += 1,
            Some(PolicySetting::Unknown) | None => found.unknown += 1,
        }
    }
    found.items.sort();
    found
}
