use super::*;
use crate::cloud::fake::{FakeCloud, KEY_ID, SECRET, raw};
use crate::cloud::{Client, Site};
use crate::domain::{InstanceRef, Kind};
use axum::body::Body;
use http::Response;
use serde_json::{Value, json};
use std::time::Duration;
use testbed::capture::capture;

const BACKUP: &str = "154571841-1165701309-438602494";

fn instance() -> InstanceRef {
    InstanceRef { region: "ap-guangzhou".to_owned(), id: "crs-g9my5vt7".to_owned() }
}

fn ok(mut response: Value) -> Response<Body> {
    response["RequestId"] = json!("r-ok");
    raw(200, json!({"Response": response}).to_string())
}

fn error(code: &str) -> Response<Body> {
    let error = json!({"Code": code, "Message": "m"});
    raw(200, json!({"Response": {"Error": error, "RequestId": "r-err"}}).to_string())
}

fn detail() -> Response<Body> {
    ok(json!({"BackupId": BACKUP, "MemSize": 2048}))
}

/// The signature was computed by another implementation, which reproduces the official SDKs' vectors.
#[tokio::test(start_paused = true)]
async fn a_call_is_the_signed_request_of_an_independent_signer() {
    let fake = FakeCloud::tencent(|_, _| detail());
    fake.client.backup_detail(&instance(), BACKUP).await.unwrap();
    let seen = &fake.seen()[0];
    assert_eq!(seen.uri.to_string(), "https://redis.tencentcloudapi.com/");
    assert_eq!(seen.body, json!({"BackupId": BACKUP, "InstanceId": "crs-g9my5vt7"}));
    let headers = [
        ("host", "redis.tencentcloudapi.com"),
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("x-tc-action", "DescribeBackupDetail"),
        ("x-tc-version", "2018-04-12"),
        ("x-tc-timestamp", "1755832455"),
        ("x-tc-region", "ap-guangzhou"),
        ("x-tc-language", "en-US"),
    ];
    for (name, value) in headers {
        assert_eq!(seen.header(name), value, "{name}");
    }
    assert!(!seen.headers.contains_key("x-tc-token"));
    let expected = format!(
        "TC3-HMAC-SHA256 Credential={KEY_ID}/2025-08-22/redis/tc3_request, SignedHeaders=content-type;host, \
         Signature=c9441c3cfbb8f3c2550b6244979f5ad269417eaa98df8737e9d116d7d6e1f62a"
    );
    assert_eq!(seen.header("authorization"), expected);
    assert!(seen.headers["authorization"].is_sensitive());
}

#[tokio::test(start_paused = true)]
async fn a_token_is_sent_and_hidden() {
    let credentials = Credentials::new(KEY_ID, SECRET, Some("a-tencent-token"));
    let fake = FakeCloud::of(Site::TencentInternational, credentials, |_, _| (Duration::ZERO, detail()));
    fake.client.backup_detail(&instance(), BACKUP).await.unwrap();
    let seen = &fake.seen()[0];
    assert_eq!(seen.header("host"), "redis.intl.tencentcloudapi.com");
    assert_eq!(seen.header("x-tc-token"), "a-tencent-token");
    assert!(seen.headers["x-tc-token"].is_sensitive());
    assert!(seen.header("authorization").contains("SignedHeaders=content-type;host,"));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_corrected_once_by_the_answers_date() {
    for (date, tries) in [(Some("Sat, 23 Aug 2025 05:00:00 GMT"), 2), (None, 1)] {
        let fake = FakeCloud::tencent(move |_, _| {
            let mut answer = error("AuthFailure.SignatureExpire");
            if let Some(date) = date {
                answer.headers_mut().insert("date", date.parse().unwrap());
            }
            answer
        });
        let failure = fake.client.backup_detail(&instance(), BACKUP).await.unwrap_err();
        assert_eq!(
            (failure.kind, failure.code.as_str()),
            (Kind::CloudUnavailable, "AuthFailure.SignatureExpire")
        );
        let seen = fake.seen();
        assert_eq!(seen.len(), tries, "{date:?}");
        if let Some(second) = seen.get(1) {
            assert_eq!(second.header("x-tc-timestamp"), "1755925200");
            assert!(second.header("authorization").contains("/2025-08-23/redis/tc3_request"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn throttling_pauses_the_account_and_other_failures_do_not() {
    for (code, throttled) in [
        ("RequestLimitExceeded", true),
        ("RequestLimitExceeded.UinLimitExceeded", true),
        ("InternalError", false),
        ("UnauthorizedOperation.NoCAMAuthed", false),
    ] {
        let fake = FakeCloud::tencent(move |_, _| error(code));
        fake.client.backup_detail(&instance(), BACKUP).await.unwrap_err();
        assert_eq!(fake.budget.paused_until().is_some(), throttled, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn clients_are_made_by_their_site() {
    for site in [Site::Tencent, Site::TencentInternational] {
        let fake =
            FakeCloud::of(site, Credentials::new(KEY_ID, SECRET, None), |_, _| (Duration::ZERO, detail()));
        assert!(matches!(fake.client, Client::Tencent(_)));
        assert_eq!(fake.client.site(), site);
    }
}

#[tokio::test(start_paused = true)]
async fn no_log_holds_a_credential_or_what_decrypts_a_backup() {
    let (id, secret, token) =
        ("AKIDtencentcanary000000000000001234", "tencent+canary/key==", "tencent-canary-token");
    let marker = "MarkerDecryptKey0123456789";
    let lines = capture();
    let credentials = Credentials::new(id, secret, Some(token));
    let fake = FakeCloud::of(Site::Tencent, credentials, move |n, seen| {
        let text = format!("{id} {secret} {token} {marker} {}", seen.header("authorization"));
        let answer = match n {
            0 => ok(json!({"BackupId": BACKUP, "DecryptKey": marker, "KmsKeyId": marker})),
            1 => raw(200, format!(r#"{{"Response":{{"DecryptKey":"{marker}""#)),
            _ => {
                let error = json!({"Code": "AuthFailure.TokenFailure", "Message": text});
                raw(200, json!({"Response": {"Error": error, "DecryptKey": marker}}).to_string())
            }
        };
        (Duration::ZERO, answer)
    });
    let mut shown = String::new();
    for _ in 0..3 {
        shown += &format!("{:?} ", fake.client.backup_detail(&instance(), BACKUP).await);
    }
    let logged = lines.text();
    assert!(logged.contains("\"Tencent\"") && logged.contains("AuthFailure.TokenFailure"), "{logged}");
    for needle in [id, secret, token, marker, "Signature="] {
        assert!(!logged.contains(needle), "{needle} in {logged}");
        assert!(!shown.contains(needle), "{needle} in {shown}");
    }
}
