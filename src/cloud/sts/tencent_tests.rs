use super::*;
use crate::cloud::Site;
use crate::cloud::api_client::INVALID_REQUEST;
use crate::cloud::fake::{KEY_ID, SECRET, raw};
use crate::cloud::sts::tests::{StsFixture, TOKEN, assert_not_promised, role};
use axum::body::Body;
use http::Response;
use secrecy::ExposeSecret;
use std::time::Duration;

const SITE: Site = Site::Tencent;
/// Time at which the local clock stands still.
const START: i64 = 1_755_832_455;

fn ok(mut response: Value) -> Response<Body> {
    response["RequestId"] = json!("r-ok");
    raw(200, json!({"Response": response}).to_string())
}

fn error(code: &str) -> Response<Body> {
    let error = json!({"Code": code, "Message": "m"});
    raw(200, json!({"Response": {"Error": error, "RequestId": "r-err"}}).to_string())
}

/// Response as in the documents.
fn answer(expired_time: Value) -> Value {
    let keys = json!({
        "TmpSecretId": "AKIDissuedexample00000001", "TmpSecretKey": "issuedtencentkey1", "Token": "issued-tencent-token",
    });
    json!({"ExpiredTime": expired_time, "Expiration": "2025-08-22T04:14:15Z", "Credentials": keys})
}

fn an_hour() -> Value {
    answer(json!(START + 3600))
}

/// Another implementation computed the signature; it reproduces those of the official SDKs' vectors.
#[tokio::test(start_paused = true)]
async fn a_role_is_assumed_by_a_signed_call() {
    let stand = StsFixture::new(SITE, |_, _| ok(an_hour()));
    let credentials = Credentials::new(KEY_ID, SECRET, Some("a-tencent-session"));
    let issued = stand.sts.assume_role(&credentials, &role(SITE), Some("a:b/c=")).await.unwrap();
    assert_eq!(issued.credentials.access_key_id(), "AKIDissuedexample00000001");
    assert_eq!(issued.credentials.secret().expose_secret(), "issuedtencentkey1");
    assert_eq!(issued.credentials.token().unwrap().expose_secret(), "issued-tencent-token");
    assert_eq!(issued.valid_for, Duration::from_secs(3600));
    let seen = &stand.seen()[0];
    assert_eq!(
        (seen.method.as_str(), seen.uri.to_string().as_str()),
        ("POST", "https://sts.tencentcloudapi.com/")
    );
    assert_eq!(
        seen.text,
        concat!(
            r#"{"DurationSeconds":3600,"ExternalId":"a:b/c=","#,
            r#""RoleArn":"qcs::cam::uin/100000000001:roleName/redis-backup","#,
            r#""RoleSessionName":"cross-region+backup@1"}"#
        )
    );
    let expected = format!(
        "TC3-HMAC-SHA256 Credential={KEY_ID}/2025-08-22/sts/tc3_request, SignedHeaders=content-type;host, \
         Signature=5c71648c9eed35eec63c7204cc366b4a622e3179ee9dcd2b9f95dc1048469896"
    );
    let headers = [
        ("host", "sts.tencentcloudapi.com"),
        ("content-type", "application/json"),
        ("x-tc-action", "AssumeRole"),
        ("x-tc-version", "2018-08-13"),
        ("x-tc-timestamp", "1755832455"),
        ("x-tc-region", "ap-guangzhou"),
        ("x-tc-token", "a-tencent-session"),
        ("authorization", expected.as_str()),
    ];
    for (name, value) in headers {
        assert_eq!(seen.header(name), value, "{name}");
    }
    assert!(seen.headers["authorization"].is_sensitive() && seen.headers["x-tc-token"].is_sensitive());
}

