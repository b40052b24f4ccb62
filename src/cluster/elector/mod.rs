//! Leader election on a Lease, by client-go's rules, with every doubt resolved against being the leader.
//!
//! The Lease changes hands by compare-and-swap on its resourceVersion alone. Whether a rival's Lease has run out is judged by how long
//! this very process has seen it unchanged on its own monotonic clock; the wall-clock times in it are for people to read.
//! A leader's own term ends [`Timing::renew_deadline`] after the *start* of its last successful renewal, hence before any
//! rival can see the Lease run out. No Lease is a fence: a call in flight outlives the term that it began in.
//!
//! A candidate looks at the Lease each second, and has no watch on it: a watch can fall silent without an end, so that looks at a
//! pace would be needed all the same, and it would take one verb more in the Role. A look a second is a small read of one object.

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

use super::{MANAGER, answered, cause};
use crate::clock::Clock;

/// The Lease's name.
pub const LEASE: &str = MANAGER;

/// The lengths of an election; `renew < renew_deadline < lease`.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long the others wait after they saw the Lease change.
    pub lease: Duration,
    /// How long a leader holds itself to be one after the start of its last successful renewal.
    pub renew_deadline: Duration,
    /// Between the starts of successful renewals.
    pub renew: Duration,
    /// Between tries: of a candidate to take the Lease, of a leader to renew after a failure. A Lease that was given up is taken
    /// within it, and its new holder works within 2 s.
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
    /// The longest wait for one answer, so that a leader that renews half-way has two tries left.
    fn call(&self) -> Duration {
        self.renew_deadline / 4
    }
}

/// How long a Lease may be refused after the start before that is an error. An API server that has just started refuses everything
/// until it has read its roles, and manifests that are applied together bring the operator before its rights.
const REFUSED: Duration = Duration::from_secs(30);

/// A Lease that was refused since the start.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} the Lease {LEASE} in namespace {namespace}: {reason}")]
pub struct ElectionError {
    pub namespace: String,
    /// As in a Role: `get`, `create` or `update`.
    pub verb: &'static str,
    /// The API server's words.
    pub reason: String,
}

/// Takes part in the election; while it lives and leads, it renews the Lease. Dropping it ends the leadership at once, but
/// leaves the Lease to run out; [`Elector::release`] gives it up.
pub struct Elector {
    candidate: Candidate,
    /// Whether the Lease may carry our name: a write whose answer was lost may have been made.
    wrote: bool,
    /// Whether the Lease was ever had, or seen in another's hands: a later refusal may pass.
    permitted: bool,
    renewals: Option<Renewals>,
}

/// What both the taking and the renewing of the Lease need.
#[derive(Clone)]
struct Candidate {
    api: Api<Lease>,
    namespace: String,
    identity: String,
    timing: Timing,
    clock: Clock,
}

/// A rival's Lease as this process saw it last.
struct Sighting {
    holder: String,
    resource_version: Option<String>,
    /// How long it lasts, as it says.
    duration: Duration,
    /// When this process saw it so for the first time.
    since: Instant,
}

impl Sighting {
    fn lasts_at(&self, now: Instant) -> bool {
        now.duration_since(self.since) < self.duration
    }
}

/// A call to the API server that brought nothing.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl CallError {
    fn is(&self, code: u16) -> bool {
        matches!(self, CallError::Api(error) if answered(error, code))
    }

    /// For the log.
    fn text(&self) -> String {
        cause(self)
    }
}

impl Elector {
    /// A candidate by the name of `identity`, which no other process may have; see [`identity`].
    /// `client` must not retry by itself: a retry inside of it would outlast the term.
    pub fn new(client: kube::Client, namespace: &str, identity: String, timing: Timing) -> Self {
        let candidate = Candidate {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            identity,
            timing,
            clock: Clock::system(),
        };
        Self { candidate, wrote: false, permitted: false, renewals: None }
    }

