//! `/metrics`, streamed in chunks, so that the series of thousands of resources are never in memory at once.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::stream;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::metrics::Meters;

/// Content type of Prometheus' text format, which every scraper reads.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const CHUNK_SIZE: usize = 64 << 10;
/// Chunks that are buffered ahead of the reader.
const CHUNKS_BUFFERED: usize = 2;
/// Timeout after which a reader that takes no chunk counts as gone.
const READER_TIMEOUT: Duration = Duration::from_secs(10);
/// Upper bound on concurrent scrapes: each takes a thread, and a few bytes of each resource.
const MAX_SCRAPES: usize = 4;

pub fn router(meters: Meters) -> Router {
    let scrapes = Arc::new(Semaphore::new(MAX_SCRAPES));
    Router::new().route("/metrics", get(metrics)).with_state((meters, scrapes))
}

async fn metrics(State((meters, scrapes)): State<(Meters, Arc<Semaphore>)>) -> Response {
    let Ok(slot) = scrapes.try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many scrapes at once\n").into_response();
    };
    let (sender, receiver) = mpsc::channel(CHUNKS_BUFFERED);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut chunks = ChunkWriter { sender: sender.clone(), runtime: runtime.clone(), chunk: Vec::new() };
        let written = meters.write(&mut chunks).and_then(|()| chunks.flush());
        if let Err(error) = written {
            // The error aborts the body, so that the reader notices that it is incomplete.
            let _ = runtime.block_on(timeout(READER_TIMEOUT, sender.send(Err(error))));
        }
        drop(slot);
    });
    let chunks = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk: io::Result<Bytes>| (chunk, receiver))
    });
    ([(CONTENT_TYPE, TEXT)], Body::from_stream(chunks)).into_response()
}

/// Blocking writer that sends chunks to the response body.
struct ChunkWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    runtime: Handle,
    chunk: Vec<u8>,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.chunk.is_empty() && self.chunk.len() + bytes.len() > CHUNK_SIZE {
            self.flush()?;
        }
        self.chunk.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = Bytes::from(std::mem::take(&mut self.chunk));
        let sent = self.runtime.block_on(timeout(READER_TIMEOUT, self.sender.send(Ok(chunk))));
        match sent {
            Ok(Ok(())) => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads the metrics")),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use http::Request;
    use tower::Service;

    use super::*;
    use crate::metrics::MetricType;

    const SERIES: usize = 20_000;

    fn many() -> Meters {
        let meters = Meters::default();
        meters.set_source(|out| {
            let mut family = out.family("crossregionbackup_policy_info", MetricType::Gauge, "All.")?;
            (0..SERIES).try_for_each(|number| family.series(&[("name", &number.to_string())], 1))
        });
        meters
    }

    async fn get(router: &Router) -> Response {
        let request = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
        router.clone().call(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_scrape_brings_everything_in_the_text_format() {
        let response = get(&router(many())).await;
        assert_eq!(
            (response.status(), &response.headers()[CONTENT_TYPE]),
            (StatusCode::OK, &TEXT.parse().unwrap())
        );
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = str::from_utf8(&body).unwrap();
        assert_eq!(
            text.lines().filter(|line| line.starts_with("crossregionbackup_policy_info{")).count(),
            SERIES
        );
        assert!(text.ends_with("{name=\"19999\"} 1\n"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn scrapes_that_nobody_reads_hold_up_no_other_for_long() {
        let router = router(many());
        let mut unread = Vec::new();
        for _ in 0..MAX_SCRAPES {
            unread.push(get(&router).await);
        }
        assert_eq!(get(&router).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        // A reader that disconnects frees its slot at once.
        drop(unread);
        let begun = tokio::time::Instant::now();
        while get(&router).await.status() != StatusCode::OK {
            assert!(begun.elapsed() < Duration::from_secs(20), "no place becomes free");
            tokio::task::yield_now().await;
        }
    }
}
