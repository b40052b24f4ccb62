//! Finalization of a policy that is being deleted and holds the finalizer.

use std::time::Duration;

use jiff::Timestamp;

use super::memory::{MAX_DESCRIBE_AGE, MAX_UNCONFIRMED_CHANGES, Memory, SyncError};
use super::{AccountReadiness, Desired, ReconcileEnv, after, since};
use crate::domain::{Change, Class, Kind, Reason};

/// Time from the first hopeless result of the deletion until it is abandoned.
const ABANDON_TIMEOUT: Duration = Duration::from_secs(300);
/// Retry interval after a hopeless result.
const HOPELESS_RETRY: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletionMemory {
    /// Whether a describe has completed since the deletion, and since `reset_progress` last discarded the observations.
    pub(super) described: bool,
    first_hopeless: Option<Timestamp>,
    /// Last release that was reported.
    told: Option<Release>,
}

/// Access to the account for this deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountAccess {
    /// Through the account, or with the last known credentials of a deleted one.
    Open,
    /// Temporarily unavailable.
    Waiting,
    /// Account or Secret are deleted and no credentials are cached, or the cloud rejects them.
    Hopeless,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinalizeStep {
    Describe,
    Modify,
    Wait(Option<Timestamp>),
    /// Remove the finalizer.
    Release(Release),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// `deletionPolicy: Retain` at the time of the finalization.
    Retained,
    /// The cloud reports Active=false.
    Disabled,
    /// The resource would not modify the instance in any case, or there is nothing to disable.
    Skipped(String),
    /// Given up.
    Abandoned(String),
}

/// Returns the desired state of a deletion: cross-region backup off.
pub fn switched_off(desired: &Desired) -> Desired {
    Desired {
        change: Change { active: false, cross_backup_region: None },
        objective: None,
        ..desired.clone()
    }
}

/// Applies the account access and the result of the last step; call it before [`next`].
pub fn notice(memory: &mut Memory, reach: AccountAccess, now: Timestamp) {
    let answered = match &memory.sync_error {
        Some(SyncError::Failed(f)) => f.kind.class() == Class::NeedsPerson,
        Some(SyncError::RegionNotAvailable { .. }) => true,
        None => memory.unconfirmed_changes >= MAX_UNCONFIRMED_CHANGES,
    };
    // A clock that is set back must not postpone the deadline.
    memory.deletion.first_hopeless = memory.deletion.first_hopeless.map(|first| first.min(now));
    if reach == AccountAccess::Hopeless || answered {
        memory.deletion.first_hopeless.get_or_insert(now);
        memory.next_describe = memory.next_describe.min(after(now, HOPELESS_RETRY));
    }
}

/// Records a completed describe.
pub fn described(memory: &mut Memory) {
    memory.deletion.described = true;
}

/// Whether a release was not reported yet. It recurs while the finalizer cannot be removed.
pub fn is_news(memory: &mut Memory, release: &Release) -> bool {
    memory.deletion.told.replace(release.clone()).as_ref() != Some(release)
}

/// Decides the next step. `desired` is the result of [`switched_off`].
pub fn next(
    desired: &Desired,
    env: &ReconcileEnv,
    memory: &Memory,
    reach: AccountAccess,
    now: Timestamp,
) -> FinalizeStep {
    if !desired.disable_on_delete {
        return FinalizeStep::Release(Release::Retained);
    }
    if let Some(why) = would_not_modify(desired, env) {
        return FinalizeStep::Release(Release::Skipped(why));
    }
    let described = memory.deletion.described;
    match &memory.sync_error {
        Some(SyncError::Failed(f)) if described && f.kind == Kind::InstanceNotFound => {
            return FinalizeStep::Release(Release::Skipped("the instance does not exist".to_owned()));
        }
        Some(SyncError::Failed(f)) if matches!(f.kind, Kind::NotSupported | Kind::EndpointNotAllowed) => {
            let words = f.message.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
            return FinalizeStep::Release(Release::Skipped(format!("{}: {}{words}", f.action, f.code)));
        }
        _ => {}
    }
    if described
        && memory.describe_failure.is_none()
        && memory.sync_error.is_none()
        && memory.difference.is_none()
    {
        return FinalizeStep::Release(Release::Disabled);
    }
    let deadline = memory.deletion.first_hopeless.map(|first| after(first, ABANDON_TIMEOUT));
    if deadline.is_some_and(|deadline| deadline <= now) {
        return FinalizeStep::Release(Release::Abandoned(why_hopeless(env, memory)));
    }
    let wait = |until: Option<Timestamp>| FinalizeStep::Wait([until, deadline].into_iter().flatten().min());
    match reach {
        AccountAccess::Open => {}
        // Polled, since nothing signals the recovery of the API server.
        AccountAccess::Waiting => return wait(Some(after(now, HOPELESS_RETRY))),
        AccountAccess::Hopeless => return wait(None),
    }
    if let Some(until) = env.paused_until.filter(|until| *until > now) {
        return wait(Some(until));
    }
    if memory.next_describe <= now
        || !described && memory.describe_failure.is_none() && memory.sync_error.is_none()
    {
        return FinalizeStep::Describe;
    }
    match memory.difference_seen {
        Some(seen) if since(seen, now) > MAX_DESCRIBE_AGE => FinalizeStep::Describe,
        Some(_) => FinalizeStep::Modify,
        None => wait(Some(memory.next_describe)),
    }
}

/// Returns why the resource would not modify the instance; such a resource does not disable it either.
fn would_not_modify(desired: &Desired, env: &ReconcileEnv) -> Option<String> {
    if !desired.manages {
        return Some("the policy only observes".to_owned());
    }
    if desired.suspended {
        return Some("the policy is suspended".to_owned());
    }
    if let Some(competitor) = &env.competitor {
        let who = competitor.name.as_deref().unwrap_or("one of another namespace");
        return Some(format!("the instance is managed by another policy: {who}"));
    }
    match &env.readiness {
        AccountReadiness::Closed(
            reason @ (Reason::Suspended
            | Reason::AccountNotAllowed
            | Reason::EndpointNotAllowed
            | Reason::NotSupported
            | Reason::InvalidRequest),
            text,
        ) => Some(format!("{}: {text}", reason.as_str())),
        _ => None,
    }
}

fn why_hopeless(env: &ReconcileEnv, memory: &Memory) -> String {
    match (&env.readiness, &memory.sync_error) {
        (AccountReadiness::Closed(reason, text), _) => format!("{}: {text}", reason.as_str()),
        (_, Some(SyncError::Failed(f))) => format!("{}: {}", f.action, f.code),
        _ => "the change never became visible".to_owned(),
    }
}
