use super::*;
use crate::clock::Clock;
use crate::cloud::fake::{self, FakeCloud, KEY_ID, SECRET, instance};
use crate::cloud::{
    Budget, CallContext, Client, Endpoint, EndpointRule, Site, SizeLimits, Transport, TransportError,
    service_transport,
};
use crate::domain::{Change, Kind};
use axum::body::Body;
use jiff::tz::Offset;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use testbed::capture::capture;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::service_fn;

fn inactive() -> http::Response<Body> {
    fake::ok(json!({"Active": false}))
}

#[tokio::test(start_paused = true)]
async fn a_call_is_the_signed_request_of_the_official_vector() {
    let fake = FakeCloud::new(|_, _| inactive());
    fake.client.describe_policy(&instance()).await.unwrap();
    let seen = &fake.seen()[0];
    assert_eq!(
        seen.uri.to_string(),
        "https://redis.cn-beijing.volcengineapi.com/?Action=DescribeCrossRegionBackupPolicy&Version=2020-12-07"
    );
    assert_eq!(seen.header("host"), "redis.cn-beijing.volcengineapi.com");
    assert_eq!(seen.header("content-type"), JSON);
    assert_eq!(seen.header("x-date"), "20250822T031415Z");
    assert_eq!(
        seen.header("x-content-sha256"),
        "bd9f98af0a3e47958daac86aa3f5dd7b6cb00e7ef148b287e141be1888fc30f6"
    );
    assert!(!seen.headers.contains_key("x-security-token"));
    let expected = format!(
        "HMAC-SHA256 Credential={KEY_ID}/20250822/cn-beijing/redis/request, \
         SignedHeaders=content-type;host;x-content-sha256;x-date, \
         Signature=1298cad1ffd077a9ad3897e341702c5513690f2f3db319d3ee6962ad5a67e3f9"
    );
    assert_eq!(seen.header("authorization"), expected);
    assert!(seen.headers["authorization"].is_sensitive());
}

#[tokio::test(start_paused = true)]
async fn a_token_is_sent_and_signed() {
    let credentials = Credentials::new(KEY_ID, SECRET, Some("a-session-token"));
    let fake = FakeCloud::with(credentials, |_, _| (Duration::ZERO, inactive()));
    fake.client.describe_policy(&instance()).await.unwrap();
    let seen = &fake.seen()[0];
    assert_eq!(seen.header("x-security-token"), "a-session-token");
    assert!(seen.headers["x-security-token"].is_sensitive());
    assert!(
        seen.header("authorization")
            .contains("SignedHeaders=content-type;host;x-content-sha256;x-date;x-security-token,")
    );
}

#[tokio::test(start_paused = true)]
async fn credentials_that_no_header_can_carry_are_rejected() {
    for credentials in
        [Credentials::new("AKLT\nx", SECRET, None), Credentials::new(KEY_ID, SECRET, Some("to\u{0}ken"))]
    {
        let fake = FakeCloud::with(credentials, |_, _| (Duration::ZERO, inactive()));
        let failure = fake.client.describe_policy(&instance()).await.unwrap_err();
        assert_eq!(failure.kind, Kind::CredentialsRejected);
        assert!(fake.seen().is_empty());
    }
}

fn too_late(date: Option<&str>) -> http::Response<Body> {
    let mut answer = fake::error(400, "InvalidTimestamp", "The Signature of the request is expired.");
    if let Some(date) = date {
        answer.headers_mut().insert("date", date.parse().unwrap());
    }
    answer
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_corrected_by_the_answers_date_and_stays_so() {
    let fake =
        FakeCloud::new(
            |n, _| if n == 0 { too_late(Some("Fri, 22 Aug 2025 05:00:00 GMT")) } else { inactive() },
        );
    fake.client.describe_policy(&instance()).await.unwrap();
    fake.client.clone().describe_policy(&instance()).await.unwrap();
    let seen = fake.seen();
    let dates: Vec<_> = seen.iter().map(|s| s.header("x-date")).collect();
    assert_eq!(dates, ["20250822T031415Z", "20250822T050000Z", "20250822T050000Z"]);
    assert_ne!(seen[0].header("authorization"), seen[1].header("authorization"));
    assert!(seen[1].header("authorization").contains("/20250822/"));
}

#[tokio::test(start_paused = true)]
async fn the_clock_is_corrected_once_per_call_and_never_without_a_date() {
    for (date, tries) in [(Some("Fri, 22 Aug 2025 05:00:00 GMT"), 2), (Some("not a date"), 1), (None, 1)] {
        let fake = FakeCloud::new(move |_, _| too_late(date));
        let failure = fake.client.describe_policy(&instance()).await.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::CloudUnavailable, "InvalidTimestamp"));
        assert_eq!(fake.seen().len(), tries, "{date:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_try_ends_at_its_timeout_and_is_not_repeated() {
    let credentials = Credentials::new(KEY_ID, SECRET, None);
    let fake = FakeCloud::with(credentials, |_, _| (Duration::from_secs(3600), inactive()));
    let start = Instant::now();
    let change = Change { active: false, cross_backup_region: None };
    let failure = fake.client.modify_policy(&instance(), &change, "token").await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::CloudUnavailable, "timeout"));
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_timeout_does_not_count_the_wait_for_the_budget() {
    let fake = FakeCloud::new(|_, _| inactive());
    fake.budget.acquire(&CallContext::default()).await.throttled(Some(Duration::from_secs(120)));
    let start = Instant::now();
    fake.client.describe_policy(&instance()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(120));
    assert_eq!(fake.seen()[0].header("x-date"), "20250822T031615Z", "signed when it is sent");
}

