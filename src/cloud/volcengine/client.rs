//! Protocol of Volcengine and BytePlus: signature in the headers, action and version in the query.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{Method, Request};
use jiff::Timestamp;
use secrecy::ExposeSecret;

use crate::cloud::api_client::{ApiClient, Call, Protocol, request};
use crate::cloud::client::ClientConfig;
use crate::cloud::digest::sha256_hex;
use crate::cloud::{CallContext, Credentials, NotAllowed, Origin};
use crate::domain::Failure;
use crate::telemetry::redact::Redactor;

use super::wire::{self, Answer};
use super::{codes, sign};

const VERSION: &str = "2020-12-07";
/// Service in the credential scope, as the official SDKs spell it; the documents' `Redis` works as well.
const SERVICE: &str = "redis";
const JSON: &str = "application/json; charset=utf-8";
const TOKEN: &str = "x-security-token";

/// The Redis API with one account's credentials. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    exchange: ApiClient,
}

impl Client {
    pub fn new(config: ClientConfig) -> Self {
        Self { exchange: ApiClient::new(config.settings()), config: Arc::new(config) }
    }

    pub fn with_context(&self, call_context: CallContext) -> Self {
        Self { exchange: self.exchange.with_context(call_context), config: self.config.clone() }
    }

    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        self.exchange.send(&RedisProtocol(&self.config), call, wire::answer).await
    }
}

struct RedisProtocol<'a>(&'a ClientConfig);

impl Protocol for RedisProtocol<'_> {
    fn origin(&self, region: &str) -> Result<Origin, NotAllowed> {
        self.0.endpoint.url(region)
    }

    fn request(&self, call: &Call<'_>, origin: &Origin, now: Timestamp) -> Result<Request<Bytes>, Failure> {
        let to_sign = Unsigned {
            method: Method::POST,
            region: call.region,
            service: SERVICE,
            query: &[("Action", call.action), ("Version", VERSION)],
            content_type: Some(JSON),
            body: call.body.to_string(),
        };
        to_sign.signed(call.action, origin, &self.0.credentials, now)
    }

    fn redactor(&self) -> Redactor<'_> {
        self.0.credentials.redactor()
    }

    fn is_clock_error(&self, code: &str) -> bool {
        code == codes::INVALID_TIMESTAMP
    }
}

/// The service-specific parts of a request, before it is signed.
pub struct Unsigned<'a> {
    pub method: Method,
    pub region: &'a str,
    /// Name in the credential scope.
    pub service: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    /// `None` if there is no body.
    pub content_type: Option<&'a str>,
    pub body: String,
}

impl Unsigned<'_> {
    /// Signs the request as of `now`, with all of its headers but Accept.
    ///
    /// # Errors
    /// Credentials that no header can carry are rejected.
    pub fn signed(
        self,
        action: &'static str,
        origin: &Origin,
        credentials: &Credentials,
        now: Timestamp,
    ) -> Result<Request<Bytes>, Failure> {
        let hash = sha256_hex(self.body.as_bytes());
        let x_date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers: Vec<_> = self.content_type.map(|kind| ("content-type", kind)).into_iter().collect();
        headers.extend([("x-content-sha256", hash.as_str()), ("x-date", &x_date)]);
        headers.extend(credentials.token().map(|token| (TOKEN, token.expose_secret())));
        let host = origin.authority();
        let authorization = sign::authorization(
            &sign::ToSign {
                method: self.method.as_str(),
                host: &host,
                query: self.query,
                headers: &headers,
                body: self.body.as_bytes(),
            },
            &sign::Scope { x_date: &x_date, region: self.region, service: self.service },
            credentials.access_key_id(),
            credentials.secret(),
        );
        headers.extend([(ACCEPT.as_str(), "application/json"), (AUTHORIZATION.as_str(), &authorization)]);
        let uri = format!("{origin}/?{}", sign::canonical_query(self.query));
        request(action, self.method, uri, &headers, &[AUTHORIZATION.as_str(), TOKEN], self.body)
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
