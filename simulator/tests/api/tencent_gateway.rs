//! Authentication of the simulated Tencent API, and the order and shape of the gateway's errors.

use axum::body::Body;
use cloud_simulator::{KeySpec, KeyStatus, Simulator};
use http::Request;
use jiff::ToSpan;
use serde_json::json;

use crate::client::{Told, pass, raw};
use crate::tencent_client::{Ask, BACKUPS, DETAIL, ID, INSTANCES, KEY, ask, backup, cloud, of_instance};

const TEMPORARY: &str = "AKIDtmp0000000000000000000000000000";
const TOKEN: &str = "exampleSessionToken-0123456789abcdefghijklmnopqrstuvwxyz==";

fn list(simulator: &Simulator) -> Ask {
    Ask::new(simulator, BACKUPS, of_instance())
}

async fn told(simulator: &Simulator, request: Request<Body>) -> Told {
    Told::read(raw(simulator, request).await).await
}

#[tokio::test(start_paused = true)]
async fn the_answer_has_the_documented_frame() {
    let simulator = cloud();
    let told = list(&simulator).send(&simulator).await;
    assert_eq!(told.response()["TotalCount"], 0);
    assert_eq!(told.headers["content-type"], "application/json");
    assert_eq!(told.headers["date"], "Fri, 02 Jan 2026 03:04:05 GMT");
    let refused = ask(&simulator, BACKUPS, json!({ "InstanceId": "crs-nowhere" })).await;
    assert_eq!(refused.refusal(), "ResourceNotFound.InstanceNotExists");
    let response = refused.json["Response"].as_object().unwrap();
    assert_eq!(response.keys().collect::<Vec<_>>(), ["Error", "RequestId"]);
}

#[tokio::test(start_paused = true)]
async fn every_header_that_says_so_is_signed() {
    let simulator = cloud();
    for signed in [
        &["content-type", "host"][..],
        &["content-type", "host", "x-tc-action"],
        &["content-type", "host", "x-tc-action", "x-tc-region", "x-tc-timestamp"],
    ] {
        let ask = Ask { signed: signed.to_vec(), ..list(&simulator) };
        ask.send(&simulator).await.response();
    }
    // The SDKs sign the Host with its port; the documentation's sample has a charset.
    list(&simulator).with("host", "127.0.0.1:18080").send(&simulator).await.response();
    let charset = list(&simulator).with("content-type", "application/json; charset=utf-8");
    charset.send(&simulator).await.response();

    let signed = Ask { signed: vec!["content-type", "host", "x-tc-action"], ..list(&simulator) };
    let authorization = signed.authorization();
    let other = signed.with("x-tc-action", INSTANCES);
    let refused = told(&simulator, other.request_with(&authorization)).await;
    assert_eq!(refused.refusal(), "AuthFailure.SignatureFailure");
    // Where the action is not signed, changing it does not break the signature.
    let authorization = Ask::new(&simulator, BACKUPS, json!({})).authorization();
    let other = Ask::new(&simulator, INSTANCES, json!({}));
    assert_eq!(told(&simulator, other.request_with(&authorization)).await.response()["TotalCount"], 1);
}

#[tokio::test(start_paused = true)]
async fn an_unsigned_payload_may_be_anything() {
    let simulator = cloud();
    let mut ask = list(&simulator).with("x-tc-content-sha256", "UNSIGNED-PAYLOAD");
    let authorization = ask.authorization();
    ask.body = "{}".into();
    told(&simulator, ask.request_with(&authorization)).await.response();

    let mut ask = list(&simulator);
    let authorization = ask.authorization();
    ask.body = "{}".into();
    let refused = told(&simulator, ask.request_with(&authorization)).await;
    assert_eq!(refused.refusal(), "AuthFailure.SignatureFailure");
    assert!(refused.reason().starts_with("The provided credentials could not be validated."));
}

#[tokio::test(start_paused = true)]
async fn an_authorization_of_another_form_is_told_apart() {
    let simulator = cloud();
    let ask = list(&simulator);
    for authorization in ["SKIP", "Bearer token", "TC3-HMAC-SHA256 Credential"] {
        let refused = told(&simulator, ask.request_with(authorization)).await;
        assert_eq!(refused.refusal(), "AuthFailure.InvalidAuthorization", "{authorization}");
    }
    for signed in [vec!["host"], vec!["content-type"]] {
        let refused = Ask { signed, ..list(&simulator) }.send(&simulator).await;
        assert_eq!(refused.refusal(), "AuthFailure.InvalidAuthorization");
    }
    // Without Authorization, only the action identifies the protocol.
    let mut none = ask.request();
    none.headers_mut().remove("authorization");
    assert_eq!(told(&simulator, none).await.refusal(), "AuthFailure.InvalidAuthorization");
}

