//! Tencent's STS: permission to assume a role, parameters, and the use of the temporary key.

use cloud_simulator::{FaultSpec, OidcSpec, RoleSpec, Settings, Simulator};
use serde_json::{Value, json};

use crate::client::{Told, jwt, pass, raw};
use crate::tencent_client::{Ask, BACKUPS, KEY, cloud, of_instance};

const ROLE: &str = "qcs::cam::uin/100000000001:roleName/redis-backup";
const TOKEN: &str = "opaque-token-of-the-cluster";
const ASSUME: &str = "AssumeRole";
const ASSUME_WEB: &str = "AssumeRoleWithWebIdentity";

/// Returns a cloud with a role that trusts the account's keys and one token of one provider.
fn cloud_with(change: impl FnOnce(&mut RoleSpec)) -> Simulator {
    let simulator = cloud();
    let oidc = OidcSpec {
        provider_id: Some("cls-abcdefgh".into()),
        tokens: [TOKEN.to_owned()].into(),
        ..OidcSpec::default()
    };
    let mut role = RoleSpec { oidc: Some(oidc), ..RoleSpec::new(ROLE) };
    change(&mut role);
    simulator.put_role(role).unwrap();
    simulator
}

/// Builds an STS call with some of its usual fields replaced; null omits a field.
fn call(simulator: &Simulator, action: &str, other: Value) -> Ask {
    let mut body = json!({ "RoleArn": ROLE, "RoleSessionName": "backup" });
    if action == ASSUME_WEB {
        body["ProviderId"] = json!("cls-abcdefgh");
        body["WebIdentityToken"] = json!(TOKEN);
    }
    for (name, value) in other.as_object().unwrap() {
        body[name] = value.clone();
    }
    let mut ask = Ask::new(simulator, action, body)
        .with("host", "sts.tencentcloudapi.com")
        .with("x-tc-version", "2018-08-13");
    ask.scope.service = "sts".into();
    ask
}

async fn assume(simulator: &Simulator, other: Value) -> Told {
    call(simulator, ASSUME, other).send(simulator).await
}

async fn assume_web(simulator: &Simulator, other: Value) -> Told {
    let request = call(simulator, ASSUME_WEB, other).request_with("SKIP");
    Told::read(raw(simulator, request).await).await
}

/// Lists the backups with the issued temporary key.
async fn listed_with(simulator: &Simulator, response: &Value) -> Told {
    let text = |name: &str| response["Credentials"][name].as_str().unwrap().to_owned();
    let mut ask = Ask::new(simulator, BACKUPS, of_instance()).with("x-tc-token", &text("Token"));
    (ask.key, ask.secret) = (text("TmpSecretId"), text("TmpSecretKey"));
    ask.send(simulator).await
}

#[tokio::test(start_paused = true)]
async fn a_key_assumes_a_role_until_the_time_told() {
    let simulator = cloud_with(|_| {});
    let told = assume(&simulator, json!({ "DurationSeconds": 600 })).await;
    let response = told.response();
    assert!(response["Credentials"]["TmpSecretId"].as_str().unwrap().starts_with("AKID"));
    assert_eq!(response["ExpiredTime"], simulator.now().as_second() + 600);
    assert_eq!(response["Expiration"], "2026-01-02T03:14:05Z");
    pass(599.0).await;
    assert_eq!(listed_with(&simulator, response).await.response()["TotalCount"], 0);
    pass(1.0).await;
    assert_eq!(listed_with(&simulator, response).await.refusal(), "AuthFailure.TokenFailure");
}

#[tokio::test(start_paused = true)]
async fn a_token_assumes_a_role_without_a_signature() {
    let simulator = cloud_with(|_| {});
    let told = assume_web(&simulator, json!({})).await;
    // The default is two hours.
    assert_eq!(told.response()["Expiration"], "2026-01-02T05:04:05Z");
    assert_eq!(listed_with(&simulator, told.response()).await.response()["TotalCount"], 0);
    let records = simulator.requests();
    assert_eq!((records[0].authentic, records[1].authentic), (None, Some(true)));
    // A valid signature is accepted although the action needs none.
    call(&simulator, ASSUME_WEB, json!({})).send(&simulator).await.response();
    let mut forged = call(&simulator, ASSUME_WEB, json!({}));
    forged.secret = "wrong".into();
    assert_eq!(forged.send(&simulator).await.refusal(), "AuthFailure.SignatureFailure");
}