    /// Takes the times that are written into the Lease from `clock`.
    #[cfg(test)]
    fn with_clock(mut self, clock: Clock) -> Self {
        self.candidate.clock = clock;
        self
    }

    /// Waits until this process leads, however long that takes, and then renews in the background.
    /// An earlier leadership of this elector ends. Cancelling it is safe; a Lease won meanwhile is freed by [`Elector::release`].
    ///
    /// # Errors
    /// Where from the start on, for 30 s, the API server forbids a verb on the Lease, or the namespace does not exist or is being
    /// deleted. Everything else is logged, once until it changes, and tried again.
    pub async fn acquire(&mut self) -> Result<Leadership, ElectionError> {
        if let Some(renewals) = self.renewals.take() {
            renewals.end().await;
        }
        let mut rival: Option<Sighting> = None;
        let mut before: Option<Option<Timestamp>> = None;
        let mut refused: Option<Instant> = None;
        let mut logged = Logged::Nothing;
        loop {
            let attempt = self.attempt(&mut rival, &mut before).await;
            if !matches!(attempt, Attempt::Refused(_)) {
                refused = None;
            }
            match attempt {
                Attempt::Won(lease, term) => {
                    self.permitted = true;
                    info!(identity = self.candidate.identity, "leading");
                    let (renewals, term) = Renewals::start(self.candidate.clone(), *lease, term);
                    self.renewals = Some(renewals);
                    return Ok(Leadership::new(term, before.flatten()));
                }
                Attempt::HeldBy(holder) => {
                    self.permitted = true;
                    let state = Logged::HeldBy(holder.clone());
                    if state != logged {
                        info!(holder, "standing by for the Lease");
                        logged = state;
                    }
                }
                Attempt::Overtaken => {}
                Attempt::Failed(error) => {
                    if logged != Logged::Failed {
                        warn!(error = %error.text(), "could not reach the Lease, trying on");
                        logged = Logged::Failed;
                    }
                }
                Attempt::Refused(error) => {
                    let since = *refused.get_or_insert_with(Instant::now);
                    if !self.permitted && since.elapsed() >= REFUSED {
                        return Err(error);
                    }
                    if logged != Logged::Refused {
                        warn!(%error, "refused the Lease, trying on");
                        logged = Logged::Refused;
                    }
                }
            }
            sleep(self.candidate.timing.retry).await;
        }
    }

    /// One look at the Lease, and one try to take it where it is free.
    /// `before` keeps the renewTime that the Lease had before any write of ours.
    async fn attempt(
        &mut self,
        rival: &mut Option<Sighting>,
        before: &mut Option<Option<Timestamp>>,
    ) -> Attempt {
        let candidate = &self.candidate;
        let found = match candidate.get().await {
            Ok(found) => found,
            Err(error) => return candidate.judge("get", error),
        };
        let now = Instant::now();
        let Some(found) = found else {
            // Somebody has deleted it: its holder may lead on until it looks again.
            if let Some(seen) = rival.as_ref().filter(|seen| seen.lasts_at(now)) {
                return Attempt::HeldBy(seen.holder.clone());
            }
            *before = Some(None);
            self.wrote = true;
            let started = Instant::now();
            return match candidate.create().await {
                Ok(lease) => Attempt::Won(Box::new(lease), candidate.term_from(started)),
                Err(error) if error.is(409) => Attempt::Overtaken,
                Err(error) => candidate.judge("create", error),
            };
        };
        let holder = found.holder().to_owned();
        let ours = holder == candidate.identity;
        if !ours || before.is_none() {
            *before = Some(found.renewed());
        }
        if ours || holder.is_empty() {
            *rival = None;
        } else {
            let version = &found.metadata.resource_version;
            let since =
                rival.as_ref().filter(|seen| seen.resource_version == *version).map(|seen| seen.since);
            let seen = rival.insert(Sighting {
                holder,
                resource_version: version.clone(),
                duration: found.duration().unwrap_or(candidate.timing.lease),
                since: since.unwrap_or(now),
            });
            if seen.lasts_at(now) {
                return Attempt::HeldBy(seen.holder.clone());
            }
        }
        self.wrote = true;
        let started = Instant::now();
        match candidate.replace(candidate.taken(found)).await {
            Ok(lease) => Attempt::Won(Box::new(lease), candidate.term_from(started)),
            Err(error) if error.is(409) || error.is(404) => Attempt::Overtaken,
            Err(error) => candidate.judge("update", error),
        }
    }

