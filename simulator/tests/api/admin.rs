//! The admin API: every example of the README works as written.

use axum::body::Body;
use cloud_simulator::{Clock, Simulator};
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::client::{Told, raw, start};

const README: &str = include_str!("../../README.md");

struct Example {
    method: String,
    path: String,
    body: String,
}

/// Returns the README's lines `curl -X METHOD "$SIM/path" [-d 'body']`, in order.
fn examples() -> Vec<Example> {
    let read = |line: &str| {
        let rest = line.strip_prefix("curl -sX ")?;
        let (method, rest) = rest.split_once(" \"$SIM")?;
        let (path, rest) = rest.split_once('"')?;
        let body = rest.trim().strip_prefix("-d '").and_then(|body| body.strip_suffix('\''));
        Some(Example { method: method.into(), path: path.into(), body: body.unwrap_or_default().into() })
    };
    README.lines().filter_map(read).collect()
}

async fn call(simulator: &Simulator, method: &str, path: &str, body: &str) -> Told {
    let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned()));
    Told::read(raw(simulator, request.unwrap()).await).await
}

#[tokio::test(start_paused = true)]
async fn every_example_of_the_readme_works() {
    let simulator = Simulator::new(Clock::from_tokio(start()));
    let examples = examples();
    assert!(examples.len() > 40, "{}", examples.len());
    for Example { method, path, body } in examples {
        let told = call(&simulator, &method, &path, &body).await;
        assert_eq!(told.status, StatusCode::OK, "{method} {path} {body}: {}", told.text);
        assert_eq!(told.headers["content-type"], "application/json");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_put_can_be_read() {
    let simulator = Simulator::new(Clock::from_tokio(start()));
    call(&simulator, "PUT", "/admin/instances/redis-1", r#"{"region":"cn-shanghai"}"#).await;
    let body = r#"{"active":true,"region":"cn-beijing"}"#;
    call(&simulator, "PUT", "/admin/instances/redis-1/policy", body).await;
    let policy = call(&simulator, "GET", "/admin/instances/redis-1/policy", "").await.json;
    let current = json!({ "active": true, "region": "cn-beijing", "ttl": 7 });
    assert_eq!(policy, json!({ "current": current, "pending": [] }));
    let instance = call(&simulator, "GET", "/admin/instances/redis-1", "").await.json;
    assert_eq!((&instance["region"], &instance["policy"]), (&json!("cn-shanghai"), &current));

    let body = r#"{"instanceId":"redis-1","ageSeconds":50}"#;
    call(&simulator, "PUT", "/admin/backups/b-1", body).await;
    let backups = call(&simulator, "GET", "/admin/backups?instanceId=redis-1", "").await.json;
    assert_eq!(backups[0]["startTime"], "2026-01-02T03:03:15Z");
    let none = call(&simulator, "GET", "/admin/backups?instanceId=redis-2", "").await.json;
    assert_eq!(none, json!([]));
}

#[tokio::test(start_paused = true)]
async fn what_was_put_for_tencent_can_be_read() {
    let simulator = Simulator::new(Clock::from_tokio(start()));
    call(&simulator, "PUT", "/admin/tencent/instances/crs-1", r#"{"region":"ap-beijing"}"#).await;
    let instance = call(&simulator, "GET", "/admin/tencent/instances/crs-1", "").await.json;
    assert_eq!((&instance["region"], &instance["memSize"]), (&json!("ap-beijing"), &json!(2048)));

    let body = r#"{"instanceId":"crs-1","ageSeconds":50}"#;
    call(&simulator, "PUT", "/admin/tencent/backups/1-1-1", body).await;
    let patched =
        call(&simulator, "PATCH", "/admin/tencent/backups/1-1-1", r#"{"remark":"kept"}"#).await.json;
    let backup = call(&simulator, "GET", "/admin/tencent/backups/1-1-1", "").await.json;
    assert_eq!(patched, backup);
    assert_eq!((&backup["startTime"], &backup["remark"]), (&json!("2026-01-02T03:03:15Z"), &json!("kept")));
    assert_eq!(backup["region"], "ap-beijing");
    let listed = call(&simulator, "GET", "/admin/tencent/backups?instanceId=crs-1", "").await.json;
    assert_eq!(listed, json!([backup]));
    let none = call(&simulator, "GET", "/admin/tencent/backups?instanceId=crs-2", "").await.json;
    assert_eq!(none, json!([]));
    call(&simulator, "DELETE", "/admin/tencent/backups/1-1-1", "").await;
    assert_eq!(call(&simulator, "GET", "/admin/tencent/backups", "").await.json, json!([]));
}

#[tokio::test(start_paused = true)]
async fn mistakes_are_told() {
    let simulator = Simulator::new(Clock::from_tokio(start()));
    for (method, path, body, status) in [
        ("GET", "/admin/instances/redis-1", "", 404),
        ("PATCH", "/admin/instances/redis-1", "{}", 404),
        ("DELETE", "/admin/keys/AKLTNone", "", 404),
        ("POST", "/admin/keys/AKLTNone/revoke", "", 404),
        ("POST", "/admin/keys/AKLTNone/praise", "", 404),
        ("DELETE", "/admin/faults/9", "", 404),
        ("PUT", "/admin/instances/redis-1", r#"{"colour":"red"}"#, 400),
        ("PUT", "/admin/instances/redis-1", "[", 400),
        ("POST", "/admin/faults", r#"{"effect":{"type":"earthquake"}}"#, 400),
        ("POST", "/admin/seed", r#"{"keys":[{}]}"#, 400),
        ("GET", "/admin/tencent/instances/crs-1", "", 404),
        ("DELETE", "/admin/tencent/backups/1-1-1", "", 404),
        ("POST", "/admin/seed", r#"{"tencent":{"backups":[{}]}}"#, 400),
        ("PUT", "/admin/settings", r#"{"tencent":{"timeZone":"Beijing"}}"#, 400),
        ("PUT", "/admin/settings", r#"{"tencent":{"limits":{"DescribeInstances":0}}}"#, 400),
    ] {
        let told = call(&simulator, method, path, body).await;
        assert_eq!(told.status, status, "{method} {path}: {}", told.text);
        assert!(told.json["error"].is_string(), "{}", told.text);
    }
    let told = call(&simulator, "GET", "/admin/requests?last=3", "").await;
    assert_eq!(told.json, Value::Array(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_mistake_in_a_role_is_told_with_its_field() {
    let simulator = Simulator::new(Clock::from_tokio(start()));
    for (method, body, said) in [
        ("PUT", r#"{}"#, "role is required"),
        ("PUT", r#"{"role":""}"#, "role is required"),
        ("PUT", r#"{"accountId":1}"#, "role is required"),
        ("PUT", r#"{"role":null}"#, "role: invalid type: null, expected a string"),
        ("PUT", r#"{"role":5}"#, "role: invalid type: integer `5`, expected a string"),
        ("PUT", r#"{"role":"r","accountId":"1"}"#, "accountId: invalid type: string"),
        ("PUT", r#"{"role":"r","accountId":-1}"#, "accountId: invalid value: integer `-1`"),
        ("PUT", r#"{"role":"r","maxDurationSeconds":"1h"}"#, "maxDurationSeconds: invalid type: string"),
        ("PUT", r#"{"role":"r","maxDurationSeconds":1.5}"#, "maxDurationSeconds: invalid type: floating"),
        ("PUT", r#"{"role":"r","maxDurationSeconds":0}"#, "maxDurationSeconds must be at least 1"),
        ("PUT", r#"{"role":"r","externalId":["shop"]}"#, "externalId: invalid type: sequence"),
        ("PUT", r#"{"role":"r","trustedKeys":"AKLT1"}"#, "trustedKeys: invalid type: string"),
        ("PUT", r#"{"role":"r","trustedKeys":[1]}"#, "trustedKeys: invalid type: integer"),
        ("PUT", r#"{"role":"r","oidc":"token"}"#, "oidc: invalid type: string"),
        ("PUT", r#"{"role":"r","oidc":{"tokens":"token"}}"#, "oidc.tokens: invalid type: string"),
        ("PUT", r#"{"role":"r","oidc":{"providerId":1}}"#, "oidc.providerId: invalid type: integer"),
        ("PUT", r#"{"role":"r","oidc":{"audience":["a"]}}"#, "oidc.audience: invalid type: sequence"),
        ("PUT", r#"{"role":"r","oidc":{"issuer":1}}"#, "oidc.issuer: invalid type: integer"),
        ("PUT", r#"{"role":"r","oidc":{"subject":{}}}"#, "oidc.subject: invalid type: map"),
        ("PUT", r#"{"role":"r","colour":"red"}"#, "unknown field `colour`"),
        ("PUT", r#"{"role":"r","oidc":{"colour":"red"}}"#, "oidc.colour: unknown field `colour`"),
        ("PUT", r#"{"role":"r","accountId":"1","maxDurationSeconds":"1h"}"#, "accountId: invalid type"),
        ("PUT", r#"["r"]"#, "the body must be a JSON object"),
        ("PUT", r#"{"role":"#, "EOF while parsing"),
        ("DELETE", r#"{}"#, "missing field `role`"),
        ("DELETE", r#"{"role":5}"#, "role: invalid type: integer"),
        ("DELETE", r#"{"role":"r","oidc":{}}"#, "unknown field `oidc`"),
    ] {
        let told = call(&simulator, method, "/admin/roles", body).await;
        let error = told.json["error"].as_str().unwrap_or_default();
        assert_eq!(told.status, 400, "{method} {body}: {}", told.text);
        assert!(error.starts_with(said), "{method} {body}: {error}");
    }
    let seed = r#"{"roles":[{"accountId":1}]}"#;
    let told = call(&simulator, "POST", "/admin/seed", seed).await;
    assert_eq!((told.status.as_u16(), &told.json["error"]), (400, &json!("role is required")));
    let told = call(&simulator, "DELETE", "/admin/roles", r#"{"role":"r"}"#).await;
    assert_eq!((told.status.as_u16(), &told.json["error"]), (404, &json!("there is no role r")));
    assert_eq!(call(&simulator, "GET", "/admin/roles", "").await.json, json!([]));
}
