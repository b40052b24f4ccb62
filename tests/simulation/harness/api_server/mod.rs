//! An in-process API server in virtual time: versioned objects, paged lists, watches, and writes with optimistic
//! concurrency. It records requests, and injects the faults of a test.

mod events;
mod injected_fault_tests;
mod request;
mod responses;
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

use super::history::{EntryKind, History, Stored, USER};
use super::link::ProcessLink;
use cross_region_backup_operator::clock::Clock;
use cross_region_backup_operator::cluster::list_watch::SILENCE_TIMEOUT;
use request::ParsedRequest;
use responses::{ResponseBody, halved, record_received};
pub use store::{Refusal, Store};
use target::Target;

/// Latency of each request: network and etcd.
const LATENCY: Duration = Duration::from_millis(2);
/// Read timeout of the operator's client.
const CLIENT_READ_TIMEOUT: Duration = SILENCE_TIMEOUT;
/// Verb of an event of a watch.
pub const EVENT: &str = "event";
/// Verb of a list with `limit=1`, which reads the resourceVersion alone.
pub const READ_VERSION: &str = "look";

#[derive(Clone)]
pub struct ApiServer {
    clock: Clock,
    journal: History,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    store: Store,
    seen: Vec<RecordedRequest>,
    inject: Option<FaultInjector>,
    /// Upper bound on the items of a list's page.
    page: Option<usize>,
}

type FaultInjector = Box<dyn FnMut(&RecordedRequest) -> Option<InjectedFault> + Send>;

/// Fault of a request or of a watch event: a delay, then a refusal if there is one, and possibly the loss of the
/// response.
#[derive(Clone, Debug, Default)]
pub struct InjectedFault {
    pub delay: Duration,
    pub refusal: Option<Refusal>,
    pub reply: Delivery,
    /// Number of versions by which a list is stale.
    pub behind: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
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
pub struct RecordedRequest {
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

impl RecordedRequest {
    pub fn is_write(&self) -> bool {
        ["create", "update", "patch", "delete"].contains(&self.verb)
    }
}

impl ApiServer {
    pub fn new(clock: Clock, journal: History) -> Self {
        Self { clock, journal, state: Arc::default() }
    }

    /// Returns a client like the operator's: with kube's own retries, which a client made without a `Config` lacks.
    pub fn client(&self, wire: &ProcessLink) -> kube::Client {
        let (server, wire) = (self.clone(), wire.clone());
        let service = ServiceBuilder::new().layer(RetryLayer::new(RetryPolicy::server_retry())).service(
            service_fn(move |request: Request<kube::client::Body>| {
                let (server, wire) = (server.clone(), wire.clone());
                async move { server.answer(request, wire).await }
            }),
        );
        kube::Client::new(service, "default")
    }

    /// Injects faults: calls `inject` for each request on arrival. `inject` must not use this server.
    pub fn inject(&self, inject: impl FnMut(&RecordedRequest) -> Option<InjectedFault> + Send + 'static) {
        self.lock().inject = Some(Box::new(inject));
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
    pub fn stop_injecting(&self) {
        self.lock().inject = None;
    }

    /// Limits list pages to `most` items.
    pub fn page(&self, most: usize) {
        self.lock().page = Some(most);
    }

    /// Returns all requests of clients, in order of arrival.
    pub fn seen(&self) -> Vec<RecordedRequest> {
        self.lock().seen.clone()
    }

    /// Clears the recorded requests.
    pub fn clear_records(&self) {
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
        wire: ProcessLink,
    ) -> Result<Response<Body>, BoxError> {
        let request = Arc::new(ParsedRequest::read(request).await?);
        let (number, fault) = self.note(&request);
        let effect = {
            let (server, request, refusal, by) = (self.clone(), request.clone(), fault.refusal, wire.process);
            async move {
                match refusal {
                    Some(refusal) => Err(refusal),
                    None => server.decide(&request, fault.behind, by),
                }
            }
        };
        let answer = wire.interact(LATENCY / 2 + fault.delay, effect, LATENCY / 2).await;
        let code = answer.as_ref().map_or_else(|refusal| refusal.code, |_| 200);
        self.note_answered(number, code, &answer);
        match fault.reply {
            Delivery::Whole => {
                if let Ok(answer) = &answer {
                    record_received(&wire, &request, answer);
                }
                Ok(self.respond(&request, answer, &wire))
            }
            // The history counts every event written to a watch as received, so none is written here.
            Delivery::Half if request.verb == "watch" => {
                let nothing = Ok(ResponseBody::Changes(unbounded().1));
                Ok(halved(self.respond(&request, nothing, &wire)).await)
            }
            Delivery::Half => Ok(halved(self.respond(&request, answer, &wire)).await),
            Delivery::Lost => Err("the connection was closed".into()),
            Delivery::Silent => {
                sleep(CLIENT_READ_TIMEOUT).await;
                Err("the client has waited for too long".into())
            }
        }
    }

    fn note_answered(&self, number: usize, code: u16, answer: &Result<ResponseBody, Refusal>) {
        let mut state = self.lock();
        let Some(seen) = state.seen.get_mut(number) else { return };
        seen.code = code;
        if let Ok(ResponseBody::Object(object)) = answer {
            seen.object = if seen.is_write() { object.clone() } else { Bytes::new() };
        }
    }

    fn note(&self, request: &ParsedRequest) -> (usize, InjectedFault) {
        let mut state = self.lock();
        let seen = request.seen();
        let fault = state.inject.as_mut().and_then(|inject| inject(&seen)).unwrap_or_default();
        state.seen.push(seen);
        (state.seen.len() - 1, fault)
    }

    fn decide(&self, request: &ParsedRequest, behind: u64, by: usize) -> Result<ResponseBody, Refusal> {
        let (now, target) = (self.clock.now(), &request.target);
        let mut state = self.lock();
        let most = state.page.unwrap_or(usize::MAX);
        let store = &mut state.store;
        let object = match request.verb {
            "watch" => {
                let after = request.query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
                return store.watch(target, after).map(ResponseBody::Changes);
            }
            "list" | READ_VERSION => {
                let limit = request.query.get("limit").and_then(|l| l.parse().ok()).unwrap_or(usize::MAX);
                let list = store.list(target, limit.min(most), request.query.get("continue"), behind);
                return list.map(ResponseBody::Page);
            }
            "get" => store.get(target),
            "create" => store.create(target, request.body.clone(), now),
            "update" => store.update(target, &request.body),
            "delete" => store.delete(target, now),
            _ if request.is_apply => store.apply_status(target, &request.body),
            _ => store.patch(target, &request.body),
        };
        drop(state);
        let object = object?;
        if request.verb != "get" {
            self.note_stored(by, target, &object);
        }
        Ok(ResponseBody::Object(object))
    }

    fn note_stored(&self, by: usize, target: &Target, object: &Bytes) {
        self.journal.note(by, || {
            let is_gone = self.lock().store.is_gone(target, object);
            EntryKind::Stored(Stored { resource: target.full_resource(), object: object.clone(), is_gone })
        });
    }
}
