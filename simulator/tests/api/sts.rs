//! Volcengine's STS: permission to assume a role, parameters, and the use of the temporary key.

use axum::body::Body;
use cloud_simulator::{Effect, FaultSpec, KeySpec, KeyStatus, OidcSpec, RoleSpec, Seed, Settings, Simulator};
use http::Request;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::client::{Ask, DESCRIBE, ID, KEY, SECRET, Told, base64url, cloud, jwt, pass, raw};

const ROLE: &str = "trn:iam::2100000000:role/redis-backup";
const TOKEN: &str = "opaque-token-of-the-cluster";
const ASSUME: &str = "AssumeRole";
const ASSUME_OIDC: &str = "AssumeRoleWithOIDC";

type Fields<'a> = &'a [(&'a str, &'a str)];

/// Returns a cloud with a role that trusts the account's keys and one token.
fn cloud_with(change: impl FnOnce(&mut RoleSpec)) -> Simulator {
    let simulator = cloud();
    let oidc = OidcSpec { tokens: [TOKEN.to_owned()].into(), ..OidcSpec::default() };
    let mut role = RoleSpec { oidc: Some(oidc), ..RoleSpec::new(ROLE) };
    change(&mut role);
    simulator.put_role(role).unwrap();
    simulator
}

fn form(fields: Fields<'_>) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let parts: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    parts.join("&")
}

/// Returns the fields of a call in order, with some of them replaced; an empty value omits a field.
fn with<'a>(usual: Fields<'a>, other: Fields<'a>) -> Vec<(&'a str, &'a str)> {
    let kept = usual.iter().filter(|(name, _)| other.iter().all(|(changed, _)| changed != name));
    kept.chain(other.iter().filter(|(_, value)| !value.is_empty())).copied().collect()
}

/// Builds an AssumeRole request as the SDKs send it: a signed GET.
fn assumption(simulator: &Simulator, fields: Fields<'_>) -> Ask {
    let fields = with(&[("RoleTrn", ROLE), ("RoleSessionName", "backup")], fields);
    let mut ask = Ask::new(simulator, ASSUME, json!({}));
    ask.method = "GET";
    ask.query = format!("Action={ASSUME}&Version=2018-01-01&{}", form(&fields));
    ask.body = String::new();
    ask.host = "sts.volcengineapi.com".into();
    ask.scope.service = "sts".into();
    ask
}

async fn assume(simulator: &Simulator, fields: Fields<'_>) -> Told {
    assumption(simulator, fields).send(simulator).await
}

fn oidc_request(fields: Fields<'_>) -> Request<Body> {
    let usual = [("RoleTrn", ROLE), ("RoleSessionName", "backup"), ("OIDCToken", TOKEN)];
    Request::builder()
        .method("POST")
        .uri(format!("/?Action={ASSUME_OIDC}&Version=2018-01-01"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form(&with(&usual, fields))))
        .unwrap()
}

async fn assume_oidc(simulator: &Simulator, fields: Fields<'_>) -> Told {
    Told::read(raw(simulator, oidc_request(fields)).await).await
}

/// Describes the policy with the issued temporary key.
async fn describe_with(simulator: &Simulator, credentials: &Value) -> Told {
    let text = |name: &str| credentials[name].as_str().unwrap().to_owned();
    let mut ask = Ask::new(simulator, DESCRIBE, json!({ "InstanceId": ID }));
    (ask.key, ask.secret) = (text("AccessKeyId"), text("SecretAccessKey"));
    ask.token = Some(text("SessionToken"));
    ask.send(simulator).await
}

#[tokio::test(start_paused = true)]
async fn a_key_assumes_a_role_until_the_time_told() {
    let simulator = cloud_with(|_| {});
    let told = assume(&simulator, &[("DurationSeconds", "900")]).await;
    let result = told.result();
    let credentials = &result["Credentials"];
    assert!(credentials["AccessKeyId"].as_str().unwrap().starts_with("AKTP"));
    assert_eq!(credentials["CurrentTime"], "2026-01-02T11:04:05+08:00");
    assert_eq!(credentials["ExpiredTime"], "2026-01-02T11:19:05+08:00");
    assert!(credentials.get("Expiration").is_none());
    assert_eq!(result["AssumedRoleUser"]["Trn"], "trn:sts::2100000000:assumed-role/redis-backup/backup");
    assert!(result.get("OIDCTokenInfo").is_none());
    assert_eq!(told.json["ResponseMetadata"]["Service"], "sts");

    pass(899.0).await;
    assert_eq!(describe_with(&simulator, credentials).await.result()["InstanceId"], ID);
    pass(1.0).await;
    let expired = describe_with(&simulator, credentials).await;
    assert_eq!(expired.error(), (401, "InvalidSecretToken"));
    assert!(expired.message().contains("expired"));
}

