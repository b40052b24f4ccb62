//! Context of a cloud call: the resource it is made for, its priority, and whether it may still be sent.

use std::sync::{Arc, Mutex, PoisonError};

use super::api_client::failure;
use super::{Permit, SendGuard};
use crate::domain::{Failure, Kind};

/// Decides right before a call is sent whether to drop it; the failure is the reason. Its kind must be one that no
/// response of a cloud has: a refusal must neither verify nor reject the account's credentials.
pub type PreSendCheck = Arc<dyn Fn() -> Result<(), Failure> + Send + Sync>;

/// Priority of a call in its account's request queue. Changes and work in progress share the fast queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// The next call of a reconcile that has just received a response, such as the Modify after the Describe that
    /// showed a difference. It goes before all namespaces, because that response soon becomes too old to act on. A
    /// reconcile makes few of these calls, so a namespace's share still depends on how many of its reconciles start.
    /// `poll`: the reconcile started as a poll, and the call counts as one.
    FollowUp { poll: bool },
    /// A later call of work in progress. It goes before the namespace's changes: finishing keeps the number of open
    /// ones low, and each takes effect soon.
    InProgress,
    /// A call that a person or a deletion waits for.
    #[default]
    Change,
    /// A page of a shared listing, which replaces many polls. It gets every second slot among the namespace's polls.
    Listing,
    /// A routine poll; nobody waits for its outcome.
    Poll,
}

/// Context of a call: the resource it is made for, its priority and its checks. Cheap to clone. The default stands for
/// the operator itself, as when it verifies an account: a namespace and a resource of its own.
#[derive(Clone, Default)]
pub struct CallContext {
    namespace: Arc<str>,
    resource: Arc<str>,
    check: Option<PreSendCheck>,
    priority: Priority,
    held: Option<SharedPermit>,
    guard: Option<Arc<SendGuard>>,
}

/// A permit shared by all clones; the first call takes it.
type SharedPermit = Arc<Mutex<Option<Permit>>>;

impl CallContext {
    /// Creates the context of a resource, identified by its uid.
    pub fn new(namespace: &str, resource: &str) -> Self {
        Self { namespace: namespace.into(), resource: resource.into(), ..Self::default() }
    }

    /// Sets the check of every try, made after its wait for the budget, right before it is signed and sent.
    pub fn with_check(self, check: PreSendCheck) -> Self {
        Self { check: Some(check), ..self }
    }

    /// Bounds every request by the guard.
    pub fn with_guard(self, guard: Arc<SendGuard>) -> Self {
        Self { guard: Some(guard), ..self }
    }

    /// Sets the priority.
    pub fn with_priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// Lets the next call of this context or of a clone use this permit instead of waiting for one. An unused permit is
    /// given back when the last clone is dropped.
    pub fn with_permit(self, permit: Permit) -> Self {
        Self { held: Some(Arc::new(Mutex::new(Some(permit.mark_unused())))), ..self }
    }

    pub(super) fn take_permit(&self) -> Option<Permit> {
        self.held.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub fn priority(&self) -> Priority {
        self.priority
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

    /// Runs the check, then asks the guard.
    ///
    /// # Errors
    /// The refusal of the check, or of the guard.
    pub fn check(&self) -> Result<(), Failure> {
        self.check.as_ref().map_or(Ok(()), |check| check())?;
        match self.guard() {
            Some(guard) if !guard.admits() => Err(failure("", Kind::CloudUnavailable, "not sent any more")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "call_context_tests.rs"]
mod tests;
