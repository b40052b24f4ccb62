//! Calls to a cloud through an account's client; a call is repeated with credentials read again if the cloud rejects
//! them.

use std::future::Future;

use futures::future::join_all;
use tokio::time::Instant;

use super::account::Account;
use super::registry::Accounts;
use crate::cloud::{BackupPage, CallContext, Client, PageRequest, Reachability, is_invalid_request};
use crate::domain::{Failure, Kind};

/// Maximum number of times that a call reads a Secret again: a key that was rotated in after a rejection can itself
/// be revoked when it is used.
const MAX_SECRET_REREADS: usize = 2;

/// Client of an account for the calls of a resource.
#[derive(Clone)]
pub enum AccountClient<'a> {
    /// Client of a known account.
    Account(&'a Accounts, &'a Account, CallContext),
    /// Last client of a deleted account; the flag is set for a shared account.
    LastSeen(Client, bool, CallContext),
}

impl AccountClient<'_> {
    /// Returns the same client with a changed call context.
    pub fn map_context(&self, change: impl FnOnce(CallContext) -> CallContext) -> Self {
        let mut account_client = self.clone();
        let (AccountClient::Account(_, _, call_context) | AccountClient::LastSeen(_, _, call_context)) =
            &mut account_client;
        *call_context = change(std::mem::take(call_context));
        account_client
    }

    /// Makes a call for a resource, and records in the account whether the cloud accepted its credentials.
    ///
    /// # Errors
    /// The cloud's refusal, or the reason why there was no answer; for a shared account without the text that only
    /// its owner may see.
    pub async fn call<T, F>(&self, action: &'static str, op: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let shared = match self {
            AccountClient::Account(_, account, _) => account.key.is_shared(),
            AccountClient::LastSeen(_, shared, _) => *shared,
        };
        self.call_as_owner(action, op).await.map_err(|failure| hide_owner_message(failure, shared))
    }

    /// Makes a call for the account itself.
    ///
    /// # Errors
    /// As [`AccountClient::call`], with the whole text.
    pub async fn call_as_owner<T, F>(
        &self,
        action: &'static str,
        op: impl Fn(Client) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let (accounts, account, call_context) = match self {
            AccountClient::Account(accounts, account, call_context) => (accounts, account, call_context),
            AccountClient::LastSeen(client, _, call_context) => {
                return op(client.with_context(call_context.clone())).await;
            }
        };
        let Some(client) = accounts.client(account).await? else { return Err(account_just_changed(action)) };
        let (mut client, mut answer) = (client.clone(), op(client.with_context(call_context.clone())).await);
        let is_rejected =
            |answer: &Result<T, Failure>| matches!(answer, Err(f) if f.kind == Kind::CredentialsRejected);
        for _ in 0..MAX_SECRET_REREADS {
            if !is_rejected(&answer) {
                break;
            }
            let before = client.credentials().fingerprint();
            client = accounts.replace_rejected(account, client.credentials()).await?.unwrap_or(client);
            answer = op(client.with_context(call_context.clone())).await;
            if client.credentials().fingerprint() == before || account.is_temporary() {
                break;
            }
        }
        match account.budget.outages().take_change() {
            Reachability::Unchanged => {}
            Reachability::Lost => accounts.trigger_account(&account.key),
            Reachability::Regained => accounts.host_reachable_again(account),
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

    /// Whether the cloud's throttling has held calls back at any time since `since`.
    pub fn was_paused_since(&self, since: Instant) -> bool {
        match self {
            AccountClient::Account(_, account, _) => account.budget.was_paused_since(since),
            AccountClient::LastSeen(..) => false,
        }
    }

    /// Makes these page requests concurrently; returns each of them with its answer.
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

/// Removes the cloud's message from a failure of a shared account: it may name things such as the role, which the
/// account's users must not see. Messages of the operator itself are kept.
fn hide_owner_message(failure: Failure, shared: bool) -> Failure {
    let fine = !shared || is_invalid_request(&failure) || failure.kind == Kind::EndpointNotAllowed;
    Failure { message: failure.message.filter(|_| fine), ..failure }
}

/// Returns the failure of a call through an account that cannot be used any more, or not yet; the controller of the
/// account or of the resource reports why.
pub fn account_just_changed(action: &'static str) -> Failure {
    Failure::new(Kind::CloudUnavailable, action, "the account has just changed")
}
