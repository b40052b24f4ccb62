//! In-memory state of one inventory between listings: the time of the next one, and the Ready condition.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::condition::{Condition, types};
use crate::domain::{Class, ConditionStatus, Failure, Kind, Outcome, Progress, Reason};
use crate::plan::conditions::{closed, failure_outcome, say};
use crate::plan::memory::Request;
use crate::plan::polling::{
    MAX_BACKOFF, NEEDS_PERSON_MAX_INTERVAL, NOT_FOUND_GRACE, PollTiming, after_failure, next_poll,
};
use crate::plan::{AccountReadiness, ReconcileEnv, after, since, staleness};

/// The parts of an inventory's spec that its schedule depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredInventory {
    pub generation: i64,
    pub created: Timestamp,
    pub suspended: bool,
    /// Poll interval in force.
    pub interval: Duration,
    /// Value of the request annotation.
    pub request: Option<String>,
    /// Stable per-resource number that gives the poll offset within the interval.
    pub poll_offset: u64,
}

/// Next action of a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// Make the next call of the listing; starts one if none is in progress.
    Call,
    /// Requeue at that time; `None`: wait for a watch event.
    Wait(Option<Timestamp>),
}

#[derive(Clone, Debug)]
pub struct Memory {
    /// Generation that the fields below belong to.
    pub generation: i64,
    pub access_generation: Option<u64>,
    /// Time of the last complete listing or, before the first one, of the last answered call of a listing.
    pub last_good: Option<Timestamp>,
    /// Whether this generation was listed completely, with the account unchanged since.
    pub listed: bool,
    /// The account accepts no calls.
    closed: bool,
    /// Nothing has happened since the operator's start: a stored listing failure still holds.
    only_restored: bool,
    /// Maximum number of answered calls of an incomplete listing. A restarted listing makes progress only beyond it.
    max_answered: u64,
    /// Time at which the next listing starts, or the present one continues.
    pub next: Timestamp,
    pub failures: u32,
    /// Failure of the last listing.
    pub failure: Option<Failure>,
    /// Handled value of the request annotation, as in status.
    pub handled: Option<String>,
    pub request: Request,
    /// Request that the listing in progress serves.
    serving_request: Option<String>,
    /// Start of the listing in progress.
    began: Option<Timestamp>,
    /// Duration of the last complete listing of this process.
    took: Duration,
}

impl Memory {
    /// Restores the state from a stored status. `as_of`: time at which it was true. If that is longer ago than the
    /// interval, or nothing was listed, a listing is due at once.
    pub fn new(
        conditions: &[Condition],
        observed: Option<i64>,
        handled: Option<String>,
        wanted: &DesiredInventory,
        as_of: Timestamp,
        now: Timestamp,
    ) -> Self {
        let listed = observed == Some(wanted.generation)
            && conditions.iter().any(|c| c.kind == types::READY && c.reason == Reason::Listed.as_str());
        let fresh = listed && since(as_of, now) <= wanted.interval;
        Self {
            generation: wanted.generation,
            access_generation: None,
            last_good: listed.then_some(as_of),
            listed,
            closed: false,
            only_restored: true,
            max_answered: 0,
            next: if fresh { next_poll(wanted.poll_offset, wanted.interval, now) } else { now },
            failures: 0,
            failure: None,
            handled,
            request: Request::default(),
            serving_request: None,
            began: None,
            took: Duration::ZERO,
        }
    }

    /// Returns how long a listing counts as fresh; one that takes longer than the interval extends it.
    fn staleness(&self, wanted: &DesiredInventory) -> Duration {
        staleness(wanted.interval.max(self.took))
    }

    /// Applies changes of the resource, its account and the clock. Returns whether the listing in progress is outdated
    /// and must restart.
    pub fn notice(&mut self, wanted: &DesiredInventory, env: &ReconcileEnv, now: Timestamp) -> bool {
        // A clock that was set back would leave timestamps in the future.
        self.next = self.next.min(after(now, wanted.interval.max(MAX_BACKOFF)));
        self.last_good = self.last_good.map(|good| good.min(now));
        let mut outdated = false;
        if self.generation != wanted.generation {
            self.generation = wanted.generation;
            self.reset(now);
            outdated = true;
        }
        if let Some(access_generation) = env.access_generation
            && self
                .access_generation
                .replace(access_generation)
                .is_some_and(|before| before != access_generation)
        {
            outdated = true;
            if !self.listed || self.failure.is_some() {
                self.make_due(now);
            }
            // Reported by the account instead.
            self.failure.take_if(|failure| failure.kind == Kind::CredentialsRejected);
        }
        match env.readiness {
            // The account accepts calls again: its error is resolved, and earlier listings do not count for the account
            // as it is now.
            AccountReadiness::Open if self.closed => {
                self.closed = false;
                self.reset(now);
                outdated = true;
            }
            AccountReadiness::Closed(..) => {
                self.closed = true;
                self.only_restored = false;
            }
            AccountReadiness::Open | AccountReadiness::Pending(_) => {}
        }
        let unhandled = wanted.request.is_some() && wanted.request != self.handled;
        if unhandled && self.request.pending != wanted.request {
            self.request = Request { pending: wanted.request.clone(), forwarded: false };
            self.make_due(now);
        }
        if !unhandled {
            self.request = Request::default();
        }
        outdated
    }

