//! Which hosts the operator may talk to. An override without a rule would make it a proxy into the network.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Where an account lives: Volcengine and its international brand have the same API and other hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Site {
    Volcengine,
    BytePlus,
}

impl Site {
    /// The provider's own domains; the second one of each is its dual-stack form (Volcengine SDK, endpoint resolver).
    fn suffixes(self) -> [&'static str; 2] {
        match self {
            Site::Volcengine => ["volcengineapi.com", "volcengine-api.com"],
            Site::BytePlus => ["byteplusapi.com", "byteplus-api.com"],
        }
    }

    /// The form of the API pages' own examples (Redis API, "Sample request"). BytePlus: its SDK's resolver.
    fn default_template(self) -> &'static str {
        match self {
            Site::Volcengine => "redis.{region}.volcengineapi.com",
            Site::BytePlus => "redis.{region}.byteplusapi.com",
        }
    }
}

/// Whether it has the form of a region, `^[a-z]{2,}(-[a-z0-9]+)+$` with at most 40 characters. Only such a value is
/// ever put into a host's name: it holds no dot.
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
    /// The value of the `Host` header: the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Without a path, such as `https://redis.cn-beijing.volcengineapi.com`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// Why an endpoint is refused, in the operator's own words. It repeats no host: what an account names may be read
/// by more people than the account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAllowed(pub String);

/// The providers' own domains, and what `--allowed-endpoint` adds to them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct EndpointRule(Arc<Allowed>);

#[derive(Debug, Default)]
struct Allowed {
    exact: BTreeSet<Origin>,
    suffixes: Vec<String>,
}

impl EndpointRule {
    /// The values of `--allowed-endpoint`: `host`, `host:port`, `*.suffix`, or either of the first two with a scheme.
    /// The error names the value and what is allowed.
    pub fn new(allowed: &[String]) -> Result<Self, String> {
        let mut rule = Allowed::default();
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

    /// The account's endpoint: its override (`spec.endpoint`) where it has one and the rule allows it, else the
    /// site's own host for each region.
    pub fn endpoint(&self, site: Site, override_: Option<&str>) -> Result<Endpoint, NotAllowed> {
        let template = match override_ {
            None => Origin { scheme: Scheme::Https, host: site.default_template().to_owned(), port: 443 },
            Some(text) => parse(text, None).ok_or_else(|| not_allowed(site))?,
        };
        let endpoint = Endpoint { site, template, allowed: self.0.clone() };
        if endpoint.may_be_allowed() { Ok(endpoint) } else { Err(not_allowed(site)) }
    }

    /// Whether `--allowed-endpoint` names this very scheme, host and port: only then may it resolve to an address
    /// that is not globally routable.
    pub(super) fn names_exactly(&self, scheme: &str, host: &str, port: u16) -> bool {
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return false,
        };
        self.0.exact.contains(&Origin { scheme, host: host.to_owned(), port })
    }
}

impl Allowed {
    fn permits(&self, site: Site, origin: &Origin) -> bool {
        let under = |suffix: &str| {
            origin.host.strip_suffix(suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        };
        is_host_or_address(&origin.host)
            && (self.exact.contains(origin)
                || (origin.scheme == Scheme::Https
                    && origin.port == 443
                    && (site.suffixes().into_iter().any(under) || self.suffixes.iter().any(|s| under(s)))))
    }
}

/// An endpoint that the rule allows, as a template: `{region}` in its host is the resource's region; without it
/// the one host serves all regions.
#[derive(Clone, Debug)]
pub struct Endpoint {
    site: Site,
    template: Origin,
    allowed: Arc<Allowed>,
}

const REGION: &str = "{region}";

impl Endpoint {
    /// Where the calls of a region go. Refused where the host that the region makes is not one that the rule
    /// allows, as it may be with `--allowed-endpoint` entries that name the hosts of some regions only.
    pub fn url(&self, region: &str) -> Result<Origin, NotAllowed> {
        let refused = || not_allowed(self.site);
        if !is_region(region) {
            return Err(refused());
        }
        let origin = self.with(region);
        if self.allowed.permits(self.site, &origin) { Ok(origin) } else { Err(refused()) }
    }

    fn with(&self, region: &str) -> Origin {
        Origin { host: self.template.host.replace(REGION, region), ..self.template.clone() }
    }

    /// Whether there is a region for which the rule allows the host.
    fn may_be_allowed(&self) -> bool {
        if self.allowed.permits(self.site, &self.with("aa-0")) {
            return true;
        }
        let Some((before, _)) = self.template.host.split_once(REGION) else {
            return false;
        };
        self.allowed.exact.iter().any(|exact| {
            let rest = exact.host.strip_prefix(before).unwrap_or_default();
            (1..=rest.len()).any(|end| is_region(&rest[..end]) && self.with(&rest[..end]) == *exact)
        })
    }
}

fn not_allowed(site: Site) -> NotAllowed {
    let [own, dual_stack] = site.suffixes();
    NotAllowed(format!(
        "spec.endpoint is not allowed: allowed are https://*.{own} and https://*.{dual_stack} on port 443, and what the \
         operator's --allowed-endpoint names"
    ))
}

/// `scheme://host[:port]`; the host is not looked at. Without a scheme it is `default_scheme`, if there is one.
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

/// Whether a URL parser reads the host as an IPv4 address, as it does with `127.1` and `0x7f000001` too (URL
/// Standard, "ends in a number").
fn ends_in_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A DNS name or an IPv4 address in its one usual form.
fn is_host_or_address(host: &str) -> bool {
    is_host(host) && (!ends_in_number(host) || host.parse::<Ipv4Addr>().is_ok())
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
