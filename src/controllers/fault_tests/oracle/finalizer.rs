//! Something else than a status is written: the finalizer alone, and it goes for a reason only.

use std::time::Duration;

use tokio::time::Instant;

use super::hold;
use super::objects::Policy;
use super::process::Process;

/// So long after the deletion at the earliest it is given up.
const GIVEN_UP: Duration = Duration::from_secs(300);

pub fn judge(process: &Process, before: &Policy, after: &Policy, at: Instant) -> Result<(), String> {
    let name = &after.name;
    hold(before.spec == after.spec && before.status == after.status, || {
        format!("{name}: a write of the finalizer changes more than that")
    })?;
    match (before.held, after.held) {
        (false, true) => hold(after.disables(), || format!("{name} is held, and is not to be disabled")),
        (true, false) if after.disables() => {
            hold(after.deleted, || format!("{name} is let go, and is to be disabled"))?;
            hold(has_reason(process, after, at), || format!("{name} is let go, and was not disabled"))
        }
        _ => Ok(()),
    }
}

/// Whether nothing is left to be disabled, or by somebody else.
fn has_reason(process: &Process, policy: &Policy, at: Instant) -> bool {
    let deleted = process.known_since.get(&policy.version_of_spec());
    let Some(deleted) = deleted.copied() else { return false };
    let look = process.looks_at(policy.instance()).rfind(|look| look.sent >= deleted);
    let is_off =
        look.is_some_and(|look| look.is_missing || look.seen.as_ref().is_some_and(|seen| !seen.active));
    let has_rival = process.rival(policy, at).is_some();
    let cannot = process.unsupported.contains(policy.instance());
    let would_not = cannot || !policy.manages() || policy.is_suspended() || has_rival;
    is_off || would_not || process.is_shut(policy) || at >= deleted + GIVEN_UP
}
