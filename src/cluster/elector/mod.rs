//! Leader election on a Lease, by client-go's rules; in doubt, a process does not lead.
//!
//! The Lease changes hands by compare-and-swap on its resourceVersion alone. A candidate decides whether a
//! competitor's Lease has expired by how long it has observed the Lease unchanged on its own monotonic clock; the
//! wall-clock times in the Lease are informational. A leader's own term ends [`Timing::renew_deadline`] after the
//! *start* of its last successful renewal, hence before any other candidate can see the Lease expire. No Lease is a
//! fence: a call in flight outlives the term in which it began.
//!
//! A candidate polls the Lease each second instead of watching it: a watch can fall silent without an end, so that
//! polls would be needed all the same, and it would need one more verb in the Role. A poll a second is a small read
//! of one object.

mod leadership;
mod renewal;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

pub use leadership::{Leadership, Term};
use renewal::Renewals;

use super::{OPERATOR_NAME, cause, has_status_code};
use crate::clock::Clock;

/// Name of the Lease.
pub const LEASE: &str = OPERATOR_NAME;

/// Durations of an election; `renew < renew_deadline < lease`.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Time for which the other candidates wait after they saw the Lease change.
    pub lease: Duration,
    /// Length of a leader's term, from the start of its last successful renewal.
    pub renew_deadline: Duration,
    /// Interval between the starts of successful renewals.
    pub renew: Duration,
    /// Interval between attempts: of a candidate to take the Lease, of a leader to renew after a failure. A released
    /// Lease is taken within it, and its new holder works within 2 s.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            renew: Duration::from_secs(5),
            retry: Duration::from_secs(1),
        }
    }
}

impl Timing {
    /// Returns the timeout of one call: a leader that renews half-way has two attempts left.
    fn call(&self) -> Duration {
        self.renew_deadline / 4
    }
}

/// Time for which the Lease may be refused after the start before that is an error. An API server that has just
/// started refuses everything until it has read its roles, and manifests that are applied together can start the
/// operator before its RBAC rights exist.
const REFUSAL_GRACE_PERIOD: Duration = Duration::from_secs(30);

/// The Lease was refused since the start of the process.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} the Lease {LEASE} in namespace {namespace}: {reason}")]
pub struct ElectionError {
    pub namespace: String,
    /// Verb as in a Role: `get`, `create` or `update`.
    pub verb: &'static str,
    /// Message of the API server.
    pub reason: String,
}

/// Takes part in the election, and renews the Lease while it leads. Dropping it ends the leadership at once, but
/// leaves the Lease to expire; [`Elector::release`] releases it.
pub struct Elector {
    candidate: Candidate,
    /// Whether the Lease may name this process as its holder: a write whose answer was lost may have been made.
    may_hold: bool,
    /// Whether the Lease was ever acquired, or seen in another's hands: a later refusal may be transient.
    had_access: bool,
    renewals: Option<Renewals>,
}

/// State for both acquiring and renewing the Lease.
#[derive(Clone)]
struct Candidate {
    api: Api<Lease>,
    namespace: String,
    identity: String,
    timing: Timing,
    clock: Clock,
}

/// Another candidate's Lease as last observed.
struct ObservedLease {
    holder: String,
    resource_version: Option<String>,
    /// Duration written in the Lease.
    duration: Duration,
    /// Time when this process first observed this resourceVersion.
    since: Instant,
}

impl ObservedLease {
    fn lasts_at(&self, now: Instant) -> bool {
        now.duration_since(self.since) < self.duration
    }
}

/// A failed call to the API server.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl CallError {
    fn is(&self, code: u16) -> bool {
        matches!(self, CallError::Api(error) if has_status_code(error, code))
    }

    /// Returns the text for the log.
    fn text(&self) -> String {
        cause(self)
    }
}

impl Elector {
    /// Creates a candidate. No other process may have its `identity`; see [`identity`].
    /// `client` must not retry by itself: a retry inside it would outlast the term.
    pub fn new(client: kube::Client, namespace: &str, identity: String, timing: Timing) -> Self {
        let candidate = Candidate {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            identity,
            timing,
            clock: Clock::system(),
        };
        Self { candidate, may_hold: false, had_access: false, renewals: None }
    }

    /// Sets the clock for the times that are written into the Lease.
    #[cfg(test)]
    fn with_clock(mut self, clock: Clock) -> Self {
        self.candidate.clock = clock;
        self
    }

