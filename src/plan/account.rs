//! Accounts: their Ready condition, their readiness for resources, and the schedule of verifications.

use std::time::Duration;

use jiff::Timestamp;

use super::demand::QuotaShortfall;
use super::polling::{DEFAULT_INTERVAL, MAX_BACKOFF, NEEDS_PERSON_MAX_INTERVAL, backoff};
use super::slow_listing::SlowListing;
use super::{AccountReadiness, after, conditions, since};
use crate::domain::{Class, ConditionStatus, Failure, Kind, Outcome, Progress, Reason};

/// How long resources wait for the verification of new credentials. After that they report AccountNotReady or, if the
/// account was verified before, rely on their own describes.
const CREDENTIALS_TRIAL: Duration = Duration::from_secs(10);
/// Minimum distance between verifications that resources request.
const REQUESTED_VERIFICATION_SPACING: Duration = Duration::from_secs(10);
/// Maximum backoff of an unreachable account: a verification is one call, and all resources of the account wait for it.
const UNREACHABLE_MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Debounce of resource changes before the quota demand is recomputed.
const DEMAND_DEBOUNCE: Duration = Duration::from_secs(2);

/// Verification state of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerificationState {
    /// No verification has completed.
    Unknown,
    Verified,
    /// The Secret is missing, or its content cannot be a credential.
    CredentialsMissing(String),
    CredentialsRejected(String),
    EndpointNotAllowed(String),
    /// The spec cannot be used.
    Invalid(String),
    EndpointUnreachable(String),
    Throttled(String),
}

/// In-memory state of one account.
#[derive(Clone, Debug)]
pub struct AccountMemory {
    pub verification: VerificationState,
    /// Once verified, transient failures no longer affect the account's resources.
    pub ever_verified: bool,
    /// Time of the last change of credentials or endpoint, as far as this process knows.
    since: Timestamp,
    /// No call with the present credentials has completed. One call then tries them for all resources.
    untried: bool,
    /// Time at which the cloud last accepted the credentials.
    pub last_good: Option<Timestamp>,
    pub failures: u32,
    /// Time of the next verification; `None`: after the next change.
    pub next_verification: Option<Timestamp>,
    /// Time of the last verification that a resource requested, or of the next one if it is pending.
    requested_at: Option<Timestamp>,
    /// Demand beyond the request budget.
    shortfall: Option<QuotaShortfall>,
    /// Reason for a longer interval although the budget would suffice.
    slow_listing: Option<SlowListing>,
    /// Time at which the demand is recomputed after a change of the resources.
    demand_due: Option<Timestamp>,
}

impl AccountMemory {
    /// `verified`: whether the stored status reports this very spec as verified.
    pub fn new(verified: bool, now: Timestamp) -> Self {
        Self {
            verification: if verified { VerificationState::Verified } else { VerificationState::Unknown },
            ever_verified: verified,
            since: now,
            untried: !verified,
            last_good: verified.then_some(now),
            failures: 0,
            next_verification: (!verified).then_some(now),
            requested_at: None,
            shortfall: None,
            slow_listing: None,
            demand_due: None,
        }
    }

    /// Schedules a verification that a resource requests: now, or `REQUESTED_VERIFICATION_SPACING` after the previous
    /// requested one, since other users share the account.
    pub fn request_verification(&mut self, now: Timestamp) {
        let at = match self.requested_at {
            Some(requested_at) if requested_at > now => requested_at,
            Some(requested_at) => after(requested_at, REQUESTED_VERIFICATION_SPACING).max(now),
            None => now,
        };
        self.requested_at = Some(at);
        self.next_verification = Some(at);
    }

    /// Whether a verification is due, or a requested one is pending.
    pub fn is_verifying(&self, now: Timestamp) -> bool {
        self.is_due(now) || self.requested_at.is_some_and(|at| at > now)
    }

    /// Schedules a recomputation of the demand, debounced since many resources change together. Returns whether none
    /// was scheduled.
    pub fn resources_changed(&mut self, now: Timestamp) -> bool {
        let first = self.demand_due.is_none();
        self.demand_due.get_or_insert(after(now, DEMAND_DEBOUNCE));
        first
    }

    /// Sets the present demand beyond the budget.
    pub fn set_shortfall(&mut self, shortfall: Option<QuotaShortfall>, now: Timestamp) {
        self.shortfall = shortfall;
        self.demand_due.take_if(|at| *at <= now);
    }

    /// Sets the region whose backups cannot be listed as often as requested.
    pub fn set_slow_listing(&mut self, slow_listing: Option<SlowListing>) {
        self.slow_listing = slow_listing;
    }

    /// Returns the shortest interval that the budget and the duration of listings allow for all resources.
    pub fn min_interval(&self) -> Duration {
        self.budget_min_interval()
            .max(self.slow_listing.as_ref().map_or(Duration::ZERO, |slow| slow.interval))
    }

    /// Returns the shortest interval that the budget allows for all resources.
    pub fn budget_min_interval(&self) -> Duration {
        self.shortfall.map_or(Duration::ZERO, |shortfall| shortfall.interval)
    }

