//! The history of a run, in order: what each process requested and received, and which writes took effect.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

/// Pseudo process of everyone but the operator: users and the garbage collector.
pub const USER: usize = 0;

#[derive(Clone, Debug)]
pub struct Entry {
    pub at: Instant,
    /// Number of the process, from 1, or [`USER`].
    pub by: usize,
    pub what: EntryKind,
}

#[derive(Clone, Debug)]
pub enum EntryKind {
    Started,
    Killed,
    /// The process received an object: from a list, a watch, or the response to a get or a write.
    Received(Received),
    /// A write took effect.
    Stored(Stored),
    /// A call left for the cloud.
    Called(Call),
    /// The cloud's response to the call with this number reached the process.
    Answered(usize, CloudResponse),
}

#[derive(Clone, Debug)]
pub struct Received {
    pub resource: String,
    pub how: ReceivedFrom,
    pub object: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceivedFrom {
    /// A list starts. The object is empty here and in [`ReceivedFrom::ListCompleted`].
    ListStarted,
    Listed,
    /// The list is complete: objects it did not contain are deleted.
    ListCompleted,
    Watched,
    Deleted,
    Answered,
}

#[derive(Clone, Debug)]
pub struct Stored {
    /// Plural and subresource, `crossregionbackuppolicies/status`.
    pub resource: String,
    /// The object after the write; the last state of a deleted one.
    pub object: Bytes,
    pub is_gone: bool,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub number: usize,
    pub action: String,
    pub body: Value,
}

impl Call {
    /// Returns the instance that the call is about, or "".
    pub fn instance(&self) -> &str {
        self.body["InstanceId"].as_str().unwrap_or_default()
    }
}

#[derive(Clone, Debug)]
pub struct CloudResponse {
    pub status: u16,
    pub body: Bytes,
}

impl CloudResponse {
    /// Returns the body, or null if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns the cloud's error code, if the response carries one.
    pub fn code(&self) -> Option<String> {
        self.json()["ResponseMetadata"]["Error"]["Code"].as_str().map(str::to_owned)
    }

    /// Returns whether the call succeeded.
    pub fn is_good(&self) -> bool {
        let metadata = &self.json()["ResponseMetadata"];
        self.status == 200 && metadata.is_object() && metadata["Error"].is_null()
    }
}

/// Crash point: the moment in an interaction at which the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// Before the request is sent.
    Before,
    /// While the request is in flight: it takes effect later, possibly after the next process has started.
    InFlight,
    /// After the effect, before the response.
    After,
}

#[derive(Default)]
struct Recording {
    /// `None`: recording is off.
    entries: Option<Vec<Entry>>,
    interactions: usize,
    crash_point: Option<(usize, CrashPoint)>,
}

#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Recording>>);

impl History {
    /// Records from now on, and discards earlier entries.
    pub fn start_recording(&self) {
        self.lock().entries = Some(Vec::new());
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone().unwrap_or_default()
    }

    pub fn note(&self, by: usize, what: impl FnOnce() -> EntryKind) {
        if let Some(entries) = &mut self.lock().entries {
            entries.push(Entry { at: Instant::now(), by, what: what() });
        }
    }

    /// Returns the number of interactions so far.
    pub fn interactions(&self) -> usize {
        self.lock().interactions
    }

    /// Sets a crash point: the process that begins interaction `number`, counted from 1, is killed at `stage`.
    pub fn crash_point(&self, number: usize, stage: CrashPoint) {
        self.lock().crash_point = Some((number, stage));
    }

    /// Removes the crash point.
    pub fn clear_crash_point(&self) {
        self.lock().crash_point = None;
    }

    /// Counts one more interaction; returns its crash point, if it has one.
    pub fn interact(&self) -> Option<CrashPoint> {
        let mut kept = self.lock();
        kept.interactions += 1;
        let number = kept.interactions;
        kept.crash_point.filter(|(at, _)| *at == number).map(|(_, stage)| stage)
    }

    fn lock(&self) -> MutexGuard<'_, Recording> {
        self.0.lock().unwrap()
    }
}
