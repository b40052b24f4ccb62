//! An in-process API server in virtual time: versioned objects, paged lists, watches, and writes with optimistic
//! concurrency. It records requests, and injects the faults of a test.

mod answers;
mod asked;
mod events;
mod spoilt_tests;
mod store;
mod target;
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::channel::mpsc::unbounded;
use http::{Request, Response};
use kube::client::retry::RetryPolicy;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder, service_fn};

use super::journal::{Journal, Stored, USER, What};
use super::wire::Wire;
use answers::{Answer, halved, tell};
use asked::Asked;
use cross_region_backup_operator::clock::Clock;
use cross_region_backup_operator::cluster::list_watch::SILENCE;
pub use store::{Refusal, Store};
use target::Target;

/// Latency of each request: network and etcd.
const LATENCY: Duration = Duration::from_millis(2);
/// Read timeout of the operator's client.
const PATIENCE: Duration = SILENCE;
/// Verb of an event of a watch.
pub const EVENT: &str = "event";
/// Verb of a list with `limit=1`, which reads the resourceVersion alone.
pub const LOOK: &str = "look";

#[derive(Clone)]
pub struct ApiServer {
    clock: Clock,
    journal: Journal,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    store: Store,
    seen: Vec<Seen>,
    spoil: Option<Spoiler>,
    /// Upper bound on the items of a list's page.
    page: Option<usize>,
}

type Spoiler = Box<dyn FnMut(&Seen) -> Option<Spoilt> + Send>;

/// Fault of a request or of a watch event: a delay, then a refusal if there is one, and possibly the loss of the
/// response.
#[derive(Clone, Debug, Default)]
pub struct Spoilt {
    pub delay: Duration,
    pub refusal: Option<Refusal>,
    pub reply: Reply,
    /// Number of versions by which a list is stale.
    pub behind: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    #[default]
    Whole,
    /// The connection is closed in the middle of the response.
    Half,
    /// The connection is closed before the response. The request has taken effect.
    Lost,
    /// The connection falls silent until the client times out. The request has taken effect.
    Silent,
}

/// A client's request, with its response.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Time of arrival.
    pub at: Instant,
    /// Verb as in audit logs: get, list, watch, create, update, patch, delete. The fault injector also gets each
    /// [`EVENT`] of a watch.
    pub verb: &'static str,
    /// Plural and subresource, `crossregionbackuppolicies/status`.
    pub resource: String,
    pub name: String,
    /// Whether this is a further page of a list.
    pub continues: bool,
    /// HTTP status; 0 while the request is in progress.
    pub code: u16,
    /// Object in the response to a write.
    pub object: Bytes,
}

impl Seen {
    pub fn is_write(&self) -> bool {
        ["create", "update", "patch", "delete"].contains(&self.verb)
    }
}

impl ApiServer {
    pub fn new(clock: Clock, journal: Journal) -> Self {
        Self { clock, journal, state: Arc::default() }
    }

    /// Returns a client like the operator's: with kube's own retries, which a client made without a `Config` lacks.
    pub fn client(&self, wire: &Wire) -> kube::Client {
        let (server, wire) = (self.clone(), wire.clone());
        let service = ServiceBuilder::new().layer(RetryLayer::new(RetryPolicy::server_retry())).service(
            service_fn(move |request: Request<kube::client::Body>| {
                let (server, wire) = (server.clone(), wire.clone());
                async move { server.answer(request, wire).await }
            }),
        );
        kube::Client::new(service, "default")
    }

    /// Injects faults: calls `spoil` for each request on arrival. `spoil` must not use this server.
    pub fn spoil(&self, spoil: impl FnMut(&Seen) -> Option<Spoilt> + Send + 'static) {
        self.lock().spoil = Some(Box::new(spoil));
    }

    /// Returns the number of open watches.
    pub fn watches(&self) -> usize {
        self.lock().store.watches()
    }

