//! Authentication of the simulated Volcengine API, and the order and shape of the gateway's errors.

use axum::body::Body;
use cloud_simulator::volcengine::signing::sha256_hex;
use cloud_simulator::{KeySpec, KeyStatus, Rotation, Simulator};
use http::Request;
use jiff::ToSpan;
use serde_json::json;

use crate::client::{Ask, DESCRIBE, ID, KEY, Told, ask, cloud, pass, raw, x_date};

const TEMPORARY: &str = "AKTPExampleTempAccessKeyId000001";
const TOKEN: &str = "STSeyJMVEFjY2Vzc0tleUlkIjoiQUtMVEV4YW1wbGUifQ==";

fn describe(simulator: &Simulator) -> Ask {
    Ask::new(simulator, DESCRIBE, json!({ "InstanceId": ID }))
}

/// Sends a request with one header replaced or removed after signing.
async fn forged(simulator: &Simulator, name: &'static str, value: Option<&str>) -> Told {
    let mut request = describe(simulator).request();
    match value {
        Some(value) => drop(request.headers_mut().insert(name, value.parse().unwrap())),
        None => drop(request.headers_mut().remove(name)),
    }
    Told::read(raw(simulator, request).await).await
}

#[tokio::test(start_paused = true)]
async fn the_answer_has_the_documented_frame() {
    let told = describe(&cloud()).send(&cloud()).await;
    let metadata = &told.json["ResponseMetadata"];
    assert_eq!(metadata["Action"], DESCRIBE);
    assert_eq!(metadata["Version"], "2020-12-07");
    assert_eq!(metadata["Service"], "Redis");
    assert_eq!(metadata["Region"], "cn-beijing");
    assert!(metadata["RequestId"].as_str().unwrap().starts_with("20260102030405"));
    assert_eq!(told.headers["date"], "Fri, 02 Jan 2026 03:04:05 GMT");
    assert_eq!(told.headers["content-type"], "application/json; charset=utf-8");
}