#[tokio::test(start_paused = true)]
async fn the_default_duration_gives_way_to_the_roles_maximum() {
    let simulator = cloud_with(|role| role.max_duration_seconds = 1800);
    assert_eq!(assume(&simulator, json!({})).await.response()["Expiration"], "2026-01-02T03:34:05Z");
}

#[tokio::test(start_paused = true)]
async fn bad_parameters_are_refused() {
    let simulator = cloud_with(|role| role.max_duration_seconds = 7200);
    for (other, code) in [
        (json!({ "RoleArn": null }), "MissingParameter"),
        (json!({ "RoleSessionName": "" }), "MissingParameter"),
        (json!({ "RoleSessionName": "n" }), "InvalidParameter.ParamError"),
        (json!({ "RoleSessionName": "n".repeat(129) }), "InvalidParameter.ParamError"),
        (json!({ "RoleSessionName": "with space" }), "InvalidParameter.ParamError"),
        (json!({ "DurationSeconds": 0 }), "InvalidParameter.OverTimeError"),
        (json!({ "DurationSeconds": 7201 }), "InvalidParameter.OverTimeError"),
        (json!({ "DurationSeconds": "900" }), "InvalidParameter"),
        (json!({ "Colour": "red" }), "UnknownParameter"),
        (json!({ "RoleArn": "qcs::cam::uin/1:roleName/other" }), "ResourceNotFound.RoleNotFound"),
    ] {
        assert_eq!(assume(&simulator, other.clone()).await.refusal(), code, "{other}");
        assert_eq!(assume_web(&simulator, other.clone()).await.refusal(), code, "{other}");
    }
    for name in ["ProviderId", "WebIdentityToken"] {
        let told = assume_web(&simulator, json!({ name: null })).await;
        assert_eq!(told.refusal(), "MissingParameter", "{name}");
    }
    // At most twelve hours, even where the role allows more.
    let simulator = cloud_with(|role| role.max_duration_seconds = 100_000);
    assume(&simulator, json!({ "DurationSeconds": 43_200 })).await.response();
    let told = assume(&simulator, json!({ "DurationSeconds": 43_201 })).await;
    assert_eq!(told.refusal(), "InvalidParameter.OverTimeError");
    assert_eq!(simulator.keys().len(), 2, "a refusal makes no key");
}