    /// Returns the number of references to this server: clients, requests and watches among them.
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.state)
    }

    /// Removes the injected faults.
    pub fn heal(&self) {
        self.lock().spoil = None;
    }

    /// Limits list pages to `most` items.
    pub fn page(&self, most: usize) {
        self.lock().page = Some(most);
    }

    /// Returns all requests of clients, in order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// Clears the recorded requests.
    pub fn forget(&self) {
        self.lock().seen.clear();
    }

    /// Returns the number of requests by verb and resource, such as `patch crossregionbackuppolicies/status`.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for seen in &self.lock().seen {
            *counts.entry(format!("{} {}", seen.verb, seen.resource)).or_default() += 1;
        }
        counts
    }

    // Operations of the test itself: immediate, and not recorded as requests. Paths are those of the API.

    pub fn create(&self, collection: &str, object: Value) {
        let (now, target) = (self.clock.now(), Target::of(collection).unwrap());
        let created = self.lock().store.create(&target, object, now).unwrap();
        self.note_stored(USER, &target, &created);
    }

    /// Applies a merge patch; returns the object after it.
    pub fn patch(&self, path: &str, patch: &Value) -> Value {
        let target = Target::of(path).unwrap();
        let patched = self.lock().store.patch(&target, patch).unwrap();
        self.note_stored(USER, &target, &patched);
        serde_json::from_slice(&patched).unwrap()
    }

    pub fn delete(&self, path: &str) {
        let (now, target) = (self.clock.now(), Target::of(path).unwrap());
        let deleted = self.lock().store.delete(&target, now).unwrap();
        self.note_stored(USER, &target, &deleted);
    }

    /// Returns a copy of etcd, for [`ApiServer::restore`].
    pub fn backup(&self) -> Store {
        self.lock().store.backup()
    }

    /// Restarts from a copy of etcd: resourceVersions go back, and all watches end.
    pub fn restore(&self, backup: Store) {
        self.lock().store.restore(backup);
    }

    /// Returns all objects of a kind, given its plural.
    pub fn all(&self, resource: &str) -> Vec<Value> {
        let all = self.lock().store.all(resource);
        all.iter().map(|object| serde_json::from_slice(object).unwrap()).collect()
    }

    pub fn get(&self, path: &str) -> Value {
        let found = self.lock().store.get(&Target::of(path).unwrap());
        serde_json::from_slice(&found.unwrap()).unwrap()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn answer(
        self,
        request: Request<kube::client::Body>,
        wire: Wire,
    ) -> Result<Response<Body>, BoxError> {
        let asked = Arc::new(Asked::read(request).await?);
        let (number, spoilt) = self.note(&asked);
        let effect = {
            let (server, asked, refusal, by) = (self.clone(), asked.clone(), spoilt.refusal, wire.process);
            async move {
                match refusal {
                    Some(refusal) => Err(refusal),
                    None => server.decide(&asked, spoilt.behind, by),
                }
            }
        };
        let answer = wire.interact(LATENCY / 2 + spoilt.delay, effect, LATENCY / 2).await;
        let code = answer.as_ref().map_or_else(|refusal| refusal.code, |_| 200);
        self.note_answered(number, code, &answer);
        match spoilt.reply {
            Reply::Whole => {
                if let Ok(answer) = &answer {
                    tell(&wire, &asked, answer);
                }
                Ok(self.respond(&asked, answer, &wire))
            }
            // The history counts every event written to a watch as received, so none is written here.
            Reply::Half if asked.verb == "watch" => {
                let nothing = Ok(Answer::Changes(unbounded().1));
                Ok(halved(self.respond(&asked, nothing, &wire)).await)
            }
            Reply::Half => Ok(halved(self.respond(&asked, answer, &wire)).await),
            Reply::Lost => Err("the connection was closed".into()),
            Reply::Silent => {
                sleep(PATIENCE).await;
                Err("the client has waited for too long".into())
            }
        }
    }

    fn note_answered(&self, number: usize, code: u16, answer: &Result<Answer, Refusal>) {
        let mut state = self.lock();
        let Some(seen) = state.seen.get_mut(number) else { return };
        seen.code = code;
        if let Ok(Answer::Object(object)) = answer {
            seen.object = if seen.is_write() { object.clone() } else { Bytes::new() };
        }
    }

    fn note(&self, asked: &Asked) -> (usize, Spoilt) {
        let mut state = self.lock();
        let seen = asked.seen();
        let spoilt = state.spoil.as_mut().and_then(|spoil| spoil(&seen)).unwrap_or_default();
        state.seen.push(seen);
        (state.seen.len() - 1, spoilt)
    }

    fn decide(&self, asked: &Asked, behind: u64, by: usize) -> Result<Answer, Refusal> {
        let (now, target) = (self.clock.now(), &asked.target);
        let mut state = self.lock();
        let most = state.page.unwrap_or(usize::MAX);
        let store = &mut state.store;
        let object = match asked.verb {
            "watch" => {
                let after = asked.query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
                return store.watch(target, after).map(Answer::Changes);
            }
            "list" | LOOK => {
                let limit = asked.query.get("limit").and_then(|l| l.parse().ok()).unwrap_or(usize::MAX);
                let list = store.list(target, limit.min(most), asked.query.get("continue"), behind);
                return list.map(Answer::Page);
            }
            "get" => store.get(target),
            "create" => store.create(target, asked.body.clone(), now),
            "update" => store.update(target, &asked.body),
            "delete" => store.delete(target, now),
            _ if asked.is_apply => store.apply_status(target, &asked.body),
            _ => store.patch(target, &asked.body),
        };
        drop(state);
        let object = object?;
        if asked.verb != "get" {
            self.note_stored(by, target, &object);
        }
        Ok(Answer::Object(object))
    }

    fn note_stored(&self, by: usize, target: &Target, object: &Bytes) {
        self.journal.note(by, || {
            let is_gone = self.lock().store.is_gone(target, object);
            What::Stored(Stored { resource: target.full_resource(), object: object.clone(), is_gone })
        });
    }
}
