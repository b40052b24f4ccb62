//! Sends calls within the request budget and classifies failures. Signing and response parsing belong to each API's
//! protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use super::endpoint::is_region;
use super::transport::CONNECT_TIMEOUT;
use super::{Budget, CallContext, NotAllowed, Origin, Permit, Site, Transport, TransportError, text};
use crate::clock::Clock;
use crate::domain::{Failure, Kind, RawCode};
use crate::metrics::Outcome;
use crate::telemetry::redact::Redactor;

/// Failure code of a response that cannot be what the API sends.
pub const MALFORMED_RESPONSE: &str = "an answer that is not what the API promises";
/// Failure code of a call that breaks a rule of the API, and so is not sent.
pub const INVALID_REQUEST: &str = "not sent";
const ADDRESS_RULE: &str = "the endpoint resolves to addresses that are not globally routable, and no --allowed-endpoint \
     names its very scheme, host and port";

/// One call, which may be tried twice. The API's protocol defines the body.
pub struct Call<'a, B = Value> {
    pub action: &'static str,
    pub region: &'a str,
    /// Instance id for the log.
    pub instance: Option<&'a str>,
    pub body: B,
}

/// Protocol of an API: origin of its calls, form of its requests, credentials if any, and the codes of clock errors.
pub trait Protocol<B = Value> {
    /// Returns the origin for the calls of a region.
    fn origin(&self, region: &str) -> Result<Origin, NotAllowed>;

    /// Builds the request, as of `now`.
    fn request(&self, call: &Call<'_, B>, origin: &Origin, now: Timestamp)
    -> Result<Request<Bytes>, Failure>;

    /// Returns whether the code reports that the request's time is too far from the cloud's. The cloud rejects such a
    /// call before it does anything.
    fn is_clock_error(&self, code: &str) -> bool;

    /// Returns the redactor for cloud messages about a call: it hides every secret that a request could carry.
    fn redactor(&self) -> Redactor<'_>;
}

/// A successful response, without its envelope.
pub trait ApiResponse {
    fn request_id(&self) -> Option<&str>;
}

/// Settings shared by all calls of a client, whichever API they use.
pub struct ClientSettings {
    pub site: Site,
    pub transport: Transport,
    pub budget: Arc<Budget>,
    pub clock: Clock,
    /// Timeout of one try, counted from the moment the budget grants it.
    pub timeout: Duration,
}

/// Client of a cloud API with one call context. Cheap to clone; clones share the clock correction.
#[derive(Clone)]
pub struct ApiClient {
    shared: Arc<Shared>,
    call_context: CallContext,
}

struct Shared {
    settings: ClientSettings,
    /// Offset of the cloud's clock from ours, in milliseconds.
    clock_offset_ms: AtomicI64,
}

/// A failed try, and the cloud's time if the response carried it.
struct FailedTry {
    failure: Failure,
    date: Option<Timestamp>,
}

impl ApiClient {
    pub fn new(settings: ClientSettings) -> Self {
        let shared = Shared { settings, clock_offset_ms: AtomicI64::new(0) };
        Self { shared: Arc::new(shared), call_context: CallContext::default() }
    }

    pub fn with_context(&self, call_context: CallContext) -> Self {
        Self { shared: self.shared.clone(), call_context }
    }

