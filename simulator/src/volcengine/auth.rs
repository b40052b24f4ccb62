//! Authentication of requests by their signature. The order of the checks is the order of the errors.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::error;
use super::signing::{self, ALGORITHM, Scope};
use crate::error::ApiError;
use crate::model::{KeySpec, KeyStatus};
use crate::request::Signed;

/// Validity of a signature without X-Expires.
const VALIDITY_SECONDS: i64 = 900;

const X_DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// The parsed Authorization header, unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub access_key_id: String,
    pub scope: Scope,
    pub signed_headers: Vec<String>,
    pub signature: String,
}

/// Returns a parameter of the query that is not empty.
pub(super) fn query_value(request: Signed<'_>, name: &str) -> Option<String> {
    let found = signing::query_pairs(request.query).into_iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value).filter(|value| !value.is_empty())
}

impl Claim {
    /// Parses the header; its parts are separated by `,` with or without a space.
    pub fn parse(authorization: &str) -> Result<Self, ApiError> {
        let rest = authorization
            .strip_prefix(ALGORITHM)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or_else(error::invalid_authorization)?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in rest.split(',') {
            match part.trim().split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => signed_headers = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                _ => return Err(error::invalid_authorization()),
            }
        }
        let credential = credential.ok_or_else(error::invalid_authorization)?;
        let signed_headers = signed_headers.ok_or_else(error::invalid_authorization)?;
        let signature = signature.filter(|text| !text.is_empty()).ok_or_else(error::missing_signature)?;
        let (access_key_id, scope) = read_credential(credential).ok_or_else(error::invalid_credential)?;
        Ok(Self {
            access_key_id,
            scope,
            signed_headers: signed_headers.split(';').map(str::to_owned).collect(),
            signature: signature.to_owned(),
        })
    }

    fn signs(&self, header: &str) -> bool {
        self.signed_headers.iter().any(|name| name == header)
    }
}

fn read_credential(credential: &str) -> Option<(String, Scope)> {
    let parts: Vec<_> = credential.split('/').collect();
    let [id, date, region, service, "request"] = parts[..] else { return None };
    let date_ok = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
    let filled = [id, region, service].iter().all(|part| !part.is_empty());
    let scope = Scope { date: date.into(), region: region.into(), service: service.into() };
    (date_ok && filled).then(|| (id.to_owned(), scope))
}

/// Results of the verifier for a claim, for comparison with other implementations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub canonical_request: String,
    pub string_to_sign: String,
    pub signature: String,
}

/// Returns the signature that this request has if `secret` made it. `None` if a signed header is absent.
pub fn expected(request: Signed<'_>, claim: &Claim, x_date: &str, secret: &str) -> Option<Expected> {
    let names: Vec<_> = claim.signed_headers.iter().map(String::as_str).collect();
    let canonical_request = signing::canonical_request(
        request.method,
        request.path,
        request.query,
        request.headers,
        &names,
        &signing::sha256_hex(request.body),
    )?;
    let string_to_sign = signing::string_to_sign(x_date, &claim.scope, &canonical_request);
    let signature = signing::signature(secret, &claim.scope, &string_to_sign);
    Some(Expected { canonical_request, string_to_sign, signature })
}

/// Verifies a request; returns its key, which `find` looks up.
///
/// # Errors
/// The cloud's error for a request that is not authentic.
pub fn authenticate<'k>(
    request: Signed<'_>,
    find: impl FnOnce(&str) -> Option<&'k KeySpec>,
    now: Timestamp,
) -> Result<&'k KeySpec, ApiError> {
    let header = request.header("authorization").ok_or_else(error::missing_authentication_token)?;
    let claim = Claim::parse(header)?;
    // The signing page demands both in SignedHeaders; the code of the error otherwise is not documented.
    if !claim.signs("host") || !claim.signs("x-date") {
        return Err(error::invalid_authorization());
    }
    let key = find(&claim.access_key_id)
        .filter(|key| key.status == KeyStatus::Active)
        .ok_or_else(|| error::invalid_access_key(&claim.access_key_id))?;
    let x_date = request.header("x-date").ok_or_else(|| error::missing_request_info("X-Date"))?;
    check_date(request, &claim, x_date, now)?;
    check_token(request, &claim, key, now)?;
    check_signature(request, &claim, x_date, key)?;
    Ok(key)
}

fn check_date(request: Signed<'_>, claim: &Claim, x_date: &str, now: Timestamp) -> Result<(), ApiError> {
    let signed_at = DateTime::strptime(X_DATE_FORMAT, x_date)
        .ok()
        .filter(|_| x_date.len() == "20250822T031415Z".len())
        .and_then(|date| date.to_zoned(TimeZone::UTC).ok())
        .ok_or_else(error::invalid_timestamp)?
        .timestamp();
    if !x_date.starts_with(&claim.scope.date) {
        return Err(error::invalid_credential());
    }
    let validity = match query_value(request, "X-Expires") {
        None => VALIDITY_SECONDS,
        Some(text) => text.parse().map_err(|_| error::invalid_timestamp())?,
    };
    // The allowed lead of a date over the server's time is not documented; assumed to equal the allowed lag.
    let distance = now.duration_since(signed_at).abs();
    if distance > SignedDuration::from_secs(validity) {
        return Err(error::invalid_timestamp());
    }
    Ok(())
}

fn check_token(request: Signed<'_>, claim: &Claim, key: &KeySpec, now: Timestamp) -> Result<(), ApiError> {
    let refused = |why: &str| Err(error::invalid_secret_token(why));
    match (&key.session_token, request.header("x-security-token")) {
        (None, None) => {}
        (None, Some(_)) => return refused("the access key has no session token"),
        (Some(_), None) => return refused("the session token is missing"),
        (Some(wanted), Some(found)) if wanted != found => return refused("the session token is wrong"),
        // Every official signer signs the token it sends.
        (Some(_), Some(_)) if !claim.signs("x-security-token") => {
            return refused("the session token is not signed");
        }
        (Some(_), Some(_)) => {}
    }
    if key.expires_at.is_some_and(|end| now >= end) {
        return refused("the session token has expired");
    }
    Ok(())
}

fn check_signature(request: Signed<'_>, claim: &Claim, x_date: &str, key: &KeySpec) -> Result<(), ApiError> {
    let sent_hash = request.header("x-content-sha256");
    if sent_hash.is_some_and(|hash| hash != signing::sha256_hex(request.body)) {
        return Err(error::signature_does_not_match());
    }
    let expected = expected(request, claim, x_date, &key.secret_access_key);
    if expected.is_none_or(|expected| expected.signature != claim.signature) {
        return Err(error::signature_does_not_match());
    }
    Ok(())
}
