//! A cloud for unit tests: responds as a closure decides, and records the requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use http::{HeaderMap, Method, Response, Uri};
use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::clock::Clock;
use crate::cloud::{
    Budget, Client, ClientConfig, Credentials, EndpointRule, Site, SizeLimits, Transport, service_transport,
    volcengine,
};
use crate::domain::InstanceRef;

pub const KEY_ID: &str = "AKLTExampleAccessKeyId0000000001";
pub const SECRET: &str = "RXhhbXBsZVNlY3JldEtleTAwMDAwMDAwMDAwMDAwMDE=";
pub const START: &str = "2025-08-22T03:14:15Z";

#[derive(Clone, Debug)]
pub struct RecordedRequest {
    pub method: Method,
    pub headers: HeaderMap,
    pub uri: Uri,
    /// Body as received.
    pub text: String,
    /// Parsed body; null if it is not JSON.
    pub body: Value,
    pub at: Instant,
}

impl RecordedRequest {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

pub struct FakeCloud {
    pub client: Client,
    pub budget: Arc<Budget>,
    record: RequestLog,
}

/// Requests that a cloud received.
#[derive(Clone, Default)]
pub struct RequestLog(Arc<Mutex<Vec<RecordedRequest>>>);

impl RequestLog {
    pub fn seen(&self) -> Vec<RecordedRequest> {
        self.0.lock().unwrap().clone()
    }
}

/// Builds the transport to a fake cloud. `answer` gets the number of the request, from 0, and the request; it returns a
/// delay and the response.
pub fn cloud(
    answer: impl Fn(usize, &RecordedRequest) -> (Duration, Response<Body>) + Clone + Send + Sync + 'static,
) -> (Transport, RequestLog) {
    let record = RequestLog::default();
    let keep = record.clone();
    let router = Router::new().fallback(move |request: Request| async move {
        let (head, body) = request.into_parts();
        let text = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or_default();
        let (method, headers, uri) = (head.method, head.headers, head.uri);
        let request = RecordedRequest { method, headers, uri, text, body, at: Instant::now() };
        let number = {
            let mut all = keep.0.lock().unwrap();
            all.push(request.clone());
            all.len() - 1
        };
        let (delay, answer) = answer(number, &request);
        sleep(delay).await;
        answer
    });
    (service_transport(router), record)
}

impl FakeCloud {
    /// Creates a Volcengine cloud. `answer` gets the number of the request, from 0, and the request.
    pub fn new(
        answer: impl Fn(usize, &RecordedRequest) -> Response<Body> + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::with(Credentials::new(KEY_ID, SECRET, None), move |n, seen| (Duration::ZERO, answer(n, seen)))
    }

    /// Creates a Tencent Cloud.
    pub fn tencent(
        answer: impl Fn(usize, &RecordedRequest) -> Response<Body> + Clone + Send + Sync + 'static,
    ) -> Self {
        let credentials = Credentials::new(KEY_ID, SECRET, None);
        Self::of(Site::Tencent, credentials, move |n, seen| (Duration::ZERO, answer(n, seen)))
    }

    /// Creates a Volcengine cloud with a delay before each response.
    pub fn with(
        credentials: Credentials,
        answer: impl Fn(usize, &RecordedRequest) -> (Duration, Response<Body>) + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::of(Site::Volcengine, credentials, answer)
    }

    pub fn of(
        site: Site,
        credentials: Credentials,
        answer: impl Fn(usize, &RecordedRequest) -> (Duration, Response<Body>) + Clone + Send + Sync + 'static,
    ) -> Self {
        let (transport, record) = cloud(answer);
        let budget = Arc::new(Budget::new(1000, 1000, Arc::new(Semaphore::new(256))));
        let client = Client::new(ClientConfig {
            site,
            credentials,
            endpoint: EndpointRule::default().endpoint(site, None).unwrap(),
            transport,
            budget: budget.clone(),
            clock: Clock::from_tokio(START.parse().unwrap()),
            timeout: Duration::from_secs(10),
            time_zone: Offset::constant(8),
            sizes: SizeLimits::default(),
        });
        Self { client, budget, record }
    }

    /// Returns the inner Volcengine client; panics for another cloud.
    pub fn volcengine(&self) -> &volcengine::Client {
        match &self.client {
            Client::Volcengine(client) => client,
            Client::Tencent(_) => panic!("another cloud"),
        }
    }

    pub fn seen(&self) -> Vec<RecordedRequest> {
        self.record.seen()
    }
}

pub fn instance() -> InstanceRef {
    InstanceRef { region: "cn-beijing".to_owned(), id: "redis-cn0212gzmh2xs1234".to_owned() }
}

pub fn now() -> Timestamp {
    START.parse().unwrap()
}

pub fn raw(status: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder().status(status).body(body.into()).unwrap()
}

pub fn ok(result: Value) -> Response<Body> {
    raw(200, json!({"ResponseMetadata": {"RequestId": "20230604110420-ok"}, "Result": result}).to_string())
}

pub fn error(status: u16, code: &str, message: &str) -> Response<Body> {
    let error = json!({"CodeN": 1, "Code": code, "Message": message});
    raw(status, json!({"ResponseMetadata": {"RequestId": "20230604110420-err", "Error": error}}).to_string())
}
