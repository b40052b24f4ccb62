//! From an account's spec and its Secret to a client.

use std::time::Duration;

use jiff::tz::Offset;
use secrecy::ExposeSecret;

use super::accounts::{Account, Accounts, MadeFrom};
use crate::api::account::{CloudAccount, Provider, SecretRef, TencentSite};
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
    time_zone: Offset,
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
        Provider::Tencent => "Tencent",
    }
}

/// Where an account is verified.
pub fn home_region(account: &CloudAccount) -> &str {
    account.spec.region.as_deref().unwrap_or_else(|| account.spec.provider.default_region())
}

/// The offset that the schema allows, such as `+08:00`; Beijing's for what is none.
fn offset(text: &str) -> Offset {
    let minutes = |text: &str| -> Option<i32> {
        let (hours, minutes) = text.split_once(':')?;
        Some(hours.parse::<i32>().ok()? * 60 + minutes.parse::<i32>().ok()?)
    };
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let seconds = text.get(1..).and_then(minutes).map(|minutes| sign * minutes * 60);
    seconds.and_then(|s| Offset::from_seconds(s).ok()).unwrap_or(Offset::constant(8))
}

impl Accounts {
    /// Reads an account's spec.
    ///
    /// # Errors
    /// The endpoint rule refuses `spec.endpoint`.
    pub fn recipe(&self, account: &CloudAccount, namespace: &str) -> Result<Recipe, NotAllowed> {
        let tencent = account.spec.tencent.clone().unwrap_or_default();
        let site = match (account.spec.provider, tencent.site) {
            (Provider::Volcengine, _) => Site::Volcengine,
            (Provider::BytePlus, _) => Site::BytePlus,
            (Provider::Tencent, TencentSite::China) => Site::Tencent,
            (Provider::Tencent, TencentSite::International) => Site::TencentInternational,
        };
        Ok(Recipe {
            generation: account.metadata.generation.unwrap_or_default(),
            namespace: namespace.to_owned(),
            secret: account.spec.credentials.secret_ref.clone(),
            site,
            endpoint: self.rule.endpoint(site, account.spec.endpoint.as_deref())?,
            timeout: duration::parse(&account.spec.request_timeout).unwrap_or(Duration::from_secs(10)),
            time_zone: offset(&tencent.time_zone),
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
                time_zone: recipe.time_zone,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_as_the_schema_allows_them() {
        for (text, seconds) in
            [("+08:00", 28_800), ("-03:30", -12_600), ("+00:00", 0), ("-12:00", -43_200), ("+14:00", 50_400)]
        {
            assert_eq!(offset(text).seconds(), seconds, "{text}");
        }
    }
}
