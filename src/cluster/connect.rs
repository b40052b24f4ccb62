//! Connection to the API server: chooses the cluster as kubectl does, and the proxy.
//!
//! kube would choose the proxy itself: if the kubeconfig has none, it takes HTTPS_PROXY, and compares NO_PROXY with
//! the proxy's own address, not with the API server's (kube 5.0). Here the caller decides what the environment's
//! proxies are for.

use std::error::Error;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use hyper::rt::{Read, Write};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use tower::retry::RetryLayer;
use tower::{BoxError, Service, ServiceBuilder};

/// Placeholder for the kubeconfig's proxy, so that kube does not read one from the environment.
const PROXY_PLACEHOLDER: &str = "http://unused.invalid";

/// A cluster, and the proxy to it.
pub struct ClusterTarget {
    /// kube's configuration, without a proxy.
    pub config: Config,
    /// The kubeconfig's own proxy for this cluster; it takes precedence over the environment.
    pub proxy: Option<Url>,
}

impl ClusterTarget {
    /// Returns the cluster of this context, or of the current one, in this kubeconfig, or in that of KUBECONFIG or
    /// `~/.kube/config`. If neither `file` nor `context` is given and there is no kubeconfig, returns the cluster
    /// that this process runs in.
    ///
    /// # Errors
    /// There is no cluster, or the kubeconfig is wrong.
    pub async fn find(file: Option<&Path>, context: Option<&str>) -> anyhow::Result<Self> {
        let read = match file {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        };
        let found = match read {
            Ok(kubeconfig) => Self::from_kubeconfig(kubeconfig, context).await,
            Err(error) => Err(error.into()),
        };
        let mut target = match found {
            Err(error) if file.is_none() && context.is_none() => {
                let config = Config::incluster().map_err(|of_pod| {
                    error.context(format!("neither the cluster of a pod ({of_pod}) nor a kubeconfig"))
                })?;
                Self { config, proxy: None }
            }
            found => found?,
        };
        target.config.apply_debug_overrides();
        Ok(target)
    }

    async fn from_kubeconfig(mut kubeconfig: Kubeconfig, context: Option<&str>) -> anyhow::Result<Self> {
        let options =
            KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        let name = context.or(kubeconfig.current_context.as_deref());
        let named = kubeconfig.contexts.iter().find(|named| Some(named.name.as_str()) == name);
        let cluster = named.and_then(|named| named.context.as_ref()).map(|context| context.cluster.clone());
        let mut proxy = None;
        for named in kubeconfig.clusters.iter_mut().filter(|named| Some(&named.name) == cluster.as_ref()) {
            if let Some(cluster) = &mut named.cluster {
                let own = cluster.proxy_url.replace(PROXY_PLACEHOLDER.to_owned());
                proxy = proxy.or(own.filter(|url| !url.is_empty()));
            }
        }
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        config.proxy_url = None;
        // An exec plugin gets the cluster's real proxy.
        if let Some(exec_cluster) = config.auth_info.exec.as_mut().and_then(|exec| exec.cluster.as_mut()) {
            exec_cluster.proxy_url.clone_from(&proxy);
        }
        let proxy = proxy.as_deref().map(proxy_url).transpose()?;
        Ok(Self { config, proxy })
    }
}

/// Parses a kubeconfig's `proxy-url`, with the schemes that kubectl accepts.
fn proxy_url(text: &str) -> anyhow::Result<Url> {
    let wrong =
        "the kubeconfig's proxy-url: allowed is http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT";
    let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https" | "socks5"));
    url.filter(|url| url.host_str().is_some_and(|host| !host.is_empty())).context(wrong)
}

/// Returns a client of the API server through this proxy.
///
/// # Errors
/// The configuration's credentials or certificates, or the proxy's URL, cannot be used.
pub fn client(config: Config, proxy: Option<&Url>) -> anyhow::Result<Client> {
    let Some(proxy) = proxy else { return Ok(Client::try_from(config)?) };
    let address = address(proxy)?;
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let userinfo = (!proxy.username().is_empty() || proxy.password().is_some())
        .then(|| (decoded(proxy.username()), decoded(proxy.password().unwrap_or_default())));
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    match proxy.scheme() {
        "socks5" | "socks5h" => {
            let proxied = SocksV5::new(address, http);
            let proxied = match userinfo {
                Some((user, password)) => proxied.with_auth(user, password),
                None => proxied,
            };
            client_with_connector(config, proxied)
        }
        // As in client-go, the proxy's certificate is verified with the cluster's authority if the kubeconfig names
        // one.
        "https" => {
            let https = config.rustls_https_connector_with_connector(http)?;
            client_with_connector(config, tunnel(address, https, userinfo)?)
        }
        _ => client_with_connector(config, tunnel(address, http, userinfo)?),
    }
}

/// Returns the proxy's scheme, host and port, without userinfo.
fn address(proxy: &Url) -> anyhow::Result<Uri> {
    let host = proxy.host_str().unwrap_or_default();
    let port = proxy.port_or_known_default().unwrap_or(1080);
    let uri = Uri::builder().scheme(proxy.scheme()).authority(format!("{host}:{port}")).path_and_query("/");
    uri.build().map_err(|_| anyhow!("the proxy's URL has no host that can be reached"))
}

fn tunnel<C>(proxy: Uri, connector: C, userinfo: Option<(String, String)>) -> anyhow::Result<Tunnel<C>> {
    let tunnel = Tunnel::new(proxy, connector);
    let Some((user, password)) = userinfo else { return Ok(tunnel) };
    let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    Ok(tunnel.with_auth(HeaderValue::try_from(basic)?))
}

/// Builds kube's client as kube does, except that `connector` makes each connection.
fn client_with_connector<C>(mut config: Config, connector: C) -> anyhow::Result<Client>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: Into<Box<dyn Error + Send + Sync>> + Send + Sync + Error + 'static,
{
    // The default port of a tunnel is 443, for http as well.
    if config.cluster_url.scheme_str() == Some("http") && config.cluster_url.port().is_none() {
        let host = config.cluster_url.host().unwrap_or_default().to_owned();
        let mut parts = config.cluster_url.into_parts();
        parts.authority = Some(format!("{host}:80").parse()?);
        config.cluster_url = Uri::from_parts(parts)?;
    }
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(connector)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry())))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(connector));
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
