//! Pure decisions: desired state, observed state, in-memory state and the time in; next action, conditions and requeue
//! time out. The module is synchronous, has no client and reads no clock.

pub mod account;
pub mod backups;
pub mod compact_state;
mod compact_timestamp;
pub mod conditions;
pub mod conflict;
pub mod deletion;
#[cfg(test)]
mod deletion_tests;
pub mod demand;
pub mod events;
mod fast_path;
pub mod inventory;
pub mod memory;
#[cfg(test)]
mod model;
pub mod next;
pub mod polling;
pub mod recovery;
pub mod shared_listing;
pub mod slow_listing;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::{Change, Kind, Reason};
pub use memory::Effect;
use polling::PollTiming;

/// A policy's spec, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub generation: i64,
    pub created: Timestamp,
    pub change: Change,
    /// `Manage`, in an operator that is not read-only: differences are corrected.
    pub manages: bool,
    pub suspended: bool,
    /// `deletionPolicy: Disable`.
    pub disable_on_delete: bool,
    /// The object has a deletionTimestamp. Setting it raises the generation by one although the spec is unchanged.
    pub deleted: bool,
    /// Poll interval in force, at least the account's minimum.
    pub interval: Duration,
    pub objective: Option<Duration>,
    /// Maximum number of backups in status.
    pub limit: usize,
    /// Value of the request annotation.
    pub request: Option<String>,
    /// Stable per-resource number that gives the poll offset within the interval.
    pub poll_offset: u64,
}

impl Desired {
    pub fn staleness(&self) -> Duration {
        staleness(self.interval)
    }

    /// Whether state observed at that generation belongs to this spec.
    pub fn is_spec_of(&self, generation: i64) -> bool {
        self.generation == generation || self.deleted && self.generation.checked_sub(1) == Some(generation)
    }

    fn poll_timing(&self) -> PollTiming {
        PollTiming { created: self.created, poll_offset: self.poll_offset, interval: self.interval }
    }
}

/// Preconditions of a reconcile: the account's readiness and competing policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconcileEnv {
    pub readiness: AccountReadiness,
    /// End of the pause that the cloud asked for (Retry-After).
    pub paused_until: Option<Timestamp>,
    /// The policy that manages this instance in place of this one.
    pub competitor: Option<CompetingPolicy>,
    /// Access generation. It changes when a change of account, Secret or verification state makes a new describe
    /// worthwhile. `None` while the account is unknown.
    pub access_generation: Option<u64>,
}

/// Whether the account accepts calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountReadiness {
    Open,
    /// The account's verification is in progress; `AccountNotReady` is reported at this time.
    Pending(Timestamp),
    /// One of the reasons of rows 1 to 5, and the condition's message.
    Closed(Reason, String),
}

/// The policy that manages the instance in place of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompetingPolicy {
    /// Its name, if it is in the same namespace.
    pub name: Option<String>,
}

/// Returns the condition reason for a kind of failure.
pub fn reason_of(kind: Kind) -> Reason {
    match kind {
        Kind::CredentialsRejected => Reason::CredentialsRejected,
        Kind::PermissionDenied => Reason::PermissionDenied,
        Kind::Throttled => Reason::Throttled,
        Kind::InstanceNotFound => Reason::InstanceNotFound,
        Kind::InstanceNotReady => Reason::InstanceNotReady,
        Kind::NotSupported => Reason::NotSupported,
        Kind::InvalidRequest => Reason::InvalidRequest,
        Kind::CloudUnavailable => Reason::CloudUnavailable,
        Kind::EndpointNotAllowed => Reason::EndpointNotAllowed,
    }
}

/// Returns how long facts count as fresh without a new describe: max(2 × the interval in force, 2 min).
pub fn staleness(interval: Duration) -> Duration {
    (interval * 2).max(Duration::from_secs(120))
}

/// Returns `time + duration`, saturating at `Timestamp::MAX`.
pub fn after(time: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration).ok().and_then(|d| time.checked_add(d).ok()).unwrap_or(Timestamp::MAX)
}

/// Returns the time elapsed since `time`; zero if `time` is in the future.
pub fn since(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(time)).unwrap_or(Duration::ZERO)
}

/// Returns a 64-bit hash that is equal in every process of the same build.
pub fn hash_of(what: &(impl Hash + ?Sized)) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(what)
}

/// Truncates to whole seconds, the resolution of a status.
pub fn truncate_to_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
