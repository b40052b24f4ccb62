//! The HTTP server: `/livez`, `/readyz`, `/metrics`.

mod scrape;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use futures::FutureExt;
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tracing::info;

use crate::metrics::Meters;
use crate::telemetry::health::Health;

/// Default of `--http-address`: every address of the host.
const DEFAULT_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), DEFAULT_PORT);
const DEFAULT_PORT: u16 = 8080;

/// Time for which open connections may delay the shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Serves until `shutdown`, and logs the bound address.
///
/// # Errors
/// Fails if `address` cannot be bound, and names the flag. The default falls back to IPv4 on a host without IPv6.
pub async fn serve(
    address: SocketAddr,
    health: Health,
    meters: Meters,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let listener =
        bind(address).await.with_context(|| format!("cannot listen on --http-address {address}"))?;
    let bound = listener.local_addr().context("cannot tell the address of --http-address")?;
    info!(address = %bound, "listening");
    let shutdown = shutdown.shared();
    let server = axum::serve(listener, router(health, meters)).with_graceful_shutdown(shutdown.clone());
    tokio::select! {
        ended = server.into_future() => ended.context("the HTTP server ended"),
        () = async { shutdown.await; sleep(SHUTDOWN_GRACE).await } => Ok(()),
    }
}

fn router(health: Health, meters: Meters) -> Router {
    let probes = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).with_state(health);
    probes.merge(scrape::router(meters))
}

/// Reports a permanent failure. A response of any kind shows that the event loop runs.
async fn livez(State(health): State<Health>) -> (StatusCode, String) {
    answer(health.failure())
}

/// Ignores leadership: a standby replica is ready too.
async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    answer(health.failure().or_else(|| health.missing()))
}

fn answer(problem: Option<String>) -> (StatusCode, String) {
    match problem {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{problem}\n")),
    }
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) => match fallback(address, &error) {
            Some(fallback) => {
                info!(%error, "no IPv6 on this host, serving IPv4 alone");
                TcpListener::bind(fallback).await
            }
            None => Err(error),
        },
        bound => bound,
    }
}

/// Returns the IPv4 address to fall back to. Only the default falls back, as it is no explicit request for IPv6; an
/// address that was configured is bound or fails.
fn fallback(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    /// Linux's errno if the kernel has no IPv6. If IPv6 is merely disabled, the address is not available.
    const EAFNOSUPPORT: i32 = 97;
    let without_ipv6 =
        error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT);
    (address == DEFAULT_ADDRESS && without_ipv6).then(|| (Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use axum::body::{Body, to_bytes};
    use http::Request;
    use tower::Service;

    use super::*;

    async fn ask(health: &Health, path: &str) -> (u16, String) {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = router(health.clone(), Meters::default()).call(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn is_ready_once_started_and_alive_until_something_died() {
        let health = Health::default();
        assert_eq!(ask(&health, "/livez").await.0, 200);
        assert_eq!(ask(&health, "/readyz").await, (503, "starting\n".to_owned()));
        health.started();
        assert_eq!(ask(&health, "/readyz").await, (200, "ok\n".to_owned()));
        health.fail("the policy controller ended");
        health.fail("and so did another");
        for path in ["/livez", "/readyz"] {
            assert_eq!(ask(&health, path).await, (503, "the policy controller ended\n".to_owned()));
        }
        assert!(!health.alive());
        assert_eq!(ask(&health, "/").await.0, 404);
        assert_eq!(ask(&health, "/livez/more").await.0, 404);
    }

    #[test]
    fn only_the_default_falls_back_and_only_without_ipv6() {
        let missing = io::Error::from_raw_os_error(97);
        let switched_off = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let in_use = io::Error::from(io::ErrorKind::AddrInUse);
        let v4 = Some("0.0.0.0:8080".parse().unwrap());
        assert_eq!(fallback(DEFAULT_ADDRESS, &missing), v4);
        assert_eq!(fallback(DEFAULT_ADDRESS, &switched_off), v4);
        assert_eq!(fallback(DEFAULT_ADDRESS, &in_use), None);
        assert_eq!(fallback("[::]:8081".parse().unwrap(), &missing), None);
        assert_eq!(fallback("[::1]:8080".parse().unwrap(), &switched_off), None);
    }

    #[tokio::test]
    async fn serves_a_socket_until_it_is_stopped() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        let error = serve(address, Health::default(), Meters::default(), async {}).await.unwrap_err();
        assert!(format!("{error:#}").starts_with(&format!("cannot listen on --http-address {address}: ")));
        drop(free);

        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(serve(address, Health::default(), Meters::default(), stopped.map(drop)));
        let asked = tokio::task::spawn_blocking(move || {
            let begun = std::time::Instant::now();
            let mut stream = loop {
                assert!(begun.elapsed() < Duration::from_secs(20), "nothing listens");
                match std::net::TcpStream::connect(address) {
                    Ok(stream) => break stream,
                    Err(_) => std::thread::yield_now(),
                }
            };
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let answer = asked.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    }
}
