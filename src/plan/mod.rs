//! Pure decisions: (desired, observed, memory, now) to what to do next, conditions, and the next look.
//! Nothing here is async, knows a client, or reads a clock.

pub mod account;
pub mod backups;
mod brief;
pub mod conditions;
pub mod conflict;
mod correcting;
pub mod deletion;
#[cfg(test)]
mod deletion_tests;
pub mod demand;
pub mod events;
mod glance;
pub mod inventory;
pub mod memory;
#[cfg(test)]
mod model;
pub mod next;
pub mod pace;
mod readings;
pub mod recovery;
pub mod resting;
pub mod round;
pub mod slow_listing;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::{Change, Kind, Reason};
pub use correcting::Effect;
use pace::Cadence;

/// What a policy's spec asks for, with every text parsed.
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
    /// Its deletion was asked for, which raises the generation by one although the spec stays.
    pub deleted: bool,
    /// The interval in force.
    pub interval: Duration,
    pub objective: Option<Duration>,
    /// How many backups status keeps.
    pub limit: usize,
    /// The annotation's value, where there is one.
    pub request: Option<String>,
    /// A number that is this resource's own and does not change: the place of its looks within the interval.
    pub phase: u64,
}

impl Desired {
    pub fn staleness(&self) -> Duration {
        staleness(self.interval)
    }

    /// Whether what was observed of that generation is of the same spec.
    pub fn is_spec_of(&self, generation: i64) -> bool {
        self.generation == generation || self.deleted && self.generation.checked_sub(1) == Some(generation)
    }

    fn cadence(&self) -> Cadence {
        Cadence { created: self.created, phase: self.phase, interval: self.interval }
    }
}

/// What surrounds a policy: its account, its rivals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    pub gate: Gate,
    /// The account is paused (Retry-After) until then.
    pub paused_until: Option<Timestamp>,
    /// Another policy manages this instance.
    pub rival: Option<Rival>,
    /// Moves when account, Secret or verdict changed in a way that makes a new look worth while; `None` while nothing is
    /// known of the account.
    pub epoch: Option<u64>,
}

/// Whether the account lets calls through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    Open,
    /// The account's verification is under way; `AccountNotReady` is said at this time.
    Pending(Timestamp),
    /// One of the reasons of rows 1 to 5, and what the condition says.
    Closed(Reason, String),
}

/// The policy that manages the instance instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Its name, if it is in the same namespace.
    pub name: Option<String>,
}

/// The condition's reason for a kind of failure.
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

/// How long facts count as fresh without a new look: max(2 × the interval in force, 2 min).
pub fn staleness(interval: Duration) -> Duration {
    (interval * 2).max(Duration::from_secs(120))
}

/// `time + duration`, at most the end of time.
pub fn after(time: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration).ok().and_then(|d| time.checked_add(d).ok()).unwrap_or(Timestamp::MAX)
}

/// How long ago `time` is, zero where it is still to come.
pub fn since(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(time)).unwrap_or(Duration::ZERO)
}

/// The same for the whole life of the process, and in every other process of this build.
pub fn hash_of(what: &(impl Hash + ?Sized)) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(what)
}

/// Without the fraction of the second: what a status can hold.
pub fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
