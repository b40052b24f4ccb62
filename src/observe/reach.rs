//! Calls through an account: with its client, and once more with credentials read again where the cloud rejects them.

use std::future::Future;

use super::accounts::{Account, Accounts};
use crate::cloud::Client;
use crate::domain::{Failure, Kind};

/// How a resource's calls reach the cloud.
#[derive(Clone)]
pub enum Reached<'a> {
    /// Through its account.
    Account(&'a Accounts, &'a Account),
    /// With the credentials last seen of an account that is gone.
    LastSeen(Client),
}

impl Reached<'_> {
    /// Makes a call, and tells the account what the answer says about its credentials.
    ///
    /// # Errors
    /// The cloud's refusal, or why there was no answer.
    pub async fn call<T, F>(&self, action: &'static str, op: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let (accounts, account) = match self {
            Reached::Account(accounts, account) => (accounts, account),
            Reached::LastSeen(client) => return op(client.clone()).await,
        };
        let Some(client) = account.client() else {
            return Err(no_client(action));
        };
        let (client, answer) = match op(client.clone()).await {
            Err(failure) if failure.kind == Kind::CredentialsRejected => {
                let again = accounts.read_again(account).await.unwrap_or(client);
                let answer = op(again.clone()).await;
                (again, answer)
            }
            answer => (client, answer),
        };
        match &answer {
            Ok(_) => accounts.accepted(account, client.credentials()),
            Err(failure) if client.proves_credentials(failure) => {
                accounts.accepted(account, client.credentials());
            }
            Err(failure) => accounts.rejected(account, client.credentials(), failure),
        }
        answer
    }
}

fn no_client(action: &'static str) -> Failure {
    Failure {
        kind: Kind::CloudUnavailable,
        action,
        code: "the account has just changed".to_owned(),
        message: None,
        request_id: None,
        retry_after: None,
    }
}
