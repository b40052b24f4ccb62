//! An API server in this process, in virtual time: objects with versions, lists by page, watches, and writes that are
//! compared with what is there. It counts what it is asked, and spoils what a test wants spoilt.

mod store;
mod target;
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::channel::mpsc::UnboundedReceiver;
use futures::{Stream, StreamExt, stream};
use http::{Method, Request, Response};
use kube::client::retry::RetryPolicy;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder, service_fn};

use crate::clock::Clock;
pub use store::Refusal;
use store::{Change, Page, Store};
use target::Target;

/// What the network and etcd take of each request.
const LATENCY: Duration = Duration::from_millis(2);

#[derive(Clone)]
pub struct ApiServer {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    store: Store,
    seen: Vec<Seen>,
    spoil: Option<Spoiler>,
}

type Spoiler = Box<dyn FnMut(&Seen) -> Option<Spoilt> + Send>;

/// What becomes of a request that is spoilt: it is held back, and then refused, if that is wanted.
#[derive(Clone, Debug, Default)]
pub struct Spoilt {
    pub delay: Duration,
    pub refusal: Option<Refusal>,
}

/// A request of a client, as it was answered.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it came.
    pub at: Instant,
    /// As audit logs have it: get, list, watch, create, patch, delete.
    pub verb: &'static str,
    /// With its subresource, `crossregionbackuppolicies/status`.
    pub resource: String,
    pub name: String,
    /// 0 while it is being worked on.
    pub code: u16,
    /// What a write was answered with.
    pub object: Bytes,
}

impl Seen {
    pub fn is_write(&self) -> bool {
        ["create", "patch", "delete"].contains(&self.verb)
    }
}

impl ApiServer {
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default() }
    }

    /// A client as the operator makes it: with kube's own retries, which one without a `Config` has not.
    pub fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = ServiceBuilder::new().layer(RetryLayer::new(RetryPolicy::server_retry())).service(
            service_fn(move |request: Request<kube::client::Body>| {
                let server = server.clone();
                async move { server.answer(request).await }
            }),
        );
        kube::Client::new(service, "default")
    }

    /// Asked about each request, when it comes; it must not use this server.
    pub fn spoil(&self, spoil: impl FnMut(&Seen) -> Option<Spoilt> + Send + 'static) {
        self.lock().spoil = Some(Box::new(spoil));
    }

    /// Everything that clients have asked, in the order of its coming.
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// Forgets what was asked.
    pub fn forget(&self) {
        self.lock().seen.clear();
    }

    /// How often what was asked, as `patch crossregionbackuppolicies/status`.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for seen in &self.lock().seen {
            *counts.entry(format!("{} {}", seen.verb, seen.resource)).or_default() += 1;
        }
        counts
    }

    // What a test does by itself, at once and uncounted. Paths are those of the API.

    pub fn create(&self, collection: &str, object: Value) {
        let now = self.clock.now();
        self.lock().store.create(&Target::of(collection).unwrap(), object, now).unwrap();
    }

    /// A merge patch; returns the object after it.
    pub fn patch(&self, path: &str, patch: &Value) -> Value {
        let patched = self.lock().store.patch(&Target::of(path).unwrap(), patch);
        serde_json::from_slice(&patched.unwrap()).unwrap()
    }

    pub fn get(&self, path: &str) -> Value {
        let found = self.lock().store.get(&Target::of(path).unwrap());
        serde_json::from_slice(&found.unwrap()).unwrap()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Result<Response<Body>, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        let target = Target::of(head.uri.path()).ok_or("no such path")?;
        let query = Query::of(head.uri.query().unwrap_or_default());
        let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let asked = Asked {
            verb: verb(&head.method, &target, &query),
            target,
            query,
            body: if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? },
            is_apply: header("content-type").starts_with("application/apply-patch"),
            metadata_only: header("accept").contains("as=PartialObjectMetadata"),
        };
        let (number, spoilt) = self.note(&asked);
        sleep(LATENCY + spoilt.delay).await;
        let answer = match spoilt.refusal {
            Some(refusal) => Err(refusal),
            None => self.decide(&asked),
        };
        let code = answer.as_ref().map_or_else(|refusal| refusal.code, |_| 200);
        let mut state = self.lock();
        if let Some(seen) = state.seen.get_mut(number) {
            seen.code = code;
            if let Ok(Answer::Object(object)) = &answer {
                seen.object = if seen.is_write() { object.clone() } else { Bytes::new() };
            }
        }
        drop(state);
        Ok(self.respond(&asked, answer))
    }

    fn note(&self, asked: &Asked) -> (usize, Spoilt) {
        let mut state = self.lock();
        let seen = Seen {
            at: Instant::now(),
            verb: asked.verb,
            resource: asked.target.full_resource(),
            name: asked.target.name.clone().unwrap_or_default(),
            code: 0,
            object: Bytes::new(),
        };
        let spoilt = state.spoil.as_mut().and_then(|spoil| spoil(&seen)).unwrap_or_default();
        state.seen.push(seen);
        (state.seen.len() - 1, spoilt)
    }

    fn decide(&self, asked: &Asked) -> Result<Answer, Refusal> {
        let (now, target) = (self.clock.now(), &asked.target);
        let store = &mut self.lock().store;
        let object = match asked.verb {
            "watch" => {
                let after = asked.query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
                return store.watch(target, after).map(Answer::Changes);
            }
            "list" => {
                let limit = asked.query.get("limit").and_then(|l| l.parse().ok()).unwrap_or(usize::MAX);
                return store.list(target, limit, asked.query.get("continue")).map(Answer::Page);
            }
            "get" => store.get(target),
            "create" => store.create(target, asked.body.clone(), now),
            "delete" => store.delete(target, now),
            _ if asked.is_apply => store.apply_status(target, &asked.body),
            _ => store.patch(target, &asked.body),
        };
        object.map(Answer::Object)
    }

    fn respond(&self, asked: &Asked, answer: Result<Answer, Refusal>) -> Response<Body> {
        let whole = |bytes: &Bytes| if asked.metadata_only { metadata(bytes) } else { bytes.clone() };
        let response = Response::builder().header("content-type", "application/json");
        let response = match answer {
            Ok(Answer::Object(object)) => response.body(Body::from(whole(&object))),
            Ok(Answer::Page(page)) => response.body(Body::from(list(&page, whole))),
            Ok(Answer::Changes(changes)) => {
                response.body(Body::from_stream(self.clone().events(changes, asked)))
            }
            Err(refusal) => {
                let retry_after = refusal.retry_after.map(|seconds| seconds.to_string());
                let response = response.status(refusal.code);
                let response = match retry_after {
                    Some(seconds) => response.header("retry-after", seconds),
                    None => response,
                };
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "code": refusal.code, "reason": refusal.reason, "message": refusal.reason,
                });
                response.body(Body::from(status.to_string()))
            }
        };
        response.unwrap()
    }

    /// The lines of a watch. When its time is over it ends, and says before how far it has come, if that was asked for: a
    /// watch of what never changes could not be taken up again otherwise.
    fn events(
        self,
        changes: UnboundedReceiver<Change>,
        asked: &Asked,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
        let seconds = asked.query.get("timeoutSeconds").and_then(|t| t.parse().ok()).unwrap_or(1800);
        let end = Instant::now() + Duration::from_secs(seconds);
        let bookmarks = asked.query.get("allowWatchBookmarks") == Some("true");
        let metadata_only = asked.metadata_only;
        let server = self;
        stream::unfold(Some(changes), move |changes| {
            let server = server.clone();
            async move {
                let mut changes = changes?;
                tokio::select! {
                    // What has happened is told first, so that nothing lies before the last line.
                    biased;
                    Some(change) = changes.next() => {
                        let object = if metadata_only { metadata(&change.object) } else { change.object };
                        Some((Ok(line(change.kind, &object)), Some(changes)))
                    }
                    () = sleep_until(end) => {
                        let version = server.lock().store.version().to_string();
                        let object = json!({"kind": "", "apiVersion": "", "metadata": {"resourceVersion": version}});
                        bookmarks.then(|| (Ok(line("BOOKMARK", object.to_string().as_bytes())), None))
                    }
                }
            }
        })
    }
}

