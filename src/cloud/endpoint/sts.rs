//! Allow-list of STS hosts. With workload identity a call carries a token of the operator's own, which must not reach a
//! host that only somebody's account names.

use super::{EndpointRule, NotAllowed, Origin, REGION, Scheme, Site, is_region, parse};

/// Placeholder for any region in a documented host.
const ANY_REGION: &str = "<region>";

/// An STS endpoint that the rule allows: one host for all regions.
#[derive(Clone, Debug)]
pub struct StsEndpoint {
    site: Site,
    origin: Origin,
    accepts_identity: bool,
}

impl StsEndpoint {
    pub fn site(&self) -> Site {
        self.site
    }

    /// Returns the origin of a call. An unsigned call carries an identity instead, and is refused if the endpoint was
    /// allowed for signed calls only.
    pub(in crate::cloud) fn for_call(&self, signed: bool) -> Result<Origin, NotAllowed> {
        if signed || self.accepts_identity {
            Ok(self.origin.clone())
        } else {
            Err(not_for_identity(self.site))
        }
    }
}

impl EndpointRule {
    /// Returns the account's STS: its override (`spec.stsEndpoint`) if it has one, else the site's own host, which is
    /// that of the account's home region in Tencent Cloud's financial zones. Without identity an override follows the
    /// rule of `spec.endpoint`; with identity it must be one of the provider's documented STS hosts, or a scheme, host
    /// and port that `--allowed-endpoint` names exactly.
    ///
    /// # Errors
    /// Any other host, a template, a region of another form; BytePlus, whose STS could not be verified.
    pub fn sts_endpoint(
        &self,
        site: Site,
        override_: Option<&str>,
        with_identity: bool,
        region: &str,
    ) -> Result<StsEndpoint, NotAllowed> {
        if documented(site).is_empty() {
            return Err(NotAllowed(format!(
                "{} has neither workloadIdentity nor assumeRole",
                site.provider()
            )));
        }
        let refused = || if with_identity { not_for_identity(site) } else { not_allowed(site) };
        let origin = match override_ {
            None => default(site, region)?,
            Some(text) if text.contains(REGION) => {
                let message =
                    "spec.stsEndpoint is not allowed: it is one host for all regions, without {region}";
                return Err(NotAllowed(message.to_owned()));
            }
            Some(text) => parse(text, None).ok_or_else(refused)?,
        };
        let accepts_identity = is_documented(site, &origin) || self.0.exact.contains(&origin);
        if accepts_identity || !with_identity && self.0.permits(site, &origin) {
            Ok(StsEndpoint { site, origin, accepts_identity })
        } else {
            Err(refused())
        }
    }
}

/// Returns the documented hosts. Volcengine: "API Overview" (D/6257/81137), and for AssumeRoleWithOIDC the host of a
/// region as well (D/6257/1494877). Tencent Cloud: "Request Structure" (1150/49445); the international site's is that
/// of its official SDKs.
fn documented(site: Site) -> &'static [&'static str] {
    match site {
        Site::Volcengine => &["sts.volcengineapi.com", "sts.<region>.volcengineapi.com"],
        Site::BytePlus => &[],
        Site::Tencent | Site::TencentInternational => {
            &["sts.tencentcloudapi.com", "sts.intl.tencentcloudapi.com", "sts.<region>.tencentcloudapi.com"]
        }
    }
}

fn is_documented(site: Site, origin: &Origin) -> bool {
    let is = |pattern: &str| match pattern.split_once(ANY_REGION) {
        None => origin.host == pattern,
        Some((before, after)) => {
            let region = origin.host.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            region.is_some_and(is_region)
        }
    };
    origin.scheme == Scheme::Https && origin.port == 443 && documented(site).iter().any(|host| is(host))
}

/// Returns the default host. Tencent Cloud's common host is for "non-financial availability zones" only (1150/49445).
fn default(site: Site, region: &str) -> Result<Origin, NotAllowed> {
    if !is_region(region) {
        return Err(NotAllowed("spec.region must be of the form cn-beijing".to_owned()));
    }
    let host = match site {
        Site::Volcengine | Site::BytePlus => "sts.volcengineapi.com".to_owned(),
        Site::Tencent | Site::TencentInternational if region.ends_with("-fsi") => {
            format!("sts.{region}.tencentcloudapi.com")
        }
        Site::Tencent => "sts.tencentcloudapi.com".to_owned(),
        Site::TencentInternational => "sts.intl.tencentcloudapi.com".to_owned(),
    };
    Ok(Origin { scheme: Scheme::Https, host, port: 443 })
}

fn not_allowed(site: Site) -> NotAllowed {
    NotAllowed(format!("spec.stsEndpoint is not allowed: {}", super::allowed(site)))
}

fn not_for_identity(site: Site) -> NotAllowed {
    let own: Vec<_> = documented(site).iter().map(|host| format!("https://{host}")).collect();
    NotAllowed(format!(
        "spec.stsEndpoint is not allowed with workloadIdentity: allowed are {} on port 443, and what the operator's \
         --allowed-endpoint names exactly, not by *.SUFFIX",
        own.join(", ")
    ))
}

#[cfg(test)]
#[path = "sts_tests.rs"]
mod tests;