    /// Returns the explanation of a prolonged interval.
    fn interval_reason(&self) -> Option<String> {
        match self.shortfall {
            // Listings are slow because they wait for the budget.
            Some(shortfall) => {
                Some(QuotaShortfall { interval: self.min_interval(), ..shortfall }.to_string())
            }
            None => self.slow_listing.as_ref().map(ToString::to_string),
        }
    }

    /// Whether a verification is due.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.next_verification.is_some_and(|at| at <= now)
    }

    /// Makes a verification due for new credentials or another endpoint. A rejection holds until it completes.
    pub fn changed(&mut self, now: Timestamp) {
        if !matches!(
            self.verification,
            VerificationState::Verified | VerificationState::CredentialsRejected(_)
        ) {
            self.verification = VerificationState::Unknown;
        }
        self.since = now;
        self.untried = true;
        self.failures = 0;
        self.next_verification = Some(now);
    }

    /// Whether the present credentials have had enough time to be read and verified.
    pub fn trial_is_over(&self, now: Timestamp) -> bool {
        after(self.since, CREDENTIALS_TRIAL) <= now
    }

    /// Whether the cloud has accepted the present credentials.
    pub fn is_proven(&self) -> bool {
        self.verification == VerificationState::Verified && !self.untried
    }

    /// Blocks the account until the user changes something.
    pub fn blocked(&mut self, verification: VerificationState) {
        self.verification = verification;
        self.untried = false;
        self.next_verification = None;
    }

    /// Records an accepted call of the account, by any resource.
    pub fn accepted(&mut self, now: Timestamp) {
        self.verification = VerificationState::Verified;
        self.untried = false;
        self.ever_verified = true;
        self.last_good = Some(now);
        self.failures = 0;
        self.next_verification = None;
    }

    /// Records a failed verification, or a rejected call of a resource. `interval`: the shortest one of the account's
    /// resources.
    pub fn refused(&mut self, failure: &Failure, interval: Option<Duration>, now: Timestamp, jitter: f64) {
        let cause = format!("{}: {}", failure.action, failure.code);
        self.untried = false;
        self.failures = self.failures.saturating_add(1);
        let soon = Some(after(now, backoff(self.failures, Duration::MAX, jitter)));
        let person = Some(after(now, interval.unwrap_or(DEFAULT_INTERVAL).min(NEEDS_PERSON_MAX_INTERVAL)));
        (self.verification, self.next_verification) = match failure.kind {
            Kind::CredentialsRejected if is_of_sts(failure) => {
                (VerificationState::CredentialsRejected(format!("the role was refused: {cause}")), person)
            }
            // No action in the message: it must not change with the call that is rejected next.
            Kind::CredentialsRejected => {
                let cause = format!("the cloud rejected the credentials: {}", failure.code);
                (VerificationState::CredentialsRejected(cause), person)
            }
            // InvalidRequest to the account's own calls proves that the credentials were accepted, and is not passed
            // here.
            Kind::InvalidRequest if is_of_sts(failure) => (VerificationState::Invalid(cause), person),
            // The message is our own and names the rule, never an address.
            Kind::EndpointNotAllowed => {
                (VerificationState::EndpointNotAllowed(failure.message.clone().unwrap_or(cause)), person)
            }
            kind if kind.class() == Class::Throttled => (VerificationState::Throttled(cause), soon),
            // The message is our own and names the host and the error.
            Kind::CloudUnavailable => {
                let words = failure.message.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
                let again = backoff(self.failures, UNREACHABLE_MAX_BACKOFF, jitter);
                (VerificationState::EndpointUnreachable(cause + &words), Some(after(now, again)))
            }
            _ => (VerificationState::EndpointUnreachable(cause), soon),
        };
    }

    /// Limits the probe interval of an account that needs a person to the shortest interval of its resources.
    pub fn limit_probe_interval(&mut self, interval: Option<Duration>, now: Timestamp) {
        let waits = matches!(
            self.verification,
            VerificationState::CredentialsRejected(_)
                | VerificationState::EndpointNotAllowed(_)
                | VerificationState::Invalid(_)
        );
        if let Some(planned) = self.next_verification.filter(|_| waits) {
            let latest = after(now, interval.unwrap_or(DEFAULT_INTERVAL).min(NEEDS_PERSON_MAX_INTERVAL));
            self.next_verification = Some(planned.min(latest));
        }
    }

    /// Clamps timestamps to a clock that was set back. Otherwise verifications and the end of the trial would be
    /// postponed, and old acceptances would count as new.
    pub fn clamp_to_clock(&mut self, now: Timestamp) {
        let longest = match self.verification {
            VerificationState::CredentialsRejected(_)
            | VerificationState::EndpointNotAllowed(_)
            | VerificationState::Invalid(_) => NEEDS_PERSON_MAX_INTERVAL,
            _ => MAX_BACKOFF,
        };
        self.next_verification = self.next_verification.map(|at| at.min(after(now, longest)));
        self.demand_due = self.demand_due.map(|at| at.min(after(now, DEMAND_DEBOUNCE)));
        self.requested_at = self.requested_at.map(|at| at.min(after(now, REQUESTED_VERIFICATION_SPACING)));
        self.since = self.since.min(now);
        self.last_good = self.last_good.map(|good| good.min(now));
    }

    /// Returns the next time at which the clock alone requires a reconcile. `not_before`: earliest possible
    /// verification.
    pub fn next_reconcile(
        &self,
        suspended: bool,
        not_before: Option<Timestamp>,
        staleness: Duration,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let due = not_before.or(self.next_verification).filter(|_| !suspended);
        let stale = self.last_good.filter(|_| self.verification != VerificationState::Verified);
        let stale = stale.map(|good| after(good, staleness)).filter(|at| *at > now);
        let set_shortfall = self.demand_due.filter(|_| !suspended);
        [due, stale, set_shortfall].into_iter().flatten().min()
    }

    /// Returns the Ready outcome; `None`: keep the stored one. `staleness`: how long a verified account stays Ready
    /// without an accepted call.
    pub fn outcome(&self, suspended: bool, staleness: Duration, now: Timestamp) -> Option<Outcome> {
        let say = |status, reason, progress, cause: &str| {
            Some(Outcome { status, reason, progress, cause: cause.to_owned(), detail: None })
        };
        if suspended {
            return Some(conditions::closed(Reason::Suspended, "spec.suspend is true"));
        }
        let believed = self.ever_verified && self.last_good.is_some_and(|good| since(good, now) < staleness);
        match &self.verification {
            VerificationState::Unknown => None,
            VerificationState::Verified => match self.interval_reason() {
                Some(text) => say(ConditionStatus::True, Reason::BudgetTooSmall, Progress::Settled, &text),
                None => say(
                    ConditionStatus::True,
                    Reason::CredentialsVerified,
                    Progress::Settled,
                    "the cloud accepted the credentials",
                ),
            },
            VerificationState::CredentialsMissing(text) => {
                say(ConditionStatus::False, Reason::CredentialsMissing, Progress::Reconciling, text)
            }
            VerificationState::CredentialsRejected(text) => {
                say(ConditionStatus::False, Reason::CredentialsRejected, Progress::Stalled, text)
            }
            VerificationState::EndpointNotAllowed(text) => {
                say(ConditionStatus::False, Reason::EndpointNotAllowed, Progress::Stalled, text)
            }
            VerificationState::Invalid(text) => {
                say(ConditionStatus::False, Reason::InvalidRequest, Progress::Stalled, text)
            }
            VerificationState::EndpointUnreachable(_) | VerificationState::Throttled(_) if believed => None,
            VerificationState::EndpointUnreachable(text) => {
                say(ConditionStatus::False, Reason::EndpointUnreachable, Progress::Reconciling, text)
            }
            VerificationState::Throttled(text) => {
                say(ConditionStatus::False, Reason::Throttled, Progress::Reconciling, text)
            }
        }
    }

    /// Returns the account's readiness for its resources. Resources of a shared account belong to other tenants: their
    /// message gives the error, but neither the location of the credentials nor the host.
    pub fn readiness(
        &self,
        account: &str,
        shared: bool,
        suspended: bool,
        now: Timestamp,
    ) -> AccountReadiness {
        let closed = |reason, text: &str| AccountReadiness::Closed(reason, format!("{account}: {text}"));
        let own = |reason, text: &str, others: &str| closed(reason, if shared { others } else { text });
        if suspended {
            return closed(Reason::Suspended, "spec.suspend is true");
        }
        let trial_ends = after(self.since, CREDENTIALS_TRIAL);
        match &self.verification {
            VerificationState::CredentialsMissing(text) => {
                own(Reason::CredentialsMissing, text, "its credentials are missing")
            }
            VerificationState::CredentialsRejected(text) => closed(Reason::CredentialsRejected, text),
            VerificationState::EndpointNotAllowed(text) => {
                own(Reason::EndpointNotAllowed, text, "its endpoint is not allowed")
            }
            VerificationState::Invalid(text) => own(Reason::AccountNotReady, text, "it cannot be used"),
            _ if self.untried && trial_ends > now => AccountReadiness::Pending(trial_ends),
            VerificationState::Verified => AccountReadiness::Open,
            _ if self.ever_verified => AccountReadiness::Open,
            VerificationState::EndpointUnreachable(_) => {
                closed(Reason::AccountNotReady, "not verified yet: EndpointUnreachable")
            }
            VerificationState::Throttled(_) => closed(Reason::AccountNotReady, "not verified yet: Throttled"),
            VerificationState::Unknown => closed(Reason::AccountNotReady, "not verified yet"),
        }
    }
}

/// Whether the call was one for temporary credentials: AssumeRole, AssumeRoleWithOIDC, AssumeRoleWithWebIdentity.
fn is_of_sts(failure: &Failure) -> bool {
    failure.action.starts_with("AssumeRole")
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
