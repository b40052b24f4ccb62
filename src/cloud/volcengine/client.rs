//! Sends signed calls within the account's budget, and says why one failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use crate::clock::Clock;
use crate::cloud::endpoint::is_region;
use crate::cloud::{Budget, Credentials, Endpoint, Origin, Permit, Site, Transport, TransportError, text};
use crate::domain::{Failure, Kind};

use super::wire::{self, Answer, NOT_PROMISED};
use super::{codes, sign};

const VERSION: &str = "2020-12-07";
/// The official SDKs' spelling in the credential scope; the documents' `Redis` works as well.
const SERVICE: &str = "redis";
const JSON: &str = "application/json; charset=utf-8";
const NOT_SENT: &str = "not sent";
const ADDRESS_RULE: &str = "the endpoint resolves to addresses that are not globally routable, and no --allowed-endpoint \
     names its very scheme, host and port";

/// What a [`Client`] is made of.
pub struct ClientConfig {
    pub site: Site,
    pub credentials: Credentials,
    pub endpoint: Endpoint,
    pub transport: Transport,
    pub budget: Arc<Budget>,
    pub clock: Clock,
    /// Of one try, from the moment that the budget allows it.
    pub timeout: Duration,
}

/// The Redis API with one account's credentials. Cheap to clone; clones share the clock's correction.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: ClientConfig,
    /// What the cloud's clock is ahead of ours, in milliseconds.
    ahead: AtomicI64,
}

/// One call, which may be tried twice.
pub(super) struct Call<'a> {
    pub action: &'static str,
    pub region: &'a str,
    /// For the log.
    pub instance: Option<&'a str>,
    pub body: Value,
}

/// A failed try, and the cloud's time where its answer told it.
struct Failed {
    failure: Failure,
    date: Option<Timestamp>,
}

impl Client {
    pub fn new(config: ClientConfig) -> Self {
        Self(Arc::new(Inner { config, ahead: AtomicI64::new(0) }))
    }

    pub fn credentials(&self) -> &Credentials {
        &self.0.config.credentials
    }

    pub fn site(&self) -> Site {
        self.0.config.site
    }

