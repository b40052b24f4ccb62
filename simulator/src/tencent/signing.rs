//! TC3-HMAC-SHA256: canonical request, string to sign, key chain. Source: the page "Signature v3" and the signers of
//! the official Python, Go and Node SDKs.

use crate::digest::hmac;
pub use crate::digest::sha256_hex;
use crate::request::Signed;

pub const ALGORITHM: &str = "TC3-HMAC-SHA256";

/// Sent as X-TC-Content-SHA256, and hashed in place of the body, when the body is not signed.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// Day and service that a signature is valid for; the region is not signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Day of X-TC-Timestamp in UTC, `YYYY-MM-DD`.
    pub date: String,
    pub service: String,
}

impl Scope {
    pub fn text(&self) -> String {
        format!("{}/{}/tc3_request", self.date, self.service)
    }
}

/// Returns the canonical request. `None` if a signed header is absent or not text.
pub fn canonical_request(request: Signed<'_>, signed_headers: &[&str]) -> Option<String> {
    let mut headers = String::new();
    for name in signed_headers {
        // The document lower-cases names and values; the SDKs send what is in lower case already.
        let value = request.header(name)?.to_lowercase();
        headers.push_str(&format!("{}:{value}\n", name.to_lowercase()));
    }
    let unsigned = request.header("x-tc-content-sha256") == Some(UNSIGNED_PAYLOAD);
    let payload = if unsigned { UNSIGNED_PAYLOAD.as_bytes() } else { request.body };
    let Signed { method, query, .. } = request;
    // The path is always "/", and the query is used as sent.
    let names = signed_headers.join(";").to_lowercase();
    Some(format!("{method}\n/\n{query}\n{headers}\n{names}\n{}", sha256_hex(payload)))
}

pub fn string_to_sign(timestamp: &str, scope: &Scope, canonical_request: &str) -> String {
    let hash = sha256_hex(canonical_request.as_bytes());
    format!("{ALGORITHM}\n{timestamp}\n{}\n{hash}", scope.text())
}

pub fn signature(secret: &str, scope: &Scope, string_to_sign: &str) -> String {
    let mut key = format!("TC3{secret}").into_bytes();
    for step in [&scope.date, &scope.service, "tc3_request"] {
        key = hmac(&key, step);
    }
    hex::encode(hmac(&key, string_to_sign))
}