#[tokio::test(start_paused = true)]
async fn a_request_is_tencents_by_its_action_or_its_authorization() {
    let simulator = cloud();
    let without = list(&simulator).without("x-tc-action");
    let refused = without.send(&simulator).await;
    assert_eq!(refused.refusal(), "MissingParameter");
    assert_eq!(refused.reason(), "The request is missing a required parameter `Action`.");
    let refused = told(&simulator, without.request_with("SKIP")).await;
    assert_eq!(refused.refusal(), "MissingParameter");
    let volcengines = told(&simulator, without.request_with("HMAC-SHA256 x")).await;
    assert!(volcengines.json["ResponseMetadata"].is_object());
}

#[tokio::test(start_paused = true)]
async fn a_signature_is_good_for_five_minutes() {
    let simulator = cloud();
    for (seconds, good) in [(-300, true), (-301, false), (300, true), (301, false)] {
        let told = list(&simulator).at(simulator.now() + seconds.seconds()).send(&simulator).await;
        match good {
            true => drop(told.response()),
            false => assert_eq!(told.refusal(), "AuthFailure.SignatureExpire", "{seconds}"),
        }
    }
    let odd = list(&simulator).with("x-tc-timestamp", "soon").send(&simulator).await;
    assert_eq!((odd.refusal(), odd.reason()), ("InvalidParameter", "Parameter `Timestamp` type error."));
}

