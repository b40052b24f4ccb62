//! Reachability of the API server. Each loss and each return is one line in the log: requests that fail meanwhile do
//! so in many places, over and over, and would add no information.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use kube::client::Body;
use tokio::time::Instant;
use tower::service_fn;
use tracing::{info, warn};

use super::cause;

/// Minimum outage worth a line in the log: requests that fail for a shorter time, with none answered in between, are
/// not.
const MIN_LOGGED_OUTAGE: Duration = Duration::from_secs(1);

/// Reachability of one API server, shared by all its clients.
#[derive(Clone, Default)]
pub struct ApiServerReachability(Arc<Mutex<Option<Outage>>>);

/// An outage, from the first failed request on, with none answered since.
struct Outage {
    since: Instant,
    logged: bool,
}

impl ApiServerReachability {
    /// Returns the same client, whose answers are observed.
    pub fn wrap_client(&self, client: kube::Client) -> kube::Client {
        let (link, namespace) = (self.clone(), client.default_namespace().to_owned());
        let service = service_fn(move |request: Request<Body>| {
            let (link, client) = (link.clone(), client.clone());
            async move {
                let answer = client.send(request).await;
                link.note(&answer);
                answer
            }
        });
        kube::Client::new(service, namespace)
    }

    fn note<B>(&self, answer: &Result<Response<B>, kube::Error>) {
        match answer {
            Ok(answer) if is_gateway_error(answer.status()) => self.failed(|| answer.status().to_string()),
            Ok(_) => self.answered(),
            Err(error) => self.failed(|| cause(error)),
        }
    }

    fn answered(&self) {
        if let Some(Outage { since, logged: true }) = self.outage().take() {
            info!(seconds = since.elapsed().as_secs(), "reached the API server again");
        }
    }

    fn failed(&self, error: impl FnOnce() -> String) {
        let mut outage = self.outage();
        let outage = outage.get_or_insert_with(|| Outage { since: Instant::now(), logged: false });
        if !outage.logged && outage.since.elapsed() >= MIN_LOGGED_OUTAGE {
            outage.logged = true;
            warn!(error = error(), "lost the API server, trying on");
        }
    }

    fn outage(&self) -> MutexGuard<'_, Option<Outage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a gateway in front of the API server answers, as it does if no API server is behind it.
fn is_gateway_error(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use testbed::capture::capture;

    fn refused() -> Result<Response<()>, kube::Error> {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        Err(kube::Error::Service(Box::new(refused)))
    }

    fn answer(code: u16) -> Result<Response<()>, kube::Error> {
        Ok(Response::builder().status(code).body(()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_two_lines_however_many_requests_fail() {
        let log = capture();
        let link = ApiServerReachability::default();
        for outage in [refused, || answer(503)] {
            for _ in 0..100 {
                link.note(&outage());
                advance(Duration::from_millis(140)).await;
            }
            link.note(&answer(403));
            link.note(&answer(200));
        }
        let lines = log.text();
        let of = |words: &str| lines.lines().filter(|line| line.contains(words)).count();
        assert_eq!(
            [of("lost the API server"), of("reached the API server again"), of("")],
            [2, 2, 4],
            "{lines}"
        );
        assert!(lines.contains("connection refused") && lines.contains("503 Service Unavailable"), "{lines}");
        assert!(lines.contains("seconds=14") && !lines.contains("ServiceError"), "{lines}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_fails_between_others_is_no_line() {
        let log = capture();
        let link = ApiServerReachability::default();
        for _ in 0..100 {
            link.note(&refused());
            link.note(&answer(200));
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(log.text(), "");
    }
}
