//! Transport to the simulated cloud, with latency; it records each request on arrival.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cloud_simulator::Simulator;
use http::Request;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tower::{ServiceExt, service_fn};

use super::history::{Call, CloudResponse, EntryKind};
use super::link::ProcessLink;
use cross_region_backup_operator::cloud::{Transport, TransportError, service_transport};

/// Round-trip time of a cloud call.
pub const LATENCY: Duration = Duration::from_millis(20);

/// A request as it reached the cloud.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub at: Instant,
    pub action: String,
    /// Empty if the request is about no instance.
    pub instance: String,
    /// Access key id that signed the request.
    pub key: String,
}

/// Requests that have reached the cloud, in order of arrival, and the error that closes the connection, if any.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Mutex<Vec<Arrival>>>, Arc<Mutex<Option<(Duration, TransportError)>>>);

impl Arrivals {
    /// Lets no request through from now on: each fails with `error` after `after`, and counts as arrived.
    pub fn close(&self, after: Duration, error: TransportError) {
        *self.1.lock().unwrap() = Some((after, error));
    }

    pub fn open(&self) {
        *self.1.lock().unwrap() = None;
    }

    fn closed(&self) -> Option<(Duration, TransportError)> {
        *self.1.lock().unwrap()
    }

    pub fn all(&self) -> Vec<Arrival> {
        self.0.lock().unwrap().clone()
    }

    pub fn clear_records(&self) {
        self.0.lock().unwrap().clear();
    }

    /// Returns the number of references: the transports of processes and of their clients among them.
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    pub fn since(&self, start: Instant) -> Vec<Arrival> {
        let all = self.0.lock().unwrap();
        let first = all.partition_point(|arrival| arrival.at < start);
        all[first..].to_vec()
    }
}

pub fn transport(cloud: Simulator, arrivals: Arrivals, wire: ProcessLink) -> Transport {
    let router = service_transport(cloud_simulator::router(cloud));
    let calls = Arc::<AtomicUsize>::default();
    Transport::new(service_fn(move |request: Request<Bytes>| {
        let (router, arrivals, wire) = (router.clone(), arrivals.clone(), wire.clone());
        let number = calls.fetch_add(1, Ordering::Relaxed);
        async move {
            wire.note(|| EntryKind::Called(call(number, &request)));
            if let Some((after, error)) = arrivals.closed() {
                arrivals.0.lock().unwrap().push(arrival(&request));
                sleep(after).await;
                return Err(error);
            }
            let effect = async move {
                arrivals.0.lock().unwrap().push(arrival(&request));
                router.oneshot(request).await
            };
            let answer = wire.interact(LATENCY / 2, effect, LATENCY / 2).await?;
            wire.note(|| {
                let (status, body) = (answer.status().as_u16(), answer.body().clone());
                EntryKind::Answered(number, CloudResponse { status, body })
            });
            Ok(answer)
        }
    }))
}

fn call(number: usize, request: &Request<Bytes>) -> Call {
    let Arrival { action, .. } = arrival(request);
    Call { number, action, body: body(request) }
}

fn body(request: &Request<Bytes>) -> Value {
    serde_json::from_slice(request.body()).unwrap_or_default()
}

fn arrival(request: &Request<Bytes>) -> Arrival {
    let query = request.uri().query().unwrap_or_default();
    let action = query.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default();
    let signed = request.headers().get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let credential = signed.split_once("Credential=").map(|(_, rest)| rest).unwrap_or_default();
    Arrival {
        at: Instant::now(),
        action: action.to_owned(),
        instance: body(request)["InstanceId"].as_str().unwrap_or_default().to_owned(),
        key: credential.split('/').next().unwrap_or_default().to_owned(),
    }
}
