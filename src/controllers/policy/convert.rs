//! Conversion between a policy's status, as it is stored, and the domain's facts.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as ApiCondition, Time};

use crate::api::policy as api;
use crate::api::{handled_value, whole_seconds};
use crate::domain::condition::{Condition, ConditionStatus};
use crate::domain::facts::{
    BackupSummary, Cause, Drift, Facts, Instance, Modification, ModifyRefused, RecoveryPoint,
};
use crate::domain::{Backup, Change, PolicyState};

pub fn condition_from(c: &ApiCondition) -> Condition {
    Condition {
        kind: c.type_.clone(),
        status: ConditionStatus::parse(&c.status),
        reason: c.reason.clone(),
        message: c.message.clone(),
        observed_generation: c.observed_generation.unwrap_or_default(),
        last_transition: c.last_transition_time.0,
    }
}

pub fn condition_to(c: &Condition) -> ApiCondition {
    ApiCondition {
        type_: c.kind.clone(),
        status: c.status.as_str().to_owned(),
        reason: c.reason.clone(),
        message: c.message.clone(),
        observed_generation: Some(c.observed_generation),
        last_transition_time: whole_seconds(c.last_transition),
    }
}

/// Returns the facts that a stored status reports. `-1`, the default of the schema, is no observed generation.
pub fn facts_from(status: &api::CrossRegionBackupPolicyStatus, instance_id: &str) -> Facts {
    Facts {
        observed_generation: status.observed_generation.filter(|g| *g >= 0),
        handled_request: status.last_handled_reconcile_at.as_deref().map(handled_value),
        synced_generation: status.synced_generation,
        policy: status.policy.as_ref().map(|p| PolicyState {
            active: p.active,
            cross_backup_region: p.cross_backup_region.clone(),
            ttl_days: p.ttl_days,
        }),
        modification: status.last_modification.as_ref().map(|m| Modification {
            time: m.time.0,
            request_id: m.request_id.clone(),
            from: values_from(&m.from),
            to: values_from(&m.to),
            cause: match m.cause {
                api::Cause::SpecChanged => Cause::SpecChanged,
                api::Cause::Drift => Cause::Drift,
            },
        }),
        drift: status.drift.as_ref().map(drift_from).unwrap_or_default(),
        protected_since: status.protected_since.as_ref().map(|t| t.0),
        recovery_point: status.recovery_point.as_ref().map(|p| RecoveryPoint {
            time: p.time.0,
            backup_point_id: p.backup_point_id.clone(),
            size_bytes: p.size_bytes,
        }),
        modify_refused: status
            .modify_refused
            .as_ref()
            .map(|refused| ModifyRefused { time: refused.time.0, code: refused.code.clone() }),
        backups: status.backups.as_ref().map(|b| BackupSummary {
            total: b.total,
            by_status: b.by_status.clone(),
            items: b.items.iter().map(|item| backup_from(item, instance_id)).collect(),
        }),
        instance: status.instance.as_ref().map(|i| Instance {
            name: i.name.clone(),
            engine_version: i.engine_version.clone(),
            project_name: i.project_name.clone(),
        }),
        conditions: status.conditions.iter().map(condition_from).collect(),
    }
}

/// Returns the status that reports these facts.
pub fn status_from(facts: &Facts) -> api::CrossRegionBackupPolicyStatus {
    api::CrossRegionBackupPolicyStatus {
        observed_generation: facts.observed_generation,
        last_handled_reconcile_at: facts.handled_request.clone(),
        synced_generation: facts.synced_generation,
        policy: facts.policy.as_ref().map(|p| api::ObservedPolicy {
            active: p.active,
            cross_backup_region: p.cross_backup_region.clone(),
            ttl_days: p.ttl_days,
        }),
        last_modification: facts.modification.as_ref().map(|m| api::Modification {
            time: whole_seconds(m.time),
            request_id: m.request_id.clone(),
            from: values_to(&m.from),
            to: values_to(&m.to),
            cause: match m.cause {
                Cause::SpecChanged => api::Cause::SpecChanged,
                Cause::Drift => api::Cause::Drift,
            },
        }),
        drift: (facts.drift != Drift::default()).then(|| drift_to(&facts.drift)),
        protected_since: facts.protected_since.map(whole_seconds),
        recovery_point: facts.recovery_point.as_ref().map(|p| api::RecoveryPoint {
            time: whole_seconds(p.time),
            backup_point_id: p.backup_point_id.clone(),
            size_bytes: p.size_bytes,
        }),
        modify_refused: facts.modify_refused.as_ref().map(|refused| api::ModifyRefused {
            time: whole_seconds(refused.time),
            code: refused.code.clone(),
        }),
        backups: facts.backups.as_ref().map(|b| api::BackupsStatus {
            total: b.total,
            by_status: b.by_status.clone(),
            items: b.items.iter().map(backup_to).collect(),
        }),
        instance: facts.instance.as_ref().map(|i| api::InstanceStatus {
            name: i.name.clone(),
            engine_version: i.engine_version.clone(),
            project_name: i.project_name.clone(),
        }),
        conditions: facts.conditions.iter().map(condition_to).collect(),
    }
}

fn values_from(values: &api::PolicyValues) -> Change {
    Change { active: values.active, cross_backup_region: values.cross_backup_region.clone() }
}

fn values_to(change: &Change) -> api::PolicyValues {
    api::PolicyValues { active: change.active, cross_backup_region: change.cross_backup_region.clone() }
}

fn drift_from(drift: &api::Drift) -> Drift {
    Drift {
        corrections: drift.corrections,
        last_time: drift.last_time.as_ref().map(|t| t.0),
        last_difference: drift.last_difference.clone(),
        recent: drift.recent.iter().map(|t| t.0).collect(),
    }
}

fn drift_to(drift: &Drift) -> api::Drift {
    api::Drift {
        corrections: drift.corrections,
        last_time: drift.last_time.map(whole_seconds),
        last_difference: drift.last_difference.clone(),
        recent: drift.recent.iter().copied().map(whole_seconds).collect(),
    }
}

pub fn backup_from(item: &api::BackupItem, instance_id: &str) -> Backup {
    let time = |t: &Option<Time>| t.as_ref().map(|t| t.0);
    Backup {
        instance_id: instance_id.to_owned(),
        backup_point_id: item.backup_point_id.clone(),
        backup_point_name: item.backup_point_name.clone(),
        strategy: item.strategy.clone(),
        backup_type: item.backup_type.clone(),
        status: item.status.clone(),
        provider_status: item.provider_status.clone(),
        source_region: item.source_region.clone(),
        target_region: item.target_region.clone(),
        start_time: time(&item.start_time),
        end_time: time(&item.end_time),
        size_bytes: item.size_bytes,
        ttl_days: item.ttl_days,
        ..Backup::default()
    }
}

pub fn backup_to(backup: &Backup) -> api::BackupItem {
    let time = |t: Option<Timestamp>| t.map(whole_seconds);
    api::BackupItem {
        backup_point_id: backup.backup_point_id.clone(),
        backup_point_name: backup.backup_point_name.clone(),
        strategy: backup.strategy.clone(),
        backup_type: backup.backup_type.clone(),
        status: backup.status.clone(),
        provider_status: backup.provider_status.clone(),
        source_region: backup.source_region.clone(),
        target_region: backup.target_region.clone(),
        start_time: time(backup.start_time),
        end_time: time(backup.end_time),
        size_bytes: backup.size_bytes,
        ttl_days: backup.ttl_days,
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
