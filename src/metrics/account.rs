//! What is counted of one account's calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::Meters;

/// How a call ended, as the label `outcome` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Ok,
    Throttled,
    Denied,
    Rejected,
    NotFound,
    Invalid,
    Unavailable,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
            Self::NotFound => "not_found",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Whether somebody waits for what comes of a call, as the label `priority` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    Change,
    Poll,
}

impl Priority {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Poll => "poll",
        }
    }
}

/// Counts one account's calls; they are told as long as somebody knows the account. Cheap to clone. The default tells nobody.
#[derive(Clone, Default)]
pub struct AccountMeter(Arc<Inner>);

#[derive(Default)]
struct Inner {
    meters: Option<Meters>,
    /// An account's provider never changes; it is not known before its spec was read.
    provider: OnceLock<&'static str>,
    requests: Mutex<BTreeMap<(&'static str, Outcome), u64>>,
}

impl AccountMeter {
    pub fn new(meters: Meters) -> Self {
        Self(Arc::new(Inner { meters: Some(meters), ..Inner::default() }))
    }

    /// Says whose calls they are; the first time counts.
    pub fn is_of(&self, provider: &'static str) {
        if !provider.is_empty() {
            self.0.provider.get_or_init(|| provider);
        }
    }

    pub fn provider(&self) -> &'static str {
        self.0.provider.get().copied().unwrap_or_default()
    }

    /// A call has ended, `took` after it was sent.
    pub fn answered(&self, action: &'static str, outcome: Outcome, took: Duration) {
        *self.lock().entry((action, outcome)).or_default() += 1;
        if let Some(meters) = &self.0.meters {
            meters.cloud_answered(self.provider(), action, took);
        }
    }

    /// The budget let a call go that had waited for so long.
    pub fn waited(&self, priority: Priority, time: Duration) {
        if let Some(meters) = &self.0.meters {
            meters.cloud_waited(self.provider(), priority, time);
        }
    }

    /// How many calls there were, by action and outcome.
    pub fn requests(&self) -> BTreeMap<(&'static str, Outcome), u64> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(&'static str, Outcome), u64>> {
        self.0.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
