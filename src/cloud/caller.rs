//! On whose behalf a call is made, and whether it may still be made.

use std::sync::{Arc, Mutex, PoisonError};

use super::exchange::failure;
use super::{Permit, SendGuard};
use crate::domain::{Failure, Kind};

/// Says why a call is not to be sent any more. Its kind is one that no answer of a cloud has: a refusal must neither
/// verify nor reject the account's credentials.
pub type Check = Arc<dyn Fn() -> Result<(), Failure> + Send + Sync>;

/// How soon a call is served of what waits for the budget. Changes and what has begun share the fast lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lane {
    /// The next call of a reconcile that has just had an answer, as a Modify after the Describe that showed a difference: before
    /// all namespaces, since that answer is soon too old to act on. A reconcile makes few of them, so what a namespace gets is
    /// still decided by how many of its reconciles begin. `poll`: this one began as a poll, and counts as one.
    FollowUp { poll: bool },
    /// A later call of work that has begun. It goes before the namespace's changes: finishing keeps few of them open, and
    /// each takes effect soon.
    Begun,
    /// What a person or a deletion waits for.
    #[default]
    Change,
    /// A page of a listing that spares many polls: of the namespace's turns among the polls it has every other one.
    Listing,
    /// A look of which nobody waits for the outcome.
    Poll,
}

/// For whom a call is made. Cheap to clone. The default is the operator itself, as when it verifies an account: a
/// namespace and a resource of its own.
#[derive(Clone, Default)]
pub struct Caller {
    namespace: Arc<str>,
    resource: Arc<str>,
    check: Option<Check>,
    lane: Lane,
    held: Option<Held>,
    guard: Option<Arc<SendGuard>>,
}

/// Shared by all clones, of which one may use it.
type Held = Arc<Mutex<Option<Permit>>>;

impl Caller {
    /// A resource, by its uid.
    pub fn new(namespace: &str, resource: &str) -> Self {
        Self { namespace: namespace.into(), resource: resource.into(), ..Self::default() }
    }

    /// Has every try checked after its wait for the budget, right before it is signed and sent.
    pub fn checked(self, check: Check) -> Self {
        Self { check: Some(check), ..self }
    }

    /// Has every request bounded by the guard.
    pub fn guarded(self, guard: Arc<SendGuard>) -> Self {
        Self { guard: Some(guard), ..self }
    }

    pub fn in_lane(self, lane: Lane) -> Self {
        Self { lane, ..self }
    }

    /// Has the next call, of this caller or a clone of it, go with this permit instead of waiting for one. Where none
    /// does, the permit is given back when the last of them is dropped.
    pub fn holding(self, permit: Permit) -> Self {
        Self { held: Some(Arc::new(Mutex::new(Some(permit.untaken())))), ..self }
    }

    pub(super) fn take_held(&self) -> Option<Permit> {
        self.held.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub fn lane(&self) -> Lane {
        self.lane
    }

    pub fn namespace(&self) -> &Arc<str> {
        &self.namespace
    }

    pub fn resource(&self) -> &Arc<str> {
        &self.resource
    }

    pub(super) fn guard(&self) -> Option<&SendGuard> {
        self.guard.as_deref()
    }

    /// # Errors
    /// The check's refusal, or that of the guard.
    pub fn check(&self) -> Result<(), Failure> {
        self.check.as_ref().map_or(Ok(()), |check| check())?;
        match self.guard() {
            Some(guard) if !guard.admits() => Err(failure("", Kind::CloudUnavailable, "not sent any more")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "caller_tests.rs"]
mod tests;
