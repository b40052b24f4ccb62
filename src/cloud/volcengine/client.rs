//! How the calls of Volcengine and BytePlus are made: signed in the headers, action and version in the query.

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION};
use jiff::Timestamp;
use secrecy::ExposeSecret;

use crate::cloud::client::ClientConfig;
use crate::cloud::digest::sha256_hex;
use crate::cloud::exchange::{Call, Dialect, Exchange, post};
use crate::cloud::{Credentials, Origin};
use crate::domain::Failure;

use super::wire::{self, Answer};
use super::{codes, sign};

const VERSION: &str = "2020-12-07";
/// The official SDKs' spelling in the credential scope; the documents' `Redis` works as well.
const SERVICE: &str = "redis";
const JSON: &str = "application/json; charset=utf-8";
const TOKEN: &str = "x-security-token";

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

    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        let read = |response: &http::Response<Bytes>, now| {
            wire::answer(call.action, response.status(), response.headers(), response.body(), now)
        };
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
        let hash = sha256_hex(body.as_bytes());
        let x_date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![("content-type", JSON), ("x-content-sha256", &hash), ("x-date", &x_date)];
        headers.extend(credentials.token().map(|token| (TOKEN, token.expose_secret())));
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
        post(call.action, uri, &headers, &[AUTHORIZATION.as_str(), TOKEN], body)
    }

    fn is_clock_error(&self, code: &str) -> bool {
        code == codes::INVALID_TIMESTAMP
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