/// A request, read.
struct Asked {
    verb: &'static str,
    target: Target,
    query: Query,
    body: Value,
    is_apply: bool,
    metadata_only: bool,
}

enum Answer {
    Object(Bytes),
    Page(Page),
    Changes(UnboundedReceiver<Change>),
}

struct Query(BTreeMap<String, String>);

impl Query {
    fn of(query: &str) -> Self {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Self(pairs.map(|(name, value)| (decoded(name), decoded(value))).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn verb(method: &Method, target: &Target, query: &Query) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::DELETE => "delete",
        Method::PATCH => "patch",
        _ if target.name.is_some() => "get",
        _ if query.get("watch") == Some("true") => "watch",
        _ => "list",
    }
}

fn list(page: &Page, whole: impl Fn(&Bytes) -> Bytes) -> Vec<u8> {
    let mut meta = json!({"resourceVersion": page.version.to_string()});
    if let Some(next) = &page.next {
        meta["continue"] = json!(next);
    }
    let mut text = format!(r#"{{"kind":"List","apiVersion":"v1","metadata":{meta},"items":["#).into_bytes();
    for (number, item) in page.items.iter().enumerate() {
        if number > 0 {
            text.push(b',');
        }
        text.extend_from_slice(&whole(item));
    }
    text.extend_from_slice(b"]}");
    text
}

fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut text = format!(r#"{{"type":"{kind}","object":"#).into_bytes();
    text.extend_from_slice(object);
    text.extend_from_slice(b"}\n");
    Bytes::from(text)
}

/// What a client gets that asks for `PartialObjectMetadata`.
fn metadata(object: &Bytes) -> Bytes {
    let object: Value = serde_json::from_slice(object).unwrap();
    let partial = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]});
    Bytes::from(partial.to_string())
}
