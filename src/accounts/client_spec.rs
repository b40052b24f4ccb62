//! Builds from an account's spec everything that its client needs, except the credentials.

use std::time::Duration;

use jiff::tz::Offset;

use super::identity::TokenFile;
use super::registry::{AccountKey, Accounts};
use crate::api::account::{CloudAccountSpec, Provider, SecretRef, TencentSite, default_session_name};
use crate::api::duration;
use crate::cloud::{Endpoint, IdentityToken, NotAllowed, Site, StsEndpoint};

/// Default lifetime of temporary credentials.
const DEFAULT_CREDENTIALS_LIFETIME: Duration = Duration::from_secs(3600);

/// Everything that a client is made from, except the credentials.
#[derive(Clone)]
pub struct ClientSpec {
    pub generation: i64,
    pub(super) source: Source,
    /// Role that is assumed with the credentials of the source.
    pub(super) assume: Option<Role>,
    /// STS endpoint; set if `source` or `assume` leads to temporary credentials.
    pub(super) sts: Option<StsEndpoint>,
    /// Home region of the account.
    pub(super) region: String,
    pub(super) site: Site,
    pub(super) endpoint: Endpoint,
    pub(super) timeout: Duration,
    pub(super) time_zone: Offset,
}

/// Origin of the first credentials.
#[derive(Clone)]
pub enum Source {
    Secret { namespace: String, reference: SecretRef },
    Identity(TrustedIdentity),
}

/// A role that trusts the operator's own identity.
#[derive(Clone, Debug)]
pub struct TrustedIdentity {
    pub role: Role,
    pub provider_id: Option<String>,
    file: TokenFile,
}

impl TrustedIdentity {
    /// Reads the identity token.
    ///
    /// # Errors
    /// Description of the problem with the token file.
    pub async fn token(&self) -> Result<IdentityToken, String> {
        self.file.read().await
    }
}

#[derive(Clone, Debug)]
pub struct Role {
    pub role: String,
    pub session_name: String,
    pub external_id: Option<String>,
    pub duration: Duration,
}

impl ClientSpec {
    pub fn is_temporary(&self) -> bool {
        self.sts.is_some()
    }

    /// Returns the parameters that temporary credentials depend on, except the key that signs the request for them.
    pub(super) fn basis(&self) -> String {
        let identity = match &self.source {
            Source::Identity(identity) => Some(identity),
            Source::Secret { .. } => None,
        };
        format!("{:?}", (identity, &self.assume, &self.sts, &self.region, self.site))
    }

    pub fn has_identity(&self) -> bool {
        matches!(self.source, Source::Identity(_))
    }
}

/// Returns the name of a provider for logs, and for the comparison of competing policies.
pub fn provider_name(provider: Provider) -> &'static str {
    match provider {
        Provider::Volcengine => "Volcengine",
        Provider::BytePlus => "BytePlus",
        Provider::Tencent => "Tencent",
    }
}

/// Returns the region in which an account is verified.
pub fn home_region(account: &CloudAccountSpec) -> &str {
    account.region.as_deref().unwrap_or_else(|| account.provider.default_region())
}

/// Parses an offset as the schema allows it, such as `+08:00`; returns Beijing's for any other text.
fn offset(text: &str) -> Offset {
    let minutes = |text: &str| -> Option<i32> {
        let (hours, minutes) = text.split_once(':')?;
        Some(i32::from(hours.parse::<u8>().ok()?) * 60 + i32::from(minutes.parse::<u8>().ok()?))
    };
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let seconds = text.get(1..).and_then(minutes).map(|minutes| sign * minutes * 60);
    seconds.and_then(|s| Offset::from_seconds(s).ok()).unwrap_or(Offset::constant(8))
}

impl Accounts {
    /// Builds the `ClientSpec` of an account.
    ///
    /// # Errors
    /// The endpoint rule refuses `spec.endpoint` or `spec.stsEndpoint`.
    pub fn recipe(
        &self,
        key: &AccountKey,
        spec: &CloudAccountSpec,
        generation: i64,
    ) -> Result<ClientSpec, NotAllowed> {
        let tencent = spec.tencent.clone().unwrap_or_default();
        let site = match (spec.provider, tencent.site) {
            (Provider::Volcengine, _) => Site::Volcengine,
            (Provider::BytePlus, _) => Site::BytePlus,
            (Provider::Tencent, TencentSite::China) => Site::Tencent,
            (Provider::Tencent, TencentSite::International) => Site::TencentInternational,
        };
        let rule = &self.deps.rule;
        let region = home_region(spec).to_owned();
        let identity = spec.credentials.workload_identity.as_ref();
        let mut sts = None;
        if identity.is_some() || spec.assume_role.is_some() {
            let own = self.deps.identity.sts_endpoint(site).filter(|_| identity.is_some());
            let of_environment = spec.sts_endpoint.is_none() && own.is_some();
            let named = spec.sts_endpoint.clone().or(own);
            let endpoint = rule.sts_endpoint(site, named.as_deref(), identity.is_some(), &region);
            sts = Some(endpoint.map_err(|refused| match of_environment {
                true => NotAllowed(refused.0.replace("spec.stsEndpoint", "VOLCENGINE_OIDC_STS_ENDPOINT")),
                false => refused,
            })?);
        }
        if identity.is_some() && !key.is_shared() {
            // The schema rejects this; a spec that was stored all the same must not use the operator's identity.
            return Err(NotAllowed("workloadIdentity is allowed in a ClusterCloudAccount only".to_owned()));
        }
        let source = match (&spec.credentials.secret_ref, identity) {
            (_, Some(identity)) => Source::Identity(TrustedIdentity {
                role: Role {
                    role: identity.role.clone(),
                    session_name: default_session_name(),
                    external_id: None,
                    duration: DEFAULT_CREDENTIALS_LIFETIME,
                },
                provider_id: identity.provider_id.clone(),
                file: self.deps.identity.token_file(site),
            }),
            (Some(reference), None) => {
                Source::Secret { namespace: self.secrets_of(key).to_owned(), reference: reference.clone() }
            }
            // The schema requires one of them.
            (None, None) => return Err(NotAllowed("spec.credentials is empty".to_owned())),
        };
        let assume = spec.assume_role.as_ref().map(|assumed| Role {
            role: assumed.role.clone(),
            session_name: assumed.session_name.clone(),
            external_id: assumed.external_id.clone(),
            duration: duration::parse(&assumed.duration).unwrap_or(DEFAULT_CREDENTIALS_LIFETIME),
        });
        Ok(ClientSpec {
            generation,
            source,
            assume,
            sts,
            region,
            site,
            endpoint: rule.endpoint(site, spec.endpoint.as_deref())?,
            timeout: duration::call_timeout(&spec.request_timeout).unwrap_or(Duration::from_secs(10)),
            time_zone: offset(&tencent.time_zone),
        })
    }

    /// Returns the namespace of an account's Secrets.
    pub fn secrets_of<'a>(&'a self, key: &'a AccountKey) -> &'a str {
        key.namespace.as_deref().unwrap_or(&self.deps.own_namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_as_the_schema_allows_them() {
        for (text, seconds) in
            [("+08:00", 28_800), ("-03:30", -12_600), ("+00:00", 0), ("-12:00", -43_200), ("+14:00", 50_400)]
        {
            assert_eq!(offset(text).seconds(), seconds, "{text}");
        }
        for text in ["", "+", "8", "+99:99", "+99999999:00", "--8:00", "名:00"] {
            assert_eq!(offset(text).seconds(), 28_800, "{text}");
        }
    }
}
