//! A client for Volcengine's protocol that signs requests and sends them to the in-process router.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use cloud_simulator::volcengine::signing::{self, Scope};
use cloud_simulator::{BackupSpec, Clock, InstanceSpec, KeySpec, Simulator};
use http::{HeaderMap, Request, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt;

pub const KEY: &str = "AKLTExampleAccessKeyId0000000001";
pub const SECRET: &str = "RXhhbXBsZVNlY3JldEtleTAwMDAwMDAwMDAwMDAwMDE=";
pub const ID: &str = "redis-cn0212gzmh2xs1234";
pub const DESCRIBE: &str = "DescribeCrossRegionBackupPolicy";
pub const MODIFY: &str = "ModifyCrossRegionBackupPolicy";
pub const BACKUPS: &str = "DescribeCrossRegionBackups";

pub fn start() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

/// Returns a cloud on tokio's clock with one key and one running instance in cn-beijing.
pub fn cloud() -> Simulator {
    let simulator = Simulator::new(Clock::from_tokio(start()));
    simulator.put_key(KeySpec::new(KEY, SECRET)).unwrap();
    simulator.put_instance(InstanceSpec::new(ID, "cn-beijing")).unwrap();
    simulator
}

pub fn backup(id: &str, age_seconds: f64) -> BackupSpec {
    BackupSpec::new(id, ID, age_seconds)
}

/// A response with its parsed body.
#[derive(Debug)]
pub struct Told {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Told {
    pub async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or_default();
        Self { status: parts.status, headers: parts.headers, text, json }
    }

    /// Returns the `Result` of a success.
    pub fn result(&self) -> &Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        assert!(self.json["ResponseMetadata"].get("Error").is_none(), "{}", self.text);
        self.json.get("Result").expect("a success has a Result")
    }

    /// Returns the HTTP status and error code of a failure.
    pub fn error(&self) -> (u16, &str) {
        assert!(self.json.get("Result").is_none(), "{}", self.text);
        let code = self.json["ResponseMetadata"]["Error"]["Code"].as_str();
        (self.status.as_u16(), code.unwrap_or_else(|| panic!("no error: {}", self.text)))
    }

    pub fn message(&self) -> &str {
        self.json["ResponseMetadata"]["Error"]["Message"].as_str().unwrap_or_default()
    }
}

/// A request that a test can alter before it is signed and sent.
#[derive(Clone)]
pub struct Ask {
    pub method: &'static str,
    pub query: String,
    pub body: String,
    pub host: String,
    pub key: String,
    pub secret: String,
    pub token: Option<String>,
    pub scope: Scope,
    pub x_date: String,
    /// Additional headers, which are sent and signed.
    pub signed: Vec<(&'static str, String)>,
    pub separator: &'static str,
}

pub fn x_date(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

impl Ask {
    pub fn new(simulator: &Simulator, action: &str, body: Value) -> Self {
        let x_date = x_date(simulator.now());
        let scope = Scope { date: x_date[..8].into(), region: "cn-beijing".into(), service: "redis".into() };
        Self {
            method: "POST",
            query: format!("Action={action}&Version=2020-12-07"),
            body: body.to_string(),
            host: "redis.cn-beijing.volcengineapi.com".into(),
            key: KEY.into(),
            secret: SECRET.into(),
            token: None,
            scope,
            x_date,
            signed: vec![("content-type", "application/json".into())],
            separator: ", ",
        }
    }

    pub fn region(mut self, region: &str) -> Self {
        self.scope.region = region.into();
        self
    }

    pub fn request(&self) -> Request<Body> {
        let mut headers = self.signed.clone();
        headers.push(("host", self.host.clone()));
        headers.push(("x-date", self.x_date.clone()));
        if let Some(token) = &self.token {
            headers.push(("x-security-token", token.clone()));
        }
        headers.sort();
        let mut request = Request::builder().method(self.method).uri(format!("/?{}", self.query));
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
        let canonical = signing::canonical_request(
            self.method,
            "/",
            &self.query,
            request.headers_ref().unwrap(),
            &names,
            &signing::sha256_hex(self.body.as_bytes()),
        );
        let to_sign = signing::string_to_sign(&self.x_date, &self.scope, &canonical.unwrap());
        let authorization = [
            format!("HMAC-SHA256 Credential={}/{}", self.key, self.scope.text()),
            format!("SignedHeaders={}", names.join(";")),
            format!("Signature={}", signing::signature(&self.secret, &self.scope, &to_sign)),
        ]
        .join(self.separator);
        request.header("authorization", authorization).body(Body::from(self.body.clone())).unwrap()
    }

    pub async fn send(&self, simulator: &Simulator) -> Told {
        Told::read(raw(simulator, self.request()).await).await
    }
}

/// Sends the request, and returns the response with its body unread.
pub async fn raw(simulator: &Simulator, request: Request<Body>) -> Response {
    cloud_simulator::router(simulator.clone()).oneshot(request).await.unwrap()
}

pub async fn ask(simulator: &Simulator, action: &str, body: Value) -> Told {
    Ask::new(simulator, action, body).send(simulator).await
}

pub async fn describe(simulator: &Simulator) -> Value {
    ask(simulator, DESCRIBE, json!({ "InstanceId": ID })).await.result().clone()
}

/// Activates the policy with a Modify.
pub async fn enable(simulator: &Simulator, region: &str, token: &str) -> Told {
    let body = json!({
        "InstanceId": ID, "Active": true, "CrossBackupRegion": region, "ClientToken": token,
    });
    ask(simulator, MODIFY, body).await
}

pub async fn pass(seconds: f64) {
    tokio::time::advance(Duration::from_secs_f64(seconds)).await;
}

/// Returns an OIDC token with these claims and an invalid signature.
pub fn jwt(claims: &Value) -> String {
    format!("{}.{}.c2lnbmF0dXJl", base64url(r#"{"alg":"RS256"}"#), base64url(&claims.to_string()))
}

/// Encodes as base64url without padding, the form in JWTs.
pub fn base64url(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: Vec<u8> = text.bytes().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let sextet = |six: &[u8]| (0..6).fold(0, |sum, bit| sum << 1 | six.get(bit).copied().unwrap_or(0));
    bits.chunks(6).map(|six| char::from(LETTERS[usize::from(sextet(six))])).collect()
}
