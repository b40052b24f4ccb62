//! Volcengine's request signature, HMAC-SHA256 (document "Signature process", D/6293/65744). Pure: no clock, no IO.
//! Results of these functions must not be logged: a canonical request contains the session token.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use crate::cloud::digest::{hmac_sha256 as hmac, sha256_hex};

const ALGORITHM: &str = "HMAC-SHA256";
const TERMINATOR: &str = "request";
/// Characters to encode: all but RFC 3986's unreserved ones; a space is `%20` and never `+`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The signed parts of a request. The path is always `/`: the API has no other.
pub struct ToSign<'a> {
    pub method: &'a str,
    /// Value of the Host header, with its port if it has one.
    pub host: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    /// The other headers to sign, in any order and case.
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

/// Credential scope of a signature.
pub struct Scope<'a> {
    /// `YYYYMMDD'T'HHMMSS'Z'`, the value of X-Date.
    pub x_date: &'a str,
    pub region: &'a str,
    pub service: &'a str,
}

impl Scope<'_> {
    fn date(&self) -> &str {
        self.x_date.get(..8).unwrap_or(self.x_date)
    }

    fn credential(&self) -> String {
        format!("{}/{}/{}/{TERMINATOR}", self.date(), self.region, self.service)
    }
}

/// Returns the value of the Authorization header.
pub fn authorization(request: &ToSign, scope: &Scope, access_key_id: &str, secret: &SecretString) -> String {
    let canonical = canonical_request(request);
    let key = signing_key(secret, scope);
    let signature = hex::encode(hmac(&key, &string_to_sign(&canonical, scope)));
    let headers = signed_headers(request);
    let credential = scope.credential();
    format!(
        "{ALGORITHM} Credential={access_key_id}/{credential}, SignedHeaders={headers}, Signature={signature}"
    )
}

/// Returns the query in the form that is signed and must appear in the URL: sorted by name, repeated names in their
/// given order.
pub fn canonical_query(query: &[(&str, &str)]) -> String {
    let mut sorted = query.to_vec();
    sorted.sort_by_key(|(name, _)| *name);
    let encode = |text| utf8_percent_encode(text, ENCODED);
    let pairs: Vec<_> =
        sorted.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

fn canonical_request(request: &ToSign) -> String {
    let headers: String =
        canonical_headers(request).iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    [
        request.method,
        "/",
        &canonical_query(request.query),
        &headers,
        &signed_headers(request),
        &sha256_hex(request.body),
    ]
    .join("\n")
}

fn canonical_headers<'a>(request: &ToSign<'a>) -> Vec<(String, &'a str)> {
    // The official signers strip these two ports, whichever the scheme.
    let host = request.host.strip_suffix(":443").or(request.host.strip_suffix(":80")).unwrap_or(request.host);
    let mut headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.trim())).collect();
    headers.push(("host".to_owned(), host));
    headers.sort();
    headers
}

fn signed_headers(request: &ToSign) -> String {
    let names: Vec<_> = canonical_headers(request).into_iter().map(|(name, _)| name).collect();
    names.join(";")
}

fn string_to_sign(canonical_request: &str, scope: &Scope) -> String {
    let hash = sha256_hex(canonical_request.as_bytes());
    [ALGORITHM, scope.x_date, &scope.credential(), &hash].join("\n")
}