    /// Waits until this process leads, without a timeout, and then renews the Lease in the background. An earlier
    /// leadership of this elector ends. The call is cancel-safe; [`Elector::release`] releases a Lease won meanwhile.
    ///
    /// # Errors
    /// For 30 s, and without an earlier success, the API server forbids a verb on the Lease, or the namespace does
    /// not exist or is being deleted. Every other failure is logged once until it changes, and retried.
    pub async fn acquire(&mut self) -> Result<Leadership, ElectionError> {
        if let Some(renewals) = self.renewals.take() {
            renewals.end().await;
        }
        let mut observed: Option<ObservedLease> = None;
        let mut before: Option<Option<Timestamp>> = None;
        let mut refused: Option<Instant> = None;
        let mut logged = LastLogged::Nothing;
        loop {
            let attempt = self.attempt(&mut observed, &mut before).await;
            if !matches!(attempt, Attempt::Refused(_)) {
                refused = None;
            }
            match attempt {
                Attempt::Won(lease, term) => {
                    self.had_access = true;
                    info!(identity = self.candidate.identity, "leading");
                    let (renewals, term) = Renewals::start(self.candidate.clone(), *lease, term);
                    self.renewals = Some(renewals);
                    return Ok(Leadership::new(term, before.flatten()));
                }
                Attempt::HeldBy(holder) => {
                    self.had_access = true;
                    let state = LastLogged::HeldBy(holder.clone());
                    if state != logged {
                        info!(holder, "standing by for the Lease");
                        logged = state;
                    }
                }
                Attempt::Conflict => {}
                Attempt::Failed(error) => {
                    if logged != LastLogged::Failed {
                        warn!(error = %error.text(), "could not reach the Lease, trying on");
                        logged = LastLogged::Failed;
                    }
                }
                Attempt::Refused(error) => {
                    let since = *refused.get_or_insert_with(Instant::now);
                    if !self.had_access && since.elapsed() >= REFUSAL_GRACE_PERIOD {
                        return Err(error);
                    }
                    if logged != LastLogged::Refused {
                        warn!(%error, "refused the Lease, trying on");
                        logged = LastLogged::Refused;
                    }
                }
            }
            sleep(self.candidate.timing.retry).await;
        }
    }

    /// Reads the Lease once, and tries to take it if it is free.
    /// `before` keeps the renewTime that the Lease had before any write of this process.
    async fn attempt(
        &mut self,
        observed: &mut Option<ObservedLease>,
        before: &mut Option<Option<Timestamp>>,
    ) -> Attempt {
        let candidate = &self.candidate;
        let found = match candidate.get().await {
            Ok(found) => found,
            Err(error) => return candidate.classify("get", error),
        };
        let now = Instant::now();
        let Some(found) = found else {
            // The Lease was deleted: its holder may go on leading until its next renewal.
            if let Some(seen) = observed.as_ref().filter(|seen| seen.lasts_at(now)) {
                return Attempt::HeldBy(seen.holder.clone());
            }
            *before = Some(None);
            self.may_hold = true;
            let started = Instant::now();
            return match candidate.create().await {
                Ok(lease) => Attempt::Won(Box::new(lease), candidate.term_from(started)),
                Err(error) if error.is(409) => Attempt::Conflict,
                Err(error) => candidate.classify("create", error),
            };
        };
        let holder = found.holder().to_owned();
        let ours = holder == candidate.identity;
        if !ours || before.is_none() {
            *before = Some(found.renewed());
        }
        if ours || holder.is_empty() {
            *observed = None;
        } else {
            let version = &found.metadata.resource_version;
            let since =
                observed.as_ref().filter(|seen| seen.resource_version == *version).map(|seen| seen.since);
            let seen = observed.insert(ObservedLease {
                holder,
                resource_version: version.clone(),
                duration: found.duration().unwrap_or(candidate.timing.lease),
                since: since.unwrap_or(now),
            });
            if seen.lasts_at(now) {
                return Attempt::HeldBy(seen.holder.clone());
            }
        }
        self.may_hold = true;
        let started = Instant::now();
        match candidate.replace(candidate.with_new_holder(found)).await {
            Ok(lease) => Attempt::Won(Box::new(lease), candidate.term_from(started)),
            Err(error) if error.is(409) || error.is(404) => Attempt::Conflict,
            Err(error) => candidate.classify("update", error),
        }
    }

    /// Ends the leadership, then releases the Lease, so that the next process can lead at once. To be called when all
    /// work that only a leader may do has ended. A failure is logged: the Lease expires by itself.
    pub async fn release(&mut self, within: Duration) {
        self.renewals = None;
        if !self.may_hold {
            return;
        }
        match timeout(within, self.candidate.release_lease()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(error = %error.text(), "could not give the Lease up, it runs out by itself");
            }
            Err(_) => warn!("could not give the Lease up in time, it runs out by itself"),
        }
    }
}

/// Outcome of one attempt.
enum Attempt {
    Won(Box<Lease>, Term),
    HeldBy(String),
    /// Another process was faster, or deleted the Lease: the next attempt shows which.
    Conflict,
    Failed(CallError),
    /// The refusal lasts until the rights or the namespace change.
    Refused(ElectionError),
}

