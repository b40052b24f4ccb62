//! An API server in this process, in virtual time: objects with versions, lists by page, watches, and writes that are
//! compared with what is there. It counts what it is asked, and spoils what a test wants spoilt.

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

/// What the network and etcd take of each request.
const LATENCY: Duration = Duration::from_millis(2);
/// So long the operator's client waits for an answer.
const PATIENCE: Duration = SILENCE;
/// The verb of an event of a watch.
pub const EVENT: &str = "event";
/// The verb of a list whose resourceVersion alone is of interest.
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
    /// The most that a page of a list has.
    page: Option<usize>,
}

type Spoiler = Box<dyn FnMut(&Seen) -> Option<Spoilt> + Send>;

/// What becomes of a request, or of an event of a watch, that is spoilt: it is held back, then refused, if that is wanted, and
/// the answer may not arrive.
#[derive(Clone, Debug, Default)]
pub struct Spoilt {
    pub delay: Duration,
    pub refusal: Option<Refusal>,
    pub reply: Reply,
    /// A list is of so many versions ago.
    pub behind: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    #[default]
    Whole,
    /// The connection is closed in the midst of it.
    Half,
    /// The connection is closed before it. What was asked has happened.
    Lost,
    /// Nothing is heard on the connection any more until the client gives up. What was asked has happened.
    Silent,
}

/// A request of a client, as it was answered.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it came.
    pub at: Instant,
    /// As audit logs have it: get, list, watch, create, update, patch, delete. What spoils is asked about each [`EVENT`] of a watch too.
    pub verb: &'static str,
    /// With its subresource, `crossregionbackuppolicies/status`.
    pub resource: String,
    pub name: String,
    /// A further page of a list.
    pub continues: bool,
    /// 0 while it is being worked on.
    pub code: u16,
    /// What a write was answered with.
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

    /// A client as the operator makes it: with kube's own retries, which one without a `Config` has not.
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

    /// Asked about each request, when it comes; it must not use this server.
    pub fn spoil(&self, spoil: impl FnMut(&Seen) -> Option<Spoilt> + Send + 'static) {
        self.lock().spoil = Some(Box::new(spoil));
    }

    /// Watches that are open.
    pub fn watches(&self) -> usize {
        self.lock().store.watches()
    }

    /// How many hold this server: clients, requests and watches among them.
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.state)
    }

    /// Nothing is spoilt any more.
    pub fn heal(&self) {
        self.lock().spoil = None;
    }

    /// Lists are told by pages of so many at most.
    pub fn page(&self, most: usize) {
        self.lock().page = Some(most);
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
        let (now, target) = (self.clock.now(), Target::of(collection).unwrap());
        let created = self.lock().store.create(&target, object, now).unwrap();
        self.note_stored(USER, &target, &created);
    }

    /// A merge patch; returns the object after it.
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

    /// A copy of etcd, for [`ApiServer::restore`].
    pub fn backup(&self) -> Store {
        self.lock().store.backup()
    }

    /// Starts from a copy of etcd again: resourceVersions go back, and all watches end.
    pub fn restore(&self, backup: Store) {
        self.lock().store.restore(backup);
    }

    /// All objects of a kind, by its plural.
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
            // Of a watch nothing is read: what is read counts as told.
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
