//! Desired state, as derived from a policy's spec.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::accounts::AccountKey;
use crate::api::policy::{CrossRegionBackupPolicySpec, DeletionPolicy, ManagementPolicy};
use crate::api::{CrossRegionBackupPolicy, RECONCILE_REQUESTED_AT, duration};
use crate::controllers::{Context, poll_offset};
use crate::domain::{Change, InstanceRef};
use crate::plan::Desired;
use crate::plan::polling::DEFAULT_INTERVAL;

/// Returns the interval in force.
fn interval_of(context: &Context, policy: &CrossRegionBackupPolicy) -> Duration {
    let account = account_of(&policy.spec, &policy.namespace().unwrap_or_default());
    own_interval(context.interval_override, &policy.spec).max(context.accounts.min_interval(&account))
}

/// Returns the interval that the policy requests, unless the operator's flag overrides it; at least 1 s.
pub fn own_interval(overridden: Option<Duration>, spec: &CrossRegionBackupPolicySpec) -> Duration {
    let own = || duration::interval(&spec.resync_interval).unwrap_or(DEFAULT_INTERVAL);
    overridden.unwrap_or_else(own).max(Duration::from_secs(1))
}

pub fn desired(context: &Context, policy: &CrossRegionBackupPolicy) -> Desired {
    desired_of(policy, interval_of(context, policy), context.read_only)
}

/// Returns the desired state of a policy with this interval in force.
pub fn desired_of(policy: &CrossRegionBackupPolicy, interval: Duration, read_only: bool) -> Desired {
    let spec = &policy.spec;
    let manages = spec.management_policy == ManagementPolicy::Manage && !read_only;
    Desired {
        generation: policy.metadata.generation.unwrap_or_default(),
        created: policy.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0),
        change: change_of(spec),
        manages,
        suspended: spec.suspend,
        disable_on_delete: spec.deletion_policy == DeletionPolicy::Disable,
        deleted: policy.metadata.deletion_timestamp.is_some(),
        interval,
        objective: spec.recovery_point_objective.as_deref().and_then(duration::parse),
        limit: usize::try_from(spec.backups.limit).unwrap_or(0),
        request: policy.annotations().get(RECONCILE_REQUESTED_AT).cloned(),
        poll_offset: poll_offset(&policy.uid().unwrap_or_default()),
    }
}

/// Returns the settings that the cloud should have.
pub fn change_of(spec: &CrossRegionBackupPolicySpec) -> Change {
    Change { active: spec.active, cross_backup_region: spec.cross_backup_region.clone() }
}

pub fn instance_of(spec: &CrossRegionBackupPolicySpec) -> InstanceRef {
    InstanceRef { region: spec.region.clone(), id: spec.instance_id.clone() }
}

pub fn account_of(spec: &CrossRegionBackupPolicySpec, namespace: &str) -> AccountKey {
    AccountKey::of(&spec.account_ref, Some(namespace.to_owned()))
}
