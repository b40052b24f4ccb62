//! The proxy between the operator and the clouds, where the environment names one. The API server is reached without.

use std::env;
use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;

/// What the environment says: HTTPS_PROXY for https, HTTP_PROXY for http, ALL_PROXY for both, NO_PROXY for the hosts that are
/// reached without; or the same in small letters. Cheap to clone.
#[derive(Clone, Default)]
pub struct Proxies(Option<Arc<Inner>>);

struct Inner {
    https: String,
    http: String,
    matcher: Matcher,
}

impl Proxies {
    /// # Errors
    /// A variable is not the URL of a proxy; the error names the variable, and not its value, which may hold a password.
    pub fn of_environment() -> Result<Self, String> {
        Self::new(|name| env::var(name).ok())
    }

    fn new(value: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let of = |name: &'static str| {
            [name.to_owned(), name.to_ascii_lowercase()]
                .iter()
                .find_map(|name| value(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()))
                .map(|value| (name, value))
        };
        let proxy = |name: &'static str| -> Result<String, String> {
            let Some((name, value)) = of(name).or_else(|| of("ALL_PROXY")) else { return Ok(String::new()) };
            let url = match value.contains("://") {
                true => value,
                false => format!("http://{value}"),
            };
            let is_one = reqwest::Url::parse(&url).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.host_str().is_some_and(|host| !host.is_empty())
            });
            match is_one {
                true => Ok(url),
                false => Err(format!("{name}: allowed is http://HOST:PORT or https://HOST:PORT")),
            }
        };
        let (https, http) = (proxy("HTTPS_PROXY")?, proxy("HTTP_PROXY")?);
        if https.is_empty() && http.is_empty() {
            return Ok(Self(None));
        }
        let without = of("NO_PROXY").map(|(_, hosts)| hosts).unwrap_or_default();
        let matcher = Matcher::builder().https(https.clone()).http(http.clone()).no(without).build();
        Ok(Self(Some(Arc::new(Inner { https, http, matcher }))))
    }

    /// Whether this is reached through a proxy.
    pub(super) fn intercept(&self, uri: &http::Uri) -> bool {
        self.0.as_ref().is_some_and(|proxies| proxies.matcher.intercept(uri).is_some())
    }

    /// For a client that sends nothing but what is intercepted.
    ///
    /// # Errors
    /// None that [`Proxies::of_environment`] lets pass.
    pub(super) fn of_client(&self) -> reqwest::Result<Vec<reqwest::Proxy>> {
        let Some(proxies) = &self.0 else { return Ok(Vec::new()) };
        let https = Some(&proxies.https).filter(|url| !url.is_empty()).map(reqwest::Proxy::https);
        let http = Some(&proxies.http).filter(|url| !url.is_empty()).map(reqwest::Proxy::http);
        https.into_iter().chain(http).collect()
    }
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
                .map(|uri| proxies.intercept(&uri.parse().unwrap()))
        };
        assert_eq!(through(&[]), [false; 3]);
        assert_eq!(through(&[("HTTPS_PROXY", " ")]), [false; 3]);
        assert_eq!(through(&[("HTTPS_PROXY", "http://p:3128")]), [true, false, true]);
        assert_eq!(through(&[("http_proxy", "p:3128")]), [false, true, false]);
        assert_eq!(through(&[("ALL_PROXY", "https://p"), ("NO_PROXY", "b.example")]), [true, true, false]);
        assert_eq!(through(&[("all_proxy", "http://p"), ("no_proxy", "*")]), [false; 3]);
    }

    #[test]
    fn what_is_no_proxy_is_refused_by_its_variable_s_name_alone() {
        for value in ["socks5://p:1080", "http://", "http://user:s3cr3t-word@:80", "ftp://p", "http://p:port"]
        {
            let error = proxies(&[("HTTPS_PROXY", value)]).err().unwrap();
            assert_eq!(error, "HTTPS_PROXY: allowed is http://HOST:PORT or https://HOST:PORT", "{value}");
        }
    }
}
