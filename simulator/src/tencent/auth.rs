//! Authentication of requests by their signature. The order of the checks is the order of the errors, which is not
//! documented.

use jiff::{SignedDuration, Timestamp};

use super::error;
use super::signing::{self, ALGORITHM, Scope};
use crate::error::ApiError;
use crate::model::{KeySpec, KeyStatus};
use crate::request::Signed;

/// Allowed difference between X-TC-Timestamp and the server's time, either way.
const SKEW: SignedDuration = SignedDuration::from_secs(300);

/// The parsed Authorization header, unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub secret_id: String,
    pub scope: Scope,
    pub signed_headers: Vec<String>,
    pub signature: String,
}

impl Claim {
    /// Parses the header; `None` if it is not of the documented form, as the `SKIP` of unsigned calls is not.
    pub fn parse(authorization: &str) -> Option<Self> {
        let rest = authorization.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in rest.split(',') {
            match part.trim().split_once('=')? {
                ("Credential", value) => credential = Some(value),
                ("SignedHeaders", value) => signed_headers = Some(value),
                ("Signature", value) => signature = Some(value),
                _ => return None,
            }
        }
        let parts: Vec<_> = credential?.split('/').collect();
        let [id, date, service, "tc3_request"] = parts[..] else { return None };
        let signature = signature.filter(|text| !text.is_empty() && !id.is_empty())?;
        Some(Self {
            secret_id: id.to_owned(),
            scope: Scope { date: date.to_owned(), service: service.to_owned() },
            signed_headers: signed_headers?.split(';').map(str::to_owned).collect(),
            signature: signature.to_owned(),
        })
    }

    fn signs(&self, header: &str) -> bool {
        self.signed_headers.iter().any(|name| name.eq_ignore_ascii_case(header))
    }
}

/// Results of the verifier for a claim, for comparison with other implementations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub canonical_request: String,
    pub string_to_sign: String,
    pub signature: String,
}

/// Returns the signature that this request has if `secret` made it. `None` if a signed header is absent.
pub fn expected(request: Signed<'_>, claim: &Claim, timestamp: &str, secret: &str) -> Option<Expected> {
    let names: Vec<_> = claim.signed_headers.iter().map(String::as_str).collect();
    let canonical_request = signing::canonical_request(request, &names)?;
    let string_to_sign = signing::string_to_sign(timestamp, &claim.scope, &canonical_request);
    let signature = signing::signature(secret, &claim.scope, &string_to_sign);
    Some(Expected { canonical_request, string_to_sign, signature })
}

/// Verifies a request to `service`; returns its key, which `find` looks up.
///
/// # Errors
/// The cloud's error for a request that is not authentic.
pub fn authenticate<'k>(
    request: Signed<'_>,
    service: &str,
    find: impl FnOnce(&str) -> Option<&'k KeySpec>,
    now: Timestamp,
) -> Result<&'k KeySpec, ApiError> {
    let header = request.header("authorization").unwrap_or_default();
    let claim = Claim::parse(header)
        // The documented minimum of signed headers.
        .filter(|claim| claim.signs("content-type") && claim.signs("host"))
        .ok_or_else(error::invalid_authorization)?;
    let key = find(&claim.secret_id)
        .filter(|key| key.status == KeyStatus::Active)
        .ok_or_else(error::secret_id_not_found)?;
    let timestamp = request.header("x-tc-timestamp").ok_or_else(|| error::missing_parameter("Timestamp"))?;
    check_time(&claim, service, timestamp, now)?;
    let expected = expected(request, &claim, timestamp, &key.secret_access_key);
    if expected.is_none_or(|expected| expected.signature != claim.signature) {
        return Err(error::signature_failure());
    }
    check_token(request, key, now)?;
    Ok(key)
}

fn check_time(claim: &Claim, service: &str, timestamp: &str, now: Timestamp) -> Result<(), ApiError> {
    let signed_at = timestamp.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
    let signed_at = signed_at.ok_or_else(|| error::type_error("Timestamp"))?;
    if now.duration_since(signed_at).abs() > SKEW {
        return Err(error::signature_expire());
    }
    if claim.scope.date != signed_at.strftime("%Y-%m-%d").to_string() || claim.scope.service != service {
        return Err(error::signature_failure());
    }
    Ok(())
}

/// Checks the session token, which is never signed.
fn check_token(request: Signed<'_>, key: &KeySpec, now: Timestamp) -> Result<(), ApiError> {
    let right = key.session_token.as_deref() == request.header("x-tc-token").filter(|text| !text.is_empty());
    if !right || key.expires_at.is_some_and(|end| now >= end) {
        return Err(error::token_failure());
    }
    Ok(())
}
