//! In-memory state of one inventory between listings: the time of the next one, and the Ready condition.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::condition::{Condition, types};
use crate::domain::{Class, Failure, Kind, Outcome, Progress, Reason, Truth};
use crate::plan::conditions::{closed, of_failure, say};
use crate::plan::memory::Request;
use crate::plan::pace::{Cadence, LONGEST, NOT_FOUND_GRACE, PERSON_LONGEST, after_failure, next_turn};
use crate::plan::{Gate, Surroundings, after, since, staleness};

/// The parts of an inventory's spec that its schedule depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub generation: i64,
    pub created: Timestamp,
    pub suspended: bool,
    /// Poll interval in force.
    pub interval: Duration,
    /// Value of the request annotation.
    pub request: Option<String>,
    /// Stable per-resource number that gives the poll offset within the interval.
    pub phase: u64,
}

/// Next action of a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    /// Make the next call of the listing; starts one if none is in progress.
    Read,
    /// Requeue at that time; `None`: wait for a watch event.
    Wait(Option<Timestamp>),
}

#[derive(Clone, Debug)]
pub struct Memory {
    /// Generation that the fields below belong to.
    pub generation: i64,
    pub epoch: Option<u64>,
    /// Time of the last complete listing or, before the first one, of the last answered call of a listing.
    pub last_good: Option<Timestamp>,
    /// Whether this generation was listed completely, with the account unchanged since.
    pub listed: bool,
    /// The account accepts no calls.
    closed: bool,
    /// Nothing has happened since the operator's start: a stored listing failure still holds.
    only_started: bool,
    /// Maximum number of answered calls of an incomplete listing. A restarted listing makes progress only beyond it.
    furthest: u64,
    /// Time at which the next listing starts, or the present one continues.
    pub next: Timestamp,
    pub failures: u32,
    /// Failure of the last listing.
    pub failure: Option<Failure>,
    /// Handled value of the request annotation, as in status.
    pub handled: Option<String>,
    pub request: Request,
    /// Request that the listing in progress serves.
    answering: Option<String>,
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
        wanted: &Wanted,
        as_of: Timestamp,
        now: Timestamp,
    ) -> Self {
        let listed = observed == Some(wanted.generation)
            && conditions.iter().any(|c| c.kind == types::READY && c.reason == Reason::Listed.as_str());
        let fresh = listed && since(as_of, now) <= wanted.interval;
        Self {
            generation: wanted.generation,
            epoch: None,
            last_good: listed.then_some(as_of),
            listed,
            closed: false,
            only_started: true,
            furthest: 0,
            next: if fresh { next_turn(wanted.phase, wanted.interval, now) } else { now },
            failures: 0,
            failure: None,
            handled,
            request: Request::default(),
            answering: None,
            began: None,
            took: Duration::ZERO,
        }
    }

    /// Returns how long a listing counts as fresh; one that takes longer than the interval extends it.
    fn staleness(&self, wanted: &Wanted) -> Duration {
        staleness(wanted.interval.max(self.took))
    }

    /// Applies changes of the resource, its account and the clock. Returns whether the listing in progress is outdated
    /// and must restart.
    pub fn notice(&mut self, wanted: &Wanted, around: &Surroundings, now: Timestamp) -> bool {
        // A clock that was set back would leave timestamps in the future.
        self.next = self.next.min(after(now, wanted.interval.max(LONGEST)));
        self.last_good = self.last_good.map(|good| good.min(now));
        let mut outdated = false;
        if self.generation != wanted.generation {
            self.generation = wanted.generation;
            self.begin_anew(now);
            outdated = true;
        }
        if let Some(epoch) = around.epoch
            && self.epoch.replace(epoch).is_some_and(|before| before != epoch)
        {
            outdated = true;
            if !self.listed || self.failure.is_some() {
                self.hasten(now);
            }
            // Reported by the account instead.
            self.failure.take_if(|failure| failure.kind == Kind::CredentialsRejected);
        }
        match around.gate {
            // The account accepts calls again: its error is resolved, and earlier listings do not count for the account
            // as it is now.
            Gate::Open if self.closed => {
                self.closed = false;
                self.begin_anew(now);
                outdated = true;
            }
            Gate::Closed(..) => {
                self.closed = true;
                self.only_started = false;
            }
            Gate::Open | Gate::Pending(_) => {}
        }
        let unhandled = wanted.request.is_some() && wanted.request != self.handled;
        if unhandled && self.request.pending != wanted.request {
            self.request = Request { pending: wanted.request.clone(), forwarded: false };
            self.hasten(now);
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
            self.hasten(now);
        }
    }

    fn hasten(&mut self, now: Timestamp) {
        self.next = now;
        self.failures = 0;
    }

    fn begin_anew(&mut self, now: Timestamp) {
        self.hasten(now);
        self.listed = false;
        self.only_started = false;
        self.last_good = None;
        self.failure = None;
        self.furthest = 0;
    }

    pub fn next_step(&self, wanted: &Wanted, around: &Surroundings, now: Timestamp) -> Do {
        if wanted.suspended {
            return Do::Wait(None);
        }
        let timers = self.timers(wanted, now);
        match &around.gate {
            Gate::Open => {}
            Gate::Pending(until) => return Do::Wait(Some(*until).into_iter().chain(timers).min()),
            Gate::Closed(..) => return Do::Wait(timers),
        }
        match around.paused_until.filter(|until| *until > now) {
            Some(until) => Do::Wait(Some(until).into_iter().chain(timers).min()),
            None if self.next <= now => Do::Read,
            None => Do::Wait(Some(self.next).into_iter().chain(timers).min()),
        }
    }

    /// Returns the next time at which Ready changes by the clock alone.
    fn timers(&self, wanted: &Wanted, now: Timestamp) -> Option<Timestamp> {
        let not_found = self.failure.as_ref().map(|_| after(wanted.created, NOT_FOUND_GRACE));
        let stale =
            self.last_good.filter(|_| self.failure.is_some()).map(|good| after(good, self.staleness(wanted)));
        [not_found, stale].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Records the start of a listing that serves this request. For a shared listing: it started earlier and is
    /// complete.
    pub fn begins(&mut self, request: Option<String>, now: Timestamp) {
        self.answering = request;
        self.began = Some(now);
    }

    /// Makes the remaining calls due, since a shared listing has delivered its result.
    pub fn arrived(&mut self, now: Timestamp) {
        self.next = self.next.min(now);
    }

    /// Waits for the next shared listing. An own listing is due after an interval, in case that none is delivered.
    pub fn awaits(&mut self, wanted: &Wanted, now: Timestamp) -> Do {
        self.next = next_turn(wanted.phase, wanted.interval, now);
        Do::Wait(self.timers(wanted, now).into_iter().chain([self.next]).min())
    }

    /// Whether a due listing must start before the next regular shared one: nothing was listed yet, a request is
    /// pending, a transient failure may be over, or the last one is old.
    pub fn hurries(&self, wanted: &Wanted, now: Timestamp) -> bool {
        let late = self.last_good.is_none_or(|good| since(good, now) > 2 * wanted.interval);
        self.request.pending.is_some()
            || match &self.failure {
                None => !self.listed || late,
                Some(failure) => failure.kind.class() != Class::NeedsPerson,
            }
    }

    /// Returns the interval of shared listings: at most an hour while a failure needs a person.
    pub fn pace(&self, wanted: &Wanted) -> Duration {
        let needs_person = |failure: &Failure| failure.kind.class() == Class::NeedsPerson;
        match self.failure.as_ref().is_some_and(needs_person) {
            true => wanted.interval.min(PERSON_LONGEST),
            false => wanted.interval,
        }
    }

    /// Records an answered call of a listing, the `answered`th. Returns whether Ready changes: progress of a first
    /// listing clears its failure, while after a complete listing only the next complete one does.
    pub fn progressed(&mut self, answered: u64, now: Timestamp) -> bool {
        self.failures = 0;
        if self.listed || answered <= self.furthest {
            return false;
        }
        self.furthest = answered;
        self.last_good = Some(now);
        self.failure.take_if(|failure| failure.kind.class() != Class::NeedsPerson).is_some()
    }

    /// Records a complete listing. A request made during it makes another one due.
    pub fn listed(&mut self, wanted: &Wanted, now: Timestamp) {
        self.listed = true;
        self.only_started = false;
        self.took = self.began.take().map_or(Duration::ZERO, |began| since(began, now));
        self.last_good = Some(now);
        self.failure = None;
        self.failures = 0;
        if self.request.pending.is_some() && self.answering != self.request.pending {
            self.handled = self.answering.take().or(self.handled.take());
            self.next = now;
        } else {
            self.settle_request();
            self.next = next_turn(wanted.phase, wanted.interval, now);
        }
    }

    /// Records a failed call. `dice`: random in 0..1. Returns whether the listing in progress is aborted; after a
    /// transient failure it continues where it stopped.
    pub fn failed(&mut self, wanted: &Wanted, failure: Failure, now: Timestamp, dice: f64) -> bool {
        let cadence = Cadence { created: wanted.created, phase: wanted.phase, interval: wanted.interval };
        (self.next, self.failures) = after_failure(cadence, self.failures, &failure, now, dice);
        self.settle_request();
        self.only_started = false;
        let needs_person = failure.kind.class() == Class::NeedsPerson;
        // A transient failure must not hide one that needs a person.
        let said = self.failure.as_ref().is_some_and(|said| said.kind.class() == Class::NeedsPerson);
        if needs_person || !said {
            self.failure = Some(failure);
        }
        needs_person
    }

    /// Marks the request as handled: a listing has ended, successfully or not, or cannot start.
    pub fn settle_request(&mut self) {
        if let Some(value) = self.request.pending.take() {
            self.handled = Some(value);
        }
    }

    /// Returns the Ready outcome; `None`: keep the stored one.
    pub fn outcome(
        &self,
        wanted: &Wanted,
        around: &Surroundings,
        stored: &[Condition],
        now: Timestamp,
    ) -> Option<Outcome> {
        if wanted.suspended {
            return Some(say(Truth::Unknown, Reason::Suspended, Progress::Settled, "spec.suspend is true"));
        }
        match &around.gate {
            Gate::Open => {}
            Gate::Pending(_) => return None,
            Gate::Closed(reason, text) => return Some(closed(*reason, text)),
        }
        let ready = stored.iter().find(|c| c.kind == types::READY);
        if let Some(failure) = &self.failure {
            let needs_person = failure.kind.class() == Class::NeedsPerson;
            let stale = self.last_good.is_none_or(|good| since(good, now) >= self.staleness(wanted));
            // A first listing does not report a single failure among many answers, but does report a repeated one.
            let repeated = !self.listed && self.failures > 1;
            let of_these_calls = ready.is_some_and(|c| is_of_these_calls(&c.reason));
            return (needs_person || stale || repeated || !of_these_calls)
                .then(|| of_failure(wanted.created, failure, now));
        }
        if self.listed {
            return Some(say(Truth::True, Reason::Listed, Progress::Settled, "every backup was listed"));
        }
        // A stored listing failure is kept after a restart until another listing gets further.
        let failed_before = ready.filter(|c| self.only_started && c.observed_generation == wanted.generation);
        let still_holds = failed_before.is_some_and(|c| {
            NEED_PERSON.iter().any(|reason| reason.as_str() == c.reason)
                || PASSING.iter().any(|reason| reason.as_str() == c.reason) && self.last_good.is_none()
        });
        (!still_holds).then(|| {
            say(Truth::Unknown, Reason::Listing, Progress::Reconciling, "the backups are being listed")
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
