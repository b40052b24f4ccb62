//! Calls through an account: with its client, and once more with credentials read again where the cloud rejects them.

use std::future::Future;

use futures::future::join_all;
use tokio::time::Instant;

use super::account::Account;
use super::accounts::Accounts;
use crate::cloud::{BackupPage, Caller, Client, PageRequest, Reachability, is_not_sent};
use crate::domain::{Failure, Kind};

/// How often a call reads a Secret again: a key that was rotated while it was rejected can itself be gone when it is used.
const READ_AGAIN: usize = 2;

/// How a resource's calls reach the cloud.
#[derive(Clone)]
pub enum Reached<'a> {
    /// Through its account, on a resource's behalf.
    Account(&'a Accounts, &'a Account, Caller),
    /// With the credentials last seen of an account that is gone, and whether that was a shared one.
    LastSeen(Client, bool, Caller),
}

impl Reached<'_> {
    /// The same way for another caller.
    pub fn for_caller(&self, change: impl FnOnce(Caller) -> Caller) -> Self {
        let mut reached = self.clone();
        let (Reached::Account(_, _, caller) | Reached::LastSeen(_, _, caller)) = &mut reached;
        *caller = change(std::mem::take(caller));
        reached
    }

    /// Makes a call on a resource's behalf, and tells the account what the answer says about its credentials.
    ///
    /// # Errors
    /// The cloud's refusal, or why there was no answer; of a shared account without what is its owner's to know.
    pub async fn call<T, F>(&self, action: &'static str, op: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let shared = match self {
            Reached::Account(_, account, _) => account.key.is_shared(),
            Reached::LastSeen(_, shared, _) => *shared,
        };
        self.call_as_owner(action, op).await.map_err(|failure| told(failure, shared))
    }

    /// The same on behalf of the account itself.
    ///
    /// # Errors
    /// The same, whole.
    pub async fn call_as_owner<T, F>(
        &self,
        action: &'static str,
        op: impl Fn(Client) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let (accounts, account, caller) = match self {
            Reached::Account(accounts, account, caller) => (accounts, account, caller),
            Reached::LastSeen(client, _, caller) => return op(client.on_behalf_of(caller.clone())).await,
        };
        let Some(client) = accounts.client(account).await? else { return Err(just_changed(action)) };
        let (mut client, mut answer) = (client.clone(), op(client.on_behalf_of(caller.clone())).await);
        let is_rejected =
            |answer: &Result<T, Failure>| matches!(answer, Err(f) if f.kind == Kind::CredentialsRejected);
        for _ in 0..READ_AGAIN {
            if !is_rejected(&answer) {
                break;
            }
            let before = client.credentials().fingerprint();
            client = accounts.read_again(account, client.credentials()).await?.unwrap_or(client);
            answer = op(client.on_behalf_of(caller.clone())).await;
            if client.credentials().fingerprint() == before || account.is_temporary() {
                break;
            }
        }
        match account.budget.outages().news() {
            Reachability::Same => {}
            Reachability::Lost => accounts.wake(&account.key),
            Reachability::Regained => accounts.reconnected(account),
        }
        match &answer {
            Ok(_) => accounts.accepted(account, client.credentials()),
            Err(failure) if client.proves_credentials(failure) => {
                accounts.accepted(account, client.credentials());
            }
            Err(failure) => accounts.rejected(account, client.credentials(), failure),
        }
        answer
    }

    /// Whether the cloud's throttling has held calls back at any time since then.
    pub fn was_paused_since(&self, since: Instant) -> bool {
        match self {
            Reached::Account(_, account, _) => account.budget.was_paused_since(since),
            Reached::LastSeen(..) => false,
        }
    }

    /// Makes these requests of a listing at the same time, each with its answer.
    pub async fn backups_pages(
        &self,
        requests: Vec<PageRequest>,
    ) -> Vec<(PageRequest, Result<BackupPage, Failure>)> {
        let asked = requests.into_iter().map(|request| async {
            let answer = self
                .call(request.action(), |client| {
                    let request = request.clone();
                    async move { client.backups_page(&request).await }
                })
                .await;
            (request, answer)
        });
        join_all(asked).await
    }
}

/// What the cloud says of a shared account, such as its role, is not for those who only use it. Our own words may be shown.
fn told(failure: Failure, shared: bool) -> Failure {
    let fine = !shared || is_not_sent(&failure) || failure.kind == Kind::EndpointNotAllowed;
    Failure { message: failure.message.filter(|_| fine), ..failure }
}

/// The account cannot be used any more, or not yet, by whoever calls; its controller, or the resource's own, tells why.
pub fn just_changed(action: &'static str) -> Failure {
    Failure::new(Kind::CloudUnavailable, action, "the account has just changed")
}
