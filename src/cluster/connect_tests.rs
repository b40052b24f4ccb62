use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::telemetry::scrub::message_with_causes;

const PASSWORD: &str = "Pa55/word";

/// Starts a server on 127.0.0.1 that answers every request with its path.
async fn api_server() -> u16 {
    let router =
        axum::Router::new().fallback(async |request: axum::extract::Request| request.uri().to_string());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

/// Starts a proxy on 127.0.0.1 that connects every client with the right password to the port `target`. Sends the
/// first line of each request on the channel.
async fn proxy(target: u16) -> (u16, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut asked = vec![0; 4096];
                let length = client.read(&mut asked).await.unwrap();
                let asked = match asked[0] {
                    5 => socks(&mut client).await,
                    _ => String::from_utf8_lossy(&asked[..length]).into_owned(),
                };
                let is_known =
                    asked.contains(&STANDARD.encode(format!("ci:{PASSWORD}"))) || asked.contains(PASSWORD);
                sender.send(asked.lines().next().unwrap_or_default().to_owned()).unwrap();
                if !is_known {
                    let _ = client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
                    return;
                }
                if asked.starts_with("CONNECT") {
                    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                }
                let mut server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (port, requests)
}

/// Accepts a SOCKS5 handshake with a user's name and password (RFC 1928, RFC 1929).
async fn socks(client: &mut TcpStream) -> String {
    client.write_all(&[5, 2]).await.unwrap();
    let mut login = vec![0; 512];
    let length = client.read(&mut login).await.unwrap();
    let login = String::from_utf8_lossy(&login[..length]).into_owned();
    client.write_all(&[1, 0]).await.unwrap();
    let mut request = vec![0; 512];
    let length = client.read(&mut request).await.unwrap();
    client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await.unwrap();
    let name = String::from_utf8_lossy(&request[5..length - 2]).into_owned();
    format!("SOCKS {name}:{}\n{login}", u16::from_be_bytes([request[length - 2], request[length - 1]]))
}

async fn ask(server: &str, proxy: &str) -> Result<String, String> {
    let mut config = Config::new(server.parse().unwrap());
    config.default_retry = false;
    let client = client(config, Some(&proxy.parse().unwrap())).map_err(|error| error.to_string())?;
    let request = http::Request::get("/version").body(Vec::new()).unwrap();
    client.request_text(request).await.map_err(|error| message_with_causes(&error))
}

#[tokio::test]
async fn requests_go_through_the_proxy_with_its_credentials() {
    let (port, mut requests) = proxy(api_server().await).await;
    for (server, scheme, asked) in [
        ("http://kube.no-such-host.invalid:6443", "http", "CONNECT kube.no-such-host.invalid:6443 HTTP/1.1"),
        ("http://kube.no-such-host.invalid", "http", "CONNECT kube.no-such-host.invalid:80 HTTP/1.1"),
        ("http://kube.no-such-host.invalid:6443", "socks5", "SOCKS kube.no-such-host.invalid:6443"),
    ] {
        let url = format!("{scheme}://ci:Pa55%2Fword@127.0.0.1:{port}");
        assert_eq!(ask(server, &url).await.as_deref(), Ok("/version"), "{scheme}");
        assert_eq!(requests.recv().await.unwrap(), asked);
    }
}

#[tokio::test]
async fn a_proxy_that_opens_no_way_is_told_without_its_url() {
    let (port, _requests) = proxy(api_server().await).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for (proxy, words) in [
        (
            format!("http://ci:other-{PASSWORD}x@127.0.0.1:{port}").replace('/', "%2F"),
            "proxy authorization required",
        ),
        (format!("http://ci:Pa55%2Fword@127.0.0.1:{closed}"), "refused"),
        ("http://ci:Pa55%2Fword@no-such-host.invalid:3128".to_owned(), "dns error"),
        (
            format!("socks5://ci:Pa55%2Fword@127.0.0.1:{closed}"),
            "SOCKS error: failed to create underlying connection",
        ),
    ] {
        let error = ask("http://kube.example:6443", &proxy).await.unwrap_err();
        assert!(error.contains(words) && !error.contains("Pa55") && !error.contains("ci:"), "{error}");
    }
}

fn kubeconfig(cluster: Value) -> Kubeconfig {
    let config = json!({
        "current-context": "c",
        "contexts": [
            {"name": "c", "context": {"cluster": "one", "user": "u"}},
            {"name": "d", "context": {"cluster": "two", "user": "u"}},
        ],
        "clusters": [
            {"name": "two", "cluster": {"server": "https://two.example"}},
            {"name": "one", "cluster": cluster},
        ],
        "users": [{"name": "u", "user": {"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "login", "interactiveMode": "Never", "provideClusterInfo": true,
        }}}],
    });
    serde_json::from_value(config).unwrap()
}

#[tokio::test]
async fn the_proxy_of_a_kubeconfig_is_its_cluster_s_own() {
    let own = "http://ci:Pa55%2Fword@p:3128";
    let with = json!({"server": "https://one.example", "proxy-url": own});
    let target = ClusterTarget::from_kubeconfig(kubeconfig(with.clone()), None).await.unwrap();
    assert_eq!(target.proxy, Some(own.parse().unwrap()));
    assert_eq!((target.config.proxy_url, target.config.cluster_url.host()), (None, Some("one.example")));
    let requests = target.config.auth_info.exec.unwrap().cluster.unwrap();
    assert_eq!(requests.proxy_url.as_deref(), Some(own), "the plugin is told the truth");

    let other = ClusterTarget::from_kubeconfig(kubeconfig(with), Some("d")).await.unwrap();
    assert_eq!((other.proxy, other.config.cluster_url.host()), (None, Some("two.example")));
    assert_eq!(other.config.auth_info.exec.unwrap().cluster.unwrap().proxy_url, None);

    for wrong in ["ftp://ci:Pa55word@p", "ci:Pa55word@p:3128", "http://ci:Pa55 word@:bad", "http://"] {
        let with = json!({"server": "https://one.example", "proxy-url": wrong});
        let error = ClusterTarget::from_kubeconfig(kubeconfig(with), None).await.err().unwrap();
        let text = format!("{error:#}");
        assert!(
            text.starts_with("the kubeconfig's proxy-url: allowed is ") && !text.contains("Pa55"),
            "{text}"
        );
    }
}
