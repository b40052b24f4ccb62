//! HMAC-SHA256 signatures: canonical request, string to sign, key chain. Source: the canonicalisation that the official
//! Go and Python signers share.

use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::digest::hmac;
pub use crate::digest::sha256_hex;

pub const ALGORITHM: &str = "HMAC-SHA256";

/// Characters to encode: all but the unreserved ones of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Day, region and service that a signature is valid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub date: String,
    pub region: String,
    /// As the client spells it: `redis` and `Redis` give different signatures.
    pub service: String,
}

impl Scope {
    pub fn text(&self) -> String {
        format!("{}/{}/{}/request", self.date, self.region, self.service)
    }
}

/// Returns the names and values of a query, decoded; `+` is a space as in Go's parser.
pub fn query_pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// Returns the pairs sorted by name, repeated names in their order, each percent-encoded.
pub fn canonical_query(query: &str) -> String {
    let mut pairs = query_pairs(query);
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    let encode = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    let parts: Vec<_> = pairs.iter().map(|(n, v)| format!("{}={}", encode(n), encode(v))).collect();
    parts.join("&")
}

/// Returns the host as it is signed: the ports 80 and 443 are cut with any scheme, all others stay.
pub fn canonical_host(host: &str) -> &str {
    host.strip_suffix(":80").or_else(|| host.strip_suffix(":443")).unwrap_or(host)
}

/// Returns `name:value\n` for each of `names`, in their order. `None` if a header is absent or not text.
pub fn canonical_headers(headers: &HeaderMap, names: &[&str]) -> Option<String> {
    let mut text = String::new();
    for name in names {
        let value = headers.get(*name)?.to_str().ok().or_else(|| {
            // Values outside ASCII are signed as their bytes, which must then be UTF-8.
            std::str::from_utf8(headers.get(*name)?.as_bytes()).ok()
        })?;
        let value = if *name == "host" { canonical_host(value.trim()) } else { value.trim() };
        text.push_str(&format!("{name}:{value}\n"));
    }
    Some(text)
}

/// Returns the canonical request. `signed_headers` are lower-case names.
pub fn canonical_request(
    method: &str,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    signed_headers: &[&str],
    payload_sha256: &str,
) -> Option<String> {
    let path = if path.is_empty() { "/" } else { path };
    let query = canonical_query(query);
    let canonical = canonical_headers(headers, signed_headers)?;
    let names = signed_headers.join(";");
    Some(format!("{method}\n{path}\n{query}\n{canonical}\n{names}\n{payload_sha256}"))
}

pub fn string_to_sign(x_date: &str, scope: &Scope, canonical_request: &str) -> String {
    let hash = sha256_hex(canonical_request.as_bytes());
    format!("{ALGORITHM}\n{x_date}\n{}\n{hash}", scope.text())
}

/// Returns the signature by the key chain; the secret is used as its bytes, although it looks like base64.
pub fn signature(secret: &str, scope: &Scope, string_to_sign: &str) -> String {
    let mut key = secret.as_bytes().to_vec();
    for step in [&scope.date, &scope.region, &scope.service, "request"] {
        key = hmac(&key, step);
    }
    hex::encode(hmac(&key, string_to_sign))
}
