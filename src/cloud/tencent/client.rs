//! How Tencent Cloud's calls are made: everything but host and body in headers of its own, two of all headers signed.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{Request, Response};
use jiff::Timestamp;
use secrecy::ExposeSecret;

use crate::cloud::client::ClientConfig;
use crate::cloud::exchange::{Answered, Call, Dialect, Exchange, post};
use crate::cloud::{Credentials, Origin};
use crate::domain::Failure;

use super::{codes, sign};

const VERSION: &str = "2018-04-12";
const SERVICE: &str = "redis";
/// In the very form that is signed.
const JSON: &str = "application/json";
const TOKEN: &str = "x-tc-token";

/// The Redis API with one account's credentials. Cheap to clone.
#[derive(Clone)]
pub struct Client(Exchange);

impl Client {
    pub fn new(config: ClientConfig) -> Self {
        Self(Exchange::new(config, &Gateway))
    }

    pub fn config(&self) -> &ClientConfig {
        self.0.config()
    }

    pub(super) async fn send<A: Answered>(
        &self,
        call: &Call<'_>,
        read: impl Fn(&Response<Bytes>, Timestamp) -> Result<A, Failure>,
    ) -> Result<A, Failure> {
        self.0.send(call, read).await
    }
}

struct Gateway;

impl Dialect for Gateway {
    fn request(
        &self,
        call: &Call<'_>,
        origin: &Origin,
        credentials: &Credentials,
        now: Timestamp,
    ) -> Result<Request<Bytes>, Failure> {
        let body = call.body.to_string();
        let host = origin.authority();
        let authorization = sign::authorization(
            &sign::ToSign {
                method: "POST",
                query: "",
                headers: &[("content-type", JSON), ("host", &host)],
                body: body.as_bytes(),
            },
            &sign::Scope { time: now, service: SERVICE },
            credentials.access_key_id(),
            credentials.secret(),
        );
        let time = now.as_second().to_string();
        let mut headers = vec![
            (ACCEPT.as_str(), "application/json"),
            ("content-type", JSON),
            ("x-tc-action", call.action),
            ("x-tc-version", VERSION),
            ("x-tc-timestamp", &time),
            ("x-tc-region", call.region),
            ("x-tc-language", "en-US"),
            (AUTHORIZATION.as_str(), &authorization),
        ];
        headers.extend(credentials.token().map(|token| (TOKEN, token.expose_secret())));
        post(call.action, format!("{origin}/"), &headers, &[AUTHORIZATION.as_str(), TOKEN], body)
    }

    fn is_clock_error(&self, code: &str) -> bool {
        code == codes::SIGNATURE_EXPIRE
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
