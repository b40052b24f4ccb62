//! Clients of the clouds' STS: they exchange credentials, or an identity token that the role trusts, for temporary
//! credentials of a role.
//!
//! Error codes whose kind differs from that in the Redis API (`codes` of either cloud):
//!
//! - CredentialsRejected: Volcengine's AccessDenied, LackPolicy, LackProjectPolicy and RoleNotExist; Tencent Cloud's
//!   UnauthorizedOperation(.*), AuthFailure.UnauthorizedOperation, InvalidParameter.PermissionDenied, IpInBlacklist,
//!   IpNotInWhitelist, ResourceNotFound.RoleNotFound, InvalidParameter.WebIdentityTokenError and
//!   InvalidParameter.OverTimeError. A caller that may not assume the role gets no credentials, so nothing is
//!   PermissionDenied.
//! - Throttled: Tencent Cloud's InvalidParameter.OverLimit, a frequency limit.
//! - CloudUnavailable: ServiceNotFound, InvalidActionOrVersion; InvalidAction, NoSuchVersion. An endpoint that lacks
//!   the action or version is no fault of the request.
//!
//! Every other InvalidParameter(.*) of Tencent Cloud is InvalidRequest, with its code: a request has role, session name
//! and duration, plus the name of an issuer or an external id, all of which are corrected in the account's spec. No
//! document and no official SDK of Volcengine names a code for a token that is invalid or has expired: such a code is
//! unknown, hence CloudUnavailable, and shown.

mod tencent;
mod volcengine;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::api_client::{ApiClient, ApiResponse, ClientSettings};
use super::{Budget, Credentials, IdentityToken, Proof, Site, StsEndpoint, Transport, text};
use crate::clock::Clock;
use crate::domain::{Failure, Kind};
use crate::telemetry::redact::SECRET_LEN_MAX;

/// Configuration of an [`Sts`] client.
pub struct StsConfig {
    pub endpoint: StsEndpoint,
    /// Home region of the account: part of the signature at Volcengine, the header X-TC-Region at Tencent Cloud. STS
    /// knows the same roles in all regions.
    pub region: String,
    pub transport: Transport,
    /// Separate from the budget of the account's own calls: STS has its own limits (Volcengine 200 a second,
    /// D/6257/1494877; Tencent Cloud 600, and 20 with an identity token, 1150/49443).
    pub budget: Arc<Budget>,
    pub clock: Clock,
    /// Timeout of one attempt, from the moment that the budget allows it.
    pub timeout: Duration,
}

/// Client of one cloud's STS. Cheap to clone; clones share the clock correction for the cloud.
#[derive(Clone)]
pub struct Sts {
    exchange: ApiClient,
    endpoint: StsEndpoint,
    region: String,
}

/// Role to assume, and the lifetime to request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRequest {
    /// `trn:iam::2100000000:role/backup-operator`, `qcs::cam::uin/100000000001:roleName/backup-operator`.
    pub role: String,
    /// Name by which the cloud's audit log distinguishes sessions.
    pub session_name: String,
    /// Lifetime in whole seconds, requested as is. Volcengine gives at least 900 s, and one hour instead of less
    /// (D/6257/86374).
    pub duration: Duration,
}

/// Temporary credentials.
#[derive(Clone)]
pub struct TemporaryCredentials {
    pub credentials: Credentials,
    /// Lifetime from the response on, measured by the cloud's clock if the response carries its time, so that the local
    /// clock may be wrong. Never zero, and never more than was requested.
    pub valid_for: Duration,
}

impl fmt::Debug for TemporaryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issued(for {:?})", self.valid_for)
    }
}

impl Sts {
    pub fn new(config: StsConfig) -> Self {
        let StsConfig { endpoint, region, transport, budget, clock, timeout } = config;
        let settings = ClientSettings { site: endpoint.site(), transport, budget, clock, timeout };
        Self { exchange: ApiClient::new(settings), endpoint, region }
    }

