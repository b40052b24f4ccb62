//! Finalization of a policy that is being deleted and holds the finalizer.

use std::time::Duration;

use jiff::Timestamp;

use super::memory::{FRESHNESS, Memory, PATIENCE, Verdict};
use super::{Desired, Gate, Surroundings, after, since};
use crate::domain::{Change, Class, Kind, Reason};

/// Time from the first hopeless result of the deletion until it is abandoned.
const ABANDON_AFTER: Duration = Duration::from_secs(300);
/// Retry interval after a hopeless result.
const ASK_AGAIN: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletionMemory {
    /// Whether a describe has completed since the deletion, and since `reset_progress` last discarded the observations.
    pub(super) looked: bool,
    first_hopeless: Option<Timestamp>,
    /// Last release that was reported.
    told: Option<Release>,
}

/// Access to the account for this deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Through the account, or with the last known credentials of a deleted one.
    Open,
    /// Temporarily unavailable.
    Waiting,
    /// Account or Secret are deleted and no credentials are cached, or the cloud rejects them.
    Hopeless,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Farewell {
    Look,
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
pub fn notice(memory: &mut Memory, reach: Reach, now: Timestamp) {
    let answered = match &memory.verdict {
        Some(Verdict::Failed(f)) => f.kind.class() == Class::NeedsPerson,
        Some(Verdict::RegionNotAvailable { .. }) => true,
        None => memory.not_taken >= PATIENCE,
    };
    // A clock that is set back must not postpone the deadline.
    memory.deletion.first_hopeless = memory.deletion.first_hopeless.map(|first| first.min(now));
    if reach == Reach::Hopeless || answered {
        memory.deletion.first_hopeless.get_or_insert(now);
        memory.next_look = memory.next_look.min(after(now, ASK_AGAIN));
    }
}

/// Records a completed describe.
pub fn looked(memory: &mut Memory) {
    memory.deletion.looked = true;
}

/// Whether a release was not reported yet. It recurs while the finalizer cannot be removed.
pub fn is_news(memory: &mut Memory, release: &Release) -> bool {
    memory.deletion.told.replace(release.clone()).as_ref() != Some(release)
}

/// Decides the next step. `desired` is the result of [`switched_off`].
pub fn next(
    desired: &Desired,
    around: &Surroundings,
    memory: &Memory,
    reach: Reach,
    now: Timestamp,
) -> Farewell {
    if !desired.disable_on_delete {
        return Farewell::Release(Release::Retained);
    }
    if let Some(why) = would_not_modify(desired, around) {
        return Farewell::Release(Release::Skipped(why));
    }
    let looked = memory.deletion.looked;
    match &memory.verdict {
        Some(Verdict::Failed(f)) if looked && f.kind == Kind::InstanceNotFound => {
            return Farewell::Release(Release::Skipped("the instance does not exist".to_owned()));
        }
        Some(Verdict::Failed(f)) if matches!(f.kind, Kind::NotSupported | Kind::EndpointNotAllowed) => {
            let words = f.message.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
            return Farewell::Release(Release::Skipped(format!("{}: {}{words}", f.action, f.code)));
        }
        _ => {}
    }
    if looked && memory.look_failure.is_none() && memory.verdict.is_none() && memory.difference.is_none() {
        return Farewell::Release(Release::Disabled);
    }
    let deadline = memory.deletion.first_hopeless.map(|first| after(first, ABANDON_AFTER));
    if deadline.is_some_and(|deadline| deadline <= now) {
        return Farewell::Release(Release::Abandoned(why_hopeless(around, memory)));
    }
    let wait = |until: Option<Timestamp>| Farewell::Wait([until, deadline].into_iter().flatten().min());
    match reach {
        Reach::Open => {}
        // Polled, since nothing signals the recovery of the API server.
        Reach::Waiting => return wait(Some(after(now, ASK_AGAIN))),
        Reach::Hopeless => return wait(None),
    }
    if let Some(until) = around.paused_until.filter(|until| *until > now) {
        return wait(Some(until));
    }
    if memory.next_look <= now || !looked && memory.look_failure.is_none() && memory.verdict.is_none() {
        return Farewell::Look;
    }
    match memory.correctable {
        Some(seen) if since(seen, now) > FRESHNESS => Farewell::Look,
        Some(_) => Farewell::Modify,
        None => wait(Some(memory.next_look)),
    }
}

/// Returns why the resource would not modify the instance; such a resource does not disable it either.
fn would_not_modify(desired: &Desired, around: &Surroundings) -> Option<String> {
    if !desired.manages {
        return Some("the policy only observes".to_owned());
    }
    if desired.suspended {
        return Some("the policy is suspended".to_owned());
    }
    if let Some(rival) = &around.rival {
        let who = rival.name.as_deref().unwrap_or("one of another namespace");
        return Some(format!("the instance is managed by another policy: {who}"));
    }
    match &around.gate {
        Gate::Closed(
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

fn why_hopeless(around: &Surroundings, memory: &Memory) -> String {
    match (&around.gate, &memory.verdict) {
        (Gate::Closed(reason, text), _) => format!("{}: {text}", reason.as_str()),
        (_, Some(Verdict::Failed(f))) => format!("{}: {}", f.action, f.code),
        _ => "the change never became visible".to_owned(),
    }
}