/// State that was last logged, so that each state is logged once.
#[derive(PartialEq, Eq)]
enum LastLogged {
    Nothing,
    HeldBy(String),
    Failed,
    Refused,
}

impl Candidate {
    async fn get(&self) -> Result<Option<Lease>, CallError> {
        self.within(self.api.get_opt(LEASE)).await
    }

    async fn create(&self) -> Result<Lease, CallError> {
        let now = MicroTime(self.clock.now());
        let lease = Lease {
            metadata: ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: Some(self.lease_seconds()),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                lease_transitions: Some(0),
                ..LeaseSpec::default()
            }),
        };
        self.within(self.api.create(&PostParams::default(), &lease)).await
    }

    /// Replaces the Lease by compare-and-swap: the API server answers 409 unless the resourceVersion is still the
    /// Lease's.
    async fn replace(&self, lease: Lease) -> Result<Lease, CallError> {
        self.within(self.api.replace(LEASE, &PostParams::default(), &lease)).await
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, CallError> {
        let limit = self.timing.call();
        Ok(timeout(limit, call).await.map_err(|_| CallError::Timeout(limit))??)
    }

    /// Returns the Lease to write when it is taken, or taken once more after a write whose answer was lost.
    fn with_new_holder(&self, found: Lease) -> Lease {
        let ours = found.holder() == self.identity;
        let mut lease = self.renewed(found);
        if !ours {
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = Some(self.identity.clone());
            spec.acquire_time = spec.renew_time.clone();
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        lease
    }

    fn renewed(&self, mut lease: Lease) -> Lease {
        let before = lease.renewed();
        let mut now = self.clock.now();
        // An update that changes nothing gets no new resourceVersion, and other candidates compare only that.
        if before.is_some_and(|before| before.as_microsecond() == now.as_microsecond()) {
            now = now.checked_add(SignedDuration::from_micros(1)).unwrap_or(Timestamp::MIN);
        }
        let spec = lease.spec.get_or_insert_default();
        spec.renew_time = Some(MicroTime(now));
        spec.lease_duration_seconds = Some(self.lease_seconds());
        lease
    }

    /// Releases the Lease if this process holds it. If an earlier write was still in flight, this one gets 409, and
    /// is repeated on the Lease that the earlier one left.
    async fn release_lease(&self) -> Result<(), CallError> {
        loop {
            let Some(found) = self.get().await? else { return Ok(()) };
            if found.holder() != self.identity {
                return Ok(());
            }
            let mut lease = self.renewed(found);
            lease.spec.get_or_insert_default().holder_identity = Some(String::new());
            match self.replace(lease).await {
                Ok(_) => {
                    info!("gave the Lease up");
                    return Ok(());
                }
                Err(error) if error.is(409) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the term that a write gives which started at `started` and succeeded.
    fn term_from(&self, started: Instant) -> Term {
        Term::until(started + self.timing.renew_deadline)
    }

    fn lease_seconds(&self) -> i32 {
        i32::try_from(self.timing.lease.as_secs()).unwrap_or(i32::MAX).max(1)
    }

    /// Distinguishes refusals from transient errors.
    fn classify(&self, verb: &'static str, error: CallError) -> Attempt {
        match error {
            // A missing Lease is created, so that 404 for `create` means that the namespace does not exist.
            CallError::Api(kube::Error::Api(status))
                if status.code == 403 || status.code == 404 && verb == "create" =>
            {
                let reason = status.message.clone();
                Attempt::Refused(ElectionError { namespace: self.namespace.clone(), verb, reason })
            }
            error => Attempt::Failed(error),
        }
    }
}

/// Accessors for the fields of a Lease.
trait LeaseExt {
    /// Returns the holder; empty if there is none.
    fn holder(&self) -> &str;
    fn renewed(&self) -> Option<Timestamp>;
    /// Returns the lease duration; `None` if the Lease has none.
    fn duration(&self) -> Option<Duration>;
}

impl LeaseExt for Lease {
    fn holder(&self) -> &str {
        self.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
    }

    fn renewed(&self) -> Option<Timestamp> {
        self.spec.as_ref()?.renew_time.as_ref().map(|time| time.0)
    }

    fn duration(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.spec.as_ref()?.lease_duration_seconds?).ok()?;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }
}

/// Returns a unique name for this process: `HOSTNAME` (a pod's name), or the host's name, with a random suffix.
pub fn identity() -> String {
    let given = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let host = given
        .or_else(|| hostname::get().ok()?.into_string().ok())
        .unwrap_or_else(|| OPERATOR_NAME.to_owned());
    name_of_process(&host)
}

/// Appends a random suffix to the host's name, which is cut to fit into an Event's `reportingInstance` of at most 128
/// characters.
fn name_of_process(host: &str) -> String {
    let host: String = host.chars().take(100).collect();
    format!("{host}_{}", &uuid::Uuid::new_v4().simple().to_string()[..12])
}
