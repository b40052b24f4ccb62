//! Proxies of the environment, and which requests use them: those to the clouds, and those of commands to the API
//! server, which they reach as kubectl does. `run` reaches its API server without a proxy.

use std::env;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::Url;

/// Proxy settings: HTTPS_PROXY for https, HTTP_PROXY for http, ALL_PROXY for the clouds if one of these is missing,
/// NO_PROXY for hosts that are reached directly; or the same in lower case. Cheap to clone.
#[derive(Clone, Default)]
pub struct Proxies(Arc<Inner>);

#[derive(Default)]
struct Inner {
    https: Option<Url>,
    http: Option<Url>,
    all: Option<Url>,
    without: NoProxy,
}

impl Proxies {
    /// Reads the settings from the environment.
    ///
    /// # Errors
    /// A variable is not the URL of a proxy. The error names the variable but not its value, which may contain a
    /// password.
    pub fn from_env() -> Result<Self, String> {
        Self::new(|name| env::var(name).ok())
    }

    fn new(value: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let of = |name: &str| {
            [name.to_owned(), name.to_ascii_lowercase()]
                .iter()
                .find_map(|name| value(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()))
        };
        let proxy = |name: &str| -> Result<Option<Url>, String> {
            let Some(value) = of(name) else { return Ok(None) };
            let url = match value.contains("://") {
                true => value,
                false => format!("http://{value}"),
            };
            let url = proxy_url(&url).ok_or_else(|| {
                format!("{name}: allowed is http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")
            })?;
            Ok(Some(url))
        };
        let (https, http, all) = (proxy("HTTPS_PROXY")?, proxy("HTTP_PROXY")?, proxy("ALL_PROXY")?);
        let without = NoProxy::new(&of("NO_PROXY").unwrap_or_default());
        Ok(Self(Arc::new(Inner { https, http, all, without })))
    }

    /// Returns the proxy between this process and a cloud's endpoint.
    pub(super) fn for_endpoint(&self, uri: &http::Uri) -> Option<&Url> {
        self.found(uri, self.0.all.as_ref())
    }

    /// Returns the proxy through which kubectl would reach this API server. Go's net/http, and so kubectl, ignores
    /// ALL_PROXY.
    pub fn for_api_server(&self, uri: &http::Uri) -> Option<&Url> {
        self.found(uri, None)
    }

    fn found<'a>(&'a self, uri: &http::Uri, else_by: Option<&'a Url>) -> Option<&'a Url> {
        let (own, port) = match uri.scheme_str()? {
            "https" => (&self.0.https, 443),
            "http" => (&self.0.http, 80),
            _ => return None,
        };
        let is_direct = self.0.without.contains(uri.host()?, uri.port_u16().unwrap_or(port));
        own.as_ref().or(else_by).filter(|_| !is_direct)
    }

    /// Returns the proxies of a client that sends only proxied requests.
    ///
    /// # Errors
    /// None for settings that [`Proxies::from_env`] accepted.
    pub(super) fn for_client(&self) -> reqwest::Result<Vec<reqwest::Proxy>> {
        let Inner { https, http, all, .. } = &*self.0;
        let https = https.as_ref().or(all.as_ref()).map(|url| reqwest::Proxy::https(with_remote_dns(url)));
        let http = http.as_ref().or(all.as_ref()).map(|url| reqwest::Proxy::http(with_remote_dns(url)));
        https.into_iter().chain(http).collect()
    }
}

/// Parses the URL of a proxy; `None` if it cannot be used.
fn proxy_url(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    let is_known = matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h");
    if url.port_or_known_default().is_none() {
        // Go's default port for SOCKS.
        url.set_port(Some(1080)).ok()?;
    }
    (is_known && url.host_str().is_some_and(|host| !host.is_empty())).then_some(url)
}

/// Returns the URL with which reqwest lets a SOCKS proxy resolve names, as any other proxy does and as Go does for
/// either scheme; reqwest would resolve them itself for socks5.
fn with_remote_dns(url: &Url) -> String {
    match url.as_str().strip_prefix("socks5://") {
        Some(rest) => format!("socks5h://{rest}"),
        None => url.to_string(),
    }
}

/// NO_PROXY as golang.org/x/net/http/httpproxy, and so kubectl, reads it: comma-separated entries, each an address, a
/// CIDR, a name (that name and all below it), or a name that begins with a dot or `*.` (only those below it). Any entry
/// but a CIDR may carry a port, and then matches that port only; `*` matches everything. Loopback is never proxied.
#[derive(Default)]
struct NoProxy {
    all: bool,
    networks: Vec<IpNet>,
    addresses: Vec<(IpAddr, Option<u16>)>,
    /// Name, whether it matches itself, and port.
    names: Vec<(String, bool, Option<u16>)>,
}

impl NoProxy {
    fn new(text: &str) -> Self {
        let mut no_proxy = Self::default();
        for entry in text.split(',').map(|entry| entry.trim().to_ascii_lowercase()) {
            if entry == "*" {
                no_proxy.all = true;
            } else if let Ok(network) = entry.parse() {
                no_proxy.networks.push(network);
            } else {
                no_proxy.add(&entry);
            }
        }
        no_proxy
    }

