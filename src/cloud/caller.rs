//! On whose behalf a call is made, and whether it may still be made.

use std::sync::Arc;

use crate::domain::Failure;

/// Says why a call is not to be sent any more. Its kind is one that no answer of a cloud has: a refusal must neither
/// verify nor reject the account's credentials.
pub type Check = Arc<dyn Fn() -> Result<(), Failure> + Send + Sync>;

/// For whom a call is made. Cheap to clone. The default is the operator itself, as when it verifies an account: a
/// namespace and a resource of its own.
#[derive(Clone, Default)]
pub struct Caller {
    namespace: Arc<str>,
    resource: Arc<str>,
    check: Option<Check>,
}

impl Caller {
    /// A resource, by its uid.
    pub fn new(namespace: &str, resource: &str) -> Self {
        Self { namespace: namespace.into(), resource: resource.into(), check: None }
    }

    /// Has every try checked after its wait for the budget, right before it is signed and sent.
    pub fn checked(self, check: Check) -> Self {
        Self { check: Some(check), ..self }
    }

    pub fn namespace(&self) -> &Arc<str> {
        &self.namespace
    }

    pub fn resource(&self) -> &Arc<str> {
        &self.resource
    }

    /// # Errors
    /// The check's refusal.
    pub fn check(&self) -> Result<(), Failure> {
        self.check.as_ref().map_or(Ok(()), |check| check())
    }
}

#[cfg(test)]
#[path = "caller_tests.rs"]
mod tests;
