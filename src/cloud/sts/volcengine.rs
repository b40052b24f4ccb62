//! Volcengine's STS, version 2018-01-01 (AssumeRole: D/6257/86374; AssumeRoleWithOIDC: D/6257/1494877).

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use serde_json::Value;

use crate::cloud::exchange::{Call, Dialect, Head, not_promised, request};
use crate::cloud::json::text_of;
use crate::cloud::volcengine::{Unsigned, canonical_query, codes, wire};
use crate::cloud::{Credentials, IdentityToken, NotAllowed, Origin, StsEndpoint, text};
use crate::domain::{Failure, Kind};

use super::{Assumed, Issued, RoleRequest, Sts, issued};

const VERSION: &str = "2018-01-01";
const SERVICE: &str = "sts";
const ASSUME_ROLE: &str = "AssumeRole";
const WITH_OIDC: &str = "AssumeRoleWithOIDC";
const FORM: &str = "application/x-www-form-urlencoded";

type Parameters<'a> = Vec<(&'static str, &'a str)>;

pub async fn assume_role(
    sts: &Sts,
    credentials: &Credentials,
    role: &RoleRequest,
    external_id: Option<&str>,
) -> Result<Issued, Failure> {
    let more = external_id.map(|id| ("ExternalId", id));
    send(sts, ASSUME_ROLE, Some(credentials), role, more).await
}

pub async fn with_oidc(sts: &Sts, token: &IdentityToken, role: &RoleRequest) -> Result<Issued, Failure> {
    send(sts, WITH_OIDC, None, role, Some(("OIDCToken", token.value()))).await
}

async fn send(
    sts: &Sts,
    action: &'static str,
    credentials: Option<&Credentials>,
    role: &RoleRequest,
    more: Option<(&'static str, &str)>,
) -> Result<Issued, Failure> {
    let seconds = role.duration.as_secs().to_string();
    let mut body = vec![
        ("RoleTrn", role.role.as_str()),
        ("RoleSessionName", &role.session_name),
        ("DurationSeconds", &seconds),
    ];
    body.extend(more);
    let call = Call { action, region: &sts.region, instance: None, body };
    let gateway = Gateway { endpoint: &sts.endpoint, credentials };
    let assumed = sts.exchange.send(&gateway, &call, |response, now| read(action, response, now, role)).await;
    assumed.map(|assumed| assumed.issued)
}

struct Gateway<'a> {
    endpoint: &'a StsEndpoint,
    /// `None` where the token among the parameters is all that is proved.
    credentials: Option<&'a Credentials>,
}

impl<'p> Dialect<Parameters<'p>> for Gateway<'_> {
    fn origin(&self, _region: &str) -> Result<Origin, NotAllowed> {
        self.endpoint.for_call(self.credentials.is_some())
    }

    /// AssumeRole has its parameters in the query; AssumeRoleWithOIDC in a form, as a token is no part of any URL.
    fn request(
        &self,
        call: &Call<'_, Parameters<'p>>,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<Request<Bytes>, Failure> {
        let mut query = vec![("Action", call.action), ("Version", VERSION)];
        let Some(credentials) = self.credentials else {
            let uri = format!("{origin}/?{}", canonical_query(&query));
            let headers = [(ACCEPT.as_str(), "application/json"), (CONTENT_TYPE.as_str(), FORM)];
            return request(call.action, Method::POST, uri, &headers, &[], canonical_query(&call.body));
        };
        query.extend(&call.body);
        let to_sign = Unsigned {
            method: Method::GET,
            region: call.region,
            service: SERVICE,
            query: &query,
            content_type: None,
            body: String::new(),
        };
        to_sign.signed(call.action, origin, credentials, now)
    }

    fn is_clock_error(&self, code: &str) -> bool {
        code == codes::INVALID_TIMESTAMP
    }
}

fn read(
    action: &'static str,
    response: &Response<Bytes>,
    now: Timestamp,
    role: &RoleRequest,
) -> Result<Assumed, Failure> {
    let answer = wire::unwrapped(&Head::of(action, response, now), response.body(), kind)?;
    let keys = answer.result.get("Credentials").unwrap_or(&Value::Null);
    let time = |name| text_of(keys, name)?.parse::<Timestamp>().ok();
    let start = time("CurrentTime").or_else(|| text::date(response.headers())).unwrap_or(now);
    // AssumeRoleWithOIDC says the first, AssumeRole the second.
    let end = time("Expiration").or_else(|| time("ExpiredTime"));
    let found = ["AccessKeyId", "SecretAccessKey", "SessionToken"].map(|name| text_of(keys, name));
    let issued = issued(found, end.map(|end| end.duration_since(start)), role.duration)
        .map_err(|what| not_promised(action, &answer, what))?;
    Ok(Assumed { request_id: answer.request_id, issued })
}

fn kind(code: &str, status: StatusCode) -> Kind {
    match code {
        "RoleNotExist" => Kind::CredentialsRejected,
        _ => super::kind(code, codes::kind(code, status)),
    }
}

#[cfg(test)]
#[path = "volcengine_tests.rs"]
mod tests;
