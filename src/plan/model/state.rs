//! Model state: a cloud, an API server, two replicas, and the history needed by the checks.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::condition::types;
use crate::domain::{Change, Facts, PolicyState, Reason};
use crate::plan::conflict::Refusal;
use crate::plan::memory::Memory;
use crate::plan::{AccountReadiness, Desired, hash_of};

pub const REPLICAS: usize = 2;
pub const POLICIES: usize = 2;
/// Interval in force: the longest modelled timer.
pub const INTERVAL: i64 = 600;

/// Converts seconds to a time. Simultaneous events share a second, so that many paths lead to one state.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub fn seconds(time: Timestamp) -> i64 {
    time.as_second() - 1_800_000_000
}

/// The values of the cloud and of specs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    #[default]
    Off,
    Shanghai,
    Guangzhou,
}

impl Value {
    fn target(self) -> Option<String> {
        match self {
            Value::Off => None,
            Value::Shanghai => Some("cn-shanghai".to_owned()),
            Value::Guangzhou => Some("cn-guangzhou".to_owned()),
        }
    }

    pub fn state(self) -> PolicyState {
        PolicyState { active: self != Value::Off, cross_backup_region: self.target(), ttl_days: None }
    }

    pub fn change(self) -> Change {
        Change { active: self != Value::Off, cross_backup_region: self.target() }
    }

    pub fn of(change: &Change) -> Self {
        let all = [Value::Off, Value::Shanghai, Value::Guangzhou];
        all.into_iter().find(|value| value.change() == *change).expect("a change that no spec asks for")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    pub value: Value,
    pub manages: bool,
    pub suspended: bool,
    /// `deletionPolicy: Disable`.
    pub disables: bool,
}

/// A stored policy. Its content stands for its resourceVersion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub uid: u8,
    pub created: i64,
    pub generation: i64,
    pub spec: Spec,
    /// Deletion time.
    pub deleted: Option<i64>,
    pub finalizer: bool,
    pub status: Facts,
}

impl Object {
    pub fn desired(&self) -> Desired {
        Desired {
            generation: self.generation,
            created: at(self.created),
            change: self.spec.value.change(),
            manages: self.spec.manages,
            suspended: self.spec.suspended,
            disable_on_delete: self.spec.disables,
            deleted: self.deleted.is_some(),
            interval: Duration::from_secs(INTERVAL.unsigned_abs()),
            objective: None,
            limit: 10,
            request: None,
            poll_offset: 7_000 * u64::from(self.uid),
        }
    }

    /// Returns the refusal that its status implies after a restart.
    pub fn refusal(&self) -> Refusal {
        let status = &self.status;
        match status.modify_refused {
            Some(_) => {
                let of = status.observed_generation;
                Refusal::known(of.is_some_and(|observed| self.desired().is_spec_of(observed)))
            }
            None => {
                let synced = status.condition(types::SYNCED);
                synced.map_or(Refusal::None, |synced| Refusal::of_reason(&synced.reason))
            }
        }
    }

    /// Returns the target value; a deleted policy's is off.
    pub fn target(&self) -> Value {
        if self.deleted.is_some() { Value::Off } else { self.spec.value }
    }

    pub fn is_met_by(&self, found: &PolicyState) -> bool {
        self.target().change().is_met_by(found)
    }

    /// Returns the value that its owner wants; `None`: no modification.
    pub fn wants(&self) -> Option<Value> {
        let acts = self.deleted.is_none() || self.spec.disables;
        Some(self.target()).filter(|_| acts && self.spec.manages && !self.spec.suspended)
    }
}

/// State of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    Open,
    /// The cloud requested a pause.
    Throttled,
    Suspended,
    NotAllowed,
    Gone,
}

impl Account {
    pub fn reason(self) -> Option<Reason> {
        match self {
            Account::Open | Account::Throttled => None,
            Account::Suspended => Some(Reason::Suspended),
            Account::NotAllowed => Some(Reason::AccountNotAllowed),
            Account::Gone => Some(Reason::AccountNotFound),
        }
    }

    pub fn readiness(self) -> AccountReadiness {
        self.reason()
            .map_or(AccountReadiness::Open, |reason| AccountReadiness::Closed(reason, "why".to_owned()))
    }
}

/// An interned value, compared by its number.
#[derive(Debug)]
pub struct Interned<T> {
    number: u32,
    value: Rc<T>,
}

impl<T> Clone for Interned<T> {
    fn clone(&self) -> Self {
        Self { number: self.number, value: self.value.clone() }
    }
}

impl<T> PartialEq for Interned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Interned<T> {}

impl<T> Hash for Interned<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.number.hash(hasher);
    }
}

impl<T> Deref for Interned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Intern pool. Lookup hashes a part of the value, since neither [`Memory`] nor [`Facts`] can be hashed.
pub struct InternPool<T> {
    found: HashMap<u64, Vec<Interned<T>>>,
    count: u32,
}

impl<T> Default for InternPool<T> {
    fn default() -> Self {
        Self { found: HashMap::new(), count: 0 }
    }
}

