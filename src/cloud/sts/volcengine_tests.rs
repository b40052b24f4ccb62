use super::*;
use crate::cloud::Site;
use crate::cloud::fake::{KEY_ID, SECRET, now, raw};
use crate::cloud::sts::tests::{StsFixture, TOKEN, assert_not_promised, credentials, role};
use axum::body::Body;
use http::Response;
use secrecy::ExposeSecret;
use serde_json::json;
use std::time::Duration;

const SITE: Site = Site::Volcengine;

fn ok(keys: Value) -> Response<Body> {
    let body = json!({"ResponseMetadata": {"RequestId": "r-ok"}, "Result": {"Credentials": keys}});
    raw(200, body.to_string())
}

fn error(status: u16, code: &str) -> Response<Body> {
    let error = json!({"CodeN": 1, "Code": code, "Message": "m"});
    raw(status, json!({"ResponseMetadata": {"RequestId": "r-err", "Error": error}}).to_string())
}

/// Credentials as in the documents, plus these times.
fn keys(times: Value) -> Value {
    let mut keys = json!({
        "AccessKeyId": "AKTPissuedexample00000001", "SecretAccessKey": "issued/volc+key==", "SessionToken": "STSissuedvolc",
    });
    keys.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
    keys
}

fn an_hour() -> Value {
    keys(json!({"CurrentTime": "2021-04-12T10:57:09+08:00", "ExpiredTime": "2021-04-12T11:57:09+08:00"}))
}

/// Another implementation computed the signature; it reproduces that of the official SDK's vector below.
#[tokio::test(start_paused = true)]
async fn a_role_is_assumed_by_a_signed_get() {
    let stand = StsFixture::new(SITE, |_, _| ok(an_hour()));
    let issued = stand.assume_role().await.unwrap();
    assert_eq!(issued.credentials.access_key_id(), "AKTPissuedexample00000001");
    assert_eq!(issued.credentials.secret().expose_secret(), "issued/volc+key==");
    assert_eq!(issued.credentials.token().unwrap().expose_secret(), "STSissuedvolc");
    assert_eq!(issued.valid_for, Duration::from_secs(3600));
    let seen = &stand.seen()[0];
    assert_eq!((seen.method.as_str(), seen.text.as_str()), ("GET", ""));
    assert_eq!(
        seen.uri.to_string(),
        "https://sts.volcengineapi.com/?Action=AssumeRole&DurationSeconds=3600&RoleSessionName=cross-region%2Bbackup%401\
         &RoleTrn=trn%3Aiam%3A%3A2100000000%3Arole%2Fredis-backup&Version=2018-01-01"
    );
    assert_eq!(seen.header("host"), "sts.volcengineapi.com");
    assert_eq!(seen.header("x-date"), "20250822T031415Z");
    assert!(!seen.headers.contains_key("x-security-token") && !seen.headers.contains_key("content-type"));
    let expected = format!(
        "HMAC-SHA256 Credential={KEY_ID}/20250822/cn-beijing/sts/request, SignedHeaders=host;x-content-sha256;x-date, \
         Signature=fbe2747b949266d6ff7080a5226bfea76a0b22a1f8c95c219a36736ad1dc32f2"
    );
    assert_eq!(seen.header("authorization"), expected);
    assert!(seen.headers["authorization"].is_sensitive());
}

#[tokio::test(start_paused = true)]
async fn a_session_token_and_an_external_id_are_signed() {
    let stand = StsFixture::new(SITE, |_, _| ok(an_hour()));
    let credentials = Credentials::new(KEY_ID, SECRET, Some("a-session-token"));
    stand.sts.assume_role(&credentials, &role(SITE), Some("a:b/c=")).await.unwrap();
    let seen = &stand.seen()[0];
    assert!(seen.uri.query().unwrap().contains("&ExternalId=a%3Ab%2Fc%3D&"), "{}", seen.uri);
    assert_eq!(seen.header("x-security-token"), "a-session-token");
    assert!(seen.headers["x-security-token"].is_sensitive());
    let expected = "SignedHeaders=host;x-content-sha256;x-date;x-security-token, \
                    Signature=0d8ff115cc38bfc074491bf84b7970a10ca0a936dc233b327974784aa663b4a0";
    assert!(seen.header("authorization").ends_with(expected), "{}", seen.header("authorization"));
}

