//! Allow-list of the hosts that the operator may call. An unrestricted override would make it a proxy into the network.

mod sts;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

pub use sts::StsEndpoint;

/// Site of an account. Volcengine and its international brand have the same API and different hosts, and so have the
/// two sites of Tencent Cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Site {
    Volcengine,
    BytePlus,
    /// The China site.
    Tencent,
    TencentInternational,
}

impl Site {
    /// Returns the provider, as accounts name it.
    pub fn provider(self) -> &'static str {
        match self {
            Site::Volcengine => "Volcengine",
            Site::BytePlus => "BytePlus",
            Site::Tencent | Site::TencentInternational => "Tencent",
        }
    }

    /// Returns whether the API has cross-region backup policies and lists the copies that they make. Tencent Cloud's
    /// has neither for Redis, and lists the instances' own backups.
    pub fn has_policies(self) -> bool {
        matches!(self, Site::Volcengine | Site::BytePlus)
    }

    /// Returns whether the API has details of a backup that a listing lacks (DescribeBackupDetail).
    pub fn has_details(self) -> bool {
        matches!(self, Site::Tencent | Site::TencentInternational)
    }

    /// Returns the action that lists instances.
    pub fn instances_action(self) -> &'static str {
        match self {
            Site::Volcengine | Site::BytePlus => "DescribeDBInstances",
            Site::Tencent | Site::TencentInternational => "DescribeInstances",
        }
    }

    /// Returns the known backup statuses of its listings, in the domain's terms.
    pub fn statuses(self) -> &'static [&'static str] {
        match self {
            Site::Volcengine | Site::BytePlus => &["Creating", "Available", "Unavailable", "Deleting"],
            Site::Tencent | Site::TencentInternational => {
                &["Creating", "Locked", "Available", "Exporting", "Exported"]
            }
        }
    }

    /// Returns the provider's own domains; a second one is its dual-stack form (Volcengine SDK, endpoint resolver).
    fn suffixes(self) -> &'static [&'static str] {
        match self {
            Site::Volcengine => &["volcengineapi.com", "volcengine-api.com"],
            Site::BytePlus => &["byteplusapi.com", "byteplus-api.com"],
            Site::Tencent | Site::TencentInternational => &["tencentcloudapi.com"],
        }
    }

    /// Returns the default host, in the form of the API pages' own examples (Redis API, "Sample request"); for
    /// BytePlus, of its SDK's resolver. Tencent Cloud's financial zones are isolated from its others, and have hosts of
    /// their own on both sites (DescribeInstanceBackups, "API Description").
    fn default_template(self, region: &str) -> &'static str {
        match self {
            Site::Volcengine => "redis.{region}.volcengineapi.com",
            Site::BytePlus => "redis.{region}.byteplusapi.com",
            Site::Tencent | Site::TencentInternational if region.ends_with("-fsi") => {
                "redis.{region}.tencentcloudapi.com"
            }
            Site::Tencent => "redis.tencentcloudapi.com",
            Site::TencentInternational => "redis.intl.tencentcloudapi.com",
        }
    }
}

/// Returns whether the text has the form of a region, `^[a-z]{2,}(-[a-z0-9]+)+$` with at most 40 characters. Only such
/// a value is ever put into a host name: it contains no dot.
pub fn is_region(text: &str) -> bool {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<_> = parts.collect();
    text.len() <= 40
        && first.len() >= 2
        && first.bytes().all(|b| b.is_ascii_lowercase())
        && !rest.is_empty()
        && rest
            .iter()
            .all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// Scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
}

impl Origin {
    /// Returns the value of the `Host` header: with the port only if it is not the scheme's default.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Returns the form for messages, which never contain an address, wherever it comes from.
    pub fn shown(&self) -> String {
        let is_address = self.host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        if is_address { "the endpoint".to_owned() } else { self.authority() }
    }
}

/// Formats the origin without a path, such as `https://redis.cn-beijing.volcengineapi.com`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// Reason an endpoint is refused, in the operator's own words. It repeats no host: more people may be able to read the
/// message than the account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAllowed(pub String);

/// Allow-list of endpoints: the providers' own domains, and the entries of `--allowed-endpoint`. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct EndpointRule(Arc<AllowList>);

#[derive(Debug, Default)]
struct AllowList {
    exact: BTreeSet<Origin>,
    suffixes: Vec<String>,
}

impl EndpointRule {
    /// Parses the values of `--allowed-endpoint`: `host`, `host:port`, `*.suffix`, or either of the first two with a
    /// scheme. The error names the value and the allowed forms.
    pub fn new(allowed: &[String]) -> Result<Self, String> {
        let mut rule = AllowList::default();
        for value in allowed {
            let entry = value.trim().to_ascii_lowercase();
            let understood = match entry.strip_prefix("*.") {
                Some(suffix) if is_host(suffix) && !ends_in_number(suffix) => {
                    rule.suffixes.push(suffix.to_owned());
                    true
                }
                Some(_) => false,
                None => parse(&entry, Some(Scheme::Https))
                    .filter(|o| is_host_or_address(&o.host))
                    .map(|o| rule.exact.insert(o))
                    .is_some(),
            };
            if !understood {
                return Err(format!(
                    "--allowed-endpoint {value:?}: allowed are HOST, HOST:PORT, *.SUFFIX, https://HOST[:PORT] and \
                     http://HOST[:PORT], where HOST is a DNS name or an IPv4 address"
                ));
            }
        }
        Ok(Self(Arc::new(rule)))
    }

