use super::*;
use crate::cloud::proxies::tests::proxies;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn transport(allowed: &[String]) -> Transport {
    transport_through(allowed, &[])
}

fn transport_through(allowed: &[String], environment: &[(&str, &str)]) -> Transport {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().ok();
    });
    reqwest_transport(&EndpointRule::new(allowed).unwrap(), &proxies(environment).unwrap()).unwrap()
}

/// Starts a server on 127.0.0.1 that answers every connection's first request with these bytes and closes.
async fn serve(answer: impl Into<Vec<u8>>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (answer, count) = (answer.into(), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut asked = [0; 4096];
            let _ = socket.read(&mut asked).await;
            let _ = socket.write_all(&answer).await;
            let _ = socket.shutdown().await;
        }
    });
    (port, count)
}

async fn ask(transport: Transport, url: &str) -> Result<Response<Bytes>, TransportError> {
    transport.oneshot(Request::post(url).body(Bytes::from_static(b"{}")).unwrap()).await
}

async fn ask_named(url: &str) -> Result<Response<Bytes>, TransportError> {
    let named = url.trim_end_matches('/').to_owned();
    ask(transport(&[named]), url).await
}

#[tokio::test]
async fn reads_status_headers_and_body() {
    let (port, _) = serve("HTTP/1.1 418 Teapot\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\nhello").await;
    let answer = ask_named(&format!("http://127.0.0.1:{port}/")).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (418, &HeaderValue::from_static("7"))
    );
    assert_eq!(answer.body().as_ref(), b"hello");
}

#[tokio::test]
async fn follows_no_redirect() {
    let (target, asked) = serve("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let (port, _) = serve(format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:{target}/\r\nContent-Length: 0\r\n\r\n"
    ))
    .await;
    let allowed = [port, target].map(|p| format!("http://127.0.0.1:{p}"));
    let answer = ask(transport(&allowed), &format!("http://127.0.0.1:{port}/")).await.unwrap();
    assert_eq!(answer.status().as_u16(), 307);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_not_read() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MAX_BODY_BYTES + 1);
    let mut answer = head.into_bytes();
    answer.resize(answer.len() + MAX_BODY_BYTES + 1, b' ');
    let (port, _) = serve(answer).await;
    let error = ask_named(&format!("http://127.0.0.1:{port}/")).await.unwrap_err();
    assert_eq!(error, TransportError::TooLarge);
}

#[tokio::test]
async fn a_body_that_ends_early_is_cut_short() {
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let (port, _) = serve(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello")).await;
        let error = ask_named(&format!("http://127.0.0.1:{port}/")).await.unwrap_err();
        assert_eq!(error, TransportError::CutShort, "{head}");
    }
}

#[tokio::test]
async fn connections_that_fail_say_how() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = ask_named(&format!("http://127.0.0.1:{closed}/")).await.unwrap_err();
    assert_eq!(error, TransportError::ConnectionRefused);

    let (silent, asked) = serve("").await;
    let error = ask_named(&format!("http://127.0.0.1:{silent}/")).await.unwrap_err();
    assert_eq!(error, TransportError::ConnectionReset);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "no retry of its own");

    let (plain, _) = serve("this is no TLS at all").await;
    let error = ask_named(&format!("https://127.0.0.1:{plain}/")).await.unwrap_err();
    assert_eq!(error, TransportError::Tls);

    let error = ask_named("https://no-such-host.invalid/").await.unwrap_err();
    assert_eq!(error, TransportError::NameNotResolved);
}

