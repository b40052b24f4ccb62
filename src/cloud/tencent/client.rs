//! Protocol of Tencent Cloud: everything but host and body is in headers of its own; two of all headers are signed.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{Method, Request};
use jiff::Timestamp;
use secrecy::ExposeSecret;

use crate::cloud::api_client::{ApiClient, ApiResponse, Call, Protocol, ResponseHead, request};
use crate::cloud::client::ClientConfig;
use crate::cloud::{CallContext, Credentials, NotAllowed, Origin};
use crate::domain::Failure;
use crate::telemetry::redact::Redactor;

use super::{codes, sign};

const REDIS: Service = Service { name: "redis", version: "2018-04-12" };
/// Content type, in exactly the form that is signed.
const JSON: &str = "application/json";
const TOKEN: &str = "x-tc-token";
/// Authorization value of a call that needs no signature (AssumeRoleWithWebIdentity, "API Description").
const NO_SIGNATURE: &str = "SKIP";

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

    pub(super) async fn send<A: ApiResponse>(
        &self,
        call: &Call<'_>,
        read: impl Fn(&ResponseHead<'_>, &[u8]) -> Result<A, Failure>,
    ) -> Result<A, Failure> {
        self.exchange.send(&RedisProtocol(&self.config), call, read).await
    }
}

struct RedisProtocol<'a>(&'a ClientConfig);

impl Protocol for RedisProtocol<'_> {
    fn origin(&self, region: &str) -> Result<Origin, NotAllowed> {
        self.0.endpoint.url(region)
    }

    fn request(&self, call: &Call<'_>, origin: &Origin, now: Timestamp) -> Result<Request<Bytes>, Failure> {
        REDIS.request(call, origin, Some(&self.0.credentials), now)
    }

    fn redactor(&self) -> Redactor<'_> {
        self.0.credentials.redactor()
    }

    fn is_clock_error(&self, code: &str) -> bool {
        code == codes::SIGNATURE_EXPIRE
    }
}

/// One of the cloud's services, each of which has its own host.
pub struct Service {
    /// Name in the credential scope.
    pub name: &'static str,
    pub version: &'static str,
}

impl Service {
    /// Builds a request as of `now`, signed if there are credentials.
    ///
    /// # Errors
    /// Credentials that no header can carry are rejected.
    pub fn request(
        &self,
        call: &Call<'_>,
        origin: &Origin,
        credentials: Option<&Credentials>,
        now: Timestamp,
    ) -> Result<Request<Bytes>, Failure> {
        let body = call.body.to_string();
        let host = origin.authority();
        let to_sign = sign::ToSign {
            method: "POST",
            query: "",
            headers: &[("content-type", JSON), ("host", &host)],
            body: body.as_bytes(),
        };
        let scope = sign::Scope { time: now, service: self.name };
        let authorization = credentials.map_or_else(
            || NO_SIGNATURE.to_owned(),
            |c| sign::authorization(&to_sign, &scope, c.access_key_id(), c.secret()),
        );
        let time = now.as_second().to_string();
        let mut headers = vec![
            (ACCEPT.as_str(), "application/json"),
            ("content-type", JSON),
            ("x-tc-action", call.action),
            ("x-tc-version", self.version),
            ("x-tc-timestamp", &time),
            ("x-tc-region", call.region),
            ("x-tc-language", "en-US"),
            (AUTHORIZATION.as_str(), &authorization),
        ];
        let token = credentials.and_then(Credentials::token);
        headers.extend(token.map(|token| (TOKEN, token.expose_secret())));
        let sensitive = [AUTHORIZATION.as_str(), TOKEN];
        request(call.action, Method::POST, format!("{origin}/"), &headers, &sensitive, body)
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
