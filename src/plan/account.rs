//! Accounts: what their Ready condition says, what that means for their resources, when to verify again.

use std::time::Duration;

use jiff::Timestamp;

use super::demand::Shortfall;
use super::pace::{DEFAULT_INTERVAL, LONGEST, PERSON_LONGEST, backoff};
use super::slow_listing::SlowListing;
use super::{Gate, after, since};
use crate::domain::{Class, Failure, Kind, Outcome, Progress, Reason, Truth};

/// So long resources wait for the verification of new credentials: then they say AccountNotReady, or where the account was
/// verified before, judge by their own looks.
const TRIAL: Duration = Duration::from_secs(10);
/// Verifications that resources ask for are so long apart at least.
const ASKED_AGAIN: Duration = Duration::from_secs(10);
/// An account that cannot be reached is tried again after so long at most: it is one call, and all its resources wait for it.
const UNREACHABLE_LONGEST: Duration = Duration::from_secs(30);
/// So long resources that come and go together are awaited before what they ask for is weighed.
const SETTLING: Duration = Duration::from_secs(2);

/// What is known about an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No verification has ended.
    Unknown,
    Verified,
    /// The Secret is missing, or what it holds cannot be a credential.
    CredentialsMissing(String),
    CredentialsRejected(String),
    EndpointNotAllowed(String),
    /// The spec cannot be used.
    Invalid(String),
    EndpointUnreachable(String),
    Throttled(String),
}

/// What the operator remembers of one account.
#[derive(Clone, Debug)]
pub struct AccountMemory {
    pub standing: Standing,
    /// Once verified, passing failures do not reach the account's resources any more.
    pub ever_verified: bool,
    /// When the present credentials and endpoint came to be, as far as this process knows.
    since: Timestamp,
    /// No call with them has ended, so that one call tries them for all resources.
    untried: bool,
    /// When the cloud last accepted its credentials.
    pub last_good: Option<Timestamp>,
    pub failures: u32,
    /// When to verify; `None`: when something changes.
    pub next_verification: Option<Timestamp>,
    /// When a resource last asked for a verification, or when that is to be made.
    asked: Option<Timestamp>,
    /// What the resources ask for beyond the request budget.
    shortfall: Option<Shortfall>,
    /// What makes the interval longer although the budget would suffice.
    slow_listing: Option<SlowListing>,
    /// When that is to be weighed anew, since they have changed.
    weigh_again: Option<Timestamp>,
}

impl AccountMemory {
    /// `verified`: what the stored status says of this very spec.
    pub fn new(verified: bool, now: Timestamp) -> Self {
        Self {
            standing: if verified { Standing::Verified } else { Standing::Unknown },
            ever_verified: verified,
            since: now,
            untried: !verified,
            last_good: verified.then_some(now),
            failures: 0,
            next_verification: (!verified).then_some(now),
            asked: None,
            shortfall: None,
            slow_listing: None,
            weigh_again: None,
        }
    }

    /// A resource asks for a verification: now, or a moment after the last one that was asked for, as its users are not the
    /// account's only ones.
    pub fn ask(&mut self, now: Timestamp) {
        let at = match self.asked {
            Some(asked) if asked > now => asked,
            Some(asked) => after(asked, ASKED_AGAIN).max(now),
            None => now,
        };
        self.asked = Some(at);
        self.next_verification = Some(at);
    }

    /// Whether a verification is due, or one that a resource has asked for is still to come.
    pub fn is_verifying(&self, now: Timestamp) -> bool {
        self.is_due(now) || self.asked.is_some_and(|at| at > now)
    }

    /// The resources have changed: what they ask for is to be weighed anew. Many change together.
    pub fn resources_changed(&mut self, now: Timestamp) -> bool {
        let first = self.weigh_again.is_none();
        self.weigh_again.get_or_insert(after(now, SETTLING));
        first
    }

    /// What the resources ask for beyond the budget, as it is now.
    pub fn weigh(&mut self, shortfall: Option<Shortfall>, now: Timestamp) {
        self.shortfall = shortfall;
        self.weigh_again.take_if(|at| *at <= now);
    }

    /// Backups that cannot be listed as often as the resources ask for, as it is now.
    pub fn listing_takes(&mut self, slow_listing: Option<SlowListing>) {
        self.slow_listing = slow_listing;
    }

    /// The shortest interval that the budget, and the time that listings take, allow for all resources.
    pub fn floor(&self) -> Duration {
        self.budget_floor().max(self.slow_listing.as_ref().map_or(Duration::ZERO, |slow| slow.interval))
    }

