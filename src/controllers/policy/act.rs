//! The calls that a policy makes.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::Turn;
use super::desired::change_of;
use crate::cloud::Accepted;
use crate::controllers::Admission;
use crate::controllers::rounds::Seat;
use crate::domain::{Backup, Change, Failure, Kind, PolicyState};
use crate::observe::{Account, Reached};
use crate::plan::inventory::{PolicyKnowledge, PolicyTold};
use crate::plan::pace::backoff;

pub const DESCRIBE: &str = "DescribeCrossRegionBackupPolicy";
pub const MODIFY: &str = "ModifyCrossRegionBackupPolicy";
const REGIONS: &str = "DescribeAvailableCrossRegion";
pub const BACKUPS: &str = "DescribeCrossRegionBackups";

/// One attempt to modify, with its retries, takes no longer.
const ATTEMPT: Duration = Duration::from_secs(30);
/// A Modify ends so long before the lease does.
const BEFORE_LEASE_END: Duration = Duration::from_secs(2);

/// How an attempt to modify ended.
pub enum Attempt {
    Accepted(Option<String>),
    Failed(Failure),
    /// The resource or the leadership changed under it: a Describe comes first.
    Superseded,
}

impl Turn<'_> {
    pub async fn describe(&self, reached: &Reached<'_>) -> Result<PolicyState, Failure> {
        let instance = &self.instance;
        let answer =
            reached.call(DESCRIBE, |client| async move { client.describe_policy(instance).await }).await;
        if let (Ok(state), Some(account)) = (&answer, self.account) {
            let policy = PolicyTold::Active(state.active);
            let now = self.context.clock.now();
            account.note_policy(instance.clone(), PolicyKnowledge { policy, at: now });
            if change_of(&self.policy.spec).difference(state).is_none() {
                self.context.noted.in_sync(&self.uid, now);
            }
        }
        answer
    }

    /// `wanted`: a target that another instance's answer may name; without it this very instance is asked.
    pub async fn regions(&self, reached: &Reached<'_>, wanted: Option<&str>) -> Result<Vec<String>, Failure> {
        let instance = &self.instance;
        let ask = reached.call(REGIONS, |client| async move { client.available_regions(instance).await });
        match self.account {
            Some(account) => {
                account.available_regions(instance, wanted, || self.context.clock.now(), ask).await
            }
            None => ask.await,
        }
    }

    pub async fn backups(&self, reached: &Reached<'_>, seat: Option<&Seat>) -> Result<Vec<Backup>, Failure> {
        let instance = &self.instance;
        let now = self.context.clock.now();
        let reading =
            reached.call(BACKUPS, |client| async move { client.instance_backups(instance, now).await }).await;
        if let (Ok(backups), Some(seat)) = (&reading, seat) {
            seat.has_read(backups, now);
        }
        reading
    }

    /// One attempt: the same ClientToken for each try, since the answer to one that took effect may have been lost.
    pub async fn modify(&self, reached: &Reached<'_>, change: &Change) -> Attempt {
        let token = Uuid::new_v4().to_string();
        let lease = self.context.leadership.safe_until();
        let lease_end = lease.checked_sub(BEFORE_LEASE_END).unwrap_or(lease);
        let deadline = (Instant::now() + ATTEMPT).min(lease_end);
        let mut tries = 0;
        loop {
            if !self.still_holds() {
                return Attempt::Superseded;
            }
            let failure = match timeout_at(deadline, self.modify_once(reached, change, &token)).await {
                Ok(Ok(accepted)) => return Attempt::Accepted(accepted.request_id),
                Ok(Err(failure)) => failure,
                Err(_) => return Attempt::Failed(no_answer()),
            };
            tries += 1;
            let delay = match failure.kind {
                Kind::CloudUnavailable => backoff(tries, ATTEMPT, fastrand::f64()),
                // The account's budget holds the next try back as long as the cloud asked for.
                Kind::Throttled => Duration::ZERO,
                _ => return Attempt::Failed(failure),
            };
            let paused = self.account.and_then(|account| account.budget.paused_until());
            let next = (Instant::now() + delay).max(paused.unwrap_or_else(Instant::now));
            if next >= deadline {
                return Attempt::Failed(failure);
            }
            sleep(next.saturating_duration_since(Instant::now())).await;
        }
    }

    async fn modify_once(
        &self,
        reached: &Reached<'_>,
        change: &Change,
        token: &str,
    ) -> Result<Accepted, Failure> {
        let instance = &self.instance;
        reached
            .call(MODIFY, |client| async move { client.modify_policy(instance, change, token).await })
            .await
    }

    /// Whether the resource is still the one that this turn began with and may use its account, and this process still leads.
    fn still_holds(&self) -> bool {
        let purpose = self.purpose();
        let admission = self.context.admission(&self.key, &self.namespace, purpose);
        let serves = |account: &Account| self.context.accounts.serves(&self.key, &account.uid);
        self.is_current() && !matches!(admission, Admission::Denied(_)) && self.account.is_none_or(serves)
    }
}

fn no_answer() -> Failure {
    Failure {
        kind: Kind::CloudUnavailable,
        action: MODIFY,
        code: "timeout".to_owned(),
        message: None,
        request_id: None,
        retry_after: None,
    }
}
