//! Series of policies.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Asked, Said, Sources, account_label, asks, said, seconds, series_of};
use crate::api::duration;
use crate::api::policy::ManagementPolicy;
use crate::controllers::policy;
use crate::domain::Named;
use crate::metrics::{Exposition, Family, Type};

/// Values of one policy besides its info series. All series of a family must be written together; the values are
/// collected first, so that no status is decompressed once per family.
struct Row {
    named: Arc<Named>,
    conditions: Vec<Said>,
    recovery_point: Option<Timestamp>,
    objective: Option<u64>,
    backups: Vec<(Box<str>, i64)>,
    /// `None` while there is no status.
    corrections: Option<i64>,
}

impl Sources {
    pub(super) fn write_policies(&self, out: &mut Exposition<'_>, asked: &mut Asked) -> io::Result<()> {
        let mut rows = Vec::new();
        let help = "The policies: what each is for.";
        let mut info = out.family("crossregionbackup_policy_info", Type::Gauge, help)?;
        for policy in self.policies.iter().flat_map(|store| store.state()) {
            let Ok(lean) = &policy.0 else { continue };
            let whole = lean.whole();
            let spec = &whole.spec;
            let key = policy::account_of(spec, lean.named.namespace());
            let target = spec.cross_backup_region.as_deref().filter(|_| spec.active);
            let labels = [
                ("namespace", lean.named.namespace()),
                ("name", lean.named.name()),
                ("account", &account_label(&key)),
                ("region", &spec.region),
                ("instance_id", &spec.instance_id),
                ("target_region", target.unwrap_or_default()),
                ("management_policy", management(spec.management_policy)),
            ];
            info.series(&labels, 1)?;
            if !spec.suspend {
                asks(asked, key, policy::own_interval(self.interval_override, spec));
            }
            let objective = spec.recovery_point_objective.as_deref().filter(|_| spec.active);
            let status = whole.status.unwrap_or_default();
            let backups =
                status.backups.as_ref().map(|backups| backups.by_status.iter()).into_iter().flatten();
            rows.push(Row {
                named: lean.named.clone(),
                conditions: said(&status.conditions),
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
        let mut family = out.family("crossregionbackup_policy_condition", Type::Gauge, help)?;
        for row in &rows {
            series_of(&mut family, &row.labels(), &row.conditions)?;
        }
        let help = "When the newest usable backup in the target region was begun, Unix time.";
        let name = "crossregionbackup_policy_recovery_point_timestamp_seconds";
        each(&rows, out.family(name, Type::Gauge, help)?, |row| row.recovery_point.map(seconds))?;
        let help = "How old the newest usable backup may become, where that was said of an active policy.";
        let name = "crossregionbackup_policy_recovery_point_objective_seconds";
        each(&rows, out.family(name, Type::Gauge, help)?, |row| row.objective)?;
        let help = "Backups of the instance in other regions, by status.";
        let mut family = out.family("crossregionbackup_policy_backups", Type::Gauge, help)?;
        for row in &rows {
            for (status, count) in &row.backups {
                family.series(&[&row.labels()[..], &[("status", status)]].concat(), count)?;
            }
        }
        let help = "When a look last showed the instance as wanted, Unix time; of looks of this process.";
        let name = "crossregionbackup_policy_last_sync_timestamp_seconds";
        let mut family = out.family(name, Type::Gauge, help)?;
        for row in &rows {
            let synced = self.noted.synced().get(&row.named.uid).copied();
            if let Some(synced) = synced {
                family.series(&row.labels(), seconds(synced))?;
            }
        }
        let help = "Corrections of what somebody else had changed in the cloud.";
        let name = "crossregionbackup_policy_drift_corrections_total";
        each(&rows, out.family(name, Type::Counter, help)?, |row| row.corrections)
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
        [("namespace", self.named.namespace()), ("name", self.named.name())]
    }
}

/// Writes one series for each policy that has a value.
fn each<V: std::fmt::Display>(
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
