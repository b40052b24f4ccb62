//! What the operator remembers of one inventory between listings: when the next is due, and what Ready says meanwhile.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::condition::{Condition, types};
use crate::domain::{Class, Failure, Kind, Outcome, Progress, Reason, Truth};
use crate::plan::conditions::{closed, of_failure, say};
use crate::plan::memory::Request;
use crate::plan::pace::{Cadence, LONGEST, NOT_FOUND_GRACE, PERSON_LONGEST, after_failure, next_turn};
use crate::plan::{Gate, Surroundings, after, since, staleness};

/// What an inventory's spec asks for, as far as its pace goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub generation: i64,
    pub created: Timestamp,
    pub suspended: bool,
    /// The interval in force.
    pub interval: Duration,
    /// The annotation's value, where there is one.
    pub request: Option<String>,
    /// A number that is this resource's own and does not change: the place of its listings within the interval.
    pub phase: u64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    /// The next call of the listing, which is begun where none is under way.
    Read,
    /// Nothing until then; `None`: until something changes.
    Wait(Option<Timestamp>),
}

#[derive(Clone, Debug)]
pub struct Memory {
    /// The generation that all below belongs to.
    pub generation: i64,
    pub epoch: Option<u64>,
    /// When a listing was last complete, or as long as none was: when a call of one was last answered.
    pub last_good: Option<Timestamp>,
    /// Whether this generation was listed completely, with the account as it is.
    pub listed: bool,
    /// The account lets nothing through.
    closed: bool,
    /// Nothing has happened since the operator's start: what the stored status says of a failed listing still holds.
    only_started: bool,
    /// How many calls a listing that is not complete was answered at most. One that begins anew proves nothing before it
    /// has got further.
    furthest: u64,
    /// When the next listing begins, or the present one goes on.
    pub next: Timestamp,
    pub failures: u32,
    /// Why the last listing is not complete.
    pub failure: Option<Failure>,
    /// The annotation's value that status holds as acted on.
    pub handled: Option<String>,
    pub request: Request,
    /// The request that the listing under way was begun for.
    answering: Option<String>,
    /// When the listing under way was begun.
    began: Option<Timestamp>,
    /// How long the last complete listing took that was made here.
    took: Duration,
}

impl Memory {
    /// `conditions`, `observed` and `handled` are those of the stored status; `as_of`: when it was true. After a longer
    /// absence than the interval the listing is due at once, as it is for whatever was not listed.
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

    /// How long what was listed counts as known: a listing that takes longer than the interval has that time too.
    fn staleness(&self, wanted: &Wanted) -> Duration {
        staleness(wanted.interval.max(self.took))
    }

