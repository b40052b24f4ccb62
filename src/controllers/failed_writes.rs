//! Failed writes to the API server: when each is retried, and which failures are logged.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::Instant;

use super::cached::request_of;
use crate::cluster::failure_log::FailureLog;
use crate::cluster::status::StatusError;
use crate::plan::hash_of;
use crate::plan::polling::{MAX_BACKOFF, backoff};

/// Upper bound on the delay after a write that the API server did not answer: it is expected back soon.
const MAX_UNANSWERED_BACKOFF: Duration = Duration::from_secs(4);

/// Part of an object that is written. The API server may refuse one part and accept the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    Status,
    Finalizers,
}

/// Objects with a failed write, by UID.
#[derive(Default)]
pub struct FailedWrites {
    failed: Mutex<HashMap<(String, Part), Failed>>,
    log: FailureLog,
}

struct Failed {
    /// Number of refusals, and of tries that the API server did not answer. Each has a count of its own: right after an
    /// outage an API server refuses what it permits a moment later, until it has read the roles.
    refusals: u32,
    unanswered: u32,
    until: Instant,
    /// Hash of the resourceVersion that the last write was made for.
    version: u64,
    /// Hash of the generation and the request annotation that it was made for.
    requested: u64,
    /// Hash of the error as logged.
    error: u64,
}

impl FailedWrites {
    /// Returns the delay before the next write of this part; `None` if it may be made now, as after a change of the
    /// object by another writer.
    pub fn wait(&self, object: &ObjectMeta, part: Part) -> Option<Duration> {
        let failed = self.lock();
        let last = failed.get(&(uid(object), part)).filter(|last| last.version == version(object))?;
        Some(last.until.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }

    /// Records a failed write, logs it if the failure is new, and returns the delay before the next write: 1 s,
    /// doubling with full jitter up to 5 min after a refusal, otherwise up to 4 s. A new generation or request
    /// annotation resets the delay.
    pub fn failed(&self, kind: &str, object: &ObjectMeta, part: Part, error: &StatusError) -> Duration {
        let (is_refusal, text, now) = (error.is_refusal(), error.log_text(), Instant::now());
        let name = object.name.as_deref().unwrap_or_default();
        // Without the name, the same failure of several objects counts as one.
        let likewise = format!("{kind} {part:?} {}", text.replace(name, ""));
        let hash = hash_of(&likewise);
        let requested = hash_of(&(object.generation, request_of(object)));
        let mut all = self.lock();
        let last = all.get(&(uid(object), part));
        let (mut refusals, mut unanswered) = last
            .filter(|last| last.requested == requested)
            .map_or((0, 0), |last| (last.refusals, last.unanswered));
        let is_new = last.is_none_or(|last| last.error != hash);
        let (count, longest) = match is_refusal {
            true => (&mut refusals, MAX_BACKOFF),
            false => (&mut unanswered, MAX_UNANSWERED_BACKOFF),
        };
        *count = count.saturating_add(1);
        let wait = backoff(*count, longest, fastrand::f64());
        let version = version(object);
        let entry = Failed { refusals, unanswered, until: now + wait, version, requested, error: hash };
        all.insert((uid(object), part), entry);
        drop(all);
        let lines = self.log.note(&likewise, is_new, now);
        if lines.others > 0 {
            tracing::warn!(objects = lines.others, "the API server did not take changes of more objects");
        }
        if lines.this {
            let namespace = object.namespace.as_deref();
            let words = match is_refusal {
                true => "the API server refuses a change, which is tried again after growing pauses",
                false => "the API server did not take a change, which is tried again",
            };
            tracing::warn!(kind, namespace, name, ?part, error = %text, "{words}");
        }
        wait
    }

    /// Clears the failures of this part after a successful write.
    pub fn succeeded(&self, object: &ObjectMeta, part: Part) {
        self.lock().remove(&(uid(object), part));
    }

    /// Drops the failures of a deleted object.
    pub fn forget(&self, uid: &str) {
        let mut failed = self.lock();
        if !failed.is_empty() {
            for part in [Part::Status, Part::Finalizers] {
                failed.remove(&(uid.to_owned(), part));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, Part), Failed>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn uid(object: &ObjectMeta) -> String {
    object.uid.clone().unwrap_or_default()
}

fn version(object: &ObjectMeta) -> u64 {
    hash_of(&object.resource_version)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::advance;

    use super::*;
    use crate::api::RECONCILE_REQUESTED_AT;

    fn object(version: &str, generation: i64, request: &str) -> ObjectMeta {
        serde_json::from_value(json!({
            "name": "sessions", "uid": "u-1", "resourceVersion": version, "generation": generation,
            "annotations": {RECONCILE_REQUESTED_AT: request},
        }))
        .unwrap()
    }

    fn refusal() -> StatusError {
        let status = json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no"});
        StatusError::Api(kube::Error::Api(serde_json::from_value(status).unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_five_minutes_where_it_was_refused_and_stay_short_where_it_was_not_answered() {
        let seconds = |number: u64| Duration::from_secs(number);
        for (error, longest) in [(refusal(), 300), (StatusError::Timeout, 4)] {
            let (writes, object) = (FailedWrites::default(), object("1", 1, ""));
            let waits: Vec<_> =
                (0..200).map(|_| writes.failed("Kind", &object, Part::Status, &error)).collect();
            for (number, wait) in waits.iter().enumerate() {
                let ceiling = seconds(longest).min(seconds(2 << number.min(20)));
                assert!((seconds(1)..=ceiling).contains(wait), "{number}: {wait:?}");
            }
            assert!(*waits.iter().max().unwrap() > seconds(longest) * 9 / 10);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_after_an_outage_waits_as_the_first_one_and_an_outage_ends_no_growth() {
        let (writes, object) = (FailedWrites::default(), object("1", 1, ""));
        let wait = |error: &StatusError| writes.failed("Kind", &object, Part::Status, error);
        for _ in 0..30 {
            wait(&StatusError::Timeout);
        }
        assert!(wait(&refusal()) <= Duration::from_secs(2));
        let longest = (0..200).map(|_| (wait(&refusal()), wait(&StatusError::Timeout)).0).max().unwrap();
        assert!(longest > Duration::from_secs(270), "{longest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_waits_until_its_time_or_until_the_object_changes() {
        let writes = FailedWrites::default();
        let first = object("1", 1, "a");
        assert_eq!(writes.wait(&first, Part::Status), None);
        let mut wait = Duration::ZERO;
        for _ in 0..50 {
            wait = writes.failed("Kind", &first, Part::Status, &refusal());
        }
        assert_eq!(writes.wait(&first, Part::Status), Some(wait));
        assert_eq!(writes.wait(&first, Part::Finalizers), None);
        assert_eq!(writes.wait(&object("2", 1, "a"), Part::Status), None, "somebody has changed it");
        advance(wait).await;
        assert_eq!(writes.wait(&first, Part::Status), None);
        for (version, generation, request) in [("3", 2, "a"), ("4", 2, "b")] {
            let wait = writes.failed("Kind", &object(version, generation, request), Part::Status, &refusal());
            assert!(wait <= Duration::from_secs(2), "{version} begins anew: {wait:?}");
        }
        writes.succeeded(&first, Part::Status);
        writes.failed("Kind", &first, Part::Finalizers, &refusal());
        writes.forget("u-1");
        assert!(writes.lock().is_empty());
    }
}