#[tokio::test(start_paused = true)]
async fn a_role_is_assumed_by_a_form_too() {
    let simulator = cloud_with(|_| {});
    let mut ask = assumption(&simulator, &[]);
    ask.method = "POST";
    ask.query = format!("Action={ASSUME}&Version=2018-01-01");
    ask.body = form(&[("RoleTrn", ROLE), ("RoleSessionName", "backup")]);
    ask.signed = vec![("content-type", "application/x-www-form-urlencoded; charset=utf-8".into())];
    let told = ask.send(&simulator).await;
    let credentials = &told.result()["Credentials"];
    // The default is an hour.
    assert_eq!(credentials["ExpiredTime"], "2026-01-02T12:04:05+08:00");
    assert_eq!(describe_with(&simulator, credentials).await.result()["InstanceId"], ID);
}

#[tokio::test(start_paused = true)]
async fn a_token_assumes_a_role_without_a_signature() {
    let simulator = cloud_with(|_| {});
    let told = assume_oidc(&simulator, &[]).await;
    let credentials = &told.result()["Credentials"];
    assert_eq!(credentials["Expiration"], "2026-01-02T12:04:05+08:00");
    assert!(credentials.get("ExpiredTime").is_none());
    assert_eq!(describe_with(&simulator, credentials).await.result()["InstanceId"], ID);
    let records = simulator.requests();
    assert_eq!((records[0].authentic, records[1].authentic), (None, Some(true)));
}

