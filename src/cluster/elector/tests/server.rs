//! The Lease API, with resourceVersions, conflicts, and faults injected for each candidate.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::super::{Elector, LEASE, Timing};
use crate::cluster::testing::{self, Call, refusal};

/// Fault of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    None,
    Refused(StatusCode),
    /// The request never arrives, and gets no answer.
    Hangs,
    /// The request is processed, and gets no answer.
    AnswerLost,
    /// The request is processed after this delay, and gets no answer.
    Late(Duration),
}

type Schedule = dyn Fn(usize, Duration, &Method) -> Fault + Send + Sync;

#[derive(Default)]
pub(super) struct Store {
    pub(super) lease: Option<Value>,
    version: u64,
    /// Time of the last write to the Lease.
    written: Option<Instant>,
}

#[derive(Clone)]
pub(super) struct Server {
    pub(super) store: Arc<Mutex<Store>>,
    schedule: Arc<Schedule>,
    pub(super) start: Instant,
}

impl Server {
    pub(super) fn new(schedule: impl Fn(usize, Duration, &Method) -> Fault + Send + Sync + 'static) -> Self {
        Self { store: Arc::default(), schedule: Arc::new(schedule), start: Instant::now() }
    }

    pub(super) fn sound() -> Self {
        Self::new(|_, _, _| Fault::None)
    }

    /// Returns the elector of the candidate with this number, by which the schedule distinguishes requests.
    pub(super) fn elector(&self, number: usize) -> Elector {
        let server = self.clone();
        let client = testing::client(move |call| {
            let server = server.clone();
            async move { server.answer(number, call).await }
        });
        Elector::new(client, "backup", format!("candidate-{number}"), Timing::default())
    }

    async fn answer(&self, number: usize, call: Call) -> (StatusCode, Value) {
        match (self.schedule)(number, self.start.elapsed(), &call.method) {
            Fault::None => self.apply(call),
            Fault::Refused(code) => refusal(code, "Refused", "refused on purpose"),
            Fault::Hangs => std::future::pending().await,
            Fault::AnswerLost => {
                self.apply(call);
                std::future::pending().await
            }
            Fault::Late(delay) => {
                let server = self.clone();
                tokio::spawn(async move {
                    sleep(delay).await;
                    server.apply(call);
                });
                std::future::pending().await
            }
        }
    }

    /// Applies a request as the API server does: a write with another resourceVersion is a conflict.
    fn apply(&self, call: Call) -> (StatusCode, Value) {
        let leases = "/apis/coordination.k8s.io/v1/namespaces/backup/leases";
        let one = format!("{leases}/{LEASE}");
        let mut store = self.store.lock().unwrap();
        let current = store.lease.as_ref().map(|lease| lease["metadata"]["resourceVersion"].clone());
        let mut written = call.body;
        match (call.method, call.path) {
            (Method::GET, path) if path == one => match &store.lease {
                Some(lease) => return (StatusCode::OK, lease.clone()),
                None => return refusal(StatusCode::NOT_FOUND, "NotFound", "no such Lease"),
            },
            (Method::POST, path) if path == leases => {
                if current.is_some() {
                    return refusal(StatusCode::CONFLICT, "AlreadyExists", "there is one already");
                }
            }
            (Method::PUT, path) if path == one => match current {
                None => return refusal(StatusCode::NOT_FOUND, "NotFound", "no such Lease"),
                Some(version) if written["metadata"]["resourceVersion"] != version => {
                    return refusal(StatusCode::CONFLICT, "Conflict", "the object has been modified");
                }
                Some(_) => {}
            },
            (method, path) => panic!("unexpected {method} {path}"),
        }
        store.version += 1;
        written["metadata"]["resourceVersion"] = json!(store.version.to_string());
        store.lease = Some(written.clone());
        store.written = Some(Instant::now());
        (StatusCode::OK, written)
    }

    pub(super) fn spec(&self) -> Value {
        self.store.lock().unwrap().lease.as_ref().unwrap()["spec"].clone()
    }

    pub(super) fn written(&self) -> Instant {
        self.store.lock().unwrap().written.unwrap()
    }

    /// Stores a Lease of another writer, without a conflict.
    pub(super) fn put(&self, spec: Value) {
        let mut store = self.store.lock().unwrap();
        store.version += 1;
        let metadata =
            json!({"name": LEASE, "namespace": "backup", "resourceVersion": store.version.to_string()});
        store.lease = Some(
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}),
        );
        store.written = Some(Instant::now());
    }
}