#[tokio::test(start_paused = true)]
async fn a_token_goes_without_a_signature() {
    let stand = StsFixture::new(Site::TencentInternational, |_, _| ok(an_hour()));
    let token = IdentityToken::new(&format!("\t{TOKEN}\n")).unwrap();
    stand.sts.with_web_identity(&token, &role(SITE), Some("cls-abcdefgh")).await.unwrap();
    let seen = &stand.seen()[0];
    assert_eq!(seen.uri.to_string(), "https://sts.intl.tencentcloudapi.com/");
    assert_eq!(
        seen.text,
        concat!(
            r#"{"DurationSeconds":3600,"ProviderId":"cls-abcdefgh","#,
            r#""RoleArn":"qcs::cam::uin/100000000001:roleName/redis-backup","#,
            r#""RoleSessionName":"cross-region+backup@1","#,
            r#""WebIdentityToken":"eyJ0ZXN0.c3RzLXRlc3Q.sig_na-ture"}"#
        )
    );
    let headers = [
        ("x-tc-action", "AssumeRoleWithWebIdentity"),
        ("x-tc-version", "2018-08-13"),
        ("x-tc-region", "ap-guangzhou"),
        ("authorization", "SKIP"),
    ];
    for (name, value) in headers {
        assert_eq!(seen.header(name), value, "{name}");
    }
    assert!(!seen.headers.contains_key("x-tc-token"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_without_the_issuers_name() {
    let stand = StsFixture::new(SITE, |_, _| ok(an_hour()));
    let token = IdentityToken::new(TOKEN).unwrap();
    let failure = stand.sts.with_web_identity(&token, &role(SITE), None).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::InvalidRequest, INVALID_REQUEST));
    assert_eq!(failure.message.as_deref(), Some("ProviderId is required"));
    assert!(stand.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_is_measured_by_the_clouds_own_clock() {
    // The local clock shows 2025-08-22T03:14:15Z.
    let cases = [
        // Off by a day, in either direction.
        (START + 86_400 + 1800, Some("Sat, 23 Aug 2025 03:14:15 GMT"), Some(1800)),
        (START - 86_400 + 1800, Some("Thu, 21 Aug 2025 03:14:15 GMT"), Some(1800)),
        // Never more than was requested.
        (START + 43_200, Some("Fri, 22 Aug 2025 03:14:15 GMT"), Some(3600)),
        // Without a Date the local clock counts.
        (START + 900, None, Some(900)),
        (START + 900, Some("today"), Some(900)),
        (START + 86_400, None, Some(3600)),
        (START, None, None),
        (START - 1, None, None),
        (START + 900, Some("Fri, 22 Aug 2025 04:14:15 GMT"), None),
    ];
    for (expired_time, date, seconds) in cases {
        let stand = StsFixture::new(SITE, move |_, _| {
            let mut answered = ok(answer(json!(expired_time)));
            answered.headers_mut().extend(date.map(|date| (http::header::DATE, date.parse().unwrap())));
            answered
        });
        for result in [stand.assume_role().await, stand.with_web_identity().await] {
            match seconds {
                Some(seconds) => assert_eq!(result.unwrap().valid_for, Duration::from_secs(seconds)),
                None => assert_not_promised(result, "the time of expiry has passed", &json!(expired_time)),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_not_what_the_api_promises() {
    let missing = "key id, secret or token is missing";
    let without = |name: &str| {
        let mut answer = an_hour();
        answer["Credentials"][name] = json!("");
        answer
    };
    let cases = [
        (json!({}), missing),
        (json!({"ExpiredTime": START + 3600, "Credentials": "keys"}), missing),
        (without("TmpSecretId"), missing),
        (without("TmpSecretKey"), missing),
        (without("Token"), missing),
        (answer(json!(null)), "the time of expiry is missing"),
        (answer(json!("2025-08-22T04:14:15Z")), "the time of expiry is missing"),
        (answer(json!(-1)), "the time of expiry is missing"),
        (answer(json!(i64::MAX)), "the time of expiry is missing"),
        (answer(json!(0)), "the time of expiry has passed"),
    ];
    for (response, what) in cases {
        let answered = response.clone();
        let stand = StsFixture::new(SITE, move |_, _| ok(answered.clone()));
        assert_not_promised(stand.assume_role().await, what, &response);
        assert_not_promised(stand.with_web_identity().await, what, &response);
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
                "ResourceNotFound.RoleNotFound",
                "InvalidParameter.WebIdentityTokenError",
                "InvalidParameter.OverTimeError",
                "UnauthorizedOperation",
                "UnauthorizedOperation.Whatever",
                "AuthFailure",
                "AuthFailure.SecretIdNotFound",
                "AuthFailure.SignatureFailure",
                "AuthFailure.TokenFailure",
                "AuthFailure.UnauthorizedOperation",
                "AuthFailure.AccessKeyIllegal",
                "InvalidParameter.PermissionDenied",
                "IpInBlacklist",
                "IpNotInWhitelist",
            ],
        ),
        (
            Kind::Throttled,
            &["RequestLimitExceeded", "RequestLimitExceeded.UinLimitExceeded", "InvalidParameter.OverLimit"],
        ),
        (
            Kind::InvalidRequest,
            &[
                "InvalidParameter",
                "InvalidParameter.ParamError",
                "InvalidParameter.AccountNotAvaliable",
                "InvalidParameter.AccessKeyNotSupport",
                "InvalidParameterValue",
                "MissingParameter",
                "UnknownParameter",
            ],
        ),
        (
            Kind::CloudUnavailable,
            &[
                "InternalError",
                "InternalError.GetRoleError",
                "InternalError.IllegalRole",
                "InternalError.SystemError",
                "FailedOperation",
                "ServiceUnavailable",
                "InvalidAction",
                "NoSuchVersion",
                "AuthFailure.SignatureExpire",
                "ResourceInUse",
                "ResourceNotFound.InstanceNotExists",
            ],
        ),
        (Kind::NotSupported, &["UnsupportedOperation", "UnsupportedRegion"]),
    ];
    for (expected, codes) in table {
        for code in codes {
            for status in [200, 400, 401, 403, 404, 429, 500, 503] {
                let answer = StatusCode::from_u16(status).unwrap();
                assert_eq!(kind(code, answer), expected, "{code} with {status}");
            }
        }
    }
    for code in [
        "",
        "ResourceNotFound",
        "ResourceNotFound.Role",
        "RoleNotFound",
        "WebIdentityTokenError",
        "New.AuthFailure",
    ] {
        for status in [200, 400, 401, 403, 404, 500, 502] {
            let answer = StatusCode::from_u16(status).unwrap();
            assert_eq!(kind(code, answer), Kind::CloudUnavailable, "{code} with {status}");
        }
        assert_eq!(kind(code, StatusCode::TOO_MANY_REQUESTS), Kind::Throttled, "{code}");
    }
    let code = "InvalidParameter.WebIdentityTokenError";
    let stand = StsFixture::new(SITE, move |n, _| if n == 0 { error(code) } else { raw(404, "not here") });
    let failure = stand.with_web_identity().await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::CredentialsRejected, code));
    assert_eq!((failure.action, failure.request_id.as_deref()), ("AssumeRoleWithWebIdentity", Some("r-err")));
    let failure = stand.assume_role().await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::CloudUnavailable, "HTTP 404"));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_corrected_once_by_the_answers_date() {
    let stand = StsFixture::new(SITE, |n, _| {
        let mut answered = if n == 0 {
            error("AuthFailure.SignatureExpire")
        } else {
            ok(answer(json!(START + 86_400 + 600)))
        };
        // The second response has no Date: the corrected clock counts.
        let date = (n == 0).then(|| "Sat, 23 Aug 2025 03:14:15 GMT".parse().unwrap());
        answered.headers_mut().extend(date.map(|date| (http::header::DATE, date)));
        answered
    });
    assert_eq!(stand.assume_role().await.unwrap().valid_for, Duration::from_secs(600));
    let seen = stand.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1].header("x-tc-timestamp"), "1755918855");
    assert!(seen[1].header("authorization").contains("/2025-08-23/sts/tc3_request"));
}