#[tokio::test(start_paused = true)]
async fn the_scope_is_of_the_day_and_of_redis() {
    let simulator = cloud();
    for (date, service) in [("2026-01-01", "redis"), ("20260102", "redis"), ("2026-01-02", "cvm")] {
        let mut ask = list(&simulator);
        ask.scope.date = date.into();
        ask.scope.service = service.into();
        let refused = ask.send(&simulator).await;
        assert_eq!(refused.refusal(), "AuthFailure.SignatureFailure", "{date} {service}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_shared_and_told_apart() {
    let simulator = cloud();
    let wrong = Ask { secret: "another".into(), ..list(&simulator) };
    assert_eq!(wrong.send(&simulator).await.refusal(), "AuthFailure.SignatureFailure");
    let unknown = Ask { key: "AKIDunknown".into(), ..list(&simulator) };
    let refused = unknown.send(&simulator).await;
    assert_eq!(refused.refusal(), "AuthFailure.SecretIdNotFound");
    assert!(refused.reason().starts_with("The SecretId is not found"));
    simulator.set_key_status(KEY, KeyStatus::Inactive).unwrap();
    assert_eq!(list(&simulator).send(&simulator).await.refusal(), "AuthFailure.SecretIdNotFound");
}

#[tokio::test(start_paused = true)]
async fn temporary_keys_need_their_token_while_it_lasts() {
    let simulator = cloud();
    let mut key = KeySpec::new(TEMPORARY, "secret");
    key.session_token = Some(TOKEN.into());
    key.expires_in_seconds = Some(60.0);
    simulator.put_key(key).unwrap();
    let temporary = Ask { key: TEMPORARY.into(), secret: "secret".into(), ..list(&simulator) };
    let right = temporary.clone().with("x-tc-token", TOKEN);
    right.send(&simulator).await.response();
    for ask in
        [temporary.clone(), temporary.with("x-tc-token", "other"), list(&simulator).with("x-tc-token", TOKEN)]
    {
        assert_eq!(ask.send(&simulator).await.refusal(), "AuthFailure.TokenFailure");
    }
    pass(60.0).await;
    assert_eq!(right.send(&simulator).await.refusal(), "AuthFailure.TokenFailure");
    assert_eq!(simulator.requests().last().unwrap().security_token.as_deref(), Some(TOKEN));
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_or_unknown_is_told() {
    let simulator = cloud();
    for (header, parameter) in
        [("x-tc-version", "Version"), ("x-tc-region", "Region"), ("x-tc-timestamp", "Timestamp")]
    {
        let refused = list(&simulator).without(header).send(&simulator).await;
        assert_eq!(refused.refusal(), "MissingParameter");
        let message = format!("The request is missing a required parameter `{parameter}`.");
        assert_eq!(refused.reason(), message);
    }
    let refused = Ask::new(&simulator, "DescribeNothing", json!({})).send(&simulator).await;
    assert_eq!(refused.refusal(), "InvalidAction");
    assert_eq!(refused.reason(), "The request `Action` is invalid or not found.");
    let refused = list(&simulator).with("x-tc-version", "2020-12-07").send(&simulator).await;
    assert_eq!(refused.refusal(), "NoSuchVersion");
    let form = list(&simulator).with("content-type", "application/x-www-form-urlencoded");
    assert_eq!(form.send(&simulator).await.refusal(), "InvalidRequest");
    let get = Ask { method: "GET", body: String::new(), query: "Limit=20", ..list(&simulator) };
    assert_eq!(get.send(&simulator).await.refusal(), "UnsupportedProtocol");
    let large = Ask { body: " ".repeat(11 << 20), ..list(&simulator) };
    assert_eq!(large.send(&simulator).await.refusal(), "RequestSizeLimitExceeded");
    let not_small = Ask { body: format!("{}{{}}", " ".repeat(2 << 20)), ..list(&simulator) };
    not_small.send(&simulator).await.response();
}

#[tokio::test(start_paused = true)]
async fn denied_actions_are_told_with_what_was_asked() {
    let simulator = cloud();
    simulator.deny(KEY, [BACKUPS.to_owned()].into()).unwrap();
    let refused = list(&simulator).send(&simulator).await;
    assert_eq!(refused.refusal(), "UnauthorizedOperation.NoCAMAuthed");
    for part in ["redis:DescribeInstanceBackups", "qcs::redis:ap-guangzhou:uin/2100000000", ID] {
        assert!(refused.reason().contains(part), "{}", refused.reason());
    }
    ask(&simulator, INSTANCES, json!({})).await.response();
}

#[tokio::test(start_paused = true)]
async fn regions_are_apart() {
    let simulator = cloud();
    simulator.put_tencent_backup(backup("b-1", 50.0)).unwrap();
    for region in ["ap-singapore", "nowhere-1"] {
        let there = |action, body| Ask::new(&simulator, action, body).with("x-tc-region", region);
        assert_eq!(there(BACKUPS, json!({})).send(&simulator).await.response()["TotalCount"], 0);
        assert_eq!(there(INSTANCES, json!({})).send(&simulator).await.response()["TotalCount"], 0);
        for (action, body) in
            [(BACKUPS, of_instance()), (DETAIL, json!({ "InstanceId": ID, "BackupId": "b-1" }))]
        {
            let refused = there(action, body).send(&simulator).await;
            assert_eq!(refused.refusal(), "ResourceNotFound.InstanceNotExists");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn accounts_are_apart() {
    let simulator = cloud();
    simulator.put_tencent_backup(backup("b-1", 50.0)).unwrap();
    let stranger = KeySpec { account_id: 7, ..KeySpec::new("AKIDother", "other") };
    simulator.put_key(stranger).unwrap();
    let as_stranger = |action, body| Ask {
        key: "AKIDother".into(),
        secret: "other".into(),
        ..Ask::new(&simulator, action, body)
    };
    for action in [BACKUPS, INSTANCES] {
        assert_eq!(as_stranger(action, json!({})).send(&simulator).await.response()["TotalCount"], 0);
    }
    let refused = as_stranger(BACKUPS, of_instance()).send(&simulator).await;
    assert_eq!(refused.refusal(), "ResourceNotFound.InstanceNotExists");
}

#[tokio::test(start_paused = true)]
async fn financial_regions_have_their_own_hosts() {
    let simulator = cloud();
    let there = |host| {
        Ask::new(&simulator, BACKUPS, json!({})).with("x-tc-region", "ap-shanghai-fsi").with("host", host)
    };
    for host in ["redis.tencentcloudapi.com", "redis.ap-shanghai.tencentcloudapi.com"] {
        assert_eq!(there(host).send(&simulator).await.refusal(), "UnsupportedRegion", "{host}");
    }
    for host in ["redis.ap-shanghai-fsi.tencentcloudapi.com", "127.0.0.1:18080"] {
        there(host).send(&simulator).await.response();
    }
}
