//! The clients of the clouds' STS: temporary credentials of a role, for other credentials or for a token of an identity
//! that the role trusts.
//!
//! What a code means here, where it is not what it means to the Redis API (`codes` of either cloud):
//!
//! - CredentialsRejected: Volcengine's AccessDenied, LackPolicy, LackProjectPolicy and RoleNotExist; Tencent Cloud's
//!   UnauthorizedOperation(.*), AuthFailure.UnauthorizedOperation, InvalidParameter.PermissionDenied, IpInBlacklist,
//!   IpNotInWhitelist, ResourceNotFound.RoleNotFound, InvalidParameter.WebIdentityTokenError and
//!   InvalidParameter.OverTimeError. Who may not assume the role has no credentials, so nothing is PermissionDenied.
//! - Throttled: Tencent Cloud's InvalidParameter.OverLimit, which is one of frequency.
//! - CloudUnavailable: ServiceNotFound, InvalidActionOrVersion; InvalidAction, NoSuchVersion. An endpoint of another make
//!   is no fault of the request.
//!
//! Every other InvalidParameter(.*) of Tencent Cloud is InvalidRequest, with its code: a request has role, session name and
//! duration, and beside them the name of an issuer or an external id, all of which the account's spec has to put right.
//! No document and no official SDK of Volcengine names a code for a token that is invalid or has expired: such a code is
//! unknown, so CloudUnavailable, and shown.

mod tencent;
mod volcengine;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::exchange::{Answered, Exchange, Line};
use super::{Budget, Credentials, IdentityToken, Proof, Site, StsEndpoint, Transport, text};
use crate::clock::Clock;
use crate::domain::{Failure, Kind};
use crate::telemetry::redact::LONGEST;

/// What an [`Sts`] is made of.
pub struct StsConfig {
    pub endpoint: StsEndpoint,
    /// The account's home region. It signs at Volcengine, and is the header X-TC-Region at Tencent Cloud; STS knows the
    /// same roles in all regions.
    pub region: String,
    pub transport: Transport,
    /// Apart from that of the account's own calls: STS has limits of its own (Volcengine 200 a second, D/6257/1494877;
    /// Tencent Cloud 600 and with an identity 20, 1150/49443).
    pub budget: Arc<Budget>,
    pub clock: Clock,
    /// Of one try, from the moment that the budget allows it.
    pub timeout: Duration,
}

/// One cloud's STS. Cheap to clone; clones share what is known of the cloud's clock.
#[derive(Clone)]
pub struct Sts {
    exchange: Exchange,
    endpoint: StsEndpoint,
    region: String,
}

/// The role, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRequest {
    /// `trn:iam::2100000000:role/backup-operator`, `qcs::cam::uin/100000000001:roleName/backup-operator`.
    pub role: String,
    /// By which the cloud's audit tells sessions apart.
    pub session_name: String,
    /// Whole seconds; asked for exactly. Volcengine gives at least 900 s, and the hour in place of less (D/6257/86374).
    pub duration: Duration,
}

/// Temporary credentials.
#[derive(Clone)]
pub struct Issued {
    pub credentials: Credentials,
    /// From the answer on, by the cloud's clock where the answer tells its time, so that ours may be wrong. Never zero, and
    /// never more than was asked for.
    pub valid_for: Duration,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issued(for {:?})", self.valid_for)
    }
}

impl Sts {
    pub fn new(config: StsConfig) -> Self {
        let StsConfig { endpoint, region, transport, budget, clock, timeout } = config;
        let line = Line { site: endpoint.site(), transport, budget, clock, timeout };
        Self { exchange: Exchange::new(line), endpoint, region }
    }

    /// AssumeRole, signed with these credentials. `external_id` is what the role's owner may demand to hear. No document
    /// of Volcengine names it; it is sent there by the name that it has everywhere else, rather than left out in silence.
    ///
    /// # Errors
    /// The call's failure, of the kind that this module says. An answer without whole credentials, or without a lifetime
    /// that lasts, is CloudUnavailable.
    pub async fn assume_role(
        &self,
        credentials: &Credentials,
        role: &RoleRequest,
        external_id: Option<&str>,
    ) -> Result<Issued, Failure> {
        match self.endpoint.site() {
            Site::Volcengine | Site::BytePlus => {
                volcengine::assume_role(self, credentials, role, external_id).await
            }
            Site::Tencent | Site::TencentInternational => {
                tencent::assume_role(self, credentials, role, external_id).await
            }
        }
    }

    /// AssumeRoleWithOIDC, at Tencent Cloud AssumeRoleWithWebIdentity, with nothing but the token. `provider_id` is the
    /// name that Tencent Cloud knows the token's issuer by, such as `cls-abcdefgh`; Volcengine finds it in the token.
    ///
    /// # Errors
    /// The same. Nothing is sent to an endpoint that is not allowed with workload identity (EndpointNotAllowed), nor to
    /// Tencent Cloud without a `provider_id` (InvalidRequest).
    pub async fn with_web_identity(
        &self,
        token: &IdentityToken,
        role: &RoleRequest,
        provider_id: Option<&str>,
    ) -> Result<Issued, Failure> {
        match self.endpoint.site() {
            Site::Volcengine | Site::BytePlus => volcengine::with_oidc(self, token, role).await,
            Site::Tencent | Site::TencentInternational => {
                tencent::with_web_identity(self, token, role, provider_id).await
            }
        }
    }
}

/// A successful answer.
struct Assumed {
    request_id: Option<String>,
    issued: Issued,
}

impl Assumed {
    /// A request id that repeats what was issued is cleaned of it.
    fn new(request_id: Option<&str>, issued: Issued) -> Self {
        let request_id = request_id.and_then(|id| text::request_id(&issued.credentials.redactor(), id));
        Self { request_id, issued }
    }
}

impl Answered for Assumed {
    fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

/// Key id, secret and token as the cloud says them, and how long it says that they live. The error says what is not as the
/// API promises, and no value.
fn issued(
    keys: [Option<&str>; 3],
    lifetime: Option<SignedDuration>,
    asked: Duration,
    proof: &Proof,
) -> Result<Issued, &'static str> {
    let fits = |key: &&str| key.len() <= LONGEST && key.bytes().all(|b| b.is_ascii_graphic());
    let [Some(id), Some(secret), Some(token)] = keys.map(|key| key.filter(fits)) else {
        return Err("key id, secret or token is missing");
    };
    let valid_for = lifetime.ok_or("the time of expiry is missing")?;
    let valid_for = Duration::try_from(valid_for).unwrap_or_default().min(asked);
    if valid_for.is_zero() {
        return Err("the time of expiry has passed");
    }
    Ok(Issued { credentials: Credentials::temporary(id, secret, token, proof.clone()), valid_for })
}

/// What a code of the Redis API, which is one of the gateway as well, means at STS.
fn kind(code: &str, redis: Kind) -> Kind {
    match (redis, code) {
        (_, "ServiceNotFound" | "InvalidActionOrVersion" | "InvalidAction" | "NoSuchVersion") => {
            Kind::CloudUnavailable
        }
        (Kind::PermissionDenied, _) => Kind::CredentialsRejected,
        // Codes about instances are none of STS.
        (Kind::InstanceNotFound | Kind::InstanceNotReady, _) => Kind::CloudUnavailable,
        (other, _) => other,
    }
}

#[cfg(test)]
mod tests;