#[tokio::test]
async fn addresses_of_the_own_network_are_reached_by_exact_name_alone() {
    let (port, asked) = serve("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let named = format!("http://localhost:{port}");
    ask(transport(std::slice::from_ref(&named)), &named).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    let rules: [&[String]; 3] = [
        &[],
        &["*.localhost".to_owned()],
        &[format!("https://localhost:{port}"), "http://localhost".to_owned()],
    ];
    for rule in rules {
        for host in ["localhost", "127.0.0.1", "127.1", "2130706433", "[::1]"] {
            let error = ask(transport(rule), &format!("http://{host}:{port}/")).await.unwrap_err();
            assert_eq!(error, TransportError::AddressNotAllowed, "{host} with {rule:?}");
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// Starts a proxy on 127.0.0.1 that reports the first line and the credentials of every request, and opens no tunnel.
async fn proxy() -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut asked = vec![0; 4096];
            let length = socket.read(&mut asked).await.unwrap_or_default();
            let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
            let of = |name: &str| asked.lines().find(|line| line.to_lowercase().starts_with(name));
            let line = asked.lines().next().unwrap_or_default();
            let _ = tell.send(format!("{line} {}", of("proxy-authorization").unwrap_or_default()));
            let _ = socket.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno").await;
            let _ = socket.shutdown().await;
        }
    });
    (port, told)
}