impl<T: PartialEq> InternPool<T> {
    pub fn hold(&mut self, value: T, part: impl Hash) -> Interned<T> {
        let alike = self.found.entry(hash_of(&part)).or_default();
        if let Some(held) = alike.iter().find(|held| *held.value == value) {
            return held.clone();
        }
        let held = Interned { number: self.count, value: Rc::new(value) };
        self.count += 1;
        alike.push(held.clone());
        held
    }
}

impl InternPool<Memory> {
    pub fn memory(&mut self, memory: Memory) -> Interned<Memory> {
        let facts = &memory.facts;
        let part = (
            (
                memory.generation,
                memory.described,
                memory.next_describe,
                memory.last_good,
                memory.difference_seen,
            ),
            (memory.describe_refusal, facts.modify_refused.as_ref().map(|refused| refused.time)),
            (memory.access_generation, memory.failures, memory.unconfirmed_changes, memory.backups.read),
            (facts.observed_generation, facts.synced_generation, facts.modification.as_ref().map(|m| m.time)),
            (facts.drift.last_time, facts.conditions.first().map(|c| c.last_transition)),
        );
        self.hold(memory, part)
    }
}

impl InternPool<Object> {
    pub fn object(&mut self, object: Object) -> Interned<Object> {
        let facts = &object.status;
        let part = (
            (object.uid, object.generation, object.spec, object.deleted, object.finalizer),
            (facts.observed_generation, facts.synced_generation, facts.modification.as_ref().map(|m| m.time)),
            (facts.drift.last_time, facts.conditions.first().map(|c| c.last_transition)),
        );
        self.hold(object, part)
    }
}

/// One policy of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    pub replica: usize,
    pub policy: usize,
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replica {}, policy {}", self.replica, self.policy)
    }
}

/// A sent Modify. It may take effect at any later time: the Lease is no fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InFlight {
    pub to: Value,
    /// The process that waits for its response.
    pub by: Option<ProcessId>,
}

/// A call that a reconcile waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// A Describe, with the cloud's value at the time of the request.
    Describe(Value),
    /// The list of regions that the instance can copy to.
    Regions,
    Modify(Value),
    Write(Writing, Interned<Object>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Writing {
    /// A status, and the time of the next reconcile.
    Status(Option<i64>),
    Finalizer,
    Release,
}

/// A reconcile that waits for a response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reconcile {
    pub object: Interned<Object>,
    pub call: Call,
    pub described: bool,
}

/// One policy in one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Process {
    /// Object as last delivered by the watch.
    pub sees: Option<Interned<Object>>,
    pub memory: Option<Interned<Memory>>,
    pub reconcile: Option<Reconcile>,
    /// Time of the next reconcile.
    pub due: Option<i64>,
    /// Published claim on the instance, with its refusal.
    pub claim: Option<Refusal>,
    pub responses: Responses,
}

/// Responses to this process, recorded independently of the code under test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Responses {
    /// Time and value of the last successful Describe that no Modify has followed.
    pub seen: Option<(i64, Value)>,
    /// Value of the last successful Describe, and whether it followed the deletion.
    pub last: Option<(Value, bool)>,
    /// Time, value and generation of an accepted Modify that may still become visible.
    pub accepted: Option<(i64, Value, i64)>,
    /// Time, generation and access generation of a failed Describe.
    pub failed: Option<(i64, i64, u8)>,
}

impl Responses {
    /// Drops expired entries.
    pub fn pass(&mut self, now: i64) {
        self.failed = None;
        self.accepted = self.accepted.filter(|(at, ..)| now - at < 60);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    #[default]
    StandsBy,
    Leads,
    /// The replica lost the Lease, and its pending work has not been cancelled yet.
    Deposed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    pub role: Role,
    /// Account as last delivered by the watch, and its number of changes.
    pub account: Account,
    pub access_generation: u8,
    /// Expiry of the cached credentials of a deleted account.
    pub credentials: Option<i64>,
    /// Time at which the facts in stored statuses were true.
    pub as_of: i64,
    pub processes: [Process; POLICIES],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub now: i64,
    pub cloud: Value,
    pub flights: Vec<InFlight>,
    pub account: Account,
    pub objects: [Option<Interned<Object>>; POLICIES],
    pub replicas: [Replica; REPLICAS],
    /// Time of the last Lease renewal.
    pub renewed: i64,
    /// UID and generation of each observation in sync.
    pub proven: Vec<(u8, i64)>,
    /// Remaining budget of each kind of event, and of all faults.
    pub left: [u8; super::steps::KINDS],
    pub faults: u8,
}

impl State {
    pub fn process(&self, id: ProcessId) -> &Process {
        &self.replicas[id.replica].processes[id.policy]
    }

    pub fn process_mut(&mut self, id: ProcessId) -> &mut Process {
        &mut self.replicas[id.replica].processes[id.policy]
    }

    pub fn leader(&self) -> Option<usize> {
        self.replicas.iter().position(|replica| replica.role == Role::Leads)
    }

    /// Triggers a reconcile at `time`, unless one is due earlier.
    pub fn wake(&mut self, id: ProcessId, time: i64) {
        let due = &mut self.process_mut(id).due;
        *due = Some(due.map_or(time, |before| before.min(time)));
    }
}
