//! Environment of a resource: the state of its account, and whether it may use it.

use std::time::Duration;

use jiff::Timestamp;

use super::sharing::{Admission, Purpose};
use super::{ACCOUNT_WAIT_TIMEOUT, Context};
use crate::accounts::{AccountKey, AccountView};
use crate::domain::Reason;
use crate::plan::{AccountReadiness, ReconcileEnv, after};

/// Returns the environment of a resource of this namespace and account, without competing policies, and the account if
/// it is known.
pub fn environment(
    context: &Context,
    key: &AccountKey,
    namespace: &str,
    purpose: Purpose,
    now: Timestamp,
) -> (ReconcileEnv, Option<AccountView>) {
    let stored = context.account(key);
    let view = context.accounts.view(key).filter(|_| stored.is_some());
    let unsynced = context.shared.as_ref().is_some_and(|shared| key.is_shared() && !shared.is_synced());
    let admission = context.admission(key, namespace, purpose);
    let verdict = match &view {
        Some(view) => view.readiness.clone(),
        None if stored.is_some() => AccountReadiness::Pending(after(now, ACCOUNT_WAIT_TIMEOUT)),
        None => AccountReadiness::Closed(
            Reason::AccountNotFound,
            match key.is_shared() {
                true => format!("{key} does not exist"),
                false => format!("{key} does not exist in this namespace"),
            },
        ),
    };
    let readiness = match (verdict, admission) {
        (suspended @ AccountReadiness::Closed(Reason::Suspended, _), _) => suspended,
        (_, Admission::Denied(denial)) => {
            AccountReadiness::Closed(Reason::AccountNotAllowed, format!("{key}: {}", denial.text()))
        }
        (_, _) if unsynced => {
            let wait_until = after(context.started, ACCOUNT_WAIT_TIMEOUT);
            match wait_until > now {
                true => AccountReadiness::Pending(wait_until),
                false => AccountReadiness::Closed(
                    Reason::AccountNotReady,
                    format!("{key}: it could not be read yet"),
                ),
            }
        }
        (AccountReadiness::Open, Admission::Unknown) => {
            AccountReadiness::Pending(after(now, Duration::from_secs(1)))
        }
        (verdict, _) => verdict,
    };
    let env = ReconcileEnv {
        readiness,
        paused_until: view.as_ref().and_then(|view| view.paused_until),
        competitor: None,
        // The access generation includes the admission: a resource that gains access polls at once.
        access_generation: view
            .as_ref()
            .map(|view| 2 * view.access_generation + u64::from(admission == Admission::Allowed)),
    };
    (env, view)
}
