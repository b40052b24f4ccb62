//! From an account's spec and its Secret to a client.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::accounts::{Account, Accounts, MadeFrom};
use crate::api::account::{CloudAccount, Provider, SecretRef};
use crate::api::duration;
use crate::cloud::{Client, ClientConfig, Credentials, Endpoint, NotAllowed, Site};
use crate::cluster::secrets;

/// Everything that a client is made from, but the credentials.
#[derive(Clone)]
pub struct Recipe {
    pub generation: i64,
    namespace: String,
    secret: SecretRef,
    site: Site,
    endpoint: Endpoint,
    timeout: Duration,
}

/// Why there are no credentials.
pub enum NoCredentials {
    /// The Secret or one of its keys is missing, or its value cannot be a credential: what to tell the user.
    Missing {
        text: String,
        /// The Secret itself is not there.
        gone: bool,
    },
    /// The API server did not give it: to be tried again.
    Unreadable(String),
}

/// The word for a provider in logs, and in what rivals compare.
pub fn provider_name(provider: Provider) -> &'static str {
    match provider {
        Provider::Volcengine => "Volcengine",
        Provider::BytePlus => "BytePlus",
    }
}

/// Where an account is verified.
pub fn home_region(account: &CloudAccount) -> &str {
    account.spec.region.as_deref().unwrap_or_else(|| account.spec.provider.default_region())
}

impl Accounts {
    /// Reads an account's spec.
    ///
    /// # Errors
    /// The endpoint rule refuses `spec.endpoint`.
    pub fn recipe(&self, account: &CloudAccount, namespace: &str) -> Result<Recipe, NotAllowed> {
        let site = match account.spec.provider {
            Provider::Volcengine => Site::Volcengine,
            Provider::BytePlus => Site::BytePlus,
        };
        Ok(Recipe {
            generation: account.metadata.generation.unwrap_or_default(),
            namespace: namespace.to_owned(),
            secret: account.spec.credentials.secret_ref.clone(),
            site,
            endpoint: self.rule.endpoint(site, account.spec.endpoint.as_deref())?,
            timeout: duration::parse(&account.spec.request_timeout).unwrap_or(Duration::from_secs(10)),
        })
    }

    /// Reads the Secret that a recipe names.
    ///
    /// # Errors
    /// There is none, it cannot be used, or it could not be read.
    pub async fn credentials(&self, recipe: &Recipe) -> Result<Credentials, NoCredentials> {
        let reference = &recipe.secret;
        let missing = |text: String| NoCredentials::Missing { text, gone: false };
        let secret = secrets::read_secret(&self.kube, &recipe.namespace, &reference.name)
            .await
            .map_err(|error| NoCredentials::Unreadable(error.to_string()))?
            .ok_or_else(|| NoCredentials::Missing {
                text: format!("Secret {} does not exist", reference.name),
                gone: true,
            })?;
        let value = |key: &str| secrets::credential(&secret, key).map_err(|bad| missing(bad.to_string()));
        let required = |key: &str| {
            value(key)?.ok_or_else(|| missing(format!("Secret {} has no key {key}", reference.name)))
        };
        let id = required(&reference.access_key_id_key)?;
        let secret_key = required(&reference.secret_access_key_key)?;
        let token = value(&reference.session_token_key)?;
        Ok(Credentials::new(
            id.expose_secret(),
            secret_key.expose_secret(),
            token.as_ref().map(ExposeSecret::expose_secret),
        ))
    }

    /// Makes the account's client out of these, where it was made from something else so far.
    pub fn supply(&self, account: &Account, recipe: &Recipe, credentials: Credentials) {
        let made_from = MadeFrom { generation: recipe.generation, credentials: credentials.fingerprint() };
        self.update(account, |change| {
            change.keep(recipe.clone());
            if change.is_made_from(&made_from) {
                return;
            }
            let client = Client::new(ClientConfig {
                site: recipe.site,
                credentials,
                endpoint: recipe.endpoint.clone(),
                transport: self.transport.clone(),
                budget: account.budget.clone(),
                clock: self.clock.clone(),
                timeout: recipe.timeout,
            });
            change.renew(client, made_from, self.clock.now());
        });
    }

    /// The cloud rejected the credentials: they are read again before anything is reported.
    pub(super) async fn read_again(&self, account: &Account) -> Option<Client> {
        let recipe = account.recipe()?;
        let credentials = self.credentials(&recipe).await.ok()?;
        self.supply(account, &recipe, credentials);
        // Its spec may have changed while the Secret was read: its controller has the last word.
        self.wake(&account.key);
        account.client()
    }
}
