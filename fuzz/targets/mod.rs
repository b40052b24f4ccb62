//! Fuzz targets: one for each external input, which panics where a promise is broken. `tests/corpus.rs` runs the
//! targets over the inputs in `fuzz/corpus` and random mutations of them; `make fuzz` searches for new inputs with
//! libFuzzer.

mod answers;
mod mutate;
mod objects;
mod secrets;
mod sts;
mod texts;

use std::cell::OnceCell;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use tokio::runtime::{Builder, Runtime};
use tower::service_fn;

use cross_region_backup_operator::cloud::{Credentials, Transport, TransportError, service_transport};
use cross_region_backup_operator::domain::Failure;

pub use mutate::mutate;

pub type Target = fn(&[u8]);

/// Targets, by the name of their folder in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 5] = [
    ("answers", answers::answers),
    ("objects", objects::objects),
    ("secrets", secrets::secrets),
    ("sts", sts::sts),
    ("texts", texts::texts),
];

/// Upper bound on the characters of a cloud's text once its response is parsed.
const TEXT_MAX: usize = 256;
/// Upper bound on the wait that a response can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
const START: &str = "2025-08-22T03:14:15Z";
const KEY_ID: &str = "AKfz7Qw1x0000000fz7Qw1x";
const SECRET: &str = "fz7Qw1x/secret+fz7Qw1x==";
const TOKEN: &str = "fz7Qw1xTokenfz7Qw1x";

/// Credentials that sign the calls.
static OWN: LazyLock<Credentials> = LazyLock::new(|| Credentials::new(KEY_ID, SECRET, Some(TOKEN)));

/// Runs a future in virtual time.
fn run<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
    }
    RUNTIME.with(|runtime| {
        let paused = || {
            Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime is built")
        };
        runtime.get_or_init(paused).block_on(future)
    })
}

/// An HTTP response in the corpus' format: the status, one header per line, an empty line, and the body.
#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Arc<[u8]>,
}

impl Answer {
    /// Parses an input. Lines that are no valid status or header are dropped: no such thing reaches the client.
    fn parse(data: &[u8]) -> Self {
        let end = data.windows(2).position(|two| two == b"\n\n");
        let (head, body) = end.map_or((&[][..], data), |end| (&data[..end], &data[end + 2..]));
        let mut lines = head.split(|byte| *byte == b'\n');
        let status = lines.next().and_then(|line| StatusCode::from_bytes(line).ok()).unwrap_or_default();
        let headers = lines.filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
        });
        Self { status, headers: headers.collect(), body: body.into() }
    }

    /// Returns a transport that responds with this to every request, and the number of requests.
    fn cloud(&self) -> (Transport, Arc<AtomicU64>) {
        let asked = Arc::new(AtomicU64::new(0));
        let (answer, count) = (self.clone(), asked.clone());
        let service = service_fn(move |_: Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            let mut response = Response::new(Body::from(answer.body.to_vec()));
            *response.status_mut() = answer.status;
            response.headers_mut().extend(answer.headers.iter().cloned());
            async move { Ok::<_, TransportError>(response) }
        });
        (service_transport(service), asked)
    }
}

/// Asserts that a text can be shown: it has no control characters and a bounded length.
fn assert_plain(text: &str) {
    assert!(!text.chars().any(char::is_control), "a control character: {text:?}");
    assert!(text.chars().count() <= TEXT_MAX, "{} characters: {text}", text.chars().count());
}

/// Secrets that sign a call.
const SECRETS: [&str; 3] = [KEY_ID, SECRET, TOKEN];

/// Asserts that nothing that signs a call is shown.
fn assert_hidden(shown: &impl Debug) {
    assert_without(shown, &SECRETS);
}

/// Asserts that none of these secrets is shown.
fn assert_without(shown: &impl Debug, secrets: &[&str]) {
    let shown = format!("{shown:?}");
    for secret in secrets {
        assert!(!shown.contains(*secret), "a secret: {shown}");
    }
}

/// Returns the value of a call. Asserts that a failure can be shown, and contains no secret of its call.
fn checked<T>(result: Result<T, Failure>) -> Option<T> {
    checked_without(result, &SECRETS)
}

/// Returns the value of a call that was signed with these secrets alone, as [`checked`] does.
fn checked_without<T>(result: Result<T, Failure>, secrets: &[&str]) -> Option<T> {
    let failure = match result {
        Ok(value) => return Some(value),
        Err(failure) => failure,
    };
    assert_without(&failure, secrets);
    for text in
        [Some(&failure.code), failure.message.as_ref(), failure.request_id.as_ref()].into_iter().flatten()
    {
        assert_plain(text);
    }
    assert!(failure.retry_after.unwrap_or_default() <= RETRY_AFTER_MAX, "{failure:?}");
    None
}
