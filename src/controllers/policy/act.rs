//! Cloud calls of a policy.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::desired::change_of;
use super::{Reconcile, is_current, purpose_of};
use crate::accounts::AccountClient;
use crate::cloud::{Accepted, Priority, SendGuard, SendProgress};
use crate::controllers::Admission;
use crate::controllers::backup_lister::Subscription;
use crate::domain::{Backup, Change, Class, Failure, Kind, PolicyState};
use crate::plan::inventory::{PolicyObservation, PolicySetting};
use crate::plan::memory::MAX_DESCRIBE_AGE;
use crate::plan::polling::backoff;
use crate::plan::{Effect, since};

pub const DESCRIBE: &str = "DescribeCrossRegionBackupPolicy";
pub const MODIFY: &str = "ModifyCrossRegionBackupPolicy";
const REGIONS: &str = "DescribeAvailableCrossRegion";
pub const BACKUPS: &str = "DescribeCrossRegionBackups";

/// Timeout of one attempt to modify, with its retries, from when its first request is sent.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time before the end of the lease at which a Modify is cancelled.
const LEASE_MARGIN: Duration = Duration::from_secs(2);
/// Time that must be left of the lease beyond that to send a Modify: a lease that is renewed in time has more left.
const MIN_LEASE_LEFT: Duration = Duration::from_secs(1);
/// Interval at which a Modify that waits is checked for whether it is still wanted.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Result of an attempt to modify.
pub enum Attempt {
    Accepted(Option<String>),
    Failed(Failure),
    /// The resource, its account or the leadership has changed meanwhile, or the difference to correct was observed too
    /// long ago: a Describe comes first.
    Superseded,
}

