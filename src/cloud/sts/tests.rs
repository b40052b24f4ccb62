use super::*;
use crate::cloud::api_client::MALFORMED_RESPONSE;
use crate::cloud::fake::{RecordedRequest, RequestLog, START, cloud, raw};
use crate::cloud::{EndpointRule, TransportError, service_transport};
use axum::body::Body;
use http::Response;
use serde_json::{Value, json};
use testbed::capture::capture;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::service_fn;

pub const TOKEN: &str = "eyJ0ZXN0.c3RzLXRlc3Q.sig_na-ture";

/// STS client, and the requests that its cloud received.
pub struct StsFixture {
    pub sts: Sts,
    pub budget: Arc<Budget>,
    record: RequestLog,
}

impl StsFixture {
    /// Creates a stand. `answer` gets the number of the request, from 0, and the request.
    pub fn new(
        site: Site,
        answer: impl Fn(usize, &RecordedRequest) -> Response<Body> + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::of(endpoint(site, None), move |n, seen| (Duration::ZERO, answer(n, seen)))
    }

    fn of(
        endpoint: StsEndpoint,
        answer: impl Fn(usize, &RecordedRequest) -> (Duration, Response<Body>) + Clone + Send + Sync + 'static,
    ) -> Self {
        let (transport, record) = cloud(answer);
        let config = config(endpoint, transport);
        Self { budget: config.budget.clone(), sts: Sts::new(config), record }
    }

    pub fn seen(&self) -> Vec<RecordedRequest> {
        self.record.seen()
    }

    pub async fn assume_role(&self) -> Result<TemporaryCredentials, Failure> {
        self.sts.assume_role(&credentials(), &role(self.sts.endpoint.site()), None).await
    }

    pub async fn with_web_identity(&self) -> Result<TemporaryCredentials, Failure> {
        let token = IdentityToken::new(TOKEN).unwrap();
        self.sts.with_web_identity(&token, &role(self.sts.endpoint.site()), Some("cls-abcdefgh")).await
    }
}

fn endpoint(site: Site, override_: Option<&str>) -> StsEndpoint {
    EndpointRule::default().sts_endpoint(site, override_, false, region(site)).unwrap()
}

fn config(endpoint: StsEndpoint, transport: Transport) -> StsConfig {
    StsConfig {
        region: region(endpoint.site()).to_owned(),
        endpoint,
        transport,
        budget: Arc::new(Budget::new(1000, 1000, Arc::new(Semaphore::new(8)))),
        clock: Clock::from_tokio(START.parse().unwrap()),
        timeout: Duration::from_secs(10),
    }
}

fn region(site: Site) -> &'static str {
    if site == Site::Volcengine { "cn-beijing" } else { "ap-guangzhou" }
}

pub fn credentials() -> Credentials {
    Credentials::new(crate::cloud::fake::KEY_ID, crate::cloud::fake::SECRET, None)
}

pub fn role(site: Site) -> RoleRequest {
    let role = match site {
        Site::Volcengine => "trn:iam::2100000000:role/redis-backup",
        _ => "qcs::cam::uin/100000000001:roleName/redis-backup",
    };
    RoleRequest {
        role: role.to_owned(),
        session_name: "cross-region+backup@1".to_owned(),
        duration: Duration::from_secs(3600),
    }
}

/// Asserts the failure that every malformed response results in.
pub fn assert_not_promised(result: Result<TemporaryCredentials, Failure>, what: &str, case: &Value) {
    let failure = result.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::CloudUnavailable, MALFORMED_RESPONSE), "{case}");
    assert_eq!(failure.message.as_deref().unwrap_or_default(), what, "{case}");
}

const SITES: [Site; 3] = [Site::Volcengine, Site::Tencent, Site::TencentInternational];