    /// Makes a listing due because status lost the listed backups.
    pub fn lost(&mut self, now: Timestamp) {
        if self.listed {
            self.listed = false;
            self.make_due(now);
        }
    }

    fn make_due(&mut self, now: Timestamp) {
        self.next = now;
        self.failures = 0;
    }

    fn reset(&mut self, now: Timestamp) {
        self.make_due(now);
        self.listed = false;
        self.only_restored = false;
        self.last_good = None;
        self.failure = None;
        self.max_answered = 0;
    }

    pub fn next_step(&self, wanted: &DesiredInventory, env: &ReconcileEnv, now: Timestamp) -> NextAction {
        if wanted.suspended {
            return NextAction::Wait(None);
        }
        let timers = self.timers(wanted, now);
        match &env.readiness {
            AccountReadiness::Open => {}
            AccountReadiness::Pending(until) => {
                return NextAction::Wait(Some(*until).into_iter().chain(timers).min());
            }
            AccountReadiness::Closed(..) => return NextAction::Wait(timers),
        }
        match env.paused_until.filter(|until| *until > now) {
            Some(until) => NextAction::Wait(Some(until).into_iter().chain(timers).min()),
            None if self.next <= now => NextAction::Call,
            None => NextAction::Wait(Some(self.next).into_iter().chain(timers).min()),
        }
    }