#[tokio::test(start_paused = true)]
async fn calls_are_paced_by_the_budget() {
    let fake = FakeCloud::new(|_, _| inactive());
    fake.budget.reconfigure(10, 1);
    for _ in 0..6 {
        fake.client.describe_policy(&instance()).await.unwrap();
    }
    let seen = fake.seen();
    for pair in seen.windows(2) {
        let apart = (pair[1].at - pair[0].at).as_millis();
        assert!((99..=103).contains(&apart), "{apart} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_answer_pauses_every_client_of_the_account() {
    for (status, code) in
        [(429, "FlowLimitExceeded"), (400, "AccountFlowLimitExceeded"), (200, "FlowLimitExceeded")]
    {
        let fake = FakeCloud::new(move |n, _| {
            let mut answer = if n == 0 { fake::error(status, code, "slow") } else { inactive() };
            answer.headers_mut().insert("retry-after", "42".parse().unwrap());
            answer
        });
        let failure = fake.client.describe_policy(&instance()).await.unwrap_err();
        assert_eq!((failure.kind, failure.retry_after), (Kind::Throttled, Some(Duration::from_secs(42))));
        assert!(fake.budget.paused_until().is_some());
        fake.client.describe_policy(&instance()).await.unwrap();
        let seen = fake.seen();
        assert!(seen[1].at - seen[0].at >= Duration::from_secs(42));
    }
}

#[tokio::test(start_paused = true)]
async fn other_failures_do_not_pause() {
    for (status, code) in [(400, "InstanceNotExist"), (500, "InternalError"), (403, "AccessDenied")] {
        let fake = FakeCloud::new(move |_, _| fake::error(status, code, ""));
        fake.client.describe_policy(&instance()).await.unwrap_err();
        assert_eq!(fake.budget.paused_until(), None, "{code}");
    }
}

fn over(transport: Transport, endpoint: Endpoint) -> Client {
    Client::new(ClientConfig {
        site: Site::Volcengine,
        credentials: Credentials::new(KEY_ID, SECRET, None),
        endpoint,
        transport,
        budget: Arc::new(Budget::new(1000, 1000, Arc::new(Semaphore::new(8)))),
        clock: Clock::from_tokio(fake::now()),
        timeout: Duration::from_secs(10),
        time_zone: Offset::UTC,
        sizes: SizeLimits::default(),
    })
}

#[tokio::test(start_paused = true)]
async fn what_the_transport_says_is_the_failure() {
    let cases = [
        (TransportError::Timeout, Kind::CloudUnavailable, "timeout"),
        (TransportError::ConnectionRefused, Kind::CloudUnavailable, "connection refused"),
        (TransportError::ConnectionReset, Kind::CloudUnavailable, "connection reset"),
        (TransportError::NameNotResolved, Kind::CloudUnavailable, "name not resolved"),
        (TransportError::Tls, Kind::CloudUnavailable, "TLS handshake failed"),
        (TransportError::TooLarge, Kind::CloudUnavailable, "answer too large"),
        (TransportError::CutShort, Kind::CloudUnavailable, "answer cut short"),
        (TransportError::NoConnection, Kind::CloudUnavailable, "no connection"),
        (TransportError::AddressNotAllowed, Kind::EndpointNotAllowed, "address not allowed"),
    ];
    for (error, kind, code) in cases {
        let transport =
            service_transport(service_fn(move |_| async move { Err::<http::Response<Body>, _>(error) }));
        let endpoint = EndpointRule::default().endpoint(Site::Volcengine, None).unwrap();
        let failure = over(transport, endpoint).describe_policy(&instance()).await.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (kind, code));
        let message = failure.message.unwrap();
        assert!(message.contains("redis.cn-beijing.volcengineapi.com") || kind == Kind::EndpointNotAllowed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_region_without_an_allowed_host_is_refused_before_anything_is_sent() {
    let transport = || {
        service_transport(service_fn(async |_| -> Result<http::Response<Body>, TransportError> {
            unreachable!()
        }))
    };
    let rule = EndpointRule::new(&["redis.cn-shanghai.corp.example".to_owned()]).unwrap();
    let endpoint = rule.endpoint(Site::Volcengine, Some("https://redis.{region}.corp.example")).unwrap();
    let failure = over(transport(), endpoint).describe_policy(&instance()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::EndpointNotAllowed);
    assert!(failure.message.unwrap().contains("spec.endpoint"));

    let endpoint = rule.endpoint(Site::Volcengine, None).unwrap();
    let elsewhere = crate::domain::InstanceRef { region: "cn.evil/".to_owned(), id: "redis-1".to_owned() };
    let failure = over(transport(), endpoint).describe_policy(&elsewhere).await.unwrap_err();
    assert_eq!(failure.kind, Kind::InvalidRequest);
    assert!(failure.message.unwrap().contains("region"));
}

#[tokio::test(start_paused = true)]
async fn no_log_debug_or_display_holds_a_credential() {
    let (id, secret, token) =
        ("AKLTcanary0000000000000000001234", "canary+secret/key==", "canary-session-token");
    let credentials = Credentials::new(id, secret, Some(token));
    let lines = capture();

    let fake = FakeCloud::with(credentials.clone(), move |n, seen| {
        let text = format!("{id} {secret} {token} {}", seen.header("authorization"));
        let mut answer = fake::error(401, &format!("Code{n}-{id}-{secret}-{token}"), &text);
        if n == 1 {
            answer = fake::error(401, "InvalidAccessKey", &text);
        }
        (Duration::ZERO, answer)
    });
    let mut shown = String::new();
    for _ in 0..2 {
        let failure = fake.client.describe_policy(&instance()).await.unwrap_err();
        shown += &format!("{failure} {failure:?} ");
    }
    shown += &format!("{credentials:?} {:?}", EndpointRule::default().endpoint(Site::Volcengine, None));
    let logged = lines.text();
    assert!(logged.contains("cloud call") && logged.contains("InvalidAccessKey"), "{logged}");
    assert!(shown.contains("AKLT…1234"), "{shown}");
    let stripped = "canarysecretkey";
    for needle in [id, secret, token, stripped, "Signature=c", &hex::encode(secret)] {
        assert!(!logged.contains(needle), "{needle} in {logged}");
        assert!(!shown.contains(needle) || needle == "Signature=c", "{needle} in {shown}");
    }
}

#[tokio::test]
async fn no_log_of_the_http_client_holds_a_credential() {
    let (id, secret, token) =
        ("AKLTsocket0000000000000000001234", "socket+secret/key==", "socket-session-token");
    rustls::crypto::ring::default_provider().install_default().ok();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let named = format!("http://{}", listener.local_addr().unwrap());
    let lines = capture();
    let router = axum::Router::new().fallback(async || fake::error(401, "InvalidAccessKey", "no"));
    tokio::spawn(async { axum::serve(listener, router).await });
    let rule = EndpointRule::new(std::slice::from_ref(&named)).unwrap();
    let client = Client::new(ClientConfig {
        site: Site::Volcengine,
        credentials: Credentials::new(id, secret, Some(token)),
        endpoint: rule.endpoint(Site::Volcengine, Some(&named)).unwrap(),
        transport: crate::cloud::reqwest_transport(&rule, &crate::cloud::Proxies::default()).unwrap(),
        budget: Arc::new(Budget::new(10, 10, Arc::new(Semaphore::new(8)))),
        clock: Clock::system(),
        timeout: Duration::from_secs(10),
        time_zone: Offset::UTC,
        sizes: SizeLimits::default(),
    });
    assert_eq!(client.describe_policy(&instance()).await.unwrap_err().code, "InvalidAccessKey");
    let logged = lines.text();
    assert!(logged.contains("cloud call") && logged.contains("hyper"), "{logged}");
    for needle in [id, secret, token, "Signature="] {
        assert!(!logged.contains(needle), "{needle} in {logged}");
    }
}
