//! Series of accounts.

use std::collections::BTreeMap;
use std::io;

use jiff::Timestamp;

use super::{
    ABANDONED_RETENTION, RequestedIntervals, Sources, account_label, condition_labels, lock, write_conditions,
};
use crate::api::account::AnyAccount;
use crate::controllers::guarded::Guarded;
use crate::metrics::{Exposition, Family, MetricType};
use crate::plan::since;

impl Sources {
    pub(super) fn write_accounts(
        &self,
        out: &mut Exposition<'_>,
        intervals: &RequestedIntervals,
        now: Timestamp,
    ) -> io::Result<()> {
        let help = "The conditions of accounts: what each says now.";
        let mut family = out.family("crossregionbackup_account_condition", MetricType::Gauge, help)?;
        for account in self.accounts.iter().flat_map(|store| store.state()) {
            conditions_of(&mut family, &account)?;
        }
        for account in self.shared.iter().flat_map(|store| store.state()) {
            conditions_of(&mut family, &account)?;
        }
        let accounts = self.known.as_ref();
        let known = accounts.map(|accounts| accounts.all()).unwrap_or_default();
        let mut known: Vec<_> =
            known.into_iter().map(|account| (account_label(&account.key), account)).collect();
        known.sort_by(|(one, _), (other, _)| one.cmp(other));
        let help = "The shortest interval at which resources of the account are looked at: what they ask for, or what its \
             budget allows.";
        let name = "crossregionbackup_account_poll_interval_seconds";
        let mut family = out.family(name, MetricType::Gauge, help)?;
        for (label, account) in &known {
            if let Some(interval) = intervals.get(&account.key) {
                let min_interval = accounts.map(|accounts| accounts.min_interval(&account.key));
                let in_force = min_interval.unwrap_or_default().max(*interval);
                family.series(&[("account", label)], in_force.as_secs_f64())?;
            }
        }
        let help = "Instances that may have been left on by policies that were to disable them.";
        let mut family =
            out.family("crossregionbackup_disable_abandoned_total", MetricType::Counter, help)?;
        let mut abandoned: BTreeMap<_, u64> = known.iter().map(|(label, _)| (label.clone(), 0)).collect();
        {
            let mut metrics_state = lock(&self.metrics_state.abandoned);
            metrics_state.retain(|key, (_, last)| {
                abandoned.contains_key(&account_label(key)) || since(*last, now) < ABANDONED_RETENTION
            });
            abandoned.extend(metrics_state.iter().map(|(key, (count, _))| (account_label(key), *count)));
        }
        for (label, count) in &abandoned {
            family.series(&[("account", label)], count)?;
        }
        let help = "Cloud requests by outcome, those to the STS as well.";
        let mut family = out.family("crossregionbackup_cloud_requests_total", MetricType::Counter, help)?;
        for (label, account) in &known {
            for ((action, outcome), count) in account.meter.requests() {
                let labels = [
                    ("provider", account.meter.provider()),
                    ("account", label),
                    ("action", action),
                    ("outcome", outcome.as_str()),
                ];
                family.series(&labels, count)?;
            }
        }
        Ok(())
    }
}

fn conditions_of<K: AnyAccount>(family: &mut Family<'_>, account: &Guarded<K>) -> io::Result<()> {
    let Ok(account) = &account.0 else { return Ok(()) };
    let meta = account.meta();
    let labels = [
        ("kind", &*K::kind(&())),
        ("namespace", meta.namespace.as_deref().unwrap_or_default()),
        ("name", meta.name.as_deref().unwrap_or_default()),
    ];
    let conditions = account.status().map(|status| condition_labels(&status.conditions)).unwrap_or_default();
    write_conditions(family, &labels, &conditions)
}
