//! The request log: counters and the last requests, for tests.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::redact;
use crate::request::Signed;

/// Number of requests kept.
const MAX_REQUESTS: usize = 2_000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    pub requests: u64,
    pub by_action: BTreeMap<String, u64>,
    pub by_instance: BTreeMap<String, u64>,
    pub by_key: BTreeMap<String, u64>,
    /// `ok`, an error code, or the name of the fault that left the request without a proper response.
    pub by_outcome: BTreeMap<String, u64>,
    /// `<action>/<outcome>`.
    pub by_action_and_outcome: BTreeMap<String, u64>,
    /// Modifies that took effect; neither refusals nor replays of a ClientToken.
    pub modifies_applied: u64,
    pub modifies_applied_by_instance: BTreeMap<String, u64>,
    /// Modifies answered with the first outcome of their ClientToken.
    pub modifies_replayed: u64,
    pub in_flight: u64,
    pub max_in_flight: u64,
}

/// One request and its outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRecord {
    pub number: u64,
    pub at: Timestamp,
    pub method: String,
    pub action: Option<String>,
    pub version: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    pub instance_id: Option<String>,
    pub client_token: Option<String>,
    /// X-Date or X-TC-Timestamp, as sent.
    pub x_date: Option<String>,
    pub signature: Option<String>,
    pub signed_headers: Option<String>,
    pub security_token: Option<String>,
    pub host: Option<String>,
    pub content_type: Option<String>,
    pub user_agent: Option<String>,
    /// Parsed body, a form as an object; a string if it is neither. Identity tokens are replaced by their length.
    pub body: Value,
    /// Whether key, date, token and signature were valid. `None` if that was never checked.
    pub authentic: Option<bool>,
    /// `None` while the request is in progress, or if the client gave up.
    pub outcome: Option<String>,
}

impl RequestRecord {
    /// Returns the fields of any HTTP request; each cloud adds what it parses.
    pub(crate) fn of(request: Signed<'_>, at: Timestamp) -> Self {
        let header = |name: &str| request.header(name).map(str::to_owned);
        Self {
            number: 0,
            at,
            method: request.method.to_owned(),
            action: None,
            version: None,
            region: None,
            access_key_id: None,
            instance_id: None,
            client_token: None,
            x_date: None,
            signature: None,
            signed_headers: None,
            security_token: None,
            host: header("host"),
            content_type: header("content-type"),
            user_agent: header("user-agent"),
            body: redact::body(request),
            authentic: None,
            outcome: None,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    counters: Counters,
    last: VecDeque<RequestRecord>,
    numbered: u64,
    listeners: Vec<UnboundedSender<RequestRecord>>,
}

fn count(counter: &mut BTreeMap<String, u64>, name: Option<&str>) {
    if let Some(name) = name {
        *counter.entry(name.to_owned()).or_default() += 1;
    }
}

impl RequestLog {
    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }

    /// Returns the last requests, the oldest first.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.last.iter().cloned().collect()
    }

    /// Clears everything but the number of requests in progress.
    pub fn reset(&mut self) {
        let in_flight = self.counters.in_flight;
        self.counters = Counters { in_flight, max_in_flight: in_flight, ..Counters::default() };
        self.last.clear();
    }

    /// Returns a channel of all requests from now on.
    pub fn listen(&mut self) -> UnboundedReceiver<RequestRecord> {
        let (sender, receiver) = unbounded_channel();
        self.listeners.push(sender);
        receiver
    }

    pub fn begin(&mut self, mut record: RequestRecord) -> u64 {
        self.numbered += 1;
        record.number = self.numbered;
        let counters = &mut self.counters;
        counters.requests += 1;
        count(&mut counters.by_action, record.action.as_deref());
        count(&mut counters.by_instance, record.instance_id.as_deref());
        count(&mut counters.by_key, record.access_key_id.as_deref());
        counters.in_flight += 1;
        counters.max_in_flight = counters.max_in_flight.max(counters.in_flight);
        self.listeners.retain(|listener| listener.send(record.clone()).is_ok());
        self.last.push_back(record);
        while self.last.len() > MAX_REQUESTS {
            self.last.pop_front();
        }
        self.numbered
    }

    fn record(&mut self, number: u64) -> Option<&mut RequestRecord> {
        // The numbers are consecutive.
        let first = self.last.front()?.number;
        self.last.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    pub fn authentic(&mut self, number: u64, authentic: bool) {
        if let Some(record) = self.record(number) {
            record.authentic = Some(authentic);
        }
    }

    pub fn outcome(&mut self, number: u64, action: Option<&str>, outcome: &str) {
        if let Some(record) = self.record(number) {
            record.outcome = Some(outcome.to_owned());
        }
        count(&mut self.counters.by_outcome, Some(outcome));
        let both = format!("{}/{outcome}", action.unwrap_or("-"));
        count(&mut self.counters.by_action_and_outcome, Some(&both));
    }

    pub fn end(&mut self) {
        self.counters.in_flight = self.counters.in_flight.saturating_sub(1);
    }

    pub fn modify_applied(&mut self, instance_id: &str) {
        self.counters.modifies_applied += 1;
        count(&mut self.counters.modifies_applied_by_instance, Some(instance_id));
    }

    pub fn modify_replayed(&mut self) {
        self.counters.modifies_replayed += 1;
    }
}
