//! Explains a policy's status in words. Parses each part separately, so that a part written by another version or by
//! hand does not hide the others.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::DynamicObject;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::advice::advice;
use crate::api::policy::{
    BackupItem, BackupsStatus, Cause, Drift, InstanceStatus, Modification, ModifyRefused, ObservedPolicy,
    PolicyValues, RecoveryPoint,
};

use crate::commands::show::TextStyle;
use crate::commands::show::age::age;
use crate::domain::condition::{Reason, types};

/// Number of backups that are listed individually.
const SHOWN_BACKUPS: usize = 3;

/// Explanation of a policy. The texts contain foreign text unescaped.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `NAMESPACE/NAME`.
    pub policy: String,
    /// Whether there is something to restore from in the other region.
    pub headline: String,
    #[serde(skip)]
    pub text_style: TextStyle,
    /// Caveats about the rest.
    pub notes: Vec<String>,
    pub what_is: Vec<String>,
    pub since_when: Vec<String>,
    pub changes: Vec<String>,
    pub backups: Vec<String>,
    pub advice: Vec<String>,
}

/// Condition of which only the type is required.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    message: String,
    last_transition_time: Option<Time>,
}

/// Parts of the policy, as far as they can be parsed.
pub(super) struct Policy<'a> {
    pub(super) object: &'a DynamicObject,
    pub(super) now: Timestamp,
    pub(super) active: Option<bool>,
    pub(super) target: Option<String>,
    pub(super) found: Option<ObservedPolicy>,
    pub(super) recovery_point: Option<RecoveryPoint>,
    pub(super) backups: Option<BackupsStatus>,
    pub(super) conditions: Vec<Condition>,
}

/// Explains the policy as of `now`.
pub fn explain(object: &DynamicObject, now: Timestamp) -> Explanation {
    let conditions: Vec<Value> = part(object, "/status/conditions").unwrap_or_default();
    let policy = Policy {
        object,
        now,
        active: part(object, "/spec/active"),
        target: part(object, "/spec/crossBackupRegion"),
        found: part(object, "/status/policy"),
        recovery_point: part(object, "/status/recoveryPoint"),
        backups: part(object, "/status/backups"),
        conditions: conditions.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect(),
    };
    let headline = policy.headline();
    let metadata = &object.metadata;
    let name = |part: &Option<String>| part.clone().unwrap_or_default();
    Explanation {
        policy: format!("{}/{}", name(&metadata.namespace), name(&metadata.name)),
        advice: policy.advice(headline.reason),
        headline: headline.text,
        text_style: headline.text_style,
        notes: policy.notes(),
        what_is: policy.what_is(),
        since_when: policy.since_when(),
        changes: policy.changes(),
        backups: policy.copies(),
    }
}

/// Parses a part of the object; `None` if it is absent or malformed.
pub(super) fn part<T: DeserializeOwned>(object: &DynamicObject, pointer: &str) -> Option<T> {
    serde_json::from_value(object.data.pointer(pointer)?.clone()).ok()
}

