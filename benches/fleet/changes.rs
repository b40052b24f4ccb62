//! Changes specs, and measures the latency from each change to the Modify and to Ready.

use std::time::Duration;

use anyhow::{Context, Result};
use cross_region_backup_operator::api::CrossRegionBackupPolicy;
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::arrivals::MODIFY;
use crate::report::Column;
use crate::scene::{Fleet, Scene};

/// How long to wait for Ready after the last change; later policies count as late.
const LATE: Duration = Duration::from_secs(120);
/// A policy is created with the first target, and every change switches to the other, so that each needs a Modify.
const TARGETS: [&str; 2] = ["cn-shanghai", "cn-guangzhou"];

/// A change to make.
pub struct Plan {
    policies: Api<CrossRegionBackupPolicy>,
    policy: String,
    instance: String,
    target: &'static str,
}

/// A change that the API server accepted.
pub struct Change {
    policy: String,
    pub instance: String,
    generation: i64,
    sent: Timestamp,
    answered: Timestamp,
}

impl Plan {
    pub fn of(scene: &mut Scene, fleet: &Fleet, number: usize) -> Self {
        let policy = fleet.policy(number);
        let times = scene.changed.entry(policy.clone()).or_default();
        *times += 1;
        let target = TARGETS[*times % TARGETS.len()];
        Self { policies: scene.policies.clone(), policy, instance: fleet.instance(number), target }
    }

    pub async fn make(self) -> Result<Change> {
        let patch = Patch::Merge(json!({"spec": {"crossBackupRegion": self.target}}));
        let sent = Timestamp::now();
        let stored = self.policies.patch(&self.policy, &PatchParams::default(), &patch).await?;
        Ok(Change {
            sent,
            answered: Timestamp::now(),
            generation: stored.metadata.generation.context("no generation")?,
            policy: self.policy,
            instance: self.instance,
        })
    }
}

/// Latencies of changes in seconds, from the API server's response to the patch.
#[derive(Default)]
pub struct Latencies {
    to_modify: Vec<f64>,
    to_ready: Vec<f64>,
    changes: usize,
}

impl Latencies {
    /// Waits until all changed policies are Ready, at most for [`LATE`].
    pub async fn of(scene: &Scene, fleet: &Fleet, changes: &[Change]) -> Self {
        let wanted: Vec<_> = changes.iter().map(|c| (c.policy.clone(), c.generation)).collect();
        let since = scene.ready.since(&wanted, LATE).await;
        let mut latencies = Self { changes: changes.len(), ..Self::default() };
        let Some(first) = changes.iter().map(|change| change.sent).min() else { return latencies };
        let arrivals = scene.arrivals.within(fleet.key, first, Timestamp::now());
        for (change, ready) in changes.iter().zip(since) {
            // The operator may act before the response to the patch arrives here.
            let latency = |at: Timestamp| at.duration_since(change.answered).as_secs_f64().max(0.0);
            let its = arrivals.iter().find(|call| {
                call.action == MODIFY
                    && call.instance.as_deref() == Some(&change.instance)
                    && call.at >= change.sent
            });
            latencies.to_modify.extend(its.map(|call| latency(call.at)));
            latencies.to_ready.extend(ready.map(latency));
        }
        latencies.to_modify.sort_by(f64::total_cmp);
        latencies.to_ready.sort_by(f64::total_cmp);
        latencies
    }

    pub fn tell(&self, column: &mut Column) {
        column.figure("changes", self.changes as f64);
        for (what, seconds) in [("Modify", &self.to_modify), ("Ready", &self.to_ready)] {
            for (name, part) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
                column.figure(format!("change to {what}, {name}, s"), quantile(seconds, part));
            }
            column.figure(format!("without {what} in time"), (self.changes - seconds.len()) as f64);
        }
    }
}

/// Returns the quantile `part` (0 to 1) by nearest rank; 0 for an empty slice.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}
