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

/// An error code exactly as a cloud sent it, to decide by. It cannot be shown: a cloud may repeat a secret in it, and the
/// redacted form of a code ([`Failure::code`]) depends on the values of the account's Secret, so that no decision may rest on it.
#[derive(Clone, PartialEq, Eq)]
pub struct RawCode(Box<str>);

impl RawCode {
    /// Longer than any documented code. A longer text is cut, and then equals none of them.
    const LONGEST: usize = 256;

    pub fn new(code: &str) -> Self {
        Self(code[..code.floor_char_boundary(Self::LONGEST)].into())
    }

    /// What a table of codes says of it. The bounds keep the text itself from being returned.
    pub fn decide<T: Copy + 'static>(&self, table: impl FnOnce(&str) -> T) -> T {
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
    /// To be shown, never to decide by: the cloud's code, such as `InstanceNotExist`, redacted; where the cloud gave none, our own
    /// words for what happened (such as `timeout`, `connection refused`, `HTTP 502`). Never a host's address, never anything that
    /// differs between tries.
    pub code: String,
    /// To decide by: the cloud's code; `None` where the cloud gave none.
    pub raw: Option<RawCode>,
    /// The cloud's message: redacted, without control characters, at most 256 characters. With `CloudUnavailable` and
    /// `EndpointNotAllowed` our own words, which may name the account's host: for the account's owner alone.
    pub message: Option<String>,
    /// For logs and Events alone.
    pub request_id: Option<String>,
    /// From Retry-After, at most 5 minutes.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure in our own words, without an answer of the cloud.
    pub fn new(kind: Kind, action: &'static str, words: impl Into<String>) -> Self {
        let code = words.into();
        Self { kind, action, code, raw: None, message: None, request_id: None, retry_after: None }
    }

    /// A failure by this code of the cloud.
    #[cfg(test)]
    pub fn by_code(kind: Kind, action: &'static str, code: &str) -> Self {
        Self { raw: Some(RawCode::new(code)), ..Self::new(kind, action, code) }
    }

    /// Whether the cloud gave a code, and a table of codes says so of it.
    pub fn has_code(&self, table: impl FnOnce(&str) -> bool) -> bool {
        self.raw.as_ref().is_some_and(|raw| raw.decide(table))
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
        assert!(long.decide(|code| code.starts_with("InvalidParameter.") && code.len() <= 256));
    }
}
