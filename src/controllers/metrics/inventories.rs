//! Series of inventories.

use std::io;

use super::{RequestedIntervals, Sources, condition_labels, request_interval, seconds, write_conditions};
use crate::controllers::inventory;
use crate::metrics::{Exposition, MetricType};

impl Sources {
    pub(super) fn write_inventories(
        &self,
        out: &mut Exposition<'_>,
        intervals: &mut RequestedIntervals,
    ) -> io::Result<()> {
        let mut rows = Vec::new();
        for stored in self.inventories.iter().flat_map(|store| store.state()) {
            let Ok(compact) = &stored.0 else { continue };
            let expand = compact.expand();
            if !expand.spec.suspend {
                let key = inventory::account_of(&expand.spec, compact.object_key.namespace());
                request_interval(
                    intervals,
                    key,
                    inventory::own_interval(self.interval_override, &expand.spec),
                );
            }
            let mut status = expand.status.unwrap_or_default();
            // No series needs the long lists.
            (status.items, status.instances) = (None, None);
            rows.push((compact.object_key.clone(), status));
        }
        let help = "The conditions of inventories: what each says now.";
        let mut family = out.family("crossregionbackup_inventory_condition", MetricType::Gauge, help)?;
        for (object_key, status) in &rows {
            let labels = [("namespace", object_key.namespace()), ("name", object_key.name())];
            write_conditions(&mut family, &labels, &condition_labels(&status.conditions))?;
        }
        let help = "Backups that fit the inventory's filter, by status.";
        let mut family = out.family("crossregionbackup_inventory_backups", MetricType::Gauge, help)?;
        for (object_key, status) in &rows {
            for (status, count) in status.by_status.iter().flatten() {
                let labels =
                    [("namespace", object_key.namespace()), ("name", object_key.name()), ("status", status)];
                family.series(&labels, count)?;
            }
        }
        let help = "When the newest usable backup that fits the inventory's filter was begun, Unix time.";
        let name = "crossregionbackup_inventory_newest_timestamp_seconds";
        let mut family = out.family(name, MetricType::Gauge, help)?;
        for (object_key, status) in &rows {
            if let Some(newest) = &status.newest {
                let labels = [("namespace", object_key.namespace()), ("name", object_key.name())];
                family.series(&labels, seconds(newest.time.0))?;
            }
        }
        let help = "Instances of the inventory's account and region whose cross-region backup is off.";
        let name = "crossregionbackup_inventory_unprotected_instances";
        let mut family = out.family(name, MetricType::Gauge, help)?;
        for (object_key, status) in &rows {
            if let Some(unprotected) = &status.unprotected {
                let labels = [("namespace", object_key.namespace()), ("name", object_key.name())];
                family.series(&labels, unprotected.total)?;
            }
        }
        Ok(())
    }
}
