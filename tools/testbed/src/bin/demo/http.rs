//! One request to the simulator's admin API, as plain HTTP/1.0: no client library for three calls on loopback.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(10);

/// Sends the request and returns the response's body.
///
/// # Errors
/// When there is no response within ten seconds, or its status is not 200.
pub async fn request(method: &str, url: &str, body: &str) -> Result<String> {
    tokio::time::timeout(LIMIT, exchange(method, url, body))
        .await
        .context("it took too long")
        .and_then(|answer| answer)
        .with_context(|| format!("{method} {url}"))
}

async fn exchange(method: &str, url: &str, body: &str) -> Result<String> {
    let rest = url.strip_prefix("http://").context("not an http:// URL")?;
    let (host, path) = rest.split_at(rest.find('/').context("a URL without a path")?);
    let length = body.len();
    // HTTP/1.0: the response is not chunked, and ends with the connection.
    let request =
        format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}");
    let mut stream = TcpStream::connect(host).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.split(' ').nth(1) == Some("200"), "{status}: {body}");
    Ok(body.to_owned())
}