impl Policy<'_> {
    pub(super) fn text(&self, pointer: &str) -> Option<String> {
        part(self.object, pointer)
    }

    pub(super) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    pub(super) fn target(&self) -> &str {
        self.target.as_deref().unwrap_or("the other region")
    }

    pub(super) fn ago(&self, time: Timestamp) -> String {
        format!("{} ago ({time})", age(time, self.now))
    }

    /// Returns the generation that the status describes; `None` if the status was never written.
    pub(super) fn observed(&self) -> Option<i64> {
        part(self.object, "/status/observedGeneration").filter(|generation| *generation >= 0)
    }

    pub(super) fn drift(&self) -> Option<Drift> {
        part(self.object, "/status/drift")
    }

    pub(super) fn modification(&self) -> Option<Modification> {
        part(self.object, "/status/lastModification")
    }

    fn what_is(&self) -> Vec<String> {
        let spec = |name: &str| self.text(&format!("/spec/{name}")).unwrap_or_else(|| "?".to_owned());
        let instance: InstanceStatus = part(self.object, "/status/instance").unwrap_or_default();
        let name = instance.name.map(|name| format!(" ({name})")).unwrap_or_default();
        let kind = self.text("/spec/accountRef/kind").unwrap_or_else(|| "CloudAccount".to_owned());
        let account = self.text("/spec/accountRef/name").unwrap_or_else(|| "?".to_owned());
        let mut lines = vec![format!(
            "Instance {}{name} in {}, by {kind} {account}.",
            spec("instanceId"),
            spec("region")
        )];
        lines.push(match self.active {
            Some(true) => format!("Wanted: copies in {}.", self.target()),
            Some(false) => "Wanted: no copies.".to_owned(),
            None => "Wanted: not known, since spec.active cannot be read.".to_owned(),
        });
        lines.push(match &self.found {
            Some(found) => {
                let kept =
                    found.ttl_days.map(|days| format!(", each kept for {days} days")).unwrap_or_default();
                format!("In the cloud: {}{kept}.", values(found.active, found.cross_backup_region.as_deref()))
            }
            None => "In the cloud: not known.".to_owned(),
        });
        let observes = self.text("/spec/managementPolicy").is_some_and(|policy| policy == "Observe");
        lines.push(format!(
            "{}; when the policy is deleted, {}.",
            if observes {
                "Observe: differences are told, and not corrected"
            } else {
                "Manage: differences are corrected"
            },
            if self.may_disable() { "the copies are switched off" } else { "the cloud stays as it is" }
        ));
        lines.extend(self.shown_conditions());
        lines
    }

    /// Renders each condition as it is, including those that this version does not know.
    fn shown_conditions(&self) -> Vec<String> {
        // Ready is a copy of Synced, for tools that know only Ready.
        let synced = self.condition(types::SYNCED).is_some();
        let shown = self.conditions.iter().filter(|c| c.kind != types::READY || !synced);
        shown
            .map(|c| {
                let message = if c.message.is_empty() { String::new() } else { format!(": {}", c.message) };
                format!("{} is {} ({}){message}", c.kind, c.status, c.reason)
            })
            .collect()
    }

    fn since_when(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(created) = &self.object.metadata.creation_timestamp {
            lines.push(format!("Created {}.", self.ago(created.0)));
        }
        match part::<Time>(self.object, "/status/protectedSince") {
            Some(time) => lines.push(format!(
                "Copies in {} were first seen to be on {}.",
                self.target(),
                self.ago(time.0)
            )),
            None if self.active == Some(true) => {
                lines.push("The wanted copies were not seen to be on so far.".to_owned())
            }
            None => {}
        }
        for condition in &self.conditions {
            if let Some(time) = &condition.last_transition_time {
                lines.push(format!("{} is {} since {}.", condition.kind, condition.status, self.ago(time.0)));
            }
        }
        lines
    }

    fn changes(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(change) = self.modification() {
            let why = match change.cause {
                Cause::SpecChanged => "for a new spec",
                Cause::Drift => "to correct a difference",
            };
            let words =
                |values: &PolicyValues| self::values(values.active, values.cross_backup_region.as_deref());
            let request = change.request_id.map(|id| format!(", request {id}")).unwrap_or_default();
            lines.push(format!(
                "Last change by the operator: {}, {why}: from {} to {}{request}.",
                self.ago(change.time.0),
                words(&change.from),
                words(&change.to)
            ));
        } else {
            lines.push("No change by the operator is known.".to_owned());
        }
        if let Some(refused) = part::<ModifyRefused>(self.object, "/status/modifyRefused") {
            lines.push(format!(
                "The cloud refuses changes ({}) since {}: another policy of the instance goes before.",
                refused.code,
                self.ago(refused.time.0)
            ));
        }
        let drift = self.drift().unwrap_or_default();
        if let Some(last) = &drift.last_time {
            let what = drift.last_difference.map(|what| format!(" ({what})")).unwrap_or_default();
            lines.push(format!("Last difference that came from elsewhere: {}{what}.", self.ago(last.0)));
        }
        if drift.corrections > 0 {
            let recent: Vec<String> =
                drift.recent.iter().map(|time| age(time.0, self.now) + " ago").collect();
            let recent =
                if recent.is_empty() { String::new() } else { format!("; the last: {}", recent.join(", ")) };
            lines.push(format!("Corrected so far: {}{recent}.", drift.corrections));
        }
        if self.condition(types::CONTESTED).is_some_and(|condition| condition.status == "True") {
            lines.push("It is contested: something else keeps changing it back.".to_owned());
        }
        lines
    }

    fn copies(&self) -> Vec<String> {
        let Some(backups) = &self.backups else { return vec!["Not read yet.".to_owned()] };
        let statuses: Vec<String> = backups
            .by_status
            .iter()
            .filter(|(_, n)| **n > 0)
            .map(|(status, n)| format!("{n} {status}"))
            .collect();
        let statuses = if statuses.is_empty() { String::new() } else { format!(": {}", statuses.join(", ")) };
        let mut lines = vec![format!("{} in all{statuses}.", backups.total)];
        if let Some(point) = &self.recovery_point {
            lines.push(format!("Recovery point: {}, {}.", point.backup_point_id, self.ago(point.time.0)));
        }
        lines.extend(backups.items.iter().take(SHOWN_BACKUPS).map(|item| self.copy(item)));
        lines
    }

    fn copy(&self, item: &BackupItem) -> String {
        let to = item.target_region.as_deref().unwrap_or("?");
        let begun = item
            .start_time
            .as_ref()
            .map(|time| self.ago(time.0))
            .unwrap_or_else(|| "at an unknown time".to_owned());
        let strategy = item.strategy.as_deref().map(|strategy| format!(", {strategy}")).unwrap_or_default();
        format!("{}: {} in {to}{strategy}, begun {begun}.", item.backup_point_id, item.status)
    }

    fn advice(&self, wrong: Option<Reason>) -> Vec<String> {
        let stalled = self.condition(types::STALLED).is_some_and(|condition| condition.status == "True");
        let mut seen = Vec::new();
        let mut lines = Vec::new();
        for condition in &self.conditions {
            if condition.reason.is_empty() || seen.contains(&&condition.reason) {
                continue;
            }
            seen.push(&condition.reason);
            match Reason::parse(&condition.reason) {
                Some(reason) => lines.extend(advised(reason, stalled)),
                None => lines.push(format!(
                    "{}: this version does not know that reason; the message above, and the runbook of the operator's version, do.",
                    condition.reason
                )),
            }
        }
        // Without an objective, or before its condition is written, no condition has this reason.
        if let Some(wrong) = wrong.filter(|wrong| !seen.iter().any(|reason| *reason == wrong.as_str())) {
            lines.extend(advised(wrong, stalled));
        }
        if self.observed().is_none() {
            lines.push("Look whether the operator runs: `kubectl get pods -A | grep cross-region-backup-operator` (runbook: Operator not leading)".to_owned());
        }
        if lines.is_empty() {
            lines.push("Nothing to do.".to_owned());
        }
        lines
    }
}

fn advised(reason: Reason, stalled: bool) -> Option<String> {
    advice(reason, stalled).map(|what| format!("{}: {what} (runbook: {})", reason.as_str(), reason.as_str()))
}

fn values(active: bool, target: Option<&str>) -> String {
    match (active, target) {
        (true, Some(target)) => format!("copies to {target}"),
        (true, None) => "copies to a region that the cloud does not name".to_owned(),
        (false, _) => "no copies".to_owned(),
    }
}