    /// Takes in what changed about the resource, its account and the clock. Whether what a listing under way has
    /// read so far belongs to the past.
    pub fn notice(&mut self, wanted: &Wanted, around: &Surroundings, now: Timestamp) -> bool {
        // A clock that is set back leaves times that are still to come behind.
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
            // That is the account's to say.
            self.failure.take_if(|failure| failure.kind == Kind::CredentialsRejected);
        }
        match around.gate {
            // What is said of the account is over once it lets calls through; what was listed before it did not is no
            // answer of the account as it is now.
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

    /// Status lost what was listed: it is listed again.
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

    /// When what Ready says changes by the clock alone.
    fn timers(&self, wanted: &Wanted, now: Timestamp) -> Option<Timestamp> {
        let not_found = self.failure.as_ref().map(|_| after(wanted.created, NOT_FOUND_GRACE));
        let stale =
            self.last_good.filter(|_| self.failure.is_some()).map(|good| after(good, self.staleness(wanted)));
        [not_found, stale].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// A listing begins that answers this request. One that is shared has begun before, and is complete.
    pub fn begins(&mut self, request: Option<String>, now: Timestamp) {
        self.answering = request;
        self.began = Some(now);
    }

    /// A listing that others share has brought what it found: the rest is read at once.
    pub fn arrived(&mut self, now: Timestamp) {
        self.next = self.next.min(now);
    }

    /// What is due comes with a listing that others share, at their turn: its own comes again after an interval, in case that
    /// nothing was brought meanwhile.
    pub fn awaits(&mut self, wanted: &Wanted, now: Timestamp) -> Do {
        self.next = next_turn(wanted.phase, wanted.interval, now);
        Do::Wait(self.timers(wanted, now).into_iter().chain([self.next]).min())
    }

    /// Whether a listing that is due is to begin before the turn of those who share it: nothing was listed yet, somebody asks
    /// for it, what passes may be over, or none has come for long.
    pub fn hurries(&self, wanted: &Wanted, now: Timestamp) -> bool {
        let late = self.last_good.is_none_or(|good| since(good, now) > 2 * wanted.interval);
        self.request.pending.is_some()
            || match &self.failure {
                None => !self.listed || late,
                Some(failure) => failure.kind.class() != Class::NeedsPerson,
            }
    }

    /// How often a shared listing is to come: who waits for a person is looked at again at least every hour.
    pub fn pace(&self, wanted: &Wanted) -> Duration {
        let needs_person = |failure: &Failure| failure.kind.class() == Class::NeedsPerson;
        match self.failure.as_ref().is_some_and(needs_person) {
            true => wanted.interval.min(PERSON_LONGEST),
            false => wanted.interval,
        }
    }

    /// A call of a listing was answered, which makes `answered` of them. Whether Ready has something else to say: a first
    /// listing goes on; of one that was complete before, only the next complete one says that all is well.
    pub fn progressed(&mut self, answered: u64, now: Timestamp) -> bool {
        self.failures = 0;
        if self.listed || answered <= self.furthest {
            return false;
        }
        self.furthest = answered;
        self.last_good = Some(now);
        self.failure.take_if(|failure| failure.kind.class() != Class::NeedsPerson).is_some()
    }

    /// A listing is complete. A request that was made while it was under way is answered by one more.
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

    /// A call failed. `dice`: random in 0..1. Whether the listing under way is given up: one that only has to wait
    /// goes on where it stopped.
    pub fn failed(&mut self, wanted: &Wanted, failure: Failure, now: Timestamp, dice: f64) -> bool {
        let cadence = Cadence { created: wanted.created, phase: wanted.phase, interval: wanted.interval };
        (self.next, self.failures) = after_failure(cadence, self.failures, &failure, now, dice);
        self.settle_request();
        self.only_started = false;
        let needs_person = failure.kind.class() == Class::NeedsPerson;
        // What a person has to do is not over because something else fails in passing.
        let said = self.failure.as_ref().is_some_and(|said| said.kind.class() == Class::NeedsPerson);
        if needs_person || !said {
            self.failure = Some(failure);
        }
        needs_person
    }

    /// The request was acted on: a listing has ended, well or not, or none can be begun.
    pub fn settle_request(&mut self) {
        if let Some(value) = self.request.pending.take() {
            self.handled = Some(value);
        }
    }

    /// What Ready shall say; `None`: what it said before.
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
            // Of a first listing, one failure among many answers is no news; a call that fails again is.
            let repeated = !self.listed && self.failures > 1;
            let of_these_calls = ready.is_some_and(|c| is_of_these_calls(&c.reason));
            return (needs_person || stale || repeated || !of_these_calls)
                .then(|| of_failure(wanted.created, failure, now));
        }
        if self.listed {
            return Some(say(Truth::True, Reason::Listed, Progress::Settled, "every backup was listed"));
        }
        // Why the last listing failed is said after a start too, until another has got further.
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

/// What an inventory's own calls come to, for which a person is needed.
const NEED_PERSON: [Reason; 5] = [
    Reason::InstanceNotFound,
    Reason::PermissionDenied,
    Reason::InvalidRequest,
    Reason::NotSupported,
    Reason::EndpointNotAllowed,
];
/// And what passes.
const PASSING: [Reason; 3] = [Reason::CloudUnavailable, Reason::Throttled, Reason::InstanceNotReady];

/// Whether what is said is about a listing. What the account or a suspension caused is over once a call was possible.
fn is_of_these_calls(said: &str) -> bool {
    let listing = [Reason::Listed, Reason::Listing];
    listing.iter().chain(&NEED_PERSON).chain(&PASSING).any(|reason| reason.as_str() == said)
}