    /// Ends the leadership, then gives the Lease up, so that the next process starts at once.
    /// Call it when all that only a leader may do has ended. A failure is logged: the Lease runs out by itself.
    pub async fn release(&mut self, within: Duration) {
        self.renewals = None;
        if !self.wrote {
            return;
        }
        match timeout(within, self.candidate.give_up()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(error = %error.text(), "could not give the Lease up, it runs out by itself");
            }
            Err(_) => warn!("could not give the Lease up in time, it runs out by itself"),
        }
    }
}

/// What came of one look at the Lease.
enum Attempt {
    Won(Box<Lease>, Term),
    HeldBy(String),
    /// Someone was faster, or has deleted it: the next look tells.
    Overtaken,
    Failed(CallError),
    /// In a way that only a change of rights or of the namespace heals.
    Refused(ElectionError),
}

/// What the log says of the Lease, so that it says it once.
#[derive(PartialEq, Eq)]
enum Logged {
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

    /// A compare-and-swap: the API server refuses it with 409 unless the resourceVersion is still the Lease's.
    async fn replace(&self, lease: Lease) -> Result<Lease, CallError> {
        self.within(self.api.replace(LEASE, &PostParams::default(), &lease)).await
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, CallError> {
        let limit = self.timing.call();
        Ok(timeout(limit, call).await.map_err(|_| CallError::Timeout(limit))??)
    }

    /// What the Lease becomes when it is taken, or taken once more after a write whose answer was lost.
    fn taken(&self, found: Lease) -> Lease {
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
        // The API server gives no new resourceVersion to an update that changes nothing, and rivals look at that alone.
        if before.is_some_and(|before| before.as_microsecond() == now.as_microsecond()) {
            now = now.checked_add(SignedDuration::from_micros(1)).unwrap_or(Timestamp::MIN);
        }
        let spec = lease.spec.get_or_insert_default();
        spec.renew_time = Some(MicroTime(now));
        spec.lease_duration_seconds = Some(self.lease_seconds());
        lease
    }

    /// Frees the Lease if it is ours. A write of ours that was still under way is answered by 409 here, then once more by what it left.
    async fn give_up(&self) -> Result<(), CallError> {
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

    /// The term that a write begun at `started` gives, if it succeeded.
    fn term_from(&self, started: Instant) -> Term {
        Term::until(started + self.timing.renew_deadline)
    }

    fn lease_seconds(&self) -> i32 {
        i32::try_from(self.timing.lease.as_secs()).unwrap_or(i32::MAX).max(1)
    }

    /// Tells errors that heal by themselves from those that do not.
    fn judge(&self, verb: &'static str, error: CallError) -> Attempt {
        match error {
            // A Lease that is not there is created; 404 for that means that the namespace is not there.
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

/// How a Lease is read.
trait LeaseExt {
    /// Empty where nobody holds it.
    fn holder(&self) -> &str;
    fn renewed(&self) -> Option<Timestamp>;
    /// `None` where the Lease tells none.
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

/// A name for this process, and no other: `HOSTNAME` (a pod's name), else the host's, with a random suffix.
pub fn identity() -> String {
    let given = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let host =
        given.or_else(|| hostname::get().ok()?.into_string().ok()).unwrap_or_else(|| MANAGER.to_owned());
    name_of_process(&host)
}

/// Cut so that it fits into an Event's `reportingInstance` of at most 128 characters.
fn name_of_process(host: &str) -> String {
    let host: String = host.chars().take(100).collect();
    format!("{host}_{}", &uuid::Uuid::new_v4().simple().to_string()[..12])
}
