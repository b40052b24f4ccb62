//! Series of inventories.

use std::io;

use super::{Asked, Sources, asks, said, seconds, series_of};
use crate::controllers::inventory;
use crate::metrics::{Exposition, Type};

impl Sources {
    pub(super) fn write_inventories(&self, out: &mut Exposition<'_>, asked: &mut Asked) -> io::Result<()> {
        let mut rows = Vec::new();
        for stored in self.inventories.iter().flat_map(|store| store.state()) {
            let Ok(lean) = &stored.0 else { continue };
            let whole = lean.whole();
            if !whole.spec.suspend {
                let key = inventory::account_of(&whole.spec, lean.named.namespace());
                asks(asked, key, inventory::own_interval(self.interval_override, &whole.spec));
            }
            let mut status = whole.status.unwrap_or_default();
            // No series needs the long lists.
            (status.items, status.instances) = (None, None);
            rows.push((lean.named.clone(), status));
        }
        let help = "The conditions of inventories: what each says now.";
        let mut family = out.family("crossregionbackup_inventory_condition", Type::Gauge, help)?;
        for (named, status) in &rows {
            let labels = [("namespace", named.namespace()), ("name", named.name())];
            series_of(&mut family, &labels, &said(&status.conditions))?;
        }
        let help = "Backups that fit the inventory's filter, by status.";
        let mut family = out.family("crossregionbackup_inventory_backups", Type::Gauge, help)?;
        for (named, status) in &rows {
            for (status, count) in status.by_status.iter().flatten() {
                let labels = [("namespace", named.namespace()), ("name", named.name()), ("status", status)];
                family.series(&labels, count)?;
            }
        }
        let help = "When the newest usable backup that fits the inventory's filter was begun, Unix time.";
        let name = "crossregionbackup_inventory_newest_timestamp_seconds";
        let mut family = out.family(name, Type::Gauge, help)?;
        for (named, status) in &rows {
            if let Some(newest) = &status.newest {
                let labels = [("namespace", named.namespace()), ("name", named.name())];
                family.series(&labels, seconds(newest.time.0))?;
            }
        }
        let help = "Instances of the inventory's account and region whose cross-region backup is off.";
        let name = "crossregionbackup_inventory_unprotected_instances";
        let mut family = out.family(name, Type::Gauge, help)?;
        for (named, status) in &rows {
            if let Some(unprotected) = &status.unprotected {
                let labels = [("namespace", named.namespace()), ("name", named.name())];
                family.series(&labels, unprotected.total)?;
            }
        }
        Ok(())
    }
}
