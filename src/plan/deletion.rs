//! What is left to do for a policy that is being deleted and holds the finalizer.

use std::time::Duration;

use jiff::Timestamp;

use super::memory::{FRESHNESS, Memory, PATIENCE, Verdict};
use super::{Desired, Gate, Surroundings, after, since};
use crate::domain::{Change, Class, Kind, Reason};

/// So long after the first hopeless answer since the deletion it is given up.
const ABANDON_AFTER: Duration = Duration::from_secs(300);
/// A hopeless answer is asked for again this often until then.
const ASK_AGAIN: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletionMemory {
    /// Whether a look has ended since the deletion, and since what was known was last put in doubt.
    pub(super) looked: bool,
    first_hopeless: Option<Timestamp>,
    /// The release that was told last.
    told: Option<Release>,
}

/// How the account can be reached for this deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Through the account, or with the credentials last seen of one that is gone.
    Open,
    /// Not now, but it will pass.
    Waiting,
    /// Account or Secret are gone and no credentials are remembered, or the cloud rejects them.
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
    /// `deletionPolicy: Retain` by now.
    Retained,
    /// The cloud shows Active=false.
    Disabled,
    /// The resource would not modify the instance otherwise either, or there is nothing to disable.
    Skipped(String),
    /// Given up.
    Abandoned(String),
}

/// What a deletion wants of the cloud.
pub fn switched_off(desired: &Desired) -> Desired {
    Desired {
        change: Change { active: false, cross_backup_region: None },
        objective: None,
        ..desired.clone()
    }
}

/// Takes in how the account can be reached and what the last step brought; call it before [`next`].
pub fn notice(memory: &mut Memory, reach: Reach, now: Timestamp) {
    let answered = match &memory.verdict {
        Some(Verdict::Failed(f)) => f.kind.class() == Class::NeedsPerson,
        Some(Verdict::RegionNotAvailable { .. }) => true,
        None => memory.not_taken >= PATIENCE,
    };
    // A clock that is set back must not put the giving up off.
    memory.deletion.first_hopeless = memory.deletion.first_hopeless.map(|first| first.min(now));
    if reach == Reach::Hopeless || answered {
        memory.deletion.first_hopeless.get_or_insert(now);
        memory.next_look = memory.next_look.min(after(now, ASK_AGAIN));
    }
}

/// A look has ended.
pub fn looked(memory: &mut Memory) {
    memory.deletion.looked = true;
}

/// Whether a release is still to be told: it comes again as long as the finalizer cannot be removed.
pub fn is_news(memory: &mut Memory, release: &Release) -> bool {
    memory.deletion.told.replace(release.clone()).as_ref() != Some(release)
}

/// Decides the next step. `desired` is [`switched_off`].
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
        // Whether account and Secret are there is asked again, as nothing tells when the API server answers once more.
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

/// Disabled is only by a resource that would modify the instance otherwise.
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
