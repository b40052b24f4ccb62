//! HTTP transport to a cloud: over sockets in production, into a service of the same process in tests.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, future::BoxFuture};
use http::header::{HOST, HeaderValue};
use http::{Request, Response};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::timeout;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt, service_fn};

use super::address::is_global;
use super::endpoint::EndpointRule;
use super::proxies::Proxies;

/// Sends one request once, and reads the whole response.
pub type Transport = BoxCloneSyncService<Request<Bytes>, Response<Bytes>, TransportError>;

/// Failure code of a response whose body exceeds the read limit.
pub const TOO_LARGE: &str = "answer too large";

/// Reason there is no response, in words that name no host and no address, and do not differ between tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    #[error("timeout")]
    Timeout,
    #[error("no connection in time")]
    ConnectTimeout,
    #[error("connection refused")]
    ConnectionRefused,
    #[error("connection reset")]
    ConnectionReset,
    #[error("name not resolved")]
    NameNotResolved,
    #[error("name not resolved in time")]
    ResolveTimeout,
    #[error("TLS handshake failed")]
    Tls,
    #[error("certificate of an unknown issuer")]
    UnknownIssuer,
    #[error("certificate for another name")]
    WrongName,
    #[error("certificate not valid now")]
    Expired,
    #[error("{TOO_LARGE}")]
    TooLarge,
    #[error("answer cut short")]
    CutShort,
    /// The endpoint rule refuses every address of the host.
    #[error("address not allowed")]
    AddressNotAllowed,
    #[error("proxy not reached")]
    ProxyNotReached,
    /// HTTP status 407.
    #[error("proxy refused the credentials")]
    ProxyUnauthorized,
    #[error("proxy opened no connection")]
    ProxyRefused,
    #[error("no connection")]
    NoConnection,
    /// Refused by [`read_only_transport`].
    #[error("not sent: it could change something")]
    NotReadOnly,
}

impl TransportError {
    /// Describes the error for the account's owner. `host`: that of the endpoint, as the spec or the provider names it;
    /// `patience`: timeout of a response. `None` if there is nothing to add to the error's own text.
    pub fn explain(self, host: &str, response_timeout: Duration) -> Option<String> {
        Some(match self {
            Self::Timeout => format!("{host} gave no answer within {response_timeout:?}"),
            Self::ConnectTimeout => format!("there was no connection to {host} within {CONNECT_TIMEOUT:?}"),
            Self::ConnectionRefused => format!("{host} refused the connection"),
            Self::ConnectionReset => format!("{host} ended the connection without an answer"),
            Self::NameNotResolved => format!("there is no address for {host}"),
            Self::ResolveTimeout => format!("DNS gave no address for {host} within {RESOLVE_TIMEOUT:?}"),
            Self::Tls => format!("{host} does not speak TLS as it should"),
            Self::UnknownIssuer => format!("no trusted authority issued the certificate of {host}"),
            Self::WrongName => format!("the certificate is not for {host}"),
            Self::Expired => format!("the certificate of {host} has ended, or is not valid yet"),
            Self::TooLarge | Self::CutShort => format!("from {host}"),
            Self::ProxyNotReached => format!("on the way to {host} the proxy could not be reached"),
            Self::ProxyUnauthorized => format!("on the way to {host} the proxy wants other credentials"),
            Self::ProxyRefused => format!("the proxy opened no connection to {host}"),
            Self::NoConnection => format!("there was no connection to {host}"),
            Self::AddressNotAllowed | Self::NotReadOnly => return None,
        })
    }

    /// Returns whether there was no connection, so that no call to that host can have another outcome.
    pub fn is_no_connection(self) -> bool {
        matches!(
            self,
            Self::ConnectTimeout
                | Self::ConnectionRefused
                | Self::NameNotResolved
                | Self::ResolveTimeout
                | Self::Tls
                | Self::UnknownIssuer
                | Self::WrongName
                | Self::Expired
                | Self::ProxyNotReached
                | Self::ProxyUnauthorized
                | Self::ProxyRefused
                | Self::NoConnection
        )
    }
}

impl From<Infallible> for TransportError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Timeout of a connection, including name resolution and TLS negotiation.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of name resolution, shorter than [`CONNECT_TIMEOUT`] so that a silent DNS server is distinct from a silent
/// host.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(4);
/// Idle lifetime of a connection: polling uses few of the connections that a burst opens, and each holds some 50 KiB.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Upper bound on a response body, in bytes. A page of 100 backups is some 100 KiB.
const MAX_BODY_BYTES: usize = 8 << 20;