    /// Returns the account's endpoint: its override (`spec.endpoint`) if it has one and the rule allows it, else the
    /// site's own host for each region.
    pub fn endpoint(&self, site: Site, override_: Option<&str>) -> Result<Endpoint, NotAllowed> {
        let template =
            override_.map(|text| parse(text, None).ok_or_else(|| not_allowed(site))).transpose()?;
        let endpoint = Endpoint { site, template, allowed: self.0.clone() };
        if endpoint.may_be_allowed() { Ok(endpoint) } else { Err(not_allowed(site)) }
    }

    /// Returns whether `--allowed-endpoint` names exactly this scheme, host and port: only then may the host resolve to
    /// an address that is not globally routable.
    pub(super) fn names_exactly(&self, scheme: &str, host: &str, port: u16) -> bool {
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return false,
        };
        self.0.exact.contains(&Origin { scheme, host: host.to_owned(), port })
    }
}

impl AllowList {
    fn permits(&self, site: Site, origin: &Origin) -> bool {
        let under = |suffix: &str| {
            origin.host.strip_suffix(suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        };
        is_host_or_address(&origin.host)
            && (self.exact.contains(origin)
                || (origin.scheme == Scheme::Https
                    && origin.port == 443
                    && (site.suffixes().iter().any(|s| under(s)) || self.suffixes.iter().any(|s| under(s)))))
    }
}

/// An endpoint that the rule allows, as a template: `{region}` in its host stands for the resource's region; without it
/// one host serves all regions.
#[derive(Clone, Debug)]
pub struct Endpoint {
    site: Site,
    /// `None`: the site's default.
    template: Option<Origin>,
    allowed: Arc<AllowList>,
}

const REGION: &str = "{region}";

impl Endpoint {
    /// Returns the origin for the calls of a region. Refused if the rule does not allow the resulting host, which can
    /// happen with `--allowed-endpoint` entries that name the hosts of some regions only.
    pub fn url(&self, region: &str) -> Result<Origin, NotAllowed> {
        let refused = || not_allowed(self.site);
        if !is_region(region) {
            return Err(refused());
        }
        let origin = self.with(region);
        if self.allowed.permits(self.site, &origin) { Ok(origin) } else { Err(refused()) }
    }

    fn with(&self, region: &str) -> Origin {
        let own = || Origin {
            scheme: Scheme::Https,
            host: self.site.default_template(region).to_owned(),
            port: 443,
        };
        let template = self.template.clone().unwrap_or_else(own);
        Origin { host: template.host.replace(REGION, region), ..template }
    }

    /// Returns whether the rule allows the host of at least one region.
    fn may_be_allowed(&self) -> bool {
        if self.allowed.permits(self.site, &self.with("aa-0")) {
            return true;
        }
        let Some((before, _)) = self.template.as_ref().and_then(|t| t.host.split_once(REGION)) else {
            return false;
        };
        self.allowed.exact.iter().any(|exact| {
            let rest = exact.host.strip_prefix(before).unwrap_or_default();
            (1..=rest.len()).any(|end| is_region(&rest[..end]) && self.with(&rest[..end]) == *exact)
        })
    }
}

fn not_allowed(site: Site) -> NotAllowed {
    NotAllowed(format!("spec.endpoint is not allowed: {}", allowed(site)))
}

fn allowed(site: Site) -> String {
    let own: Vec<_> = site.suffixes().iter().map(|suffix| format!("https://*.{suffix}")).collect();
    let own = own.join(" and ");
    format!("allowed are {own} on port 443, and what the operator's --allowed-endpoint names")
}

/// Parses `scheme://host[:port]` without validating the host. A missing scheme is `default_scheme`, if there is one.
fn parse(text: &str, default_scheme: Option<Scheme>) -> Option<Origin> {
    let (scheme, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (Scheme::Https, rest),
        (_, Some(rest)) => (Scheme::Http, rest),
        _ => (default_scheme?, text),
    };
    let (host, port) = match rest.split_once(':') {
        None => (rest, scheme.default_port()),
        Some((host, port)) => {
            let plain = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
            (host, plain.then(|| port.parse().ok()).flatten()?)
        }
    };
    Some(Origin { scheme, host: host.to_owned(), port })
}

fn is_host(host: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

/// Returns whether a URL parser reads the host as an IPv4 address, as it does with `127.1` and `0x7f000001` too (URL
/// Standard, "ends in a number").
fn ends_in_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Returns whether the host is a DNS name or an IPv4 address in its canonical form.
fn is_host_or_address(host: &str) -> bool {
    is_host(host) && (!ends_in_number(host) || host.parse::<Ipv4Addr>().is_ok())
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
