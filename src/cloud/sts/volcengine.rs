//! Volcengine's STS, version 2018-01-01 (AssumeRole: D/6257/86374; AssumeRoleWithOIDC: D/6257/1494877).

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use jiff::Timestamp;
use serde_json::Value;

use crate::cloud::api_client::{Call, Protocol, ResponseHead, malformed_response, request};
use crate::cloud::json::text_of;
use crate::cloud::volcengine::{Unsigned, canonical_query, codes, wire};
use crate::cloud::{Credentials, IdentityToken, NotAllowed, Origin, Proof, StsEndpoint, text};
use crate::domain::{Failure, Kind};
use crate::telemetry::redact::Redactor;

use super::{AssumeRoleResponse, RoleRequest, Sts, TemporaryCredentials, issued};

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
) -> Result<TemporaryCredentials, Failure> {
    let more = external_id.map(|id| ("ExternalId", id));
    send(sts, ASSUME_ROLE, &Proof::Credentials(credentials.clone()), role, more).await
}

pub async fn with_oidc(
    sts: &Sts,
    token: &IdentityToken,
    role: &RoleRequest,
) -> Result<TemporaryCredentials, Failure> {
    send(sts, WITH_OIDC, &Proof::Token(token.clone()), role, Some(("OIDCToken", token.value()))).await
}

async fn send(
    sts: &Sts,
    action: &'static str,
    proof: &Proof,
    role: &RoleRequest,
    more: Option<(&'static str, &str)>,
) -> Result<TemporaryCredentials, Failure> {
    let seconds = role.duration.as_secs().to_string();
    let mut body = vec![
        ("RoleTrn", role.role.as_str()),
        ("RoleSessionName", &role.session_name),
        ("DurationSeconds", &seconds),
    ];
    body.extend(more);
    let call = Call { action, region: &sts.region, instance: None, body };
    let protocol = StsProtocol { endpoint: &sts.endpoint, proof };
    let read = |head: &ResponseHead<'_>, body: &[u8]| read(head, body, role, proof);
    let assumed = sts.exchange.send(&protocol, &call, read).await;
    assumed.map(|assumed| assumed.issued)
}

struct StsProtocol<'a> {
    endpoint: &'a StsEndpoint,
    proof: &'a Proof,
}

impl<'p> Protocol<Parameters<'p>> for StsProtocol<'_> {
    fn origin(&self, _region: &str) -> Result<Origin, NotAllowed> {
        self.endpoint.for_call(self.proof.credentials().is_some())
    }

    /// Puts the parameters of AssumeRole in the query, and those of AssumeRoleWithOIDC in a form, as a token must not
    /// be part of a URL.
    fn request(
        &self,
        call: &Call<'_, Parameters<'p>>,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<Request<Bytes>, Failure> {
        let mut query = vec![("Action", call.action), ("Version", VERSION)];
        let Some(credentials) = self.proof.credentials() else {
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

    fn redactor(&self) -> Redactor<'_> {
        self.proof.redactor()
    }

    fn is_clock_error(&self, code: &str) -> bool {
        code == codes::INVALID_TIMESTAMP
    }
}

fn read(
    head: &ResponseHead<'_>,
    body: &[u8],
    role: &RoleRequest,
    proof: &Proof,
) -> Result<AssumeRoleResponse, Failure> {
    let answer = wire::unwrap_envelope(head, body, kind)?;
    let keys = answer.result.get("Credentials").unwrap_or(&Value::Null);
    let time = |name| text_of(keys, name)?.parse::<Timestamp>().ok();
    let start = time("CurrentTime").or_else(|| text::date(head.headers)).unwrap_or(head.now);
    // AssumeRoleWithOIDC returns the first, AssumeRole the second.
    let end = time("Expiration").or_else(|| time("ExpiredTime"));
    let found = ["AccessKeyId", "SecretAccessKey", "SessionToken"].map(|name| text_of(keys, name));
    let issued = issued(found, end.map(|end| end.duration_since(start)), role.duration, proof)
        .map_err(|what| malformed_response(head.action, &answer, what))?;
    Ok(AssumeRoleResponse::new(answer.request_id.as_deref(), issued))
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
