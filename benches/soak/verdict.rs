//! Checks that every policy and inventory converges, and that the operator then stops writing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::Value;
use testbed::AuditFilter;

use crate::decide::{Decider, NOT_ALLOWED, TARGETS, Wanted};
use crate::harness::{OPERATOR_NAMESPACE, condition, settled};
use crate::scene::{INVENTORIES, LISTED, Scene, backup, instance, policy};

/// Limit for convergence after the last fault. In the worst case a standby waits up to 17 s for a Lease that was not released,
/// a policy for its backoff, at most 30 s after faults of seconds, and one interval for what only a poll detects.
const CONVERGES_WITHIN: Duration = Duration::from_secs(120);
/// Interval between two checks of all policies.
const LOOK: Duration = Duration::from_millis(500);
/// Length of an observation without writes. Longer than idle connections to the cloud live: up to 60 s, as the pool checks only
/// every 30 s for connections that were idle for 30 s.
const QUIET: Duration = Duration::from_secs(95);
/// Number of observations of which one must be without writes: Events and backup listings come later than Ready.
const BREATHS: usize = 3;
/// Number of non-converged policies in a failure's message.
const SHOWN: usize = 3;

impl Scene<'_> {
    /// Removes all faults, and waits for convergence.
    pub async fn calm(&mut self, decider: &Decider) -> Result<Duration> {
        self.end_troubles()?;
        self.converge(decider).await
    }

    /// Waits until every policy and inventory has converged, and returns how long that took.
    ///
    /// # Errors
    /// When it takes longer than [`CONVERGES_WITHIN`]; the message shows the first objects that have not converged.
    pub async fn converge(&mut self, decider: &Decider) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            let wrong = self.not_as_wanted(decider).await?;
            if wrong.is_empty() {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > CONVERGES_WITHIN {
                let shown = wrong[..wrong.len().min(SHOWN)].join("\n");
                bail!(
                    "after {CONVERGES_WITHIN:?} of calm {} policies are not as wanted\n{shown}",
                    wrong.len()
                );
            }
            self.pause(LOOK).await?;
        }
    }

    async fn not_as_wanted(&self, decider: &Decider) -> Result<Vec<String>> {
        let mut found: BTreeMap<String, Value> = BTreeMap::new();
        for object in self.policies.list(&ListParams::default()).await?.items {
            found.insert(object.name_any(), serde_json::to_value(object)?);
        }
        let mut wrong = Vec::new();
        for (number, wanted) in decider.wanted.iter().enumerate() {
            let object = found.remove(&policy(number));
            let held = self.stage.cloud.policy(&instance(number))?.current;
            let fits = match (wanted, &object) {
                (None, None) => true,
                (Some(wanted), Some(object)) => {
                    let newest = decider.backups[number].checked_sub(1).map(|last| backup(number, last));
                    says(object, wanted.verdict(&held, decider.allowed))
                        && (!wanted.manages(decider.allowed) || wanted.is_held(&held))
                        && (!wanted.looks(decider.allowed) || has_recovery_point(object, wanted, newest))
                }
                _ => false,
            };
            if !fits {
                let object = object.unwrap_or_default();
                wrong.push(format!("{number}: wanted {wanted:?}, the cloud holds {held:?}: {object:#}"));
            }
        }
        ensure!(found.is_empty(), "policies that nobody created: {:?}", found.keys());
        let totals = [decider.backups[LISTED], decider.backups.iter().sum()];
        for (name, total) in INVENTORIES.into_iter().zip(totals) {
            let object = serde_json::to_value(self.inventories.get(name).await?)?;
            let refused = name == INVENTORIES[0] && !decider.allowed;
            let verdict = if refused { NOT_ALLOWED } else { ("Listed", "True") };
            if !says(&object, verdict) || (!refused && object["status"]["total"] != total) {
                wrong.push(format!("{name}: the cloud holds {total} backups: {object:#}"));
            }
        }
        Ok(wrong)
    }

    /// Waits until the operator neither writes nor modifies for longer than an interval; returns when that quiet time began,
    /// measured from the call.
    pub async fn until_rest(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        let mut last = Vec::new();
        for _ in 0..BREATHS {
            let (from, before, modifies) = (Timestamp::now(), begun.elapsed(), self.stage.modifies());
            self.pause(QUIET.max(self.resync * 3 / 2)).await?;
            last = self.written_since(from)?;
            if last.is_empty() && self.stage.modifies() == modifies {
                return Ok(before);
            }
        }
        bail!("it does not come to rest: {last:#?}");
    }

    /// Lists the operator's writes since `from`, except those of the Lease.
    fn written_since(&self, from: Timestamp) -> Result<Vec<String>> {
        let user = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR_NAMESPACE}");
        let filter = AuditFilter { user: Some(&user), writes_only: true, ..AuditFilter::default() };
        let mut written = Vec::new();
        for entry in self.stage.plane.audit_entries(&filter)? {
            if entry.resource != "leases" && entry.received.parse::<Timestamp>()? >= from {
                written.push(format!("{} {} {}", entry.received, entry.verb, entry.request_uri));
            }
        }
        Ok(written)
    }
}

/// Whether Ready has this reason and status, for the current generation.
fn says(object: &Value, (reason, status): (&str, &str)) -> bool {
    let ready = condition(object, "Ready");
    settled(object) && ready["reason"] == reason && ready["status"] == status
}

/// Whether the recovery point is the instance's newest backup, or absent where the target has none: all copies are in the first
/// target.
fn has_recovery_point(object: &Value, wanted: &Wanted, newest: Option<String>) -> bool {
    let expected = newest.filter(|_| wanted.active && wanted.target == TARGETS[0]);
    object["status"]["recoveryPoint"]["backupPointId"].as_str() == expected.as_deref()
}
