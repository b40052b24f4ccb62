//! Requests by annotation on a resource, as far as they involve its account.

use super::Context;
use crate::accounts::AccountKey;
use crate::domain::Reason;
use crate::plan::AccountReadiness;
use crate::plan::memory::Request;

/// Requests a verification of the account, before the request on the resource is handled, if the account is not Ready.
pub fn forward(context: &Context, key: &AccountKey, request: &mut Request, readiness: &AccountReadiness) {
    let concerns_account = match readiness {
        // A resource that may not use the account cannot request its verification.
        AccountReadiness::Closed(
            Reason::Suspended | Reason::AccountNotFound | Reason::AccountNotAllowed,
            _,
        ) => false,
        AccountReadiness::Closed(..) => true,
        AccountReadiness::Open => context.accounts.view(key).is_some_and(|view| !view.verified),
        AccountReadiness::Pending(_) => false,
    };
    if request.pending.is_some() && concerns_account && !request.forwarded {
        request.forwarded = true;
        context.accounts.request_verification(key);
    }
}

/// Whether the request was handled: the poll is complete (`looked`), or none is possible.
pub fn is_handled(
    context: &Context,
    key: &AccountKey,
    request: &Request,
    readiness: &AccountReadiness,
    looked: bool,
) -> bool {
    match readiness {
        AccountReadiness::Open => looked,
        AccountReadiness::Pending(_) | AccountReadiness::Closed(Reason::Suspended, _) => false,
        AccountReadiness::Closed(Reason::AccountNotFound | Reason::AccountNotAllowed, _) => true,
        AccountReadiness::Closed(..) => {
            let verifying = context.accounts.view(key).is_some_and(|view| view.verifying);
            request.forwarded && !verifying
        }
    }
}