#[tokio::test(start_paused = true)]
async fn a_role_trusts_whom_it_names() {
    for change in [
        (|role| role.account_id = 1) as fn(&mut RoleSpec),
        |role| role.trusted_keys = ["AKIDother".to_owned()].into(),
        |role| role.external_id = Some("shop".into()),
    ] {
        let told = assume(&cloud_with(change), json!({})).await;
        assert_eq!(told.refusal(), "UnauthorizedOperation");
        assert!(told.reason().contains("(sts:AssumeRole) resource (qcs::cam::uin/"), "{}", told.reason());
    }
    let simulator = cloud_with(|role| {
        role.trusted_keys = [KEY.to_owned()].into();
        role.external_id = Some("shop".into());
    });
    assume(&simulator, json!({ "ExternalId": "shop" })).await.response();
    simulator.deny(KEY, [ASSUME.to_owned()].into()).unwrap();
    let told = assume(&simulator, json!({ "ExternalId": "shop" })).await;
    assert_eq!(told.refusal(), "UnauthorizedOperation");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refused_with_the_reason() {
    let simulator = cloud_with(|_| {});
    for (other, reason) in [
        (json!({ "WebIdentityToken": format!("{TOKEN}\n") }), "ends with a newline"),
        (json!({ "WebIdentityToken": "another" }), "not one of the role's"),
        (json!({ "ProviderId": "cls-other" }), "another identity provider"),
    ] {
        let told = assume_web(&simulator, other).await;
        assert_eq!(told.refusal(), "InvalidParameter.WebIdentityTokenError");
        assert!(told.reason().contains(reason), "{}", told.reason());
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_without_tokens_takes_every_jwt_that_fits() {
    let simulator = cloud_with(|role| {
        role.oidc = Some(OidcSpec {
            audience: Some("sts.cloud.tencent.com".into()),
            issuer: Some("https://oidc".into()),
            subject: Some("system:serviceaccount:crbo:operator".into()),
            ..OidcSpec::default()
        });
    });
    let end = simulator.now().as_second() + 600;
    let ours = json!({ "iss": "https://oidc", "sub": "system:serviceaccount:crbo:operator",
        "aud": ["sts.cloud.tencent.com"], "exp": end });
    let with = |name: &str, value: Value| {
        let mut claims = ours.clone();
        claims[name] = value;
        jwt(&claims)
    };
    assume_web(&simulator, json!({ "WebIdentityToken": jwt(&ours) })).await.response();
    for (token, reason) in [
        (with("iss", json!("https://other")), "has another issuer"),
        (with("aud", json!("sts.other.com")), "meant for another audience"),
        (with("sub", json!("system:serviceaccount:crbo:default")), "has another subject"),
        (with("exp", json!(end - 600)), "has expired"),
        (with("exp", Value::Null), "has no expiry"),
        (TOKEN.to_owned(), "is no JWT"),
    ] {
        let told = assume_web(&simulator, json!({ "WebIdentityToken": token })).await;
        assert_eq!(told.refusal(), "InvalidParameter.WebIdentityTokenError", "{reason}");
        assert!(told.reason().contains(reason), "{}", told.reason());
    }
    pass(600.0).await;
    let told = assume_web(&simulator, json!({ "WebIdentityToken": jwt(&ours) })).await;
    assert_eq!(told.refusal(), "InvalidParameter.WebIdentityTokenError");
}

#[tokio::test(start_paused = true)]
async fn an_expired_key_is_told_so_for_an_hour_and_is_unknown_then() {
    let simulator = cloud_with(|_| {});
    let told = assume_web(&simulator, json!({ "DurationSeconds": 1 })).await;
    pass(1.0 + 3599.0).await;
    assume_web(&simulator, json!({})).await.response();
    assert_eq!(listed_with(&simulator, told.response()).await.refusal(), "AuthFailure.TokenFailure");
    pass(1.0).await;
    assume_web(&simulator, json!({})).await.response();
    assert_eq!(listed_with(&simulator, told.response()).await.refusal(), "AuthFailure.SecretIdNotFound");
}

#[tokio::test(start_paused = true)]
async fn sts_can_be_slow_or_down() {
    let simulator = cloud_with(|_| {});
    let place = |spec: Value| simulator.place_fault(serde_json::from_value(spec).unwrap()).unwrap();
    for action in [ASSUME, ASSUME_WEB] {
        let call = async || {
            let ask = call(&simulator, action, json!({}));
            let request = if action == ASSUME { ask.request() } else { ask.request_with("SKIP") };
            raw(&simulator, request).await
        };
        let before = simulator.now();
        place(json!({ "action": action, "count": 1, "effect": { "type": "delay", "seconds": 20 } }));
        Told::read(call().await).await.response();
        assert_eq!(simulator.now().duration_since(before).as_secs(), 20, "{action}");

        let keys = simulator.keys().len();
        let error = json!({ "type": "error", "status": 500, "code": "InternalError" });
        place(json!({ "action": action, "count": 1, "effect": error }));
        let told = Told::read(call().await).await;
        let code = &told.json["Response"]["Error"]["Code"];
        assert_eq!((told.status.as_u16(), code.as_str()), (500, Some("InternalError")), "{action}");
        place(json!({ "action": action, "count": 1, "effect": { "type": "reset" } }));
        assert!(axum::body::to_bytes(call().await.into_body(), usize::MAX).await.is_err(), "{action}");
        assert_eq!(simulator.keys().len(), keys, "{action} made no key");
    }
    let log = simulator.requests();
    let told: Vec<_> = log
        .iter()
        .map(|r| (r.action.as_deref().unwrap(), r.access_key_id.as_deref(), r.outcome.as_deref().unwrap()))
        .collect();
    let outcomes = ["ok", "InternalError", "reset"];
    let signed = outcomes.map(|outcome| (ASSUME, Some(KEY), outcome));
    let unsigned = outcomes.map(|outcome| (ASSUME_WEB, None, outcome));
    assert_eq!(told, [&signed[..], &unsigned[..]].concat());
}

#[tokio::test(start_paused = true)]
async fn the_action_decides_about_service_and_version() {
    let simulator = cloud_with(|_| {});
    let mut ask = call(&simulator, ASSUME, json!({}));
    ask.scope.service = "redis".into();
    assert_eq!(ask.send(&simulator).await.refusal(), "AuthFailure.SignatureFailure");
    let old = call(&simulator, ASSUME, json!({})).with("x-tc-version", "2018-04-12");
    assert_eq!(old.send(&simulator).await.refusal(), "NoSuchVersion");
    for action in [ASSUME, BACKUPS] {
        let request = call(&simulator, action, json!({})).request_with("SKIP");
        let told = Told::read(raw(&simulator, request).await).await;
        assert_eq!(told.refusal(), "AuthFailure.InvalidAuthorization", "{action}");
    }
}

#[tokio::test(start_paused = true)]
async fn faults_and_limits_meet_assumptions() {
    let simulator = cloud_with(|_| {});
    for (effect, code) in [
        (json!({ "type": "throttle", "style": "uinLimit" }), "RequestLimitExceeded.UinLimitExceeded"),
        (
            json!({ "type": "error", "status": 200, "code": "InternalError.GetRoleError" }),
            "InternalError.GetRoleError",
        ),
    ] {
        let spec = json!({ "action": ASSUME_WEB, "count": 1, "effect": effect });
        simulator.place_fault(serde_json::from_value::<FaultSpec>(spec).unwrap()).unwrap();
        assume(&simulator, json!({})).await.response();
        assert_eq!(assume_web(&simulator, json!({})).await.refusal(), code);
    }
    let counters = simulator.counters();
    assert_eq!((counters.by_action[ASSUME], counters.by_action[ASSUME_WEB]), (2, 2));
    let limit = json!({ "perSecond": 0.001, "burst": 1 });
    simulator.set_rate_limit(2_100_000_000, Some(serde_json::from_value(limit).unwrap()));
    assume_web(&simulator, json!({})).await.response();
    let told = assume_web(&simulator, json!({})).await;
    assert_eq!(told.refusal(), "RequestLimitExceeded.UinLimitExceeded");
}

#[tokio::test(start_paused = true)]
async fn the_ledger_does_not_tell_tokens() {
    let simulator = cloud_with(|_| {});
    assume_web(&simulator, json!({})).await.response();
    assume_web(&simulator, json!({ "WebIdentityToken": [TOKEN] })).await.refusal();
    let mut broken = call(&simulator, ASSUME_WEB, json!({}));
    broken.body.pop();
    raw(&simulator, broken.request_with("SKIP")).await;
    let records = simulator.requests();
    assert_eq!(records.len(), 3);
    assert_eq!(records[0].body["WebIdentityToken"], "(27 characters)");
    assert_eq!(records[0].body["RoleArn"], ROLE);
    assert!(!serde_json::to_string(&records).unwrap().contains(TOKEN));
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_come_with_quirks() {
    let simulator = cloud_with(|_| {});
    assert!(assume(&simulator, json!({})).await.response().get("FutureField").is_none());
    simulator.set_settings(Settings { quirks: true, ..Settings::default() });
    assert!(assume(&simulator, json!({})).await.response()["FutureField"].is_object());
}