    /// Sends the call and parses the response with `read`. Retries once after a clock error, with the time from the
    /// response's Date.
    pub async fn send<A: ApiResponse, B>(
        &self,
        protocol: &impl Protocol<B>,
        call: &Call<'_, B>,
        read: impl Fn(&ResponseHead<'_>, &[u8]) -> Result<A, Failure>,
    ) -> Result<A, Failure> {
        if !is_region(call.region) {
            return Err(invalid_request(call.action, "region must be of the form cn-beijing".to_owned()));
        }
        let origin = protocol.origin(call.region).map_err(|refused| Failure {
            message: Some(refused.0),
            ..failure(call.action, Kind::EndpointNotAllowed, "endpoint not allowed")
        })?;
        let failed = match self.try_once(protocol, call, &origin, &read).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        match failed.date {
            Some(date) if failed.failure.has_code(|code| protocol.is_clock_error(code)) => {
                let clock_offset_ms = date.duration_since(self.shared.settings.clock.now()).as_millis();
                self.shared
                    .clock_offset_ms
                    .store(i64::try_from(clock_offset_ms).unwrap_or_default(), Ordering::Relaxed);
                self.try_once(protocol, call, &origin, &read).await.map_err(|failed| failed.failure)
            }
            _ => Err(failed.failure),
        }
    }

    async fn try_once<A: ApiResponse, B>(
        &self,
        protocol: &impl Protocol<B>,
        call: &Call<'_, B>,
        origin: &Origin,
        read: &impl Fn(&ResponseHead<'_>, &[u8]) -> Result<A, Failure>,
    ) -> Result<A, FailedTry> {
        let settings = &self.shared.settings;
        let permit = settings.budget.acquire(&self.call_context).await;
        if let Err(refusal) = self.call_context.check() {
            permit.give_back();
            return Err(FailedTry { failure: Failure { action: call.action, ..refusal }, date: None });
        }
        let start = Instant::now();
        let request = match protocol.request(call, origin, self.now()) {
            Ok(request) => request,
            Err(failure) => return Err(FailedTry { failure, date: None }),
        };
        let host = &origin.shown();
        let sending = async {
            let sending = settings.transport.clone().oneshot(request);
            let sent = timeout(settings.timeout, sending).await.unwrap_or(Err(TransportError::Timeout));
            let outcome = match &sent {
                Ok(response) => {
                    let redactor = &protocol.redactor();
                    let (status, headers) = (response.status(), response.headers());
                    let head =
                        ResponseHead { action: call.action, status, headers, now: self.now(), redactor };
                    read(&head, response.body())
                }
                Err(error) => Err(transport_failure(call.action, *error, host, settings.timeout)),
            };
            (sent, outcome)
        };
        let done = match self.call_context.guard() {
            Some(guard) => guard.send(sending, |(sent, outcome)| is_certain(protocol, sent, outcome)).await,
            None => Some(sending.await),
        };
        let (sent, outcome) = match done {
            Some((sent, outcome)) => {
                // A try whose timeout is no longer than the connect timeout may have had no connection.
                let hasty = settings.timeout <= CONNECT_TIMEOUT;
                let unconnected = sent.as_ref().is_err_and(|error| {
                    error.is_no_connection() || (hasty && *error == TransportError::Timeout)
                });
                settings.budget.outages().call_ended(&origin.authority(), call.region, !unconnected);
                report_to_budget(permit, outcome.as_ref().err(), sent.as_ref().err());
                (Some(sent), outcome)
            }
            // The guard cancelled the request, which reveals nothing about the cloud.
            None => {
                (None, Err(transport_failure(call.action, TransportError::Timeout, host, settings.timeout)))
            }
        };
        let date = sent.and_then(Result::ok).and_then(|response| text::date(response.headers()));
        let took = start.elapsed();
        settings.budget.meter().record_call(call.action, metric_outcome(outcome.as_ref().err()), took);
        log(settings.site, call, &outcome, took);
        outcome.map_err(|failure| FailedTry { failure, date })
    }

    /// Returns the cloud's time, as far as it is known.
    fn now(&self) -> Timestamp {
        let now = self.shared.settings.clock.now();
        now.checked_add(SignedDuration::from_millis(self.shared.clock_offset_ms.load(Ordering::Relaxed)))
            .unwrap_or(now)
    }
}

/// Builds a request with these headers; the values of those in `sensitive` are hidden from anything that prints a
/// request.
pub fn request(
    action: &'static str,
    method: Method,
    uri: String,
    headers: &[(&str, &str)],
    sensitive: &[&str],
    body: String,
) -> Result<Request<Bytes>, Failure> {
    let mut request = Request::builder().method(method).uri(uri);
    for &(name, value) in headers {
        // Only a key id or a token can be an invalid header value: the other values are made here.
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| failure(action, Kind::CredentialsRejected, "key id or token fits no header"))?;
        value.set_sensitive(sensitive.contains(&name));
        request = request.header(name, value);
    }
    request
        .body(Bytes::from(body))
        .map_err(|_| invalid_request(action, "no request could be made".to_owned()))
}

/// Returns whether the outcome of a call is certain: the cloud accepted or refused it, or there was no connection to
/// send it over.
fn is_certain<A, B>(
    protocol: &impl Protocol<B>,
    sent: &Result<Response<Bytes>, TransportError>,
    outcome: &Result<A, Failure>,
) -> bool {
    match (sent, outcome) {
        (Err(error), _) => {
            error.is_no_connection()
                || matches!(error, TransportError::AddressNotAllowed | TransportError::NotReadOnly)
        }
        (Ok(_), Ok(_)) => true,
        (Ok(_), Err(failure)) => {
            failure.kind != Kind::CloudUnavailable || failure.has_code(|code| protocol.is_clock_error(code))
        }
    }
}

fn transport_failure(
    action: &'static str,
    error: TransportError,
    host: &str,
    response_timeout: Duration,
) -> Failure {
    match error {
        TransportError::AddressNotAllowed => Failure {
            message: Some(ADDRESS_RULE.to_owned()),
            ..failure(action, Kind::EndpointNotAllowed, error)
        },
        _ => Failure {
            message: error.explain(host, response_timeout),
            ..failure(action, Kind::CloudUnavailable, error)
        },
    }
}

fn report_to_budget(permit: Permit, failure: Option<&Failure>, error: Option<&TransportError>) {
    match (error, failure) {
        (
            Some(TransportError::Timeout | TransportError::ConnectTimeout | TransportError::ResolveTimeout),
            _,
        ) => permit.timed_out(),
        (Some(_), _) => {}
        (None, None) => permit.accepted(),
        (None, Some(failure)) => match failure.kind {
            Kind::Throttled => permit.throttled(failure.retry_after),
            Kind::CloudUnavailable => permit.answered(),
            _ => permit.accepted(),
        },
    }
}

fn metric_outcome(failure: Option<&Failure>) -> Outcome {
    match failure.map(|failure| failure.kind) {
        None => Outcome::Ok,
        Some(Kind::Throttled) => Outcome::Throttled,
        Some(Kind::PermissionDenied) => Outcome::Denied,
        Some(Kind::CredentialsRejected) => Outcome::Rejected,
        Some(Kind::InstanceNotFound) => Outcome::NotFound,
        Some(Kind::InvalidRequest | Kind::NotSupported) => Outcome::Invalid,
        Some(Kind::CloudUnavailable | Kind::InstanceNotReady | Kind::EndpointNotAllowed) => {
            Outcome::Unavailable
        }
    }
}

/// Logs a call, once. Of what the cloud sent it contains only the code and the request id.
fn log<A: ApiResponse, B>(site: Site, call: &Call<'_, B>, outcome: &Result<A, Failure>, took: Duration) {
    let (outcome, code, request_id) = match outcome {
        Ok(answer) => ("ok".to_owned(), None, answer.request_id()),
        Err(failure) => {
            (format!("{:?}", failure.kind), Some(failure.code.as_str()), failure.request_id.as_deref())
        }
    };
    tracing::debug!(
        provider = site.provider(),
        action = call.action,
        region = call.region,
        instance = call.instance,
        outcome,
        code,
        request_id,
        duration_ms = took.as_millis() as u64,
        "cloud call"
    );
}

/// Builds a failure in the operator's own words.
pub fn failure(action: &'static str, kind: Kind, code: impl ToString) -> Failure {
    Failure::new(kind, action, code.to_string())
}

/// Builds the failure of a call that breaks a rule of the API. The message names the field.
pub fn invalid_request(action: &'static str, message: String) -> Failure {
    Failure { message: Some(message), ..failure(action, Kind::InvalidRequest, INVALID_REQUEST) }
}

/// Returns whether the failure comes from `invalid_request`, or from a call that the cloud does not have.
pub fn is_invalid_request(failure: &Failure) -> bool {
    failure.raw.is_none() && failure.code == INVALID_REQUEST
}

/// Builds the failure of a successful response that lacks what the API promises.
pub fn malformed_response(action: &'static str, answer: &impl ApiResponse, what: &str) -> Failure {
    Failure {
        message: Some(what.to_owned()),
        request_id: answer.request_id().map(str::to_owned),
        ..failure(action, Kind::CloudUnavailable, MALFORMED_RESPONSE)
    }
}

/// Status and headers of a response, which both clouds use in the same way.
pub struct ResponseHead<'a> {
    pub action: &'static str,
    pub status: StatusCode,
    pub headers: &'a HeaderMap,
    pub now: Timestamp,
    /// Redactor of the account that the call was made for.
    pub redactor: &'a Redactor<'a>,
}

impl ResponseHead<'_> {
    /// Builds a failure in the operator's own words, with the response's Retry-After.
    pub fn failure(&self, kind: Kind, words: impl Into<String>, request_id: Option<String>) -> Failure {
        let retry_after = text::retry_after(self.headers, self.now);
        Failure { request_id, retry_after, ..Failure::new(kind, self.action, words) }
    }