#[tokio::test]
async fn through_a_proxy_the_name_is_resolved_there_and_literals_stay_refused() {
    let (port, mut told) = proxy().await;
    // The proxy may be in the cluster too: it is the operator's own, and no endpoint.
    let own = format!("http://user:pass%2Fword@127.0.0.1:{port}");
    let environment = [("HTTPS_PROXY", own.as_str()), ("NO_PROXY", "localhost")];
    let transport = transport_through(&[], &environment);
    let error = ask(transport.clone(), "https://redis.no-such-host.invalid/").await.unwrap_err();
    assert_eq!(error, TransportError::ProxyRefused);
    let asked = told.recv().await.unwrap().to_lowercase();
    assert!(asked.starts_with("connect redis.no-such-host.invalid:443 http/1.1"), "{asked}");
    assert!(asked.contains("basic dxnlcjpwyxnzl3dvcmq="), "{asked}");

    for url in ["https://localhost/", "https://10.0.0.1/", "https://[::1]/", "https://2130706433/"] {
        let error = ask(transport.clone(), url).await.unwrap_err();
        assert_eq!(error, TransportError::AddressNotAllowed, "{url}");
    }
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_proxy_for_http_is_asked_with_the_whole_url() {
    let (port, mut told) = proxy().await;
    let own = format!("127.0.0.1:{port}");
    let named = "http://redis.no-such-host.invalid:9443".to_owned();
    let transport = transport_through(std::slice::from_ref(&named), &[("http_proxy", &own)]);
    assert_eq!(ask(transport, &format!("{named}/a")).await.unwrap().status().as_u16(), 502);
    assert_eq!(told.recv().await.unwrap().trim(), format!("POST {named}/a HTTP/1.1"));
}

/// Returns the error of a request to a cloud's host through this proxy.
async fn through(proxy: &str) -> TransportError {
    let transport = transport_through(&[], &[("HTTPS_PROXY", proxy)]);
    ask(transport, "https://redis.no-such-host.invalid/").await.unwrap_err()
}

#[tokio::test]
async fn what_fails_at_a_proxy_is_not_the_host_s_fault() {
    let (port, _) = serve("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(
        through(&format!("http://ci:Pa55word@127.0.0.1:{port}")).await,
        TransportError::ProxyUnauthorized
    );
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for proxy in [format!("http://127.0.0.1:{closed}"), format!("socks5://127.0.0.1:{closed}")] {
        assert_eq!(through(&proxy).await, TransportError::ProxyNotReached, "{proxy}");
    }
    assert_eq!(through("http://no-such-proxy.invalid:3128").await, TransportError::ProxyNotReached);
}

#[test]
fn a_certificate_that_is_not_trusted_says_why() {
    use rustls::{CertificateError, Error};
    for (fault, wanted) in [
        (CertificateError::UnknownIssuer, TransportError::UnknownIssuer),
        (CertificateError::NotValidForName, TransportError::WrongName),
        (CertificateError::Expired, TransportError::Expired),
        (CertificateError::NotValidYet, TransportError::Expired),
        (CertificateError::BadSignature, TransportError::Tls),
    ] {
        assert_eq!(classify_cause(&Error::InvalidCertificate(fault)), Some(wanted));
    }
}

#[test]
fn each_failure_names_the_host_and_nothing_that_differs() {
    use TransportError::*;
    let all = [
        Timeout,
        ConnectTimeout,
        ConnectionRefused,
        ConnectionReset,
        NameNotResolved,
        ResolveTimeout,
        Tls,
        UnknownIssuer,
        WrongName,
        Expired,
        TooLarge,
        CutShort,
        ProxyNotReached,
        ProxyUnauthorized,
        ProxyRefused,
        NoConnection,
    ];
    for error in all {
        let words = error.explain("redis.example", Duration::from_secs(10)).unwrap();
        assert!(
            words.contains("redis.example") && !error.to_string().contains("redis"),
            "{error:?}: {words}"
        );
        let connected = [Timeout, ConnectionReset, TooLarge, CutShort].contains(&error);
        assert_eq!(error.is_no_connection(), !connected, "{error:?}");
    }
    let words = Timeout.explain("redis.example", Duration::from_secs(10)).unwrap();
    assert_eq!(words, "redis.example gave no answer within 10s");
}

#[tokio::test]
async fn a_service_is_a_transport() {
    let router = axum::Router::new().fallback(async |request: axum::extract::Request| {
        format!("{} {}", request.headers()[HOST].to_str().unwrap(), request.uri())
    });
    let answer = ask(service_transport(router), "http://127.0.0.1:9443/?a=b").await.unwrap();
    assert_eq!(answer.body().as_ref(), b"127.0.0.1:9443 http://127.0.0.1:9443/?a=b");

    let large =
        service_fn(async |_| Ok::<_, Infallible>(Response::new(Body::from(vec![0; MAX_BODY_BYTES + 1]))));
    assert_eq!(ask(service_transport(large), "http://x/").await.unwrap_err(), TransportError::TooLarge);
    let broken = service_fn(async |_| Err::<Response<Body>, _>(TransportError::ConnectionReset));
    assert_eq!(
        ask(service_transport(broken), "http://x/").await.unwrap_err(),
        TransportError::ConnectionReset
    );
}

#[tokio::test]
async fn reading_alone_lets_nothing_through_that_could_change_something() {
    let (transport, sent) =
        read_only_transport(service_transport(axum::Router::new().fallback(|| async { "ok" })));
    let send = async |uri: &str, action: Option<&str>| {
        let mut request = Request::post(uri);
        if let Some(action) = action {
            request = request.header("X-TC-Action", action);
        }
        transport.clone().oneshot(request.body(Bytes::new()).unwrap()).await.map(drop)
    };
    let base = "https://redis.example/";
    for (query, action) in [
        ("?Action=DescribeCrossRegionBackupPolicy&Version=2020-12-07", None),
        ("?Version=1&Action=DescribeDBInstances", None),
        ("?Action=AssumeRole", None),
        ("", Some("DescribeInstances")),
        ("", Some("AssumeRoleWithWebIdentity")),
    ] {
        assert_eq!(send(&format!("{base}{query}"), action).await, Ok(()), "{query} {action:?}");
    }
    for (query, action) in [
        ("?Action=ModifyCrossRegionBackupPolicy", None),
        ("?Action=DescribeDBInstances&Action=ModifyCrossRegionBackupPolicy", None),
        ("?action=DescribeDBInstances", None),
        ("?Action=%44escribeDBInstances", None),
        ("?Action=CreateBackup", None),
        ("", None),
        ("?Action=DescribeDBInstances", Some("ModifyInstance")),
    ] {
        let refused = send(&format!("{base}{query}"), action).await;
        assert_eq!(refused, Err(TransportError::NotReadOnly), "{query} {action:?}");
    }
    assert_eq!(sent.total(), 5);
    assert_eq!(sent.by_action()["AssumeRole"], 1);
}
