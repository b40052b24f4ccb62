//! Tests the signature verifier with signatures of the official signers.

use cloud_simulator::KeySpec;
use cloud_simulator::Signed;
use cloud_simulator::volcengine::auth::{Claim, authenticate, expected};
use cloud_simulator::volcengine::signing::{self, Scope};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

const VECTORS: &str = include_str!("../data/volcengine-signing-vectors.json");

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn headers(vector: &Value, expectation: &Value) -> HeaderMap {
    let input = &vector["input"];
    let mut headers = HeaderMap::new();
    let mut put = |name: &str, value: &str| {
        let name: HeaderName = name.to_lowercase().parse().unwrap();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
    };
    put("host", text(input, "host"));
    for extra in [&vector["headers_added"], &input["extra_headers"]] {
        for (name, value) in extra.as_object().into_iter().flatten() {
            put(name, value.as_str().unwrap());
        }
    }
    // The Go signer adds a Content-Type to a GET, which the input lacks.
    let signed = text(expectation, "canonical_headers").lines();
    let added = signed.filter_map(|line| line.strip_prefix("content-type:")).next();
    if let Some(content_type) = input["content_type"].as_str().or(added) {
        put("content-type", content_type);
    }
    put("authorization", text(expectation, "authorization"));
    headers
}

fn check(vector: &Value, expectation: &Value) {
    let name = text(vector, "name");
    let input = &vector["input"];
    let headers = headers(vector, expectation);
    let pairs = input["query"].as_array().unwrap().iter();
    // The query as a client sends it, unsorted.
    let query: Vec<_> = pairs
        .map(|pair| {
            let encode = |part: &Value| {
                percent_encoding::utf8_percent_encode(
                    part.as_str().unwrap(),
                    percent_encoding::NON_ALPHANUMERIC,
                )
                .to_string()
            };
            format!("{}={}", encode(&pair[0]), encode(&pair[1]))
        })
        .collect();
    let query = query.join("&");
    let request = Signed {
        method: text(input, "method"),
        path: text(input, "path"),
        query: &query,
        headers: &headers,
        body: text(input, "body").as_bytes(),
    };
    let claim = Claim::parse(text(expectation, "authorization")).unwrap();
    assert_eq!(claim.signed_headers.join(";"), text(expectation, "signed_headers"), "{name}");
    assert_eq!(claim.scope.text(), text(expectation, "credential_scope"), "{name}");
    let secret = text(input, "secret_access_key");
    let worked_out = expected(request, &claim, text(input, "x_date"), secret).unwrap();
    assert_eq!(worked_out.canonical_request, text(expectation, "canonical_request"), "{name}");
    assert_eq!(worked_out.string_to_sign, text(expectation, "string_to_sign"), "{name}");
    assert_eq!(worked_out.signature, text(expectation, "signature"), "{name}");

    let mut key = KeySpec::new(text(input, "access_key_id"), secret);
    key.session_token = input["session_token"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
    let now = DateTime::strptime("%Y%m%dT%H%M%SZ", text(input, "x_date")).unwrap();
    let now = now.to_zoned(TimeZone::UTC).unwrap().timestamp();
    let found = authenticate(request, |id| (id == key.access_key_id).then_some(&key), now);
    assert!(found.is_ok(), "{name}: {found:?}");
}

#[test]
fn every_vector_is_believed() {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 15);
    let mut checked = 0;
    for vector in vectors {
        for variant in ["expected", "expected_python", "expected_go"] {
            if let Some(expectation) = vector.get(variant) {
                check(vector, expectation);
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 16);
}

#[test]
fn the_query_is_made_canonical() {
    for (query, canonical) in [
        ("", ""),
        ("b=2&a=1", "a=1&b=2"),
        ("a=b+c*d~e", "a=b%20c%2Ad~e"),
        ("a=%e4%b8%ad", "a=%E4%B8%AD"),
        ("a=2&a=1&flag", "a=2&a=1&flag="),
    ] {
        assert_eq!(signing::canonical_query(query), canonical);
    }
}

#[test]
fn only_the_usual_ports_are_cut_from_the_host() {
    for (host, canonical) in [
        ("redis.volcengineapi.com:443", "redis.volcengineapi.com"),
        ("redis.volcengineapi.com:80", "redis.volcengineapi.com"),
        ("127.0.0.1:8443", "127.0.0.1:8443"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
    ] {
        assert_eq!(signing::canonical_host(host), canonical);
    }
}

#[test]
fn the_scope_keeps_the_spelling_of_the_service() {
    let scope = |service: &str| Scope {
        date: "20250822".into(),
        region: "cn-beijing".into(),
        service: service.into(),
    };
    assert_eq!(scope("Redis").text(), "20250822/cn-beijing/Redis/request");
    assert_ne!(
        signing::signature("secret", &scope("Redis"), "text"),
        signing::signature("secret", &scope("redis"), "text")
    );
}
