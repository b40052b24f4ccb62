//! What comes from outside, as bytes: a target for each way in, which panics where a promise is broken. `tests/corpus.rs` runs the
//! targets over the inputs in `fuzz/corpus` and over random changes of them; `make fuzz` has libFuzzer look for new ones.

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

/// By the names of their folders in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 5] = [
    ("answers", answers::answers),
    ("objects", objects::objects),
    ("secrets", secrets::secrets),
    ("sts", sts::sts),
    ("texts", texts::texts),
];

/// The longest text of a cloud that goes on from where its answer is read.
const TEXT_MAX: usize = 256;
/// The longest wait that an answer can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
const START: &str = "2025-08-22T03:14:15Z";
const KEY_ID: &str = "AKfz7Qw1x0000000fz7Qw1x";
const SECRET: &str = "fz7Qw1x/secret+fz7Qw1x==";
const TOKEN: &str = "fz7Qw1xTokenfz7Qw1x";

/// What signs the calls.
static OWN: LazyLock<Credentials> = LazyLock::new(|| Credentials::new(KEY_ID, SECRET, Some(TOKEN)));

/// Runs it in virtual time.
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

/// An HTTP answer, in the corpus' form: the status, a header a line, an empty line, and the body.
#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Arc<[u8]>,
}

impl Answer {
    /// What is no status or header of HTTP is left out: no such thing reaches the client.
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

    /// A cloud that answers with this whatever it is asked, and how often it was asked.
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

/// What can be shown: without control characters, of a bounded length.
fn assert_plain(text: &str) {
    assert!(!text.chars().any(char::is_control), "a control character: {text:?}");
    assert!(text.chars().count() <= TEXT_MAX, "{} characters: {text}", text.chars().count());
}

/// All that signs a call.
const SECRETS: [&str; 3] = [KEY_ID, SECRET, TOKEN];

/// Nothing that signs a call is in it.
fn assert_hidden(shown: &impl Debug) {
    assert_without(shown, &SECRETS);
}

/// None of these is in it.
fn assert_without(shown: &impl Debug, secrets: &[&str]) {
    let shown = format!("{shown:?}");
    for secret in secrets {
        assert!(!shown.contains(*secret), "a secret: {shown}");
    }
}

/// The value, where the call has one; a failure is told as it may be shown, without what its call was signed with.
fn told<T>(result: Result<T, Failure>) -> Option<T> {
    told_without(result, &SECRETS)
}

/// The same for a call that was signed with these alone.
fn told_without<T>(result: Result<T, Failure>, secrets: &[&str]) -> Option<T> {
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