/// Builds the process's transport to the clouds: no redirects, no retries of its own, a proxy where the environment
/// names one. It uses the process's rustls provider, which must be installed.
///
/// It consists of three clients. A client's resolver sees only names, while the rule lets one scheme, host and port
/// resolve to any address, and not the same host on another port; so each kind has its own client. Names of proxied
/// requests are resolved by the proxy: the third client resolves only the name of the proxy, which may well be in the
/// cluster.
pub fn reqwest_transport(rule: &EndpointRule, proxies: &Proxies) -> anyhow::Result<Transport> {
    let build = |resolver: Resolver, through: Vec<reqwest::Proxy>| {
        let client = reqwest::Client::builder()
            .user_agent(concat!("cross-region-backup-operator/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            // `Proxies` reads the environment, so reqwest must not.
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .dns_resolver(resolver);
        through.into_iter().fold(client, reqwest::ClientBuilder::proxy).build()
    };
    let guarded = build(Resolver { global_only: true }, Vec::new())?;
    let named = build(Resolver { global_only: false }, Vec::new())?;
    let proxied = build(Resolver { global_only: false }, proxies.for_client()?)?;
    let (rule, proxies) = (rule.clone(), proxies.clone());
    Ok(Transport::new(service_fn(move |request: Request<Bytes>| {
        let [guarded, named, proxied] = [&guarded, &named, &proxied].map(reqwest::Client::clone);
        let (rule, proxies) = (rule.clone(), proxies.clone());
        async move {
            let intercepted = proxies.for_endpoint(request.uri()).is_some();
            let request = reqwest::Request::try_from(request).map_err(|_| TransportError::NoConnection)?;
            let url = request.url();
            let port = url.port_or_known_default().unwrap_or_default();
            let is_named = rule.names_exactly(url.scheme(), url.host_str().unwrap_or_default(), port);
            let client = match (is_named, url.domain().is_some()) {
                // An address literal would bypass the resolver and its check.
                (false, false) => return Err(TransportError::AddressNotAllowed),
                _ if intercepted => proxied,
                (true, _) => named,
                (false, true) => guarded,
            };
            let mut response = client.execute(request).await.map_err(|e| match intercepted {
                true => classify_proxied(&e),
                false => classify(&e),
            })?;
            let mut answer = Response::new(());
            *answer.status_mut() = response.status();
            *answer.headers_mut() = std::mem::take(response.headers_mut());
            let mut body = BoundedBody::default();
            while let Some(chunk) = response.chunk().await.map_err(|e| classify(&e))? {
                body.push(&chunk)?;
            }
            Ok(answer.map(|()| body.0.freeze()))
        }
    })))
}

#[derive(Default)]
struct BoundedBody(BytesMut);

impl BoundedBody {
    fn push(&mut self, chunk: &[u8]) -> Result<(), TransportError> {
        if self.0.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(TransportError::TooLarge);
        }
        self.0.extend_from_slice(chunk);
        Ok(())
    }
}

struct Resolver {
    global_only: bool,
}

/// Marker by which [`classify`] finds the resolver's own error in reqwest's chain of errors.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct ResolveError(TransportError);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let global_only = self.global_only;
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((name.as_str(), 0)))
                    .await
                    .map_err(|_| ResolveError(TransportError::ResolveTimeout))?
                    .map_err(|_| ResolveError(TransportError::NameNotResolved))?
                    .collect();
            if found.is_empty() {
                return Err(ResolveError(TransportError::NameNotResolved).into());
            }
            let allowed: Vec<_> = found.into_iter().filter(|a| !global_only || is_global(a.ip())).collect();
            if allowed.is_empty() {
                return Err(ResolveError(TransportError::AddressNotAllowed).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Maps a reqwest error. The causes below it are more specific than reqwest's own kinds.
fn classify(error: &reqwest::Error) -> TransportError {
    match causes(error).find_map(classify_cause) {
        Some(TransportError::Timeout) if error.is_connect() => TransportError::ConnectTimeout,
        Some(found) => found,
        None if error.is_timeout() && error.is_connect() => TransportError::ConnectTimeout,
        None if error.is_timeout() => TransportError::Timeout,
        None if error.is_body() || error.is_decode() => TransportError::CutShort,
        None => TransportError::NoConnection,
    }
}

/// Maps the error of a proxied request: a connection that could not be made is the proxy's.
fn classify_proxied(error: &reqwest::Error) -> TransportError {
    // hyper-util's TunnelError and SocksError; their types are not accessible here.
    let tunnel = causes(error)
        .map(ToString::to_string)
        .find(|text| text.starts_with("tunnel error: ") || text.starts_with("SOCKS error: "));
    match (classify(error), tunnel.as_deref()) {
        (_, Some("tunnel error: proxy authorization required")) => TransportError::ProxyUnauthorized,
        (_, Some("SOCKS error: failed to create underlying connection")) => TransportError::ProxyNotReached,
        (
            TransportError::ConnectionRefused
            | TransportError::ConnectTimeout
            | TransportError::NameNotResolved
            | TransportError::ResolveTimeout,
            _,
        ) => TransportError::ProxyNotReached,
        (_, Some(_)) => TransportError::ProxyRefused,
        (classify, None) => classify,
    }
}

/// Iterates over an error and its sources.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

fn classify_cause(error: &(dyn Error + 'static)) -> Option<TransportError> {
    if let Some(ResolveError(verdict)) = error.downcast_ref() {
        return Some(*verdict);
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(classify_tls(error));
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // `io::Error::source` skips the error that it wraps, and returns that one's source.
        if let Some(inner) = error.get_ref().and_then(|inner| classify_cause(inner)) {
            return Some(inner);
        }
        return match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(TransportError::ConnectionRefused),
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Some(TransportError::ConnectionReset)
            }
            io::ErrorKind::TimedOut => Some(TransportError::Timeout),
            _ => None,
        };
    }
    // hyper's error for a connection that ended before a response began; its type is not accessible here.
    (error.to_string() == "connection closed before message completed")
        .then_some(TransportError::ConnectionReset)
}

fn classify_tls(error: &rustls::Error) -> TransportError {
    use rustls::CertificateError as Fault;
    let rustls::Error::InvalidCertificate(fault) = error else { return TransportError::Tls };
    match fault {
        Fault::UnknownIssuer => TransportError::UnknownIssuer,
        Fault::NotValidForName | Fault::NotValidForNameContext { .. } => TransportError::WrongName,
        Fault::Expired
        | Fault::ExpiredContext { .. }
        | Fault::NotValidYet
        | Fault::NotValidYetContext { .. } => TransportError::Expired,
        _ => TransportError::Tls,
    }
}

/// Number of requests sent, by action.
#[derive(Clone, Default)]
pub struct RequestCounts(Arc<Mutex<BTreeMap<String, u64>>>);

impl RequestCounts {
    pub fn by_action(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn total(&self) -> u64 {
        self.by_action().values().sum()
    }
}

/// Wraps a transport so that no request that could change anything leaves it, whichever code makes the request: only
/// the Describe actions, and the AssumeRole actions of an STS, pass. It counts the requests that it sends.
pub fn read_only_transport(transport: Transport) -> (Transport, RequestCounts) {
    let sent = RequestCounts::default();
    let counted = sent.clone();
    let guarded = Transport::new(service_fn(move |request: Request<Bytes>| {
        let action = action_of(&request).filter(|a| a.starts_with("Describe") || a.starts_with("AssumeRole"));
        if let Some(action) = &action {
            *counted.0.lock().unwrap_or_else(PoisonError::into_inner).entry(action.clone()).or_default() += 1;
        }
        let transport = transport.clone();
        async move {
            match action {
                Some(_) => transport.oneshot(request).await,
                None => Err(TransportError::NotReadOnly),
            }
        }
    }));
    (guarded, sent)
}

/// Returns the action of a request: Volcengine names it in the query, Tencent Cloud in a header.
fn action_of(request: &Request<Bytes>) -> Option<String> {
    if let Some(action) = request.headers().get("X-TC-Action") {
        return action.to_str().ok().map(str::to_owned);
    }
    let mut pairs = request.uri().query()?.split('&').filter_map(|pair| pair.split_once('='));
    let action = pairs.find(|(name, _)| *name == "Action").map(|(_, action)| action.to_owned());
    // With two of them, the cloud could execute the second one.
    action.filter(|_| pairs.all(|(name, _)| name != "Action"))
}

/// Builds a transport into a service of this process, such as an axum router: no sockets, so it works in virtual time.
/// A service whose error is a [`TransportError`] can simulate any connection failure.
pub fn service_transport<S>(service: S) -> Transport
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
    S::Error: Into<TransportError>,
    S::Future: Send + 'static,
{
    Transport::new(service_fn(move |request: Request<Bytes>| -> BoxFuture<'static, _> {
        let service = service.clone();
        Box::pin(async move {
            let mut request = request.map(Body::from);
            // An HTTP client adds this header on the wire, and a router needs it to check a signature.
            let host = request.uri().authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok());
            if let Some(host) = host {
                request.headers_mut().entry(HOST).or_insert(host);
            }
            let (head, body) = service.oneshot(request).await.map_err(Into::into)?.into_parts();
            let mut chunks = body.into_data_stream();
            let mut whole = BoundedBody::default();
            while let Some(chunk) = chunks.next().await {
                whole.push(&chunk.map_err(|_| TransportError::CutShort)?)?;
            }
            Ok(Response::from_parts(head, whole.0.freeze()))
        })
    }))
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