    /// Calls AssumeRole, signed with these credentials. `external_id` is an id that the role's owner may require. No
    /// document of Volcengine names it; it is sent there by the name that it has everywhere else, rather than dropped
    /// silently.
    ///
    /// # Errors
    /// Returns the call's failure, with the kinds of the module documentation. A response without complete credentials,
    /// or with a lifetime that is missing or over, is CloudUnavailable.
    pub async fn assume_role(
        &self,
        credentials: &Credentials,
        role: &RoleRequest,
        external_id: Option<&str>,
    ) -> Result<TemporaryCredentials, Failure> {
        match self.endpoint.site() {
            Site::Volcengine | Site::BytePlus => {
                volcengine::assume_role(self, credentials, role, external_id).await
            }
            Site::Tencent | Site::TencentInternational => {
                tencent::assume_role(self, credentials, role, external_id).await
            }
        }
    }

    /// Calls AssumeRoleWithOIDC, at Tencent Cloud AssumeRoleWithWebIdentity, authenticated by the token alone.
    /// `provider_id` is Tencent Cloud's name of the token's issuer, such as `cls-abcdefgh`; Volcengine finds the issuer
    /// in the token.
    ///
    /// # Errors
    /// Fails like [`Sts::assume_role`]. Nothing is sent to an endpoint that is not allowed with workload identity
    /// (EndpointNotAllowed), nor to Tencent Cloud without a `provider_id` (InvalidRequest).
    pub async fn with_web_identity(
        &self,
        token: &IdentityToken,
        role: &RoleRequest,
        provider_id: Option<&str>,
    ) -> Result<TemporaryCredentials, Failure> {
        match self.endpoint.site() {
            Site::Volcengine | Site::BytePlus => volcengine::with_oidc(self, token, role).await,
            Site::Tencent | Site::TencentInternational => {
                tencent::with_web_identity(self, token, role, provider_id).await
            }
        }
    }
}

/// Successful response.
struct AssumeRoleResponse {
    request_id: Option<String>,
    issued: TemporaryCredentials,
}

impl AssumeRoleResponse {
    /// Redacts the issued credentials in the request id, which may repeat them.
    fn new(request_id: Option<&str>, issued: TemporaryCredentials) -> Self {
        let request_id = request_id.and_then(|id| text::request_id(&issued.credentials.redactor(), id));
        Self { request_id, issued }
    }
}

impl ApiResponse for AssumeRoleResponse {
    fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

/// Validates key id, secret, token and lifetime of a response; `asked` is the lifetime that was requested. The error
/// names the violation of the API's contract, and contains no value.
fn issued(
    keys: [Option<&str>; 3],
    lifetime: Option<SignedDuration>,
    asked: Duration,
    proof: &Proof,
) -> Result<TemporaryCredentials, &'static str> {
    let fits = |key: &&str| key.len() <= SECRET_LEN_MAX && key.bytes().all(|b| b.is_ascii_graphic());
    let [Some(id), Some(secret), Some(token)] = keys.map(|key| key.filter(fits)) else {
        return Err("key id, secret or token is missing");
    };
    let valid_for = lifetime.ok_or("the time of expiry is missing")?;
    let valid_for = Duration::try_from(valid_for).unwrap_or_default().min(asked);
    if valid_for.is_zero() {
        return Err("the time of expiry has passed");
    }
    Ok(TemporaryCredentials {
        credentials: Credentials::temporary(id, secret, token, proof.clone()),
        valid_for,
    })
}

/// Returns the kind at STS of a code that the gateway shares with the Redis API, where its kind is `redis`.
fn kind(code: &str, redis: Kind) -> Kind {
    match (redis, code) {
        (_, "ServiceNotFound" | "InvalidActionOrVersion" | "InvalidAction" | "NoSuchVersion") => {
            Kind::CloudUnavailable
        }
        (Kind::PermissionDenied, _) => Kind::CredentialsRejected,
        // STS has no codes about instances.
        (Kind::InstanceNotFound | Kind::InstanceNotReady, _) => Kind::CloudUnavailable,
        (other, _) => other,
    }
}

#[cfg(test)]
mod tests;