    fn add(&mut self, entry: &str) {
        let (host, port) = match entry.rsplit_once(':') {
            // Several colons mean an IPv6 address, which has a port only after brackets.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
                Ok(port) => (host, Some(port)),
                // An entry with an invalid port matches nothing.
                Err(_) => return,
            },
            _ => (entry, None),
        };
        if let Ok(address) = unbracketed(host).parse() {
            return self.addresses.push((address, port));
        }
        let name = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
        match name.unwrap_or(host) {
            "" => {}
            found => self.names.push((found.to_owned(), name.is_none(), port)),
        }
    }

    fn contains(&self, host: &str, port: u16) -> bool {
        let host = unbracketed(host).to_ascii_lowercase();
        let at_port = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        if self.all || host == "localhost" {
            return true;
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return address.is_loopback()
                || self.networks.iter().any(|network| network.contains(&address))
                || self.addresses.iter().any(|(a, port)| *a == address && at_port(port));
        }
        self.names.iter().any(|(name, itself, port)| {
            let below = host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
            (below || *itself && host == *name) && at_port(port)
        })
    }
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn proxies(pairs: &[(&str, &str)]) -> Result<Proxies, String> {
        Proxies::new(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_environment_says_what_goes_through_a_proxy() {
        let through = |pairs: &[(&str, &str)]| {
            let proxies = proxies(pairs).unwrap();
            ["https://a.example/", "http://a.example/", "https://b.example/"]
                .map(|uri| proxies.for_endpoint(&uri.parse().unwrap()).is_some())
        };
        assert_eq!(through(&[]), [false; 3]);
        assert_eq!(through(&[("HTTPS_PROXY", " ")]), [false; 3]);
        assert_eq!(through(&[("HTTPS_PROXY", "http://p:3128")]), [true, false, true]);
        assert_eq!(through(&[("http_proxy", "p:3128")]), [false, true, false]);
        assert_eq!(through(&[("ALL_PROXY", "https://p"), ("NO_PROXY", "b.example")]), [true, true, false]);
        assert_eq!(through(&[("all_proxy", "http://p"), ("no_proxy", "*")]), [false; 3]);
    }

    #[test]
    fn an_api_server_is_reached_as_kubectl_reaches_it() {
        let through = |pairs: &[(&str, &str)]| {
            let proxies = proxies(pairs).unwrap();
            let uri = "https://kube.example:6443/".parse().unwrap();
            proxies.for_api_server(&uri).map(|url| url.host_str().unwrap().to_owned())
        };
        assert_eq!(
            through(&[("HTTPS_PROXY", "socks5://upper"), ("https_proxy", "lower")]).as_deref(),
            Some("upper")
        );
        assert_eq!(through(&[("https_proxy", "lower")]).as_deref(), Some("lower"));
        for without in [("HTTP_PROXY", "p:1"), ("ALL_PROXY", "p:1"), ("all_proxy", "p:1")] {
            assert_eq!(through(&[without]), None, "{without:?}");
        }
        assert_eq!(through(&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "kube.example:6443")]), None);
    }

    /// Each row was compared with net/http.ProxyFromEnvironment of Go 1.26.
    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        for (entries, direct, proxied) in [
            ("", "localhost 127.0.0.1 127.9.9.9:80 [::1]:80", "example.com 10.0.0.1"),
            ("*", "example.com 10.0.0.1 [fd00::1]", ""),
            (" a.example , *", "example.com", ""),
            (
                "example.com",
                "example.com a.example.com EXAMPLE.com:80 a.b.example.com",
                "notexample.com example.com.cn",
            ),
            (".example.com", "a.example.com a.b.example.com", "example.com aexample.com"),
            ("*.example.com", "a.example.com", "example.com"),
            ("example.com:6443", "example.com:6443 a.example.com:6443", "example.com example.com:80"),
            ("10.0.0.1", "10.0.0.1 10.0.0.1:80", "10.0.0.2 10.0.0.1.example.com"),
            ("10.0.0.1:6443", "10.0.0.1:6443", "10.0.0.1:443"),
            ("10.0.0.0/8,fd00::/8", "10.255.255.255 [fd12::1]:80", "11.0.0.1 [fe00::1]"),
            ("fd00::1", "[fd00::1] [fd00::1]:80", "[fd00::2]"),
            ("[fd00::1]:6443", "[fd00::1]:6443", "[fd00::1]:443"),
            (",,a.example,", "a.example", "b.example"),
            ("a.example:port,:443,.", "", "a.example:443 b.example"),
        ] {
            let no_proxy = NoProxy::new(entries);
            let contains = |address: &str| {
                let uri: http::Uri = format!("https://{address}/").parse().unwrap();
                no_proxy.contains(uri.host().unwrap(), uri.port_u16().unwrap_or(443))
            };
            for address in direct.split_whitespace() {
                assert!(contains(address), "{address} is reached without by {entries:?}");
            }
            for address in proxied.split_whitespace() {
                assert!(!contains(address), "{address} is not reached without by {entries:?}");
            }
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_by_its_variable_s_name_alone() {
        for value in [
            "http://",
            "http://user:s3cr3t-word@:80",
            "ftp://p",
            "http://p:port",
            "http://user:pa ss@:bad",
            "socks4://p",
        ] {
            for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"] {
                let error = proxies(&[(name, value)]).err().unwrap();
                let allowed = "allowed is http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT";
                assert_eq!(error, format!("{name}: {allowed}"), "{value}");
            }
        }
    }
}
