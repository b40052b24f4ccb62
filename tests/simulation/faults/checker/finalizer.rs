//! Checks writes other than those of status: they change the finalizer alone, and remove it only for a reason.

use std::time::Duration;

use tokio::time::Instant;

use super::ensure;
use super::objects::Policy;
use super::process::Process;

/// Earliest time after the deletion at which disabling is abandoned.
const DISABLE_TIMEOUT: Duration = Duration::from_secs(300);

pub fn check(process: &Process, before: &Policy, after: &Policy, at: Instant) -> Result<(), String> {
    let name = &after.name;
    ensure(before.spec == after.spec && before.status == after.status, || {
        format!("{name}: a write of the finalizer changes more than that")
    })?;
    match (before.held, after.held) {
        (false, true) => ensure(after.disables(), || format!("{name} is held, and is not to be disabled")),
        (true, false) if after.disables() => {
            ensure(after.deleted, || format!("{name} is let go, and is to be disabled"))?;
            let reasons = Reasons::of(process, after, at);
            ensure(reasons.is_off || reasons.is_not_applicable || reasons.is_abandoned, || {
                format!("{name} is let go, and was not disabled")
            })
        }
        _ => Ok(()),
    }
}

/// Reasons, as far as the process knows, why a deleted policy needs no disabling any more.
#[derive(Debug, Default)]
pub struct Reasons {
    /// A describe since the deletion showed the policy inactive.
    pub is_off: bool,
    /// There is nothing to disable, or this policy is not the one to do it.
    pub is_not_applicable: bool,
    pub is_abandoned: bool,
}

impl Reasons {
    pub fn of(process: &Process, policy: &Policy, at: Instant) -> Self {
        let Some(deleted) = process.known_since.get(&policy.spec_key()).copied() else {
            return Self::default();
        };
        let look = process.describes_of(policy.instance()).rfind(|look| look.sent >= deleted);
        let seen = look.and_then(|look| look.seen.as_ref());
        let is_missing = look.is_some_and(|look| look.is_missing);
        let cannot = process.unsupported.contains(policy.instance());
        let has_rival = process.competing_policy(policy, at).is_some();
        let would_not = !policy.manages() || policy.is_suspended() || has_rival || process.is_shut(policy);
        Self {
            is_off: seen.is_some_and(|seen| !seen.active),
            is_not_applicable: is_missing || cannot || would_not,
            is_abandoned: at >= deleted + DISABLE_TIMEOUT,
        }
    }
}
