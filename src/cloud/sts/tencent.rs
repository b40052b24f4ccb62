//! Tencent Cloud's STS, version 2018-08-13 (AssumeRole: 1312/48197; AssumeRoleWithWebIdentity: 1312/73070; error codes: the
//! lists of the official SDKs).

use bytes::Bytes;
use http::{Request, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cloud::api_client::{Call, Protocol, ResponseHead, invalid_request, malformed_response};
use crate::cloud::json::{count, text_of};
use crate::cloud::tencent::{Service, codes, wire};
use crate::cloud::{Credentials, IdentityToken, NotAllowed, Origin, Proof, StsEndpoint, text};
use crate::domain::{Failure, Kind};
use crate::telemetry::redact::Redactor;

use super::{AssumeRoleResponse, RoleRequest, Sts, TemporaryCredentials, issued};

const STS: Service = Service { name: "sts", version: "2018-08-13" };
const ASSUME_ROLE: &str = "AssumeRole";
const WITH_WEB_IDENTITY: &str = "AssumeRoleWithWebIdentity";

pub async fn assume_role(
    sts: &Sts,
    credentials: &Credentials,
    role: &RoleRequest,
    external_id: Option<&str>,
) -> Result<TemporaryCredentials, Failure> {
    let mut body = body(role);
    if let Some(id) = external_id {
        body["ExternalId"] = json!(id);
    }
    send(sts, ASSUME_ROLE, &Proof::Credentials(credentials.clone()), role, body).await
}

pub async fn with_web_identity(
    sts: &Sts,
    token: &IdentityToken,
    role: &RoleRequest,
    provider_id: Option<&str>,
) -> Result<TemporaryCredentials, Failure> {
    let Some(provider_id) = provider_id else {
        return Err(invalid_request(WITH_WEB_IDENTITY, "ProviderId is required".to_owned()));
    };
    let mut body = body(role);
    body["ProviderId"] = json!(provider_id);
    body["WebIdentityToken"] = json!(token.value());
    send(sts, WITH_WEB_IDENTITY, &Proof::Token(token.clone()), role, body).await
}

fn body(role: &RoleRequest) -> Value {
    json!({
        "RoleArn": role.role,
        "RoleSessionName": role.session_name,
        "DurationSeconds": role.duration.as_secs(),
    })
}

async fn send(
    sts: &Sts,
    action: &'static str,
    proof: &Proof,
    role: &RoleRequest,
    body: Value,
) -> Result<TemporaryCredentials, Failure> {
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

impl Protocol for StsProtocol<'_> {
    fn origin(&self, _region: &str) -> Result<Origin, NotAllowed> {
        self.endpoint.for_call(self.proof.credentials().is_some())
    }

    fn request(&self, call: &Call<'_>, origin: &Origin, now: Timestamp) -> Result<Request<Bytes>, Failure> {
        STS.request(call, origin, self.proof.credentials(), now)
    }

    fn redactor(&self) -> Redactor<'_> {
        self.proof.redactor()
    }

    fn is_clock_error(&self, code: &str) -> bool {
        code == codes::SIGNATURE_EXPIRE
    }
}

fn read(
    head: &ResponseHead<'_>,
    body: &[u8],
    role: &RoleRequest,
    proof: &Proof,
) -> Result<AssumeRoleResponse, Failure> {
    let answer = wire::unwrap_envelope(head, serde_json::from_slice(body).unwrap_or_default(), kind)?;
    let keys = answer.response.get("Credentials").unwrap_or(&Value::Null);
    let found = ["TmpSecretId", "TmpSecretKey", "Token"].map(|name| text_of(keys, name));
    // Unix time in seconds.
    let end = answer.response.get("ExpiredTime").and_then(count);
    let end = end.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let start = text::date(head.headers).unwrap_or(head.now);
    let issued = issued(found, end.map(|end| end.duration_since(start)), role.duration, proof)
        .map_err(|what| malformed_response(head.action, &answer, what))?;
    Ok(AssumeRoleResponse::new(answer.request_id.as_deref(), issued))
}

fn kind(code: &str, status: StatusCode) -> Kind {
    match code {
        "ResourceNotFound.RoleNotFound"
        | "InvalidParameter.WebIdentityTokenError"
        | "InvalidParameter.OverTimeError" => Kind::CredentialsRejected,
        // "Frequency limit exceeded."
        "InvalidParameter.OverLimit" => Kind::Throttled,
        _ => super::kind(code, codes::kind(code, status)),
    }
}

#[cfg(test)]
#[path = "tencent_tests.rs"]
mod tests;