#[test]
fn a_get_is_signed_as_by_the_official_python_sdk() {
    let vectors: Value = serde_json::from_str(include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/volcengine-signing-vectors.json"
    )))
    .unwrap();
    let vectors = vectors["vectors"].as_array().unwrap();
    let vector = vectors.iter().find(|v| v["name"] == "get_query_encoding").unwrap();
    let query = vector["input"]["query"].as_array().unwrap();
    let query: Vec<_> =
        query.iter().map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap())).collect();
    let to_sign = Unsigned {
        method: Method::GET,
        region: "cn-beijing",
        service: SERVICE,
        query: &query,
        content_type: None,
        body: String::new(),
    };
    let endpoint =
        crate::cloud::EndpointRule::default().sts_endpoint(SITE, None, false, "cn-beijing").unwrap();
    let request =
        to_sign.signed(ASSUME_ROLE, &endpoint.for_call(true).unwrap(), &credentials(), now()).unwrap();
    let expected = &vector["expected_python"];
    assert_eq!(request.uri().query().unwrap(), expected["canonical_query"]);
    assert_eq!(request.headers()["authorization"].to_str().unwrap(), expected["authorization"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_goes_unsigned_in_a_form() {
    let times =
        json!({"CurrentTime": "2021-04-12T10:57:09+08:00", "Expiration": "2021-04-12T11:57:09+08:00"});
    let stand = StsFixture::new(SITE, move |_, _| ok(keys(times.clone())));
    let token = IdentityToken::new(&format!("{TOKEN}+/=&\n")).unwrap();
    let issued = stand.sts.with_web_identity(&token, &role(SITE), None).await.unwrap();
    assert_eq!(issued.valid_for, Duration::from_secs(3600));
    let seen = &stand.seen()[0];
    assert_eq!(seen.method, Method::POST);
    assert_eq!(
        seen.uri.to_string(),
        "https://sts.volcengineapi.com/?Action=AssumeRoleWithOIDC&Version=2018-01-01"
    );
    assert_eq!(
        seen.text,
        "DurationSeconds=3600&OIDCToken=eyJ0ZXN0.c3RzLXRlc3Q.sig_na-ture%2B%2F%3D%26\
         &RoleSessionName=cross-region%2Bbackup%401&RoleTrn=trn%3Aiam%3A%3A2100000000%3Arole%2Fredis-backup"
    );
    let mut names: Vec<_> = seen.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "content-type", "host"]);
    assert_eq!(seen.header("content-type"), "application/x-www-form-urlencoded");
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_is_measured_by_the_clouds_own_clock() {
    // The local clock shows 2025-08-22T03:14:15Z.
    let cases = [
        // Off by years, in either direction.
        (
            json!({"CurrentTime": "2021-04-12T10:57:09+08:00", "Expiration": "2021-04-12T11:57:09+08:00"}),
            None,
            3600,
        ),
        (
            json!({"CurrentTime": "2031-04-12T10:57:09+08:00", "ExpiredTime": "2031-04-12T03:12:09Z"}),
            None,
            900,
        ),
        // Never more than was requested.
        (
            json!({"CurrentTime": "2021-04-12T10:57:09+08:00", "ExpiredTime": "2021-04-12T22:57:09+08:00"}),
            None,
            3600,
        ),
        // The response's Date counts if the time is missing or invalid; then the local clock.
        (json!({"ExpiredTime": "2021-04-12T11:00:00Z"}), Some("Mon, 12 Apr 2021 10:30:00 GMT"), 1800),
        (
            json!({"CurrentTime": "now", "ExpiredTime": "2021-04-12T11:00:00Z"}),
            Some("Mon, 12 Apr 2021 10:30:00 GMT"),
            1800,
        ),
        (json!({"Expiration": "2025-08-22T11:24:15+08:00"}), None, 600),
    ];
    for (times, date, seconds) in cases {
        let answered = times.clone();
        let stand = StsFixture::new(SITE, move |_, _| {
            let mut answer = ok(keys(answered.clone()));
            answer.headers_mut().extend(date.map(|date| (http::header::DATE, date.parse().unwrap())));
            answer
        });
        for result in [stand.assume_role().await, stand.with_web_identity().await] {
            assert_eq!(result.unwrap().valid_for, Duration::from_secs(seconds), "{times}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_not_what_the_api_promises() {
    let missing = "key id, secret or token is missing";
    let without = |name: &str, value: Value| {
        let mut keys = an_hour();
        keys[name] = value;
        keys
    };
    let cases = [
        (json!(null), missing),
        (json!("keys"), missing),
        (without("AccessKeyId", json!("")), missing),
        (without("SecretAccessKey", json!(null)), missing),
        (without("SecretAccessKey", json!("a\nb")), missing),
        (without("SessionToken", json!(7)), missing),
        (without("ExpiredTime", json!(null)), "the time of expiry is missing"),
        (without("ExpiredTime", json!(1_618_199_829)), "the time of expiry is missing"),
        (without("ExpiredTime", json!("2021-04-12")), "the time of expiry is missing"),
        (without("ExpiredTime", json!("2021-04-12T10:57:09+08:00")), "the time of expiry has passed"),
        (without("ExpiredTime", json!("2021-04-12T09:57:09+08:00")), "the time of expiry has passed"),
    ];
    for (keys, what) in cases {
        let answered = keys.clone();
        let stand = StsFixture::new(SITE, move |_, _| ok(answered.clone()));
        assert_not_promised(stand.assume_role().await, what, &keys);
        assert_not_promised(stand.with_web_identity().await, what, &keys);
        assert_eq!(stand.seen().len(), 2);
    }
    let html = StsFixture::new(SITE, |_, _| raw(200, "<html>welcome</html>"));
    assert_not_promised(html.assume_role().await, "", &json!(null));
}

#[tokio::test(start_paused = true)]
async fn every_code_has_its_kind_whatever_the_status() {
    let table: [(Kind, &[&str]); 5] = [
        (
            Kind::CredentialsRejected,
            &[
                "AccessDenied",
                "LackPolicy",
                "LackProjectPolicy",
                "RoleNotExist",
                "InvalidAccessKey",
                "SignatureDoesNotMatch",
                "MissingSignature",
                "MissingAuthenticationToken",
                "InvalidAuthorization",
                "InvalidCredential",
                "InvalidSecretToken",
            ],
        ),
        (
            Kind::Throttled,
            &["FlowLimitExceeded", "AccountFlowLimitExceeded", "RequestLimitExceeded", "Throttling"],
        ),
        (Kind::InvalidRequest, &["MissingParameter", "MissingRequestInfo", "ParamError", "MethodNotAllowed"]),
        (
            Kind::CloudUnavailable,
            &[
                "InternalError",
                "ServerError",
                "InternalServiceTimeout",
                "FailToConnect",
                "ServiceUnavailableTemp",
                "InvalidTimestamp",
                "ServiceNotFound",
                "InvalidActionOrVersion",
                "InstanceNotExist",
                "InstanceStatusNotMatch",
            ],
        ),
        (Kind::NotSupported, &["InvalidOperator"]),
    ];
    for (expected, codes) in table {
        for code in codes {
            for status in [200, 400, 401, 403, 404, 429, 500, 503] {
                let answer = StatusCode::from_u16(status).unwrap();
                assert_eq!(kind(code, answer), expected, "{code} with {status}");
            }
        }
    }
    for code in
        ["", "RoleNotExists", "XRoleNotExist", "AccessDenied.Role", "InvalidOIDC", "InternalError.Role"]
    {
        for status in [200, 400, 401, 403, 404, 500, 502] {
            let answer = StatusCode::from_u16(status).unwrap();
            assert_eq!(kind(code, answer), Kind::CloudUnavailable, "{code} with {status}");
        }
        assert_eq!(kind(code, StatusCode::TOO_MANY_REQUESTS), Kind::Throttled, "{code}");
    }
    let stand =
        StsFixture::new(SITE, |n, _| if n == 0 { error(403, "RoleNotExist") } else { raw(404, "not here") });
    let failure = stand.with_web_identity().await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::CredentialsRejected, "RoleNotExist"));
    assert_eq!((failure.action, failure.request_id.as_deref()), ("AssumeRoleWithOIDC", Some("r-err")));
    let failure = stand.assume_role().await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::CloudUnavailable, "HTTP 404"));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_corrected_once_by_the_answers_date() {
    for (date, tries) in [(Some("Sat, 23 Aug 2025 05:00:00 GMT"), 2), (None, 1)] {
        let stand = StsFixture::new(SITE, move |_, _| {
            let mut answer = error(400, "InvalidTimestamp");
            answer.headers_mut().extend(date.map(|date| (http::header::DATE, date.parse().unwrap())));
            answer
        });
        let failure = stand.assume_role().await.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::CloudUnavailable, "InvalidTimestamp"));
        let seen = stand.seen();
        assert_eq!(seen.len(), tries);
        if let Some(second) = seen.get(1) {
            assert_eq!(second.header("x-date"), "20250823T050000Z");
        }
    }
}
