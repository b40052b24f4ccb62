//! What happened between the operator and the outside, in its order: what each process asked and was told, and what took effect.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

/// Whoever is no process of the operator: users, and the garbage collector.
pub const USER: usize = 0;

#[derive(Clone, Debug)]
pub struct Entry {
    pub at: Instant,
    /// The number of the process, from 1, or [`USER`].
    pub by: usize,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Started,
    Killed,
    /// The process was told an object by a list, a watch, or as the answer to a get or a write.
    Told(Told),
    /// A write took effect.
    Stored(Stored),
    /// A call left for the cloud.
    Called(Call),
    /// The cloud's answer to the call of this number reached the process.
    Answered(usize, Answer),
}

#[derive(Clone, Debug)]
pub struct Told {
    pub resource: String,
    pub how: How,
    pub object: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A list begins anew. The object is empty, as it is when the list is complete.
    Anew,
    Listed,
    /// What was not in the list is gone.
    Complete,
    Watched,
    Deleted,
    Answered,
}

#[derive(Clone, Debug)]
pub struct Stored {
    /// With its subresource.
    pub resource: String,
    /// As it is now; the last state of what is gone.
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
    /// Empty where it is about none.
    pub fn instance(&self) -> &str {
        self.body["InstanceId"].as_str().unwrap_or_default()
    }
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

impl Answer {
    /// Null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The cloud's, of a failure that has one.
    pub fn code(&self) -> Option<String> {
        self.json()["ResponseMetadata"]["Error"]["Code"].as_str().map(str::to_owned)
    }

    /// The call was done.
    pub fn is_good(&self) -> bool {
        let metadata = &self.json()["ResponseMetadata"];
        self.status == 200 && metadata.is_object() && metadata["Error"].is_null()
    }
}

/// At which point of an interaction a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before it has left.
    Before,
    /// It is under way and takes effect later, when the next process may be there already.
    Under,
    /// After its effect, before the answer.
    After,
}

#[derive(Default)]
struct Kept {
    /// `None`: not wanted.
    entries: Option<Vec<Entry>>,
    interactions: usize,
    strike: Option<(usize, Stage)>,
}

#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Kept>>);

impl Journal {
    /// Keeps what happens from now on.
    pub fn keep(&self) {
        self.lock().entries = Some(Vec::new());
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone().unwrap_or_default()
    }

    pub fn note(&self, by: usize, what: impl FnOnce() -> What) {
        if let Some(entries) = &mut self.lock().entries {
            entries.push(Entry { at: Instant::now(), by, what: what() });
        }
    }

    /// How many interactions there were.
    pub fn interactions(&self) -> usize {
        self.lock().interactions
    }

    /// Whoever begins the interaction of this number, from 1, is killed at that point of it.
    pub fn strike(&self, number: usize, stage: Stage) {
        self.lock().strike = Some((number, stage));
    }

    /// Nobody is killed any more.
    pub fn spare(&self) {
        self.lock().strike = None;
    }

    /// An interaction begins; what strikes it.
    pub fn interact(&self) -> Option<Stage> {
        let mut kept = self.lock();
        kept.interactions += 1;
        let number = kept.interactions;
        kept.strike.filter(|(at, _)| *at == number).map(|(_, stage)| stage)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }
}
