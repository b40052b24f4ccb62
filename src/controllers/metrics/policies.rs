//! Series of policies.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;

use super::{
    ConditionLabels, RequestedIntervals, Sources, account_label, condition_labels, request_interval, seconds,
    write_conditions,
};
use crate::api::duration;
use crate::api::policy::ManagementPolicy;
use crate::controllers::policy;
use crate::domain::ObjectKey;
use crate::metrics::{Exposition, Family, MetricType};

/// Values of one policy besides its info series. All series of a family must be written together; the values are
/// collected first, so that no status is decompressed once per family.
struct Row {
    object_key: Arc<ObjectKey>,
    conditions: Vec<ConditionLabels>,
    recovery_point: Option<Timestamp>,
    objective: Option<u64>,
    backups: Vec<(Box<str>, i64)>,
    /// `None` while there is no status.
    corrections: Option<i64>,
}

impl Sources {
    pub(super) fn write_policies(
        &self,
        out: &mut Exposition<'_>,
        intervals: &mut RequestedIntervals,
    ) -> io::Result<()> {
        let mut rows = Vec::new();
        let help = "The policies: what each is for.";
        let mut info = out.family("crossregionbackup_policy_info", MetricType::Gauge, help)?;
        for policy in self.policies.iter().flat_map(|store| store.state()) {
            let Ok(compact) = &policy.0 else { continue };
            let expand = compact.expand();
            let spec = &expand.spec;
            let key = policy::account_of(spec, compact.object_key.namespace());
            let target = spec.cross_backup_region.as_deref().filter(|_| spec.active);
            let labels = [
                ("namespace", compact.object_key.namespace()),
                ("name", compact.object_key.name()),
                ("account", &account_label(&key)),
                ("region", &spec.region),
                ("instance_id", &spec.instance_id),
                ("target_region", target.unwrap_or_default()),
                ("management_policy", management(spec.management_policy)),
            ];
            info.series(&labels, 1)?;
            if !spec.suspend {
                request_interval(intervals, key, policy::own_interval(self.interval_override, spec));
            }
            let objective = spec.recovery_point_objective.as_deref().filter(|_| spec.active);
            let status = expand.status.unwrap_or_default();
            let backups =
                status.backups.as_ref().map(|backups| backups.by_status.iter()).into_iter().flatten();
            rows.push(Row {
                object_key: compact.object_key.clone(),
                conditions: condition_labels(&status.conditions),
                recovery_point: status.recovery_point.as_ref().map(|point| point.time.0),
                objective: objective.and_then(duration::parse).map(|objective| objective.as_secs()),
                backups: backups.map(|(status, count)| (status.as_str().into(), *count)).collect(),
                corrections: status
                    .observed_generation
                    .filter(|generation| *generation >= 0)
                    .map(|_| status.drift.as_ref().map_or(0, |drift| drift.corrections)),
            });
        }
        let help = "The conditions of policies: what each says now.";
        let mut family = out.family("crossregionbackup_policy_condition", MetricType::Gauge, help)?;
        for row in &rows {
            write_conditions(&mut family, &row.labels(), &row.conditions)?;
        }
        let help = "When the newest usable backup in the target region was begun, Unix time.";
        let name = "crossregionbackup_policy_recovery_point_timestamp_seconds";
        write_each(&rows, out.family(name, MetricType::Gauge, help)?, |row| row.recovery_point.map(seconds))?;
        let help = "How old the newest usable backup may become, where that was said of an active policy.";
        let name = "crossregionbackup_policy_recovery_point_objective_seconds";
        write_each(&rows, out.family(name, MetricType::Gauge, help)?, |row| row.objective)?;
        let help = "Backups of the instance in other regions, by status.";
        let mut family = out.family("crossregionbackup_policy_backups", MetricType::Gauge, help)?;
        for row in &rows {
            for (status, count) in &row.backups {
                family.series(&[&row.labels()[..], &[("status", status)]].concat(), count)?;
            }
        }
        let help = "When a look last showed the instance as wanted, Unix time; of looks of this process.";
        let name = "crossregionbackup_policy_last_sync_timestamp_seconds";
        let mut family = out.family(name, MetricType::Gauge, help)?;
        for row in &rows {
            let synced = self.metrics_state.synced().get(&row.object_key.uid).copied();
            if let Some(synced) = synced {
                family.series(&row.labels(), seconds(synced))?;
            }
        }
        let help = "Corrections of what somebody else had changed in the cloud.";
        let name = "crossregionbackup_policy_drift_corrections_total";
        write_each(&rows, out.family(name, MetricType::Counter, help)?, |row| row.corrections)
    }
}

fn management(policy: ManagementPolicy) -> &'static str {
    match policy {
        ManagementPolicy::Manage => "Manage",
        ManagementPolicy::Observe => "Observe",
    }
}

impl Row {
    fn labels(&self) -> [(&str, &str); 2] {
        [("namespace", self.object_key.namespace()), ("name", self.object_key.name())]
    }
}

/// Writes one series for each policy that has a value.
fn write_each<V: std::fmt::Display>(
    rows: &[Row],
    mut family: Family<'_>,
    value: impl Fn(&Row) -> Option<V>,
) -> io::Result<()> {
    for row in rows {
        if let Some(value) = value(row) {
            family.series(&row.labels(), value)?;
        }
    }
    Ok(())
}
