//! Failures of calls to a cloud, classified by what resolves them.

use std::fmt;
use std::time::Duration;

/// Kind of a failure, a closed set: it alone determines the retry and the condition's reason.
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

/// Retry behaviour for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Retried with exponential backoff.
    Transient,
    /// The whole account slows down.
    Throttled,
    /// Retried at the resource's interval, and when a user changes something that may resolve it.
    NeedsPerson,
}

impl Kind {
    pub fn class(self) -> Class {
        match self {
            Kind::CloudUnavailable | Kind::InstanceNotReady => Class::Transient,
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

/// An error code exactly as the cloud sent it, for decisions only. It must not be shown: a cloud may repeat a secret
/// in it. The redacted form of a code ([`Failure::code`]) depends on the values of the account's Secret, so no
/// decision may be based on it.
#[derive(Clone, PartialEq, Eq)]
pub struct RawCode(Box<str>);

impl RawCode {
    /// Maximum length in bytes, longer than any documented code. A longer text is truncated, and then equals none of
    /// them.
    const MAX_LENGTH: usize = 256;

    pub fn new(code: &str) -> Self {
        Self(code[..code.floor_char_boundary(Self::MAX_LENGTH)].into())
    }

    /// Looks the code up in a table of codes. The bounds of `T` keep `table` from returning the text itself.
    pub fn lookup<T: Copy + 'static>(&self, table: impl FnOnce(&str) -> T) -> T {
        table(&self.0)
    }
}

impl fmt::Debug for RawCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawCode(hidden)")
    }
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: Kind,
    /// The API's action, such as `DescribeCrossRegionBackupPolicy`.
    pub action: &'static str,
    /// For display, never for decisions: the cloud's code, such as `InstanceNotExist`, redacted; if the cloud sent
    /// none, the operator's own description (such as `timeout`, `connection refused`, `HTTP 502`). It contains no
    /// host address, and nothing that differs between attempts.
    pub code: String,
    /// For decisions: the cloud's code; `None` if the cloud sent none.
    pub raw: Option<RawCode>,
    /// The cloud's message: redacted, without control characters, at most 256 characters. With `CloudUnavailable` and
    /// `EndpointNotAllowed` the operator's own message, which may name the account's host: for the owner of the
    /// account only.
    pub message: Option<String>,
    /// For logs and Events only.
    pub request_id: Option<String>,
    /// From Retry-After, at most 5 minutes.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Creates a failure with the operator's own description, without a response of the cloud.
    pub fn new(kind: Kind, action: &'static str, words: impl Into<String>) -> Self {
        let code = words.into();
        Self { kind, action, code, raw: None, message: None, request_id: None, retry_after: None }
    }

    /// Creates a failure with this code of the cloud.
    #[cfg(test)]
    pub fn by_code(kind: Kind, action: &'static str, code: &str) -> Self {
        Self { raw: Some(RawCode::new(code)), ..Self::new(kind, action, code) }
    }

    /// Returns whether the cloud sent a code for which `table` is true.
    pub fn has_code(&self, table: impl FnOnce(&str) -> bool) -> bool {
        self.raw.as_ref().is_some_and(|raw| raw.lookup(table))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_code_decides_and_is_shown_nowhere() {
        let failure = Failure {
            raw: Some(RawCode::new("Raw-canary")),
            ..Failure::new(Kind::CloudUnavailable, "Act", "redacted")
        };
        assert!(
            failure.has_code(|code| code == "Raw-canary") && !failure.has_code(|code| code == "redacted")
        );
        assert!(!format!("{failure} {failure:?} {failure:#?}").contains("canary"));
        assert!(!Failure::new(Kind::CloudUnavailable, "Act", "timeout").has_code(|_| true));
        let long = RawCode::new(&format!("InvalidParameter.{}", "é".repeat(100_000)));
        assert!(long.lookup(|code| code.starts_with("InvalidParameter.") && code.len() <= 256));
    }
}