/// The error in the envelopes of both clouds.
fn error(code: &str, message: &str) -> Response<Body> {
    let error = json!({"Code": code, "Message": message});
    let body = json!({"ResponseMetadata": {"Error": error}, "Response": {"Error": error}});
    raw(403, body.to_string())
}

/// Credentials in the envelopes of both clouds.
fn issue(id: &str, secret: &str, token: &str) -> Response<Body> {
    let volcengine = json!({"AccessKeyId": id, "SecretAccessKey": secret, "SessionToken": token,
        "CurrentTime": "2025-08-22T11:14:15+08:00", "ExpiredTime": "2025-08-22T12:14:15+08:00"});
    let tencent = json!({"TmpSecretId": id, "TmpSecretKey": secret, "Token": token});
    let body = json!({
        "ResponseMetadata": {"RequestId": "r"}, "Result": {"Credentials": volcengine},
        "Response": {"RequestId": "r", "Credentials": tencent, "ExpiredTime": 1_755_836_055},
    });
    raw(200, body.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_try_ends_at_its_timeout_and_is_not_repeated() {
    for site in SITES {
        let stand = StsFixture::of(endpoint(site, None), |_, _| {
            (Duration::from_secs(3600), issue("AKexampleissued0001", "timeout-key-1", "timeout-token-1"))
        });
        let start = Instant::now();
        // As tasks: a call must be able to run in one.
        let (sts, role) = (stand.sts.clone(), role(site));
        let signed = tokio::spawn({
            let (sts, role) = (sts.clone(), role.clone());
            async move { sts.assume_role(&credentials(), &role, None).await }
        });
        let token = IdentityToken::new(TOKEN).unwrap();
        let proved = tokio::spawn(async move { sts.with_web_identity(&token, &role, Some("cls")).await });
        for result in [signed.await.unwrap(), proved.await.unwrap()] {
            let failure = result.unwrap_err();
            assert_eq!((failure.kind, failure.code.as_str()), (Kind::CloudUnavailable, "timeout"));
        }
        assert_eq!(start.elapsed(), Duration::from_secs(10));
        assert_eq!(stand.seen().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_refused_whatever_it_says() {
    for site in SITES {
        for status in [301, 302, 303, 307, 308] {
            let stand = StsFixture::new(site, move |_, _| {
                let mut answer = issue("AKexampleissued0001", "redirect-key-1", "redirect-token-1");
                *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
                answer.headers_mut().insert("location", "https://sts.evil.example/".parse().unwrap());
                answer
            });
            let failure = stand.with_web_identity().await.unwrap_err();
            assert_eq!((failure.kind, failure.code.as_str()), (Kind::CloudUnavailable, "redirect refused"));
            assert_eq!(stand.assume_role().await.unwrap_err().code, "redirect refused");
            assert_eq!(stand.seen().len(), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_not_allowed_is_the_endpoints_fault() {
    for (error, kind) in [
        (TransportError::AddressNotAllowed, Kind::EndpointNotAllowed),
        (TransportError::ConnectionRefused, Kind::CloudUnavailable),
    ] {
        let transport =
            service_transport(service_fn(move |_| async move { Err::<Response<Body>, _>(error) }));
        let sts = Sts::new(config(endpoint(Site::Tencent, None), transport));
        let failure = sts.assume_role(&credentials(), &role(Site::Tencent), None).await.unwrap_err();
        assert_eq!((failure.kind, failure.code), (kind, error.to_string()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_identity_reaches_no_host_that_is_not_allowed_for_it() {
    for (site, other) in [
        (Site::Volcengine, "https://mine.volcengineapi.com"),
        (Site::Tencent, "https://mine.tencentcloudapi.com"),
    ] {
        let answer = |_: usize, _: &RecordedRequest| {
            (Duration::ZERO, issue("AKexampleissued0001", "other-host-key-1", "other-host-token-1"))
        };
        let stand = StsFixture::of(endpoint(site, Some(other)), answer);
        let failure = stand.with_web_identity().await.unwrap_err();
        assert_eq!(failure.kind, Kind::EndpointNotAllowed);
        let message = failure.message.unwrap();
        assert!(message.contains("spec.stsEndpoint") && !message.contains("mine"), "{message}");
        assert!(stand.seen().is_empty());
        stand.assume_role().await.unwrap();
        assert_eq!(stand.seen()[0].header("host"), &other["https://".len()..]);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_for_a_region_of_another_form() {
    let (transport, record) = cloud(|_, _| unreachable!());
    let config =
        StsConfig { region: "cn.evil/".to_owned(), ..config(endpoint(Site::Volcengine, None), transport) };
    let failure =
        Sts::new(config).assume_role(&credentials(), &role(Site::Volcengine), None).await.unwrap_err();
    assert_eq!(failure.kind, Kind::InvalidRequest);
    assert!(record.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn throttling_pauses_the_budget_of_sts_and_other_failures_do_not() {
    for (site, code, throttled) in [
        (Site::Volcengine, "FlowLimitExceeded", true),
        (Site::Tencent, "RequestLimitExceeded", true),
        (Site::Tencent, "InvalidParameter.OverLimit", true),
        (Site::Volcengine, "RoleNotExist", false),
        (Site::Tencent, "InternalError.GetRoleError", false),
    ] {
        let stand = StsFixture::new(site, move |_, _| error(code, ""));
        let failure = stand.assume_role().await.unwrap_err();
        assert_eq!(failure.kind == Kind::Throttled, throttled, "{code}");
        assert_eq!(stand.budget.paused_until().is_some(), throttled, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_log_debug_or_failure_holds_a_secret() {
    let (id, secret, session) =
        ("AKLTstscanary0000000000000001234", "sts+canary/signing==", "sts-canary-session");
    let (new_id, new_secret, new_session) =
        ("AKTPstscanary0000000000000005678", "sts+canary/issued==", "sts-canary-issued-token");
    let identity = "eyJzdHMtY2FuYXJ5.identity.sts_canary_signature";
    let lines = capture();
    let mut shown = String::new();
    for site in [Site::Volcengine, Site::Tencent] {
        let stand = StsFixture::new(site, move |n, seen| match n / 2 {
            0 => issue(new_id, new_secret, new_session),
            1 => issue(new_id, new_secret, ""),
            2 => raw(200, format!("{new_id} {new_secret} {new_session}")),
            _ => {
                // Each call's own values: for a call with the token, the STS knows no key.
                let [id, secret, session] = if n % 2 == 0 { [id, secret, session] } else { [identity; 3] };
                let echo = format!("{id} {secret} {session} {}", seen.text);
                error(&format!("Code-{secret}-{session}"), &format!("{echo} {}", seen.uri))
            }
        });
        let credentials = Credentials::new(id, secret, Some(session));
        let token = IdentityToken::new(identity).unwrap();
        for _ in 0..4 {
            let role = role(site);
            let signed = stand.sts.assume_role(&credentials, &role, Some("external")).await;
            let proved = stand.sts.with_web_identity(&token, &role, Some("cls-abcdefgh")).await;
            for result in [&signed, &proved] {
                shown += &format!("{result:?} {:?} ", result.as_ref().err().map(ToString::to_string));
            }
        }
        shown += &format!("{credentials:?} {token:?} {:?}", stand.sts.endpoint);
    }
    let logged = lines.text();
    assert!(logged.contains("cloud call") && logged.contains("AssumeRoleWithOIDC"), "{logged}");
    assert!(shown.contains("Issued(for 3600s)"), "{shown}");
    let parts = ["canarysigning", "canary_signature", "Signature=", "canary/issued"];
    for needle in [id, secret, session, new_id, new_secret, new_session, identity].into_iter().chain(parts) {
        assert!(!logged.contains(needle), "{needle} in {logged}");
        assert!(!shown.contains(needle), "{needle} in {shown}");
    }
}