    /// Sends the call. It is tried once more after InvalidTimestamp, which the gateway says before anything is done:
    /// with the time from the answer's Date.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        if !is_region(call.region) {
            return Err(not_sent(call.action, "region must be of the form cn-beijing".to_owned()));
        }
        let origin = self.0.config.endpoint.url(call.region).map_err(|refused| Failure {
            message: Some(refused.0),
            ..failure(call.action, Kind::EndpointNotAllowed, "endpoint not allowed")
        })?;
        let failed = match self.try_once(call, &origin).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        match failed.date {
            Some(date) if failed.failure.code == codes::INVALID_TIMESTAMP => {
                let ahead = date.duration_since(self.0.config.clock.now()).as_millis();
                self.0.ahead.store(i64::try_from(ahead).unwrap_or_default(), Ordering::Relaxed);
                self.try_once(call, &origin).await.map_err(|failed| failed.failure)
            }
            _ => Err(failed.failure),
        }
    }

    async fn try_once(&self, call: &Call<'_>, origin: &Origin) -> Result<Answer, Failed> {
        let permit = self.0.config.budget.acquire().await;
        let start = Instant::now();
        let sent = match self.request(call, origin) {
            Ok(request) => {
                let sending = self.0.config.transport.clone().oneshot(request);
                timeout(self.0.config.timeout, sending).await.unwrap_or(Err(TransportError::Timeout))
            }
            Err(failure) => return Err(Failed { failure, date: None }),
        };
        let outcome = self.outcome(call.action, &sent);
        let date = sent.as_ref().ok().and_then(|response| text::date(response.headers()));
        tell(permit, &outcome, sent.as_ref().err());
        log(self.site(), call, &outcome, start.elapsed());
        outcome.map_err(|failure| Failed { failure, date })
    }

    /// The request with a fresh X-Date and signature.
    fn request(&self, call: &Call<'_>, origin: &Origin) -> Result<Request<Bytes>, Failure> {
        let credentials = self.credentials();
        let body = call.body.to_string();
        let hash = sign::sha256_hex(body.as_bytes());
        let x_date = self.now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![("content-type", JSON), ("x-content-sha256", &hash), ("x-date", &x_date)];
        headers.extend(credentials.token().map(|token| ("x-security-token", token.expose_secret())));
        let query = [("Action", call.action), ("Version", VERSION)];
        let host = origin.authority();
        let authorization = sign::authorization(
            &sign::ToSign {
                method: "POST",
                host: &host,
                query: &query,
                headers: &headers,
                body: body.as_bytes(),
            },
            &sign::Scope { x_date: &x_date, region: call.region, service: SERVICE },
            credentials.access_key_id(),
            credentials.secret(),
        );
        headers.extend([(ACCEPT.as_str(), "application/json"), (AUTHORIZATION.as_str(), &authorization)]);

        let uri = format!("{origin}/?{}", sign::canonical_query(&query));
        let mut request = Request::post(uri);
        for (name, value) in headers {
            // Only a key id or token can be what no header carries: the rest is made here.
            let mut value = HeaderValue::from_str(value).map_err(|_| {
                failure(call.action, Kind::CredentialsRejected, "key id or token fits no header")
            })?;
            value.set_sensitive(name == AUTHORIZATION.as_str() || name == "x-security-token");
            request = request.header(name, value);
        }
        request
            .body(Bytes::from(body))
            .map_err(|_| not_sent(call.action, "no request could be made".to_owned()))
    }

    fn outcome(
        &self,
        action: &'static str,
        sent: &Result<Response<Bytes>, TransportError>,
    ) -> Result<Answer, Failure> {
        match sent {
            Ok(response) => {
                wire::answer(action, response.status(), response.headers(), response.body(), self.now())
            }
            Err(error @ TransportError::AddressNotAllowed) => Err(Failure {
                message: Some(ADDRESS_RULE.to_owned()),
                ..failure(action, Kind::EndpointNotAllowed, error)
            }),
            Err(error) => Err(failure(action, Kind::CloudUnavailable, error)),
        }
    }

    /// The cloud's time, as far as it is known.
    fn now(&self) -> Timestamp {
        let now = self.0.config.clock.now();
        now.checked_add(SignedDuration::from_millis(self.0.ahead.load(Ordering::Relaxed))).unwrap_or(now)
    }
}

fn tell(permit: Permit<'_>, outcome: &Result<Answer, Failure>, error: Option<&TransportError>) {
    match (error, outcome) {
        (Some(TransportError::Timeout), _) => permit.timed_out(),
        (Some(_), _) => {}
        (None, Ok(_)) => permit.accepted(),
        (None, Err(failure)) => match failure.kind {
            Kind::Throttled => permit.throttled(failure.retry_after),
            Kind::CloudUnavailable => permit.answered(),
            _ => permit.accepted(),
        },
    }
}

/// The one line of a call. What the cloud said beyond its code and request id is no part of it.
fn log(site: Site, call: &Call<'_>, outcome: &Result<Answer, Failure>, took: Duration) {
    let (outcome, code, request_id) = match outcome {
        Ok(answer) => ("ok".to_owned(), None, &answer.request_id),
        Err(failure) => (format!("{:?}", failure.kind), Some(&failure.code), &failure.request_id),
    };
    tracing::debug!(
        provider = ?site,
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

pub(super) fn failure(action: &'static str, kind: Kind, code: impl ToString) -> Failure {
    Failure { kind, action, code: code.to_string(), message: None, request_id: None, retry_after: None }
}

/// A call that breaks a rule of the API. The message names the field.
pub(super) fn not_sent(action: &'static str, message: String) -> Failure {
    Failure { message: Some(message), ..failure(action, Kind::InvalidRequest, NOT_SENT) }
}

/// A successful answer that lacks what the API promises.
pub(super) fn not_promised(action: &'static str, answer: &Answer, what: &str) -> Failure {
    Failure {
        message: Some(what.to_owned()),
        request_id: answer.request_id.clone(),
        ..failure(action, Kind::CloudUnavailable, NOT_PROMISED)
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