impl Reconcile<'_> {
    pub async fn describe(&self, account_client: &AccountClient<'_>) -> Result<PolicyState, Failure> {
        let instance = &self.instance;
        let answer = account_client
            .call(DESCRIBE, |client| async move { client.describe_policy(instance).await })
            .await;
        if let (Ok(state), Some(account)) = (&answer, self.account) {
            let policy = PolicySetting::Active(state.active);
            let now = self.context.clock.now();
            account.record_policy(instance.clone(), PolicyObservation { policy, at: now });
            if change_of(&self.policy.spec).difference(state).is_none() {
                self.context.metrics_state.in_sync(&self.uid, now);
            }
        }
        answer
    }

    /// Returns the regions that the instance can copy to. `wanted`: a target that the answer for another instance may
    /// contain; without it this very instance is asked.
    pub async fn regions(
        &self,
        account_client: &AccountClient<'_>,
        wanted: Option<&str>,
    ) -> Result<Vec<String>, Failure> {
        let instance = &self.instance;
        let ask =
            account_client.call(REGIONS, |client| async move { client.available_regions(instance).await });
        match self.account {
            Some(account) => {
                account.available_regions(instance, wanted, || self.context.clock.now(), ask).await
            }
            None => ask.await,
        }
    }

    pub async fn backups(
        &self,
        account_client: &AccountClient<'_>,
        subscription: Option<&Subscription>,
    ) -> Result<Vec<Backup>, Failure> {
        let instance = &self.instance;
        let account_client = self.for_listing(account_client).await;
        let now = self.context.clock.now();
        let reading = account_client
            .call(BACKUPS, |client| async move { client.instance_backups(instance, now).await })
            .await;
        if let (Ok(backups), Some(subscription)) = (&reading, subscription) {
            subscription.record_own_listing(backups, now);
        }
        reading
    }

    /// Returns a client for a listing. Many pages must not hold up other namespaces: only the first one follows
    /// directly on what the policy did before.
    async fn for_listing<'a>(&self, account_client: &AccountClient<'a>) -> AccountClient<'a> {
        let Some(account) = self.account else { return account_client.clone() };
        let call_context = self.call_context.clone().unwrap_or_else(|| self.caller_of(account));
        let permit = account.budget.acquire(&call_context).await;
        account_client
            .map_context(|call_context| call_context.with_priority(Priority::InProgress).with_permit(permit))
    }

    /// Makes one attempt to modify. All tries have the same ClientToken, since the answer to one that took effect may
    /// have been lost. The timeout counts from the first request: what the attempt waits for before, mostly the request
    /// budget, is no failure. `seen`: time of the Describe that showed the difference.
    pub async fn modify(
        &self,
        account_client: &AccountClient<'_>,
        change: &Change,
        seen: Timestamp,
    ) -> (Attempt, Effect) {
        let guard = Arc::new(self.guard(seen));
        let attempt = self.attempt_within(&guard, account_client, change).await;
        let effect = if guard.progress().may_have_applied { Effect::Possible } else { Effect::None };
        (attempt, effect)
    }

    async fn attempt_within(
        &self,
        guard: &Arc<SendGuard>,
        account_client: &AccountClient<'_>,
        change: &Change,
    ) -> Attempt {
        let token = Uuid::new_v4().to_string();
        let mut account_client =
            account_client.map_context(|call_context| call_context.with_guard(guard.clone()));
        let mut last: Option<Failure> = None;
        let mut tries = 0;
        // A failure is reported only if a request was sent; before that nothing has happened.
        let ended = |last: Option<Failure>| last.map_or(Attempt::Superseded, Attempt::Failed);
        loop {
            while self.is_lease_short() && self.context.leadership.is_current() {
                sleep(RECHECK_INTERVAL / 4).await;
            }
            if !self.is_still_valid() {
                return Attempt::Superseded;
            }
            let answer = tokio::select! {
                biased;
                answer = self.modify_once(&account_client, change, &token) => answer,
                () = self.until_obsolete(guard) => return ended(last),
            };
            let SendProgress { first_sent, refused, .. } = guard.progress();
            let failure = match answer {
                Ok(accepted) => return Attempt::Accepted(accepted.request_id),
                Err(_) if refused => match self.is_still_valid() {
                    true if self.is_lease_short() => continue,
                    true => return ended(last),
                    false => return Attempt::Superseded,
                },
                Err(failure) => failure,
            };
            let Some(first_sent) = first_sent else {
                return match failure.kind.class() {
                    // The next describe reports why the cloud cannot be reached.
                    Class::Transient | Class::Throttled => Attempt::Superseded,
                    Class::NeedsPerson => Attempt::Failed(failure),
                };
            };
            tries += 1;
            let delay = match failure.kind {
                Kind::CloudUnavailable => backoff(tries, ATTEMPT_TIMEOUT, fastrand::f64()),
                // The request budget delays the next try for as long as the cloud has demanded.
                Kind::Throttled => Duration::ZERO,
                _ => return Attempt::Failed(failure),
            };
            let paused = self.account.and_then(|account| account.budget.paused_until());
            let next = (Instant::now() + delay).max(paused.unwrap_or_else(Instant::now));
            if next >= first_sent + ATTEMPT_TIMEOUT {
                return Attempt::Failed(failure);
            }
            last = Some(failure);
            sleep_until(next).await;
            // Repeated failures must not hold up other namespaces.
            account_client =
                account_client.map_context(|call_context| call_context.with_priority(Priority::InProgress));
        }
    }

    async fn modify_once(
        &self,
        account_client: &AccountClient<'_>,
        change: &Change,
        token: &str,
    ) -> Result<Accepted, Failure> {
        let instance = &self.instance;
        account_client
            .call(MODIFY, |client| async move { client.modify_policy(instance, change, token).await })
            .await
    }

    /// Returns once a request that waits to be sent is no longer wanted, or has to wait longer than the policy may go
    /// without a reconcile.
    async fn until_obsolete(&self, guard: &SendGuard) {
        loop {
            sleep(RECHECK_INTERVAL).await;
            let SendProgress { first_sent, in_flight, .. } = guard.progress();
            let is_over = first_sent.is_some_and(|first| first + ATTEMPT_TIMEOUT <= Instant::now());
            let is_paused = self.account.is_some_and(|account| account.budget.paused_until().is_some());
            if !in_flight && (is_over || is_paused || !self.is_still_valid()) {
                return;
            }
        }
    }

    /// Returns the guard of an attempt. Right before each request it checks that this process leads for long enough,
    /// that the resource still wants the change, and that a Describe has shown the difference just now. It ends a
    /// request in flight at the timeout of the attempt, however often the lease is renewed meanwhile, and before the
    /// lease ends.
    fn guard(&self, seen: Timestamp) -> SendGuard {
        let is_still_valid = self.validity_check();
        let (leadership, clock) = (self.context.leadership.clone(), self.context.clock.clone());
        let term = leadership.clone();
        SendGuard::new(
            move || {
                let lasts = leadership.safe_until() >= Instant::now() + LEASE_MARGIN + MIN_LEASE_LEFT;
                lasts && since(seen, clock.now()) <= MAX_DESCRIBE_AGE && is_still_valid()
            },
            move |first_sent| {
                let term = term.clone();
                async move {
                    tokio::select! {
                        biased;
                        () = term.ends_within(LEASE_MARGIN) => {}
                        () = sleep_until(first_sent + ATTEMPT_TIMEOUT) => {}
                    }
                }
                .boxed()
            },
        )
    }

    fn is_lease_short(&self) -> bool {
        self.context.leadership.safe_until() < Instant::now() + LEASE_MARGIN + MIN_LEASE_LEFT
    }

    fn is_still_valid(&self) -> bool {
        self.validity_check()()
    }

    /// Returns a check whether the resource is still the one that this reconcile began with and may use its account,
    /// and this process still leads.
    fn validity_check(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let (context, policy, uid) = (self.context.clone(), self.policy.clone(), self.uid.clone());
        let watched = self.watched.clone();
        let (key, namespace) = (self.key.clone(), self.namespace.clone());
        let account = self.account.map(|account| account.uid.clone());
        move || {
            let admission = context.admission(&key, &namespace, purpose_of(&context, &policy.spec));
            let is_active = |uid: &String| context.accounts.is_active(&key, uid);
            is_current(&context, &policy, &uid, &watched)
                && !matches!(admission, Admission::Denied(_))
                && account.as_ref().is_none_or(is_active)
        }
    }
}