    /// Refuses a redirect: none is ever followed.
    ///
    /// # Errors
    /// The response is a redirect.
    pub fn reject_redirect(&self) -> Result<(), Failure> {
        if self.status.is_redirection() {
            return Err(self.failure(Kind::CloudUnavailable, "redirect refused", None));
        }
        Ok(())
    }

    /// Refuses any status but 200, and 200 with an error (code and message) in the body.
    ///
    /// # Errors
    /// The failure of such a response; `kind` maps a code to the failure's kind.
    pub fn reject_error(
        &self,
        error: Option<(String, Option<&str>)>,
        request_id: Option<&String>,
        kind: impl Fn(&str, StatusCode) -> Kind,
    ) -> Result<(), Failure> {
        let request_id = request_id.cloned();
        if let Some((code, message)) = error {
            let shown = text::code(self.redactor, &code).unwrap_or_else(|| http_code(self.status));
            let kind = kind(&code, self.status);
            // With this kind a message is the operator's own: see `transport_failure`.
            let message = message.filter(|_| kind != Kind::CloudUnavailable);
            return Err(Failure {
                raw: Some(RawCode::new(&code)),
                message: message.and_then(|message| text::message(self.redactor, message)),
                ..self.failure(kind, shown, request_id)
            });
        }
        if self.status != StatusCode::OK {
            return Err(self.failure(kind("", self.status), http_code(self.status), request_id));
        }
        Ok(())
    }
}

/// Returns the code of a response that has none of its own.
fn http_code(status: StatusCode) -> String {
    format!("HTTP {}", status.as_u16())
}
