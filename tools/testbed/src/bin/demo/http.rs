//! One request to the simulator's admin API, as plain HTTP/1.1: no client library for three calls on loopback.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(10);

/// Sends the request and returns the body of its answer, which must be a 200.
///
/// # Errors
/// When there is no answer within ten seconds, or another one.
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
    // HTTP/1.0: the answer is not chunked, and its end is the end of the connection.
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
