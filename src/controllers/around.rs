//! Environment of a resource: the state of its account, and whether it may use it.

use std::time::Duration;

use jiff::Timestamp;

use super::sharing::{Admission, Purpose};
use super::{Context, PATIENCE};
use crate::domain::Reason;
use crate::observe::{AccountKey, View};
use crate::plan::{Gate, Surroundings, after};

/// Returns the environment of a resource of this namespace and account, without competing policies, and the account if
/// it is known.
pub fn surroundings(
    context: &Context,
    key: &AccountKey,
    namespace: &str,
    purpose: Purpose,
    now: Timestamp,
) -> (Surroundings, Option<View>) {
    let stored = context.account(key);
    let view = context.accounts.view(key).filter(|_| stored.is_some());
    let unsynced = context.shared.as_ref().is_some_and(|shared| key.is_shared() && !shared.is_synced());
    let admission = context.admission(key, namespace, purpose);
    let verdict = match &view {
        Some(view) => view.gate.clone(),
        None if stored.is_some() => Gate::Pending(after(now, PATIENCE)),
        None => Gate::Closed(
            Reason::AccountNotFound,
            match key.is_shared() {
                true => format!("{key} does not exist"),
                false => format!("{key} does not exist in this namespace"),
            },
        ),
    };
    let gate = match (verdict, admission) {
        (suspended @ Gate::Closed(Reason::Suspended, _), _) => suspended,
        (_, Admission::Denied(denial)) => {
            Gate::Closed(Reason::AccountNotAllowed, format!("{key}: {}", denial.text()))
        }
        (_, _) if unsynced => {
            let told = after(context.started, PATIENCE);
            match told > now {
                true => Gate::Pending(told),
                false => Gate::Closed(Reason::AccountNotReady, format!("{key}: it could not be read yet")),
            }
        }
        (Gate::Open, Admission::Unknown) => Gate::Pending(after(now, Duration::from_secs(1))),
        (verdict, _) => verdict,
    };
    let around = Surroundings {
        gate,
        paused_until: view.as_ref().and_then(|view| view.paused_until),
        rival: None,
        // The access generation includes the admission: a resource that gains access polls at once.
        epoch: view.as_ref().map(|view| 2 * view.epoch + u64::from(admission == Admission::Allowed)),
    };
    (around, view)
}
