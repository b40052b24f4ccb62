//! Every way in which a call to a cloud fails, by what helps against it.

use std::fmt;
use std::time::Duration;

/// One closed set: the kind alone decides retry and the condition's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    CredentialsRejected,
    PermissionDenied,
    Throttled,
    InstanceNotFound,
    InstanceNotReady,
    NotSupported,
    InvalidRequest,
    CloudUnavailable,
    /// The endpoint rule refuses the host, or every address that it resolves to.
    EndpointNotAllowed,
}

/// What the operator does about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Retried with exponential backoff.
    Passing,
    /// The whole account slows down.
    Throttled,
    /// Looked at again at the resource's interval, and when something that a person does changes it.
    NeedsPerson,
}

impl Kind {
    pub fn class(self) -> Class {
        match self {
            Kind::CloudUnavailable | Kind::InstanceNotReady => Class::Passing,
            Kind::Throttled => Class::Throttled,
            Kind::CredentialsRejected
            | Kind::PermissionDenied
            | Kind::InstanceNotFound
            | Kind::NotSupported
            | Kind::InvalidRequest
            | Kind::EndpointNotAllowed => Class::NeedsPerson,
        }
    }
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: Kind,
    /// The API's action, such as `DescribeCrossRegionBackupPolicy`.
    pub action: &'static str,
    /// The cloud's code, such as `InstanceNotExist`; where the cloud gave none, our own words for what happened
    /// (such as `timeout`, `connection refused`, `HTTP 502`). Never a host's address, never anything that differs between tries.
    pub code: String,
    /// The cloud's message: redacted, without control characters, at most 256 characters. With `CloudUnavailable` and
    /// `EndpointNotAllowed` our own words, which may name the account's host: for the account's owner alone.
    pub message: Option<String>,
    /// For logs and Events alone.
    pub request_id: Option<String>,
    /// From Retry-After, at most 5 minutes.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.action, self.code)?;
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        if let Some(id) = &self.request_id {
            write!(f, " (request {id})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
