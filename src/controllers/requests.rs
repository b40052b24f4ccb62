//! Requests by annotation on a resource, as far as they concern its account.

use super::Context;
use crate::domain::Reason;
use crate::observe::AccountKey;
use crate::plan::Gate;
use crate::plan::memory::Request;

/// A request on a resource whose account is not Ready asks for the account's verification first.
pub fn forward(context: &Context, key: &AccountKey, request: &mut Request, gate: &Gate) {
    let concerns_account = match gate {
        // Who may not use an account has no say in it.
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

/// Whether the request was acted on: the look has ended (`looked`), or nothing can be looked at.
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
