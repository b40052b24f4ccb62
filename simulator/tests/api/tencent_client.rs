//! A client for Tencent's protocol that signs requests and sends them to the in-process router.

use axum::body::Body;
use cloud_simulator::tencent::signing::{self, Scope};
use cloud_simulator::{
    Clock, KeySpec, Settings, Signed, Simulator, TencentBackupSpec, TencentInstanceSpec, TencentLimits,
    TencentSettings,
};
use http::{HeaderMap, Request};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::client::{Told, raw, start};

pub const KEY: &str = "AKIDEXAMPLE0000000000000000000000000";
pub const SECRET: &str = "exampleSecretKey0123456789abcdef";
pub const ID: &str = "crs-ei43p3gr";
pub const BACKUPS: &str = "DescribeInstanceBackups";
pub const DETAIL: &str = "DescribeBackupDetail";
pub const INSTANCES: &str = "DescribeInstances";

/// Returns a cloud on tokio's clock with one key and one running instance in ap-guangzhou, without rate limits, which
/// would fail tests that send many requests at one moment.
pub fn cloud() -> Simulator {
    let simulator = Simulator::new(Clock::from_tokio(start()));
    simulator.put_key(KeySpec::new(KEY, SECRET)).unwrap();
    let instance = TencentInstanceSpec::new(ID, "ap-guangzhou");
    simulator
        .put_tencent_instance(TencentInstanceSpec { instance_name: "orders".into(), ..instance })
        .unwrap();
    set(&simulator, TencentSettings::default());
    simulator
}

/// Applies these settings, without rate limits.
pub fn set(simulator: &Simulator, settings: TencentSettings) {
    let tencent = TencentSettings { limits: TencentLimits::Off, ..settings };
    simulator.set_settings(Settings { tencent, ..Settings::default() });
}

pub fn backup(id: &str, age_seconds: f64) -> TencentBackupSpec {
    TencentBackupSpec::new(id, ID, age_seconds)
}

impl Told {
    /// Returns the `Response` of a success.
    pub fn response(&self) -> &Value {
        assert_eq!(self.status, 200, "{}", self.text);
        let response = &self.json["Response"];
        assert!(response.is_object() && response.get("Error").is_none(), "{}", self.text);
        assert_eq!(response["RequestId"].as_str().unwrap().len(), 36, "{}", self.text);
        response
    }

    /// Returns the code of a failure, which is HTTP 200 too.
    pub fn refusal(&self) -> &str {
        assert_eq!(self.status, 200, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/json");
        assert!(self.json["Response"]["RequestId"].is_string(), "{}", self.text);
        self.json["Response"]["Error"]["Code"].as_str().unwrap_or_else(|| panic!("no error: {}", self.text))
    }

    pub fn reason(&self) -> &str {
        self.json["Response"]["Error"]["Message"].as_str().unwrap_or_default()
    }
}

/// A request that a test can alter before it is signed and sent.
#[derive(Clone)]
pub struct Ask {
    pub method: &'static str,
    pub query: &'static str,
    pub body: String,
    pub key: String,
    pub secret: String,
    pub scope: Scope,
    /// All headers except Authorization; names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// Names of the signed headers, in the order of SignedHeaders.
    pub signed: Vec<&'static str>,
}

impl Ask {
    pub fn new(simulator: &Simulator, action: &str, body: Value) -> Self {
        Self {
            method: "POST",
            query: "",
            body: body.to_string(),
            key: KEY.into(),
            secret: SECRET.into(),
            scope: Scope { date: String::new(), service: "redis".into() },
            headers: vec![
                ("content-type", "application/json".into()),
                ("host", "redis.tencentcloudapi.com".into()),
                ("x-tc-action", action.into()),
                ("x-tc-version", "2018-04-12".into()),
                ("x-tc-region", "ap-guangzhou".into()),
            ],
            signed: vec!["content-type", "host"],
        }
        .at(simulator.now())
    }

    /// Signs the request with another time.
    pub fn at(mut self, at: Timestamp) -> Self {
        self.scope.date = at.strftime("%Y-%m-%d").to_string();
        self.with("x-tc-timestamp", &at.as_second().to_string())
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name, value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(header, _)| *header != name);
        self
    }

    pub fn authorization(&self) -> String {
        let headers: HeaderMap = self
            .headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let signed = Signed {
            method: self.method,
            path: "/",
            query: self.query,
            headers: &headers,
            body: self.body.as_bytes(),
        };
        let canonical = signing::canonical_request(signed, &self.signed).unwrap();
        let timestamp = headers.get("x-tc-timestamp").map_or("", |value| value.to_str().unwrap());
        let to_sign = signing::string_to_sign(timestamp, &self.scope, &canonical);
        format!(
            "TC3-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={}",
            self.key,
            self.scope.text(),
            self.signed.join(";"),
            signing::signature(&self.secret, &self.scope, &to_sign)
        )
    }

    pub fn request(&self) -> Request<Body> {
        self.request_with(&self.authorization())
    }

    pub fn request_with(&self, authorization: &str) -> Request<Body> {
        let mut request = Request::builder().method(self.method).uri(format!("/?{}", self.query));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        request.header("authorization", authorization).body(Body::from(self.body.clone())).unwrap()
    }

    pub async fn send(&self, simulator: &Simulator) -> Told {
        Told::read(raw(simulator, self.request()).await).await
    }
}

pub async fn ask(simulator: &Simulator, action: &str, body: Value) -> Told {
    Ask::new(simulator, action, body).send(simulator).await
}

pub async fn listed(simulator: &Simulator, body: Value) -> Value {
    ask(simulator, BACKUPS, body).await.response().clone()
}

/// Returns the backup ids of a response, in its order.
pub fn ids(response: &Value) -> String {
    let items = response["BackupSet"].as_array().unwrap();
    items.iter().map(|item| item["BackupId"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

pub fn of_instance() -> Value {
    json!({ "InstanceId": ID })
}
