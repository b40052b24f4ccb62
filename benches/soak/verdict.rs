//! Whether all is as declared, and stays so without another word.

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

/// What is left of the worst that can be: a standby waits up to 17 s for a Lease that nobody gave up, a policy up to its
/// backoff, which after troubles of seconds is at most half a minute, and an interval for what only a look can tell.
const CONVERGES_WITHIN: Duration = Duration::from_secs(120);
/// Between two looks at all policies.
const LOOK: Duration = Duration::from_millis(500);
/// Longer than connections are kept that nobody needs: to the cloud up to 60 s, as a pool looks only every 30 s whether one was idle
/// for 30 s.
const QUIET: Duration = Duration::from_secs(95);
/// So many times it may take a breath before it is quiet: Events and readings of backups come later than Ready.
const BREATHS: usize = 3;
/// How many policies that are not as wanted a failure shows.
const SHOWN: usize = 3;

impl Scene<'_> {
    /// Ends all troubles, and waits until everything is as wanted.
    pub async fn calm(&mut self, decider: &Decider) -> Result<Duration> {
        self.end_troubles()?;
        self.converge(decider).await
    }

    /// How long it took until everything was as wanted.
    ///
    /// # Errors
    /// It takes too long; the message has what is not as wanted.
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

    /// Waits until nothing is written or modified for longer than an interval; how long it took to begin.
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

    /// What the operator has written since, the Lease aside.
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

/// Whether that is what Ready says of the spec as it is.
fn says(object: &Value, (reason, status): (&str, &str)) -> bool {
    let ready = condition(object, "Ready");
    settled(object) && ready["reason"] == reason && ready["status"] == status
}

/// Whether the newest backup of its instance is the recovery point, where its target holds it: all copies are in the first one.
fn has_recovery_point(object: &Value, wanted: &Wanted, newest: Option<String>) -> bool {
    let expected = newest.filter(|_| wanted.active && wanted.target == TARGETS[0]);
    object["status"]["recoveryPoint"]["backupPointId"].as_str() == expected.as_deref()
}