fn signing_key(secret: &SecretString, scope: &Scope) -> [u8; 32] {
    // The secret is used as it is: it looks like base64, but is not decoded.
    let mut key = hmac(secret.expose_secret().as_bytes(), scope.date());
    for part in [scope.region, scope.service, TERMINATOR] {
        key = hmac(&key, part);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;
    use serde_json::Value;

    const VECTORS: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/volcengine-signing-vectors.json"));

    /// Checks a vector, signing only the headers in its expected list: SDKs differ in which they sign.
    fn check(name: &str, input: &Value, added: &Value, expected: &Value) {
        let text = |v: &'_ Value| v.as_str().unwrap_or_default().to_owned();
        let query: Vec<(String, String)> =
            input["query"].as_array().unwrap().iter().map(|p| (text(&p[0]), text(&p[1]))).collect();
        let query: Vec<_> = query.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let form = "application/x-www-form-urlencoded; charset=utf-8".to_owned();
        let content_type = input["content_type"].as_str().map_or(form, str::to_owned);
        let mut all = vec![("Content-Type".to_owned(), content_type)];
        for more in [added, &input["extra_headers"]] {
            all.extend(more.as_object().into_iter().flatten().map(|(n, v)| (n.clone(), text(v))));
        }
        let wanted = text(&expected["signed_headers"]);
        let headers: Vec<_> = all
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .filter(|(n, _)| wanted.split(';').any(|w| w.eq_ignore_ascii_case(n)))
            .collect();
        let [method, host, body, x_date, region, service] =
            ["method", "host", "body", "x_date", "region", "service"].map(|key| text(&input[key]));
        let request =
            ToSign { method: &method, host: &host, query: &query, headers: &headers, body: body.as_bytes() };
        let scope = Scope { x_date: &x_date, region: &region, service: &service };
        let secret = SecretString::from(text(&input["secret_access_key"]));

        assert_eq!(sha256_hex(request.body), expected["payload_sha256"], "{name}");
        assert_eq!(canonical_query(&query), expected["canonical_query"], "{name}");
        assert_eq!(signed_headers(&request), expected["signed_headers"], "{name}");
        let canonical = canonical_request(&request);
        assert_eq!(canonical, expected["canonical_request"], "{name}");
        assert_eq!(sha256_hex(canonical.as_bytes()), expected["canonical_request_sha256"], "{name}");
        assert_eq!(scope.credential(), expected["credential_scope"], "{name}");
        let to_sign = string_to_sign(&canonical, &scope);
        assert_eq!(to_sign, expected["string_to_sign"], "{name}");
        let mut key = hmac(secret.expose_secret().as_bytes(), scope.date());
        for (part, link) in
            [("", "k_date"), (&region, "k_region"), (&service, "k_service"), ("request", "k_signing")]
        {
            if !part.is_empty() {
                key = hmac(&key, part);
            }
            assert_eq!(hex::encode(key), expected[link], "{name} {link}");
        }
        assert_eq!(signing_key(&secret, &scope), key, "{name}");
        assert_eq!(hex::encode(hmac(&key, &to_sign)), expected["signature"], "{name}");
        let id = text(&input["access_key_id"]);
        assert_eq!(authorization(&request, &scope, &id, &secret), expected["authorization"], "{name}");
    }

    #[test]
    fn reproduces_every_vector() {
        let all: Value = serde_json::from_str(VECTORS).unwrap();
        let mut checked = 0;
        for vector in all["vectors"].as_array().unwrap() {
            for (key, expected) in vector.as_object().unwrap() {
                if key.starts_with("expected") {
                    let name = format!("{} {key}", vector["name"]);
                    check(&name, &vector["input"], &vector["headers_added"], expected);
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, 16, "15 vectors, one of them with the two SDKs' different results");
    }

    proptest! {
        #[test]
        fn a_canonical_query_holds_only_safe_characters_and_says_the_same(
            pairs in proptest::collection::vec((any::<String>(), any::<String>()), 0..6),
        ) {
            let query: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let text = canonical_query(&query);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~%=&".contains(&b)), "{}", text);
            let decode = |t: &str| percent_decode_str(t).decode_utf8().unwrap().into_owned();
            let found: Vec<_> = text
                .split('&')
                .filter(|_| !query.is_empty())
                .map(|p| p.split_once('=').map(|(n, v)| (decode(n), decode(v))).unwrap())
                .collect();
            let mut expected = pairs.clone();
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(found, expected);
        }
    }
}
