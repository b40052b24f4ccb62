//! Requests by annotation on a resource, as far as they involve its account.

use super::Context;
use crate::domain::Reason;
use crate::observe::AccountKey;
use crate::plan::Gate;
use crate::plan::memory::Request;

/// Requests a verification of the account, before the request on the resource is handled, if the account is not Ready.
pub fn forward(context: &Context, key: &AccountKey, request: &mut Request, gate: &Gate) {
    let concerns_account = match gate {
        // A resource that may not use the account cannot request its verification.
        Gate::Closed(Reason::Suspended | Reason::AccountNotFound | Reason::AccountNotAllowed, _) => false,
        Gate::Closed(..) => true,
        Gate::Open => context.accounts.view(key).is_some_and(|view| !view.verified),
        Gate::Pending(_) => false,
    };
    if request.pending.is_some() && concerns_account && !request.forwarded {
        request.forwarded = true;
        context.accounts.request_verification(key);
    }
}

/// Whether the request was handled: the poll is complete (`looked`), or none is possible.
pub fn is_acted_on(
    context: &Context,
    key: &AccountKey,
    request: &Request,
    gate: &Gate,
    looked: bool,
) -> bool {
    match gate {
        Gate::Open => looked,
        Gate::Pending(_) | Gate::Closed(Reason::Suspended, _) => false,
        Gate::Closed(Reason::AccountNotFound | Reason::AccountNotAllowed, _) => true,
        Gate::Closed(..) => {
            let verifying = context.accounts.view(key).is_some_and(|view| view.verifying);
            request.forwarded && !verifying
        }
    }
}