    /// The shortest interval that the budget allows for all resources.
    pub fn budget_floor(&self) -> Duration {
        self.shortfall.map_or(Duration::ZERO, |shortfall| shortfall.interval)
    }

    /// What makes the interval as long as it is.
    fn too_small(&self) -> Option<String> {
        match self.shortfall {
            // Then listings take long because they wait for the budget.
            Some(shortfall) => Some(Shortfall { interval: self.floor(), ..shortfall }.to_string()),
            None => self.slow_listing.as_ref().map(ToString::to_string),
        }
    }

    /// Whether the account is to be verified now.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.next_verification.is_some_and(|at| at <= now)
    }

    /// Other credentials or another endpoint: to be verified now. A rejection holds until that has ended.
    pub fn changed(&mut self, now: Timestamp) {
        if !matches!(self.standing, Standing::Verified | Standing::CredentialsRejected(_)) {
            self.standing = Standing::Unknown;
        }
        self.since = now;
        self.untried = true;
        self.failures = 0;
        self.next_verification = Some(now);
    }

    /// Whether the present credentials had time enough to be read and verified.
    pub fn trial_is_over(&self, now: Timestamp) -> bool {
        after(self.since, TRIAL) <= now
    }

    /// Whether the cloud has accepted the present credentials.
    pub fn is_proven(&self) -> bool {
        self.standing == Standing::Verified && !self.untried
    }

    /// Nothing can be sent until the user changes something.
    pub fn blocked(&mut self, standing: Standing) {
        self.standing = standing;
        self.untried = false;
        self.next_verification = None;
    }

    /// A call of the account was accepted, by whichever resource.
    pub fn accepted(&mut self, now: Timestamp) {
        self.standing = Standing::Verified;
        self.untried = false;
        self.ever_verified = true;
        self.last_good = Some(now);
        self.failures = 0;
        self.next_verification = None;
    }

    /// A verification failed, or a resource's call was rejected. `interval`: the shortest one of the account's resources.
    pub fn refused(&mut self, failure: &Failure, interval: Option<Duration>, now: Timestamp, dice: f64) {
        let cause = format!("{}: {}", failure.action, failure.code);
        self.untried = false;
        self.failures = self.failures.saturating_add(1);
        let soon = Some(after(now, backoff(self.failures, Duration::MAX, dice)));
        let person = Some(after(now, interval.unwrap_or(DEFAULT_INTERVAL).min(PERSON_LONGEST)));
        (self.standing, self.next_verification) = match failure.kind {
            Kind::CredentialsRejected if is_of_sts(failure) => {
                (Standing::CredentialsRejected(format!("the role was refused: {cause}")), person)
            }
            // Without the action: whichever call is rejected next, it says the same.
            Kind::CredentialsRejected => {
                let cause = format!("the cloud rejected the credentials: {}", failure.code);
                (Standing::CredentialsRejected(cause), person)
            }
            // Of the account's own calls it proves that the credentials were accepted, and does not come here.
            Kind::InvalidRequest if is_of_sts(failure) => (Standing::Invalid(cause), person),
            // The message is our own: what the rule is, never an address.
            Kind::EndpointNotAllowed => {
                (Standing::EndpointNotAllowed(failure.message.clone().unwrap_or(cause)), person)
            }
            kind if kind.class() == Class::Throttled => (Standing::Throttled(cause), soon),
            // The message is our own: the host, and what happened there.
            Kind::CloudUnavailable => {
                let words = failure.message.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
                let again = backoff(self.failures, UNREACHABLE_LONGEST, dice);
                (Standing::EndpointUnreachable(cause + &words), Some(after(now, again)))
            }
            _ => (Standing::EndpointUnreachable(cause), soon),
        };
    }

    /// While it waits for a person, the account is probed once per shortest interval of its resources, whoever was refused first.
    pub fn probe_within(&mut self, interval: Option<Duration>, now: Timestamp) {
        let waits = matches!(
            self.standing,
            Standing::CredentialsRejected(_) | Standing::EndpointNotAllowed(_) | Standing::Invalid(_)
        );
        if let Some(planned) = self.next_verification.filter(|_| waits) {
            let latest = after(now, interval.unwrap_or(DEFAULT_INTERVAL).min(PERSON_LONGEST));
            self.next_verification = Some(planned.min(latest));
        }
    }

    /// A clock that is set back leaves times that are still to come behind: verifications and the end of a trial would be put
    /// off until then, and what was accepted long ago would count as accepted now.
    pub fn never_ahead_of(&mut self, now: Timestamp) {
        let longest = match self.standing {
            Standing::CredentialsRejected(_) | Standing::EndpointNotAllowed(_) | Standing::Invalid(_) => {
                PERSON_LONGEST
            }
            _ => LONGEST,
        };
        self.next_verification = self.next_verification.map(|at| at.min(after(now, longest)));
        self.weigh_again = self.weigh_again.map(|at| at.min(after(now, SETTLING)));
        self.asked = self.asked.map(|at| at.min(after(now, ASKED_AGAIN)));
        self.since = self.since.min(now);
        self.last_good = self.last_good.map(|good| good.min(now));
    }

    /// When the clock alone makes another visit necessary. `not_before`: nothing can be verified until then.
    pub fn next_visit(
        &self,
        suspended: bool,
        not_before: Option<Timestamp>,
        staleness: Duration,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let due = not_before.or(self.next_verification).filter(|_| !suspended);
        let stale = self.last_good.filter(|_| self.standing != Standing::Verified);
        let stale = stale.map(|good| after(good, staleness)).filter(|at| *at > now);
        let weigh = self.weigh_again.filter(|_| !suspended);
        [due, stale, weigh].into_iter().flatten().min()
    }

    /// What Ready shall say; `None`: what it said before. `staleness`: how long a verified account is believed without a call.
    pub fn outcome(&self, suspended: bool, staleness: Duration, now: Timestamp) -> Option<Outcome> {
        let say = |status, reason, progress, cause: &str| {
            Some(Outcome { status, reason, progress, cause: cause.to_owned(), detail: None })
        };
        if suspended {
            return say(Truth::Unknown, Reason::Suspended, Progress::Settled, "spec.suspend is true");
        }
        let believed = self.ever_verified && self.last_good.is_some_and(|good| since(good, now) < staleness);
        match &self.standing {
            Standing::Unknown => None,
            Standing::Verified => match self.too_small() {
                Some(text) => say(Truth::True, Reason::BudgetTooSmall, Progress::Settled, &text),
                None => say(
                    Truth::True,
                    Reason::CredentialsVerified,
                    Progress::Settled,
                    "the cloud accepted the credentials",
                ),
            },
            Standing::CredentialsMissing(text) => {
                say(Truth::False, Reason::CredentialsMissing, Progress::Reconciling, text)
            }
            Standing::CredentialsRejected(text) => {
                say(Truth::False, Reason::CredentialsRejected, Progress::Stalled, text)
            }
            Standing::EndpointNotAllowed(text) => {
                say(Truth::False, Reason::EndpointNotAllowed, Progress::Stalled, text)
            }
            Standing::Invalid(text) => say(Truth::False, Reason::InvalidRequest, Progress::Stalled, text),
            Standing::EndpointUnreachable(_) | Standing::Throttled(_) if believed => None,
            Standing::EndpointUnreachable(text) => {
                say(Truth::False, Reason::EndpointUnreachable, Progress::Reconciling, text)
            }
            Standing::Throttled(text) => say(Truth::False, Reason::Throttled, Progress::Reconciling, text),
        }
    }

    /// What the account's standing means for its resources. Those of a shared account are told by others than its owners: they
    /// learn what is wrong, but not where its credentials are and which host it names.
    pub fn gate(&self, account: &str, shared: bool, suspended: bool, now: Timestamp) -> Gate {
        let closed = |reason, text: &str| Gate::Closed(reason, format!("{account}: {text}"));
        let own = |reason, text: &str, others: &str| closed(reason, if shared { others } else { text });
        if suspended {
            return closed(Reason::Suspended, "spec.suspend is true");
        }
        let trial_ends = after(self.since, TRIAL);
        match &self.standing {
            Standing::CredentialsMissing(text) => {
                own(Reason::CredentialsMissing, text, "its credentials are missing")
            }
            Standing::CredentialsRejected(text) => closed(Reason::CredentialsRejected, text),
            Standing::EndpointNotAllowed(text) => {
                own(Reason::EndpointNotAllowed, text, "its endpoint is not allowed")
            }
            Standing::Invalid(text) => own(Reason::AccountNotReady, text, "it cannot be used"),
            _ if self.untried && trial_ends > now => Gate::Pending(trial_ends),
            Standing::Verified => Gate::Open,
            _ if self.ever_verified => Gate::Open,
            Standing::EndpointUnreachable(_) => {
                closed(Reason::AccountNotReady, "not verified yet: EndpointUnreachable")
            }
            Standing::Throttled(_) => closed(Reason::AccountNotReady, "not verified yet: Throttled"),
            Standing::Unknown => closed(Reason::AccountNotReady, "not verified yet"),
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