#[tokio::test(start_paused = true)]
async fn each_assumption_makes_another_key() {
    let simulator = cloud_with(|_| {});
    let (one, two) = (assume(&simulator, &[]).await, assume(&simulator, &[]).await);
    for name in ["AccessKeyId", "SecretAccessKey", "SessionToken"] {
        assert_ne!(one.result()["Credentials"][name], two.result()["Credentials"][name]);
    }
    assert!(describe_with(&simulator, &one.result()["Credentials"]).await.json.get("Result").is_some());
    assert_eq!(simulator.keys().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn bad_parameters_are_refused() {
    let simulator = cloud_with(|role| role.max_duration_seconds = 3600);
    let long = "x".repeat(2049);
    let name = "n".repeat(65);
    for (fields, status, code) in [
        ([("RoleTrn", "")], 400, "MissingParameter"),
        ([("RoleSessionName", "")], 400, "MissingParameter"),
        ([("RoleSessionName", "n")], 400, "InvalidParameter"),
        ([("RoleSessionName", name.as_str())], 400, "InvalidParameter"),
        ([("RoleSessionName", "with space")], 400, "InvalidParameter"),
        ([("DurationSeconds", "899")], 400, "InvalidParameter"),
        // Sent by the Go SDK for an hour.
        ([("DurationSeconds", "3660")], 400, "InvalidParameter"),
        ([("DurationSeconds", "long")], 400, "InvalidParameter"),
        ([("Policy", long.as_str())], 400, "InvalidParameter"),
        ([("RoleTrn", "trn:iam::2100000000:role/other")], 404, "RoleNotExist"),
    ] {
        for told in [assume(&simulator, &fields).await, assume_oidc(&simulator, &fields).await] {
            assert_eq!(told.error(), (status, code), "{fields:?}");
        }
    }
    for (token, code) in [("", "MissingParameter"), ("abc", "InvalidParameter")] {
        assert_eq!(assume_oidc(&simulator, &[("OIDCToken", token)]).await.error(), (400, code));
    }
    let endless = "t".repeat(65_537);
    let told = assume_oidc(&simulator, &[("OIDCToken", &endless)]).await;
    assert_eq!(told.error(), (400, "InvalidParameter"));
    assert_eq!(simulator.keys().len(), 1, "a refusal makes no key");
}

#[tokio::test(start_paused = true)]
async fn a_role_trusts_whom_it_names() {
    let denied = (403, "AccessDenied");
    let simulator = cloud_with(|role| role.account_id = 2_100_000_001);
    assert_eq!(assume(&simulator, &[]).await.error(), denied, "a key of another account");

    let simulator = cloud_with(|role| role.trusted_keys = ["AKLTother".to_owned()].into());
    assert_eq!(assume(&simulator, &[]).await.error(), denied, "another key of the account");
    let other = KeySpec { account_id: 2_100_000_009, ..KeySpec::new("AKLTother", SECRET) };
    simulator.put_key(other).unwrap();
    let mut ask = assumption(&simulator, &[]);
    ask.key = "AKLTother".into();
    ask.send(&simulator).await.result();

    let simulator = cloud_with(|role| role.external_id = Some("shop".into()));
    assert_eq!(assume(&simulator, &[]).await.error(), denied);
    assert_eq!(assume(&simulator, &[("ExternalId", "house")]).await.error(), denied);
    assume(&simulator, &[("ExternalId", "shop")]).await.result();

    simulator.deny(KEY, [ASSUME.to_owned()].into()).unwrap();
    let told = assume(&simulator, &[("ExternalId", "shop")]).await;
    assert_eq!(told.error(), denied);
    assert!(told.message().contains("sts:AssumeRole on resource: trn:iam::2100000000:role/redis-backup"));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refused_with_the_reason() {
    let simulator = cloud_with(|_| {});
    let refused = async |simulator: &Simulator, token: &str, reason: &str| {
        let told = assume_oidc(simulator, &[("OIDCToken", token)]).await;
        assert_eq!(told.error(), (400, "InvalidOIDCToken"), "{reason}");
        assert!(told.message().contains(reason), "{}", told.message());
    };
    refused(&simulator, &format!("{TOKEN}\n"), "ends with a newline").await;
    refused(&simulator, "another-token", "not one of the role's").await;
    refused(&cloud_with(|role| role.oidc = None), TOKEN, "trusts no identity provider").await;

    let end = simulator.now().as_second() + 600;
    let ours = json!({ "iss": "https://oidc", "sub": "system:serviceaccount:crbo:operator",
        "aud": ["sts.volcengine.com"], "exp": end, "iat": end - 3600 });
    let theirs = jwt(&json!({ "aud": "sts.other.com" }));
    let ours = jwt(&ours);
    let simulator = cloud_with(|role| {
        role.oidc = Some(OidcSpec {
            audience: Some("sts.volcengine.com".into()),
            tokens: [ours.clone(), theirs.clone(), TOKEN.to_owned()].into(),
            ..OidcSpec::default()
        });
    });
    refused(&simulator, &theirs, "another audience").await;
    refused(&simulator, TOKEN, "is no JWT").await;
    let told = assume_oidc(&simulator, &[("OIDCToken", &ours)]).await;
    let info = &told.result()["OIDCTokenInfo"];
    assert_eq!(info["Subject"], "system:serviceaccount:crbo:operator");
    assert_eq!(info["ClientIds"], json!(["sts.volcengine.com"]));
    assert_eq!(info["ExpirationTime"], "2026-01-02T11:14:05+08:00");
    pass(600.0).await;
    refused(&simulator, &ours, "has expired").await;
}

#[tokio::test(start_paused = true)]
async fn a_role_without_tokens_takes_every_jwt_that_fits() {
    let simulator = cloud_with(|role| {
        role.oidc = Some(OidcSpec {
            audience: Some("sts.volcengine.com".into()),
            issuer: Some("https://oidc".into()),
            subject: Some("system:serviceaccount:crbo:operator".into()),
            ..OidcSpec::default()
        });
    });
    let now = simulator.now().as_second();
    let ours = json!({ "iss": "https://oidc", "sub": "system:serviceaccount:crbo:operator",
        "aud": "sts.volcengine.com", "exp": now + 600, "iat": now, "nbf": now });
    assume_oidc(&simulator, &[("OIDCToken", &jwt(&ours))]).await.result();
    let fractions = json!({ "exp": now as f64 + 0.5, "nbf": now as f64 + 0.5 });
    for (other, reason) in [
        (json!({ "iss": "https://oidc/" }), "has another issuer"),
        (json!({ "iss": null }), "has another issuer"),
        (json!({ "sub": "system:serviceaccount:crbo:default" }), "has another subject"),
        (json!({ "aud": ["sts.other.com", "sts.volcengine.com.cn"] }), "meant for another audience"),
        (json!({ "aud": null }), "meant for another audience"),
        (json!({ "exp": now }), "has expired"),
        (fractions, "has expired"),
        (json!({ "exp": null }), "has no expiry"),
        (json!({ "exp": "tomorrow" }), "has no expiry"),
        (json!({ "nbf": now + 1 }), "is not valid yet"),
    ] {
        let mut claims = ours.clone();
        claims.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
        let told = assume_oidc(&simulator, &[("OIDCToken", &jwt(&claims))]).await;
        assert_eq!(told.error(), (400, "InvalidOIDCToken"), "{other}");
        assert!(told.message().contains(reason), "{other}: {}", told.message());
    }
    let fits = jwt(&ours);
    let parts: Vec<_> = fits.split('.').collect();
    let (header, payload) = (parts[0], parts[1]);
    for token in [
        TOKEN.to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{fits}.more"),
        format!("{header}.{payload}=.c2ln"),
        format!("{}.{payload}.c2ln", base64url("[]")),
        format!("{header}.{}.c2ln", base64url("text")),
    ] {
        let told = assume_oidc(&simulator, &[("OIDCToken", &token)]).await;
        assert_eq!(told.error(), (400, "InvalidOIDCToken"), "{token}");
        assert!(told.message().contains("is no JWT"), "{token}: {}", told.message());
    }
    assert_eq!(simulator.keys().len(), 2, "a refusal makes no key");
}

#[tokio::test(start_paused = true)]
async fn an_expired_key_is_told_so_for_an_hour_and_is_unknown_then() {
    let simulator = cloud_with(|_| {});
    let old = assume(&simulator, &[("DurationSeconds", "900")]).await.result()["Credentials"].clone();
    pass(900.0 + 3599.0).await;
    assume(&simulator, &[]).await.result();
    let told = describe_with(&simulator, &old).await;
    assert_eq!(told.error(), (401, "InvalidSecretToken"));
    assert!(told.message().contains("expired"));
    pass(1.0).await;
    assume(&simulator, &[]).await.result();
    assert_eq!(describe_with(&simulator, &old).await.error(), (401, "InvalidAccessKey"));
    assert_eq!(simulator.keys().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn of_many_expired_keys_the_last_thousand_are_remembered() {
    let simulator = cloud_with(|_| {});
    let mut made = Vec::new();
    for _ in 0..1_005 {
        made.push(
            assume_oidc(&simulator, &[("DurationSeconds", "900")]).await.result()["Credentials"].clone(),
        );
        pass(1.0).await;
    }
    // A key that was put explicitly under the id of an issued one is not evicted.
    let first = made[0]["AccessKeyId"].as_str().unwrap();
    simulator.put_key(KeySpec::new(first, SECRET)).unwrap();
    pass(900.0).await;
    assume_oidc(&simulator, &[]).await.result();
    assert_eq!(simulator.keys().len(), 1 + 1 + 1_000 + 1);
    assert_eq!(describe_with(&simulator, &made[4]).await.error(), (401, "InvalidAccessKey"));
    assert_eq!(describe_with(&simulator, &made[5]).await.error(), (401, "InvalidSecretToken"));
}

#[tokio::test(start_paused = true)]
async fn sts_can_be_slow_or_down() {
    let simulator = cloud_with(|_| {});
    let place = |spec: Value| simulator.place_fault(serde_json::from_value(spec).unwrap()).unwrap();
    for action in [ASSUME, ASSUME_OIDC] {
        let call = async || match action {
            ASSUME => raw(&simulator, assumption(&simulator, &[]).request()).await,
            _ => raw(&simulator, oidc_request(&[])).await,
        };
        let before = simulator.now();
        place(json!({ "action": action, "count": 1, "effect": { "type": "delay", "seconds": 20 } }));
        Told::read(call().await).await.result();
        assert_eq!(simulator.now().duration_since(before).as_secs(), 20, "{action}");

        let keys = simulator.keys().len();
        let error = json!({ "type": "error", "status": 503, "code": "ServiceUnavailable" });
        place(json!({ "action": action, "count": 1, "effect": error }));
        assert_eq!(Told::read(call().await).await.error(), (503, "ServiceUnavailable"), "{action}");
        place(json!({ "action": action, "count": 1, "effect": { "type": "reset" } }));
        assert!(axum::body::to_bytes(call().await.into_body(), usize::MAX).await.is_err(), "{action}");
        assert_eq!(simulator.keys().len(), keys, "{action} made no key");
        place(json!({ "action": action, "count": 1, "effect": { "type": "lostResponse" } }));
        assert!(axum::body::to_bytes(call().await.into_body(), usize::MAX).await.is_err(), "{action}");
        assert_eq!(simulator.keys().len(), keys + 1, "{action} made a key that nobody was told");
        Told::read(call().await).await.result();
    }
    // A fault for one key affects the requests that it signs.
    place(json!({ "accessKeyId": KEY, "effect": { "type": "reset" } }));
    assume_oidc(&simulator, &[]).await.result();
    let response = raw(&simulator, assumption(&simulator, &[]).request()).await;
    assert!(axum::body::to_bytes(response.into_body(), usize::MAX).await.is_err());

    let log = simulator.requests();
    let told: Vec<_> = log
        .iter()
        .map(|r| (r.action.as_deref().unwrap(), r.access_key_id.as_deref(), r.outcome.as_deref().unwrap()))
        .collect();
    let outcomes = ["ok", "ServiceUnavailable", "reset", "lostResponse", "ok"];
    let signed = outcomes.map(|outcome| (ASSUME, Some(KEY), outcome));
    let unsigned = outcomes.map(|outcome| (ASSUME_OIDC, None, outcome));
    let last = [(ASSUME_OIDC, None, "ok"), (ASSUME, Some(KEY), "reset")];
    assert_eq!(told, [&signed[..], &unsigned[..], &last[..]].concat());
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_assumes_nothing_and_its_keys_live_on() {
    let simulator = cloud_with(|_| {});
    let credentials = assume(&simulator, &[]).await.result()["Credentials"].clone();
    simulator.set_key_status(KEY, KeyStatus::Revoked).unwrap();
    assert_eq!(assume(&simulator, &[]).await.error(), (401, "InvalidAccessKey"));
    describe_with(&simulator, &credentials).await.result();
}

#[tokio::test(start_paused = true)]
async fn the_service_and_the_version_decide() {
    let simulator = cloud_with(|_| {});
    let mut ask = assumption(&simulator, &[]);
    ask.scope.service = "redis".into();
    assert_eq!(ask.send(&simulator).await.error(), (404, "InvalidActionOrVersion"));
    ask.scope.service = "iam".into();
    assert_eq!(ask.send(&simulator).await.error(), (404, "ServiceNotFound"));
    let mut ask = Ask::new(&simulator, DESCRIBE, json!({ "InstanceId": ID }));
    ask.scope.service = "sts".into();
    assert_eq!(ask.send(&simulator).await.error(), (404, "InvalidActionOrVersion"));

    let mut ask = assumption(&simulator, &[]);
    ask.secret = "wrong".into();
    assert_eq!(ask.send(&simulator).await.error(), (401, "SignatureDoesNotMatch"));
    let unsigned = |method: &str, action: &str, version: &str| {
        let uri = format!("/?Action={action}&Version={version}");
        Request::builder().method(method).uri(uri).body(Body::empty()).unwrap()
    };
    for (method, action, version, error) in [
        ("POST", ASSUME, "2018-01-01", (401, "MissingAuthenticationToken")),
        ("POST", ASSUME_OIDC, "2020-12-07", (401, "MissingAuthenticationToken")),
        ("GET", ASSUME_OIDC, "2018-01-01", (405, "MethodNotAllowed")),
        ("DELETE", ASSUME, "2018-01-01", (405, "MethodNotAllowed")),
        ("GET", DESCRIBE, "2020-12-07", (405, "MethodNotAllowed")),
    ] {
        let told = Told::read(raw(&simulator, unsigned(method, action, version)).await).await;
        assert_eq!(told.error(), error, "{method} {action} {version}");
    }
}

#[tokio::test(start_paused = true)]
async fn faults_and_limits_meet_assumptions() {
    let simulator = cloud_with(|_| {});
    let fault = |action: &str, effect: Value| {
        let spec = json!({ "action": action, "count": 1, "effect": effect });
        simulator.place_fault(serde_json::from_value::<FaultSpec>(spec).unwrap()).unwrap();
    };
    fault(ASSUME_OIDC, json!({ "type": "throttle", "style": "flow429" }));
    assume(&simulator, &[]).await.result();
    assert_eq!(assume_oidc(&simulator, &[]).await.error(), (429, "FlowLimitExceeded"));
    fault(ASSUME_OIDC, json!({ "type": "error", "status": 500, "code": "InternalError" }));
    assert_eq!(assume_oidc(&simulator, &[]).await.error(), (500, "InternalError"));
    fault(ASSUME_OIDC, json!({ "type": "malformed", "shape": "wrongTypes" }));
    let told = assume_oidc(&simulator, &[]).await;
    assert!(told.result()["Credentials"]["AccessKeyId"].is_number());
    let before = simulator.keys().len();
    let effect: Effect = serde_json::from_value(json!({ "type": "truncated" })).unwrap();
    fault(ASSUME_OIDC, serde_json::to_value(effect).unwrap());
    let response = raw(&simulator, oidc_request(&[])).await;
    assert!(axum::body::to_bytes(response.into_body(), usize::MAX).await.is_err());
    assert_eq!(simulator.keys().len(), before + 1, "the key was made all the same");

    let counters = simulator.counters();
    assert_eq!((counters.by_action[ASSUME], counters.by_action[ASSUME_OIDC]), (1, 4));
    assert_eq!(counters.by_action_and_outcome["AssumeRoleWithOIDC/FlowLimitExceeded"], 1);

    let limit = json!({ "perSecond": 0.001, "burst": 1 });
    simulator.set_rate_limit(2_100_000_000, Some(serde_json::from_value(limit).unwrap()));
    assume_oidc(&simulator, &[]).await.result();
    assert_eq!(assume_oidc(&simulator, &[]).await.error(), (429, "FlowLimitExceeded"));
}

#[tokio::test(start_paused = true)]
async fn the_ledger_does_not_tell_tokens() {
    let simulator = cloud_with(|_| {});
    assume_oidc(&simulator, &[]).await.result();
    let mut nameless = oidc_request(&[]);
    nameless.headers_mut().remove("content-type");
    raw(&simulator, nameless).await;
    let records = simulator.requests();
    assert_eq!(records[0].body["OIDCToken"], "(27 characters)");
    assert_eq!(records[0].body["RoleTrn"], ROLE);
    assert_eq!(records.len(), 2);
    assert!(!serde_json::to_string(&records).unwrap().contains(TOKEN));
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_come_with_quirks() {
    let simulator = cloud_with(|_| {});
    assert!(assume(&simulator, &[]).await.result().get("FutureField").is_none());
    simulator.set_settings(Settings { quirks: true, ..Settings::default() });
    assert!(assume(&simulator, &[]).await.result()["FutureField"].is_object());
}

#[tokio::test(start_paused = true)]
async fn roles_are_seeded_and_removed() {
    let simulator = cloud();
    let seed = json!({ "roles": [{ "role": ROLE, "oidc": { "tokens": [TOKEN] } }] });
    simulator.seed(serde_json::from_value::<Seed>(seed).unwrap()).unwrap();
    let credentials = assume_oidc(&simulator, &[]).await.result()["Credentials"].clone();
    simulator.remove_role(ROLE).unwrap();
    assert_eq!(assume_oidc(&simulator, &[]).await.error(), (404, "RoleNotExist"));
    describe_with(&simulator, &credentials).await.result();
    assert_eq!(simulator.remove_role(ROLE).unwrap_err().to_string(), format!("there is no role {ROLE}"));
    assert!(simulator.put_role(RoleSpec::new("")).is_err());
}