#[tokio::test(start_paused = true)]
async fn every_official_form_of_a_signature_is_believed() {
    let simulator = cloud();
    for service in ["redis", "Redis"] {
        for separator in [",", ", "] {
            let mut ask = describe(&simulator);
            ask.scope.service = service.into();
            ask.separator = separator;
            ask.send(&simulator).await.result();
        }
    }
    for host in ["open.volcengineapi.com", "127.0.0.1:8443", "redis.volcengineapi.com:443"] {
        let mut ask = describe(&simulator);
        ask.host = host.into();
        ask.send(&simulator).await.result();
    }
    let mut ask = describe(&simulator);
    ask.signed.push(("x-content-sha256", sha256_hex(ask.body.as_bytes())));
    ask.signed.push(("x-sdk-request", "attempt=1; max=4".into()));
    ask.send(&simulator).await.result();
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_authorization_is_told_apart() {
    let simulator = cloud();
    let scope = "20260102/cn-beijing/redis/request";
    for (header, error) in [
        (None, (401, "MissingAuthenticationToken")),
        (Some("Bearer token".to_owned()), (400, "InvalidAuthorization")),
        (Some("HMAC-SHA256 Credential".to_owned()), (400, "InvalidAuthorization")),
        (
            Some(format!("HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders=host;x-date")),
            (401, "MissingSignature"),
        ),
        (
            Some(format!("HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders=x-date, Signature=00")),
            (400, "InvalidAuthorization"),
        ),
        (
            Some(format!("HMAC-SHA256 Credential={KEY}/redis, SignedHeaders=host;x-date, Signature=00")),
            (400, "InvalidCredential"),
        ),
    ] {
        let told = forged(&simulator, "authorization", header.as_deref()).await;
        assert_eq!(told.error(), error, "{header:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_signed_cannot_be_changed() {
    let simulator = cloud();
    let refused = (401, "SignatureDoesNotMatch");
    assert_eq!(forged(&simulator, "content-type", Some("application/json;x")).await.error(), refused);
    assert_eq!(forged(&simulator, "host", Some("example.org")).await.error(), refused);
    assert_eq!(forged(&simulator, "host", None).await.error(), refused);
    assert_eq!(forged(&simulator, "x-content-sha256", Some("00")).await.error(), refused);
    assert_eq!(forged(&simulator, "x-date", Some("20260102T030406Z")).await.error(), refused);
    let request = describe(&simulator).request();
    let (parts, _) = request.into_parts();
    let told = Told::read(raw(&simulator, Request::from_parts(parts, Body::from("{}"))).await).await;
    assert_eq!(told.error(), refused);
    assert_eq!(told.json["ResponseMetadata"]["Error"]["CodeN"], 100_010);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_secret_is_not_an_unknown_key() {
    let simulator = cloud();
    let mut wrong = describe(&simulator);
    wrong.secret = "another".into();
    assert_eq!(wrong.send(&simulator).await.error(), (401, "SignatureDoesNotMatch"));
    let mut unknown = describe(&simulator);
    unknown.key = "AKLTUnknown".into();
    let told = unknown.send(&simulator).await;
    assert_eq!(told.error(), (401, "InvalidAccessKey"));
    assert_eq!(told.message(), "The accesskey [AKLTUnknown] included in the request is invalid.");
}

#[tokio::test(start_paused = true)]
async fn a_signature_is_good_for_a_quarter_of_an_hour() {
    let simulator = cloud();
    for (minutes, good) in [(-15, true), (-16, false), (15, true), (16, false)] {
        let mut ask = describe(&simulator);
        ask.x_date = x_date(simulator.now() + minutes.minutes());
        ask.scope.date = ask.x_date[..8].into();
        let told = ask.send(&simulator).await;
        match good {
            true => drop(told.result()),
            false => assert_eq!(told.error(), (400, "InvalidTimestamp"), "{minutes}"),
        }
    }
    let mut longer = describe(&simulator);
    longer.x_date = x_date(simulator.now() - 16.minutes());
    longer.query += "&X-Expires=3600";
    longer.send(&simulator).await.result();
}

#[tokio::test(start_paused = true)]
async fn dates_that_are_none_or_disagree_are_refused() {
    let simulator = cloud();
    let mut odd = describe(&simulator);
    odd.x_date = "2026-01-02T03:04:05Z".into();
    assert_eq!(odd.send(&simulator).await.error(), (400, "InvalidTimestamp"));
    let mut other_day = describe(&simulator);
    other_day.scope.date = "20260101".into();
    assert_eq!(other_day.send(&simulator).await.error(), (400, "InvalidCredential"));
    assert_eq!(forged(&simulator, "x-date", None).await.error(), (400, "MissingRequestInfo"));
}

#[tokio::test(start_paused = true)]
async fn temporary_keys_need_their_token_while_it_lasts() {
    let simulator = cloud();
    let mut key = KeySpec::new(TEMPORARY, "secret");
    key.session_token = Some(TOKEN.into());
    key.expires_in_seconds = Some(60.0);
    simulator.put_key(key).unwrap();
    let with = |token: Option<&str>| {
        let mut ask = describe(&simulator);
        ask.key = TEMPORARY.into();
        ask.secret = "secret".into();
        ask.token = token.map(str::to_owned);
        ask
    };
    with(Some(TOKEN)).send(&simulator).await.result();
    let refused = (401, "InvalidSecretToken");
    assert_eq!(with(Some("other")).send(&simulator).await.error(), refused);
    assert_eq!(with(None).send(&simulator).await.error(), refused);
    pass(60.0).await;
    assert_eq!(with(Some(TOKEN)).send(&simulator).await.error(), refused);
    let mut needless = describe(&simulator);
    needless.token = Some(TOKEN.into());
    assert_eq!(needless.send(&simulator).await.error(), refused);
}

#[tokio::test(start_paused = true)]
async fn keys_come_and_go() {
    let simulator = cloud();
    simulator.set_key_status(KEY, KeyStatus::Inactive).unwrap();
    assert_eq!(describe(&simulator).send(&simulator).await.error(), (401, "InvalidAccessKey"));
    simulator.set_key_status(KEY, KeyStatus::Active).unwrap();
    describe(&simulator).send(&simulator).await.result();

    let secret = Rotation { secret_access_key: "fresh".into(), ..Rotation::default() };
    simulator.rotate_key(KEY, secret).unwrap();
    assert_eq!(describe(&simulator).send(&simulator).await.error(), (401, "SignatureDoesNotMatch"));
    let mut fresh = describe(&simulator);
    fresh.secret = "fresh".into();
    fresh.send(&simulator).await.result();

    let pair = Rotation {
        access_key_id: Some("AKLTNew".into()),
        secret_access_key: "newer".into(),
        ..Rotation::default()
    };
    simulator.rotate_key(KEY, pair).unwrap();
    assert_eq!(fresh.send(&simulator).await.error(), (401, "InvalidAccessKey"));
    fresh.key = "AKLTNew".into();
    fresh.secret = "newer".into();
    fresh.send(&simulator).await.result();
}

#[tokio::test(start_paused = true)]
async fn denied_actions_are_told_with_who_and_what() {
    let simulator = cloud();
    simulator.deny(KEY, [DESCRIBE.to_owned()].into()).unwrap();
    let told = describe(&simulator).send(&simulator).await;
    assert_eq!(told.error(), (403, "AccessDenied"));
    for part in ["backup-operator", KEY, "redis:DescribeCrossRegionBackupPolicy", ID, "cn-beijing"] {
        assert!(told.message().contains(part), "{}", told.message());
    }
    let list = ask(&simulator, "DescribeDBInstances", json!({})).await;
    list.result();
    simulator.deny(KEY, ["*".to_owned()].into()).unwrap();
    assert_eq!(ask(&simulator, "DescribeDBInstances", json!({})).await.error(), (403, "AccessDenied"));
    simulator.allow(KEY, ["*".to_owned()].into()).unwrap();
    describe(&simulator).send(&simulator).await.result();
}

#[tokio::test(start_paused = true)]
async fn what_is_not_served_is_told_apart() {
    let simulator = cloud();
    let with = |query: &str| {
        let mut ask = describe(&simulator);
        ask.query = query.into();
        ask
    };
    let missing = with("Version=2020-12-07").send(&simulator).await;
    assert_eq!(missing.error(), (400, "MissingParameter"));
    assert_eq!(missing.message(), "The request is missing Action parameter.");
    assert_eq!(with(&format!("Action={DESCRIBE}")).send(&simulator).await.error(), (400, "MissingParameter"));
    for query in ["Action=Nothing&Version=2020-12-07", &format!("Action={DESCRIBE}&Version=2018-01-01")] {
        assert_eq!(with(query).send(&simulator).await.error(), (404, "InvalidActionOrVersion"));
    }
    let mut service = describe(&simulator);
    service.scope.service = "mysql".into();
    assert_eq!(service.send(&simulator).await.error(), (404, "ServiceNotFound"));
    let mut get = describe(&simulator);
    get.method = "GET";
    assert_eq!(get.send(&simulator).await.error(), (405, "MethodNotAllowed"));
    let mut form = describe(&simulator);
    form.signed = vec![("content-type", "text/plain".into())];
    assert_eq!(form.send(&simulator).await.error(), (400, "ParamError"));
}
