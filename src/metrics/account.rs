//! Metrics of one account's cloud calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::Meters;

/// Outcome of a call: the label `outcome`.
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

/// Whether the outcome of a call is awaited or part of polling: the label `priority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriorityLabel {
    Change,
    Poll,
}

impl PriorityLabel {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Poll => "poll",
        }
    }
}

/// Counters of one account's calls, exported while the account is known. Cheap to clone. The default records into no
/// [`Meters`].
#[derive(Clone, Default)]
pub struct AccountMeter(Arc<Inner>);

#[derive(Default)]
struct Inner {
    meters: Option<Meters>,
    /// Unset until the account's spec was read; an account's provider never changes.
    provider: OnceLock<&'static str>,
    requests: Mutex<BTreeMap<(&'static str, Outcome), u64>>,
}

impl AccountMeter {
    pub fn new(meters: Meters) -> Self {
        Self(Arc::new(Inner { meters: Some(meters), ..Inner::default() }))
    }

    /// Sets the provider of the calls, unless it is empty; the first one stays.
    pub fn set_provider(&self, provider: &'static str) {
        if !provider.is_empty() {
            self.0.provider.get_or_init(|| provider);
        }
    }

    pub fn provider(&self) -> &'static str {
        self.0.provider.get().copied().unwrap_or_default()
    }

    /// Records the end of a call, `took` after it was sent.
    pub fn record_call(&self, action: &'static str, outcome: Outcome, took: Duration) {
        *self.lock().entry((action, outcome)).or_default() += 1;
        if let Some(meters) = &self.0.meters {
            meters.record_call_duration(self.provider(), action, took);
        }
    }

    /// Records how long a call waited for the budget.
    pub fn record_wait(&self, priority: PriorityLabel, time: Duration) {
        if let Some(meters) = &self.0.meters {
            meters.record_budget_wait(self.provider(), priority, time);
        }
    }

    /// Returns the number of calls by action and outcome.
    pub fn requests(&self) -> BTreeMap<(&'static str, Outcome), u64> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(&'static str, Outcome), u64>> {
        self.0.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