    /// Returns the next time at which Ready changes by the clock alone.
    fn timers(&self, wanted: &DesiredInventory, now: Timestamp) -> Option<Timestamp> {
        let not_found = self.failure.as_ref().map(|_| after(wanted.created, NOT_FOUND_GRACE));
        let stale =
            self.last_good.filter(|_| self.failure.is_some()).map(|good| after(good, self.staleness(wanted)));
        [not_found, stale].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Records the start of a listing that serves this request. For a shared listing: it started earlier and is
    /// complete.
    pub fn listing_started(&mut self, request: Option<String>, now: Timestamp) {
        self.serving_request = request;
        self.began = Some(now);
    }

    /// Makes the remaining calls due, since a shared listing has delivered its result.
    pub fn shared_listing_arrived(&mut self, now: Timestamp) {
        self.next = self.next.min(now);
    }

    /// Waits for the next shared listing. An own listing is due after an interval, in case that none is delivered.
    pub fn await_shared_listing(&mut self, wanted: &DesiredInventory, now: Timestamp) -> NextAction {
        self.next = next_poll(wanted.poll_offset, wanted.interval, now);
        NextAction::Wait(self.timers(wanted, now).into_iter().chain([self.next]).min())
    }

    /// Whether a due listing must start before the next regular shared one: nothing was listed yet, a request is
    /// pending, a transient failure may be over, or the last one is old.
    pub fn is_urgent(&self, wanted: &DesiredInventory, now: Timestamp) -> bool {
        let late = self.last_good.is_none_or(|good| since(good, now) > 2 * wanted.interval);
        self.request.pending.is_some()
            || match &self.failure {
                None => !self.listed || late,
                Some(failure) => failure.kind.class() != Class::NeedsPerson,
            }
    }

    /// Returns the interval of shared listings: at most an hour while a failure needs a person.
    pub fn pace(&self, wanted: &DesiredInventory) -> Duration {
        let needs_person = |failure: &Failure| failure.kind.class() == Class::NeedsPerson;
        match self.failure.as_ref().is_some_and(needs_person) {
            true => wanted.interval.min(NEEDS_PERSON_MAX_INTERVAL),
            false => wanted.interval,
        }
    }

    /// Records an answered call of a listing, the `answered`th. Returns whether Ready changes: progress of a first
    /// listing clears its failure, while after a complete listing only the next complete one does.
    pub fn progressed(&mut self, answered: u64, now: Timestamp) -> bool {
        self.failures = 0;
        if self.listed || answered <= self.max_answered {
            return false;
        }
        self.max_answered = answered;
        self.last_good = Some(now);
        self.failure.take_if(|failure| failure.kind.class() != Class::NeedsPerson).is_some()
    }

    /// Records a complete listing. A request made during it makes another one due.
    pub fn listed(&mut self, wanted: &DesiredInventory, now: Timestamp) {
        self.listed = true;
        self.only_restored = false;
        self.took = self.began.take().map_or(Duration::ZERO, |began| since(began, now));
        self.last_good = Some(now);
        self.failure = None;
        self.failures = 0;
        if self.request.pending.is_some() && self.serving_request != self.request.pending {
            self.handled = self.serving_request.take().or(self.handled.take());
            self.next = now;
        } else {
            self.finish_request();
            self.next = next_poll(wanted.poll_offset, wanted.interval, now);
        }
    }

    /// Records a failed call. `dice`: random in 0..1. Returns whether the listing in progress is aborted; after a
    /// transient failure it continues where it stopped.
    pub fn failed(
        &mut self,
        wanted: &DesiredInventory,
        failure: Failure,
        now: Timestamp,
        jitter: f64,
    ) -> bool {
        let poll_timing = PollTiming {
            created: wanted.created,
            poll_offset: wanted.poll_offset,
            interval: wanted.interval,
        };
        (self.next, self.failures) = after_failure(poll_timing, self.failures, &failure, now, jitter);
        self.finish_request();
        self.only_restored = false;
        let needs_person = failure.kind.class() == Class::NeedsPerson;
        // A transient failure must not hide one that needs a person.
        let said = self.failure.as_ref().is_some_and(|said| said.kind.class() == Class::NeedsPerson);
        if needs_person || !said {
            self.failure = Some(failure);
        }
        needs_person
    }

    /// Marks the request as handled: a listing has ended, successfully or not, or cannot start.
    pub fn finish_request(&mut self) {
        if let Some(value) = self.request.pending.take() {
            self.handled = Some(value);
        }
    }

    /// Returns the Ready outcome; `None`: keep the stored one.
    pub fn outcome(
        &self,
        wanted: &DesiredInventory,
        env: &ReconcileEnv,
        stored: &[Condition],
        now: Timestamp,
    ) -> Option<Outcome> {
        if wanted.suspended {
            return Some(closed(Reason::Suspended, "spec.suspend is true"));
        }
        match &env.readiness {
            AccountReadiness::Open => {}
            AccountReadiness::Pending(_) => return None,
            AccountReadiness::Closed(reason, text) => return Some(closed(*reason, text)),
        }
        let ready = stored.iter().find(|c| c.kind == types::READY);
        if let Some(failure) = &self.failure {
            let needs_person = failure.kind.class() == Class::NeedsPerson;
            let stale = self.last_good.is_none_or(|good| since(good, now) >= self.staleness(wanted));
            // A first listing does not report a single failure among many answers, but does report a repeated one.
            let repeated = !self.listed && self.failures > 1;
            let of_these_calls = ready.is_some_and(|c| is_of_these_calls(&c.reason));
            return (needs_person || stale || repeated || !of_these_calls)
                .then(|| failure_outcome(wanted.created, failure, now));
        }
        if self.listed {
            return Some(say(
                ConditionStatus::True,
                Reason::Listed,
                Progress::Settled,
                "every backup was listed",
            ));
        }
        // A stored listing failure is kept after a restart until another listing gets further.
        let failed_before =
            ready.filter(|c| self.only_restored && c.observed_generation == wanted.generation);
        let still_holds = failed_before.is_some_and(|c| {
            NEED_PERSON.iter().any(|reason| reason.as_str() == c.reason)
                || PASSING.iter().any(|reason| reason.as_str() == c.reason) && self.last_good.is_none()
        });
        (!still_holds).then(|| {
            say(
                ConditionStatus::Unknown,
                Reason::Listing,
                Progress::Reconciling,
                "the backups are being listed",
            )
        })
    }
}

/// Reasons of a listing failure that needs a person.
const NEED_PERSON: [Reason; 5] = [
    Reason::InstanceNotFound,
    Reason::PermissionDenied,
    Reason::InvalidRequest,
    Reason::NotSupported,
    Reason::EndpointNotAllowed,
];
/// Reasons of a transient listing failure.
const PASSING: [Reason; 3] = [Reason::CloudUnavailable, Reason::Throttled, Reason::InstanceNotReady];

/// Whether the reason comes from a listing. Reasons of the account or a suspension end once a call is possible.
fn is_of_these_calls(said: &str) -> bool {
    let listing = [Reason::Listed, Reason::Listing];
    listing.iter().chain(&NEED_PERSON).chain(&PASSING).any(|reason| reason.as_str() == said)
}
