//! From what an account names to the credentials that sign its calls: a Secret's, or temporary ones of a role, which are renewed
//! before they end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::account::{Account, MadeFrom, lock};
use super::accounts::Accounts;
use super::reach::just_changed;
use super::recipe::{Recipe, Role, Source};
use crate::api::account::SecretRef;
use crate::cloud::{Client, ClientConfig, Credentials, Issued, RoleRequest, Sts, StsConfig};
use crate::cluster::secrets;
use crate::domain::{Failure, Kind};
use crate::plan::pace::backoff;
use crate::telemetry::urls::said;

/// Temporary credentials are renewed after this part of their lifetime at the earliest, and after `LATEST` of it at the latest: by
/// chance, so that accounts that were made together do not ask together.
const EARLIEST: f64 = 0.6;
const LATEST: f64 = 0.8;
/// A renewal that fails in passing is tried again after so long at most.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A refusal is believed so long: those who ask at the same time get the same answer.
const BELIEVED: Duration = Duration::from_secs(1);

/// Why there are no credentials.
#[derive(Clone)]
pub enum NoCredentials {
    /// Secret, key or token file are missing, or the value cannot be a credential: what to tell the account's owner.
    Missing {
        text: String,
        /// The Secret itself is not there.
        gone: bool,
    },
    /// The API server did not give the Secret, or the spec is another one by now: to be tried again.
    Unreadable(String),
    /// The cloud's STS gave none.
    Refused(Failure),
}

/// Why credentials are asked for.
pub enum Why<'a> {
    /// What is held may do.
    Due,
    /// A person wants it tried now.
    Asked,
    /// The cloud does not accept these.
    Rejected(&'a Credentials),
}

/// Credentials, and what they were made from.
pub struct Obtained {
    credentials: Credentials,
    made_from: MadeFrom,
    /// Of the Secret's key id, not of a temporary one.
    hint: Option<String>,
    /// When the Secret was last changed, as the API server noted it.
    secret_changed: Option<Timestamp>,
    /// When they end.
    pub expires: Option<Instant>,
    /// When to ask again.
    pub again: Option<Instant>,
}

/// The temporary credentials of an account.
#[derive(Default)]
pub struct Temporary {
    /// What they depend on, and the fingerprint of the key that they were asked for with.
    basis: Option<(String, [u8; 32])>,
    /// The latest spec that they were asked for by.
    generation: i64,
    current: Option<Current>,
    failures: u32,
    /// The last refusal, and until when it stands.
    refused: Option<(Failure, Instant)>,
}

#[derive(Clone)]
struct Current {
    credentials: Credentials,
    renew: Instant,
    expires: Instant,
}

impl Accounts {
    /// The credentials that a recipe leads to. Only one exchange with the STS is under way at a time for an account; one that fails
    /// keeps what is held, while that lasts.
    ///
    /// # Errors
    /// There are none.
    pub async fn obtain(
        &self,
        account: &Account,
        recipe: &Recipe,
        why: Why<'_>,
    ) -> Result<Obtained, NoCredentials> {
        if let Why::Rejected(rejected) = &why {
            let mut held = account.temporary.lock().await;
            held.current.take_if(|current| current.credentials.fingerprint() == rejected.fingerprint());
        }
        let (key, secret_changed) = match &recipe.source {
            Source::Secret { namespace, reference } => {
                let (key, changed) = self.read_key(namespace, reference).await?;
                (Some(key), changed)
            }
            Source::Identity(_) => (None, None),
        };
        let source = key.as_ref().map(Credentials::fingerprint).unwrap_or_default();
        let made_from = MadeFrom { generation: recipe.generation, source };
        let hint = key.as_ref().and_then(Credentials::access_key_id_hint);
        if let (Some(credentials), false) = (&key, recipe.is_temporary()) {
            let credentials = credentials.clone();
            return Ok(Obtained { credentials, made_from, hint, secret_changed, expires: None, again: None });
        }
        let mut held = account.temporary.lock().await;
        let renewed = self.renewed(&mut held, account, recipe, key, &made_from, why).await;
        let (current, again) = renewed.inspect_err(|_| {
            // A client that is left has signed with what was rejected, has ended, or is of another Secret or spec.
            self.update(account, |change| change.end(&made_from));
        })?;
        Ok(Obtained {
            credentials: current.credentials,
            made_from,
            hint,
            secret_changed,
            expires: Some(current.expires),
            again: Some(again),
        })
    }

    /// What is held, or better, and when to ask again.
    async fn renewed(
        &self,
        held: &mut Temporary,
        account: &Account,
        recipe: &Recipe,
        key: Option<Credentials>,
        made_from: &MadeFrom,
        why: Why<'_>,
    ) -> Result<(Current, Instant), NoCredentials> {
        if lock(&account.state).is_later(held.generation, made_from.generation) {
            return Err(NoCredentials::Unreadable("the spec has changed meanwhile".to_owned()));
        }
        held.generation = made_from.generation;
        let basis = Some((recipe.basis(), made_from.source));
        if held.basis != basis {
            // A pause of the STS is for whatever is asked.
            let refused = held.refused.take().filter(|(failure, _)| failure.kind == Kind::Throttled);
            *held = Temporary { basis, generation: made_from.generation, refused, ..Temporary::default() };
        }
        let now = Instant::now();
        let valid = held.current.clone().filter(|current| current.expires > now);
        if let Some(current) = valid.as_ref().filter(|current| current.renew > now) {
            return Ok((current.clone(), current.renew));
        }
        // Who waited for the end of a pause would hold up everything else about the account.
        let paused = account.sts_budget.paused_until().filter(|until| *until > now);
        if let Some((failure, until)) = &held.refused
            && (paused.is_some() || *until > now && !matches!(why, Why::Asked))
        {
            let until = paused.map_or(*until, |paused| paused.max(*until));
            return valid.map(|v| (v, until)).ok_or(NoCredentials::Refused(failure.clone()));
        }
        let no_credentials = match self.exchange(account, recipe, key).await {
            Ok(issued) => {
                let current = Current::of(issued);
                held.current = Some(current.clone());
                (held.failures, held.refused) = (0, None);
                let renew = current.renew;
                return Ok((current, renew));
            }
            Err(no_credentials) => no_credentials,
        };
        held.failures = held.failures.saturating_add(1);
        let pause = backoff(held.failures, RETRY_MAX, fastrand::f64()).max(BELIEVED);
        let until = Instant::now() + pause;
        let why = match &no_credentials {
            NoCredentials::Refused(failure) => {
                let believed = if failure.kind == Kind::CloudUnavailable { pause } else { BELIEVED };
                held.refused = Some((failure.clone(), Instant::now() + believed));
                format!("{}: {}", failure.action, failure.code)
            }
            NoCredentials::Missing { text, .. } => text.clone(),
            NoCredentials::Unreadable(error) => error.clone(),
        };
        // Whether they ended meanwhile is asked anew: an exchange may take long.
        let valid = valid.filter(|current| current.expires > Instant::now());
        if valid.is_some() {
            tracing::warn!(account = %account.key, %why, "temporary credentials could not be renewed yet");
        }
        valid.map(|valid| (valid, until)).ok_or(no_credentials)
    }

    /// Asks the STS: for the identity's role where there is no key, then for the role that is assumed.
    async fn exchange(
        &self,
        account: &Account,
        recipe: &Recipe,
        key: Option<Credentials>,
    ) -> Result<Issued, NoCredentials> {
        let refused = NoCredentials::Refused;
        let Some(endpoint) = recipe.sts.clone() else {
            return Err(missing("spec.credentials has neither secretRef nor workloadIdentity".to_owned()));
        };
        let sts = Sts::new(StsConfig {
            endpoint,
            region: recipe.region.clone(),
            transport: self.means.transport.clone(),
            budget: account.sts_budget.clone(),
            clock: self.means.clock.clone(),
            timeout: recipe.timeout,
        });
        let mut issued = None;
        if let Source::Identity(identity) = &recipe.source {
            let token = identity.token().await.map_err(missing)?;
            let provider = identity.provider_id.as_deref();
            issued = Some(
                sts.with_web_identity(&token, &request(&identity.role), provider).await.map_err(refused)?,
            );
        }
        let signer = issued.as_ref().map(|issued| issued.credentials.clone()).or(key);
        match (&recipe.assume, signer) {
            (Some(role), Some(signer)) => {
                let external_id = role.external_id.as_deref();
                sts.assume_role(&signer, &request(role), external_id).await.map_err(refused)
            }
            _ => issued.ok_or_else(|| missing("spec has no role".to_owned())),
        }
    }

    /// The key pair in a Secret, with its token where it has one; and when the Secret was last changed.
    async fn read_key(
        &self,
        namespace: &str,
        reference: &SecretRef,
    ) -> Result<(Credentials, Option<Timestamp>), NoCredentials> {
        let secret = self
            .means
            .secrets
            .read(namespace, &reference.name)
            .await
            .map_err(|error| NoCredentials::Unreadable(said(&error)))?
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
        let credentials = Credentials::new(
            id.expose_secret(),
            secret_key.expose_secret(),
            token.as_ref().map(ExposeSecret::expose_secret),
        );
        Ok((credentials, secret.changed()))
    }

    /// Gives the account's client these credentials; it is made anew, and is to be verified, where it was made from something
    /// else so far.
    pub fn supply(&self, account: &Account, recipe: &Recipe, obtained: Obtained) {
        let Obtained { credentials, made_from, hint, secret_changed, expires, .. } = obtained;
        self.update(account, |change| {
            if change.is_made_from_later(&made_from) {
                return;
            }
            change.keep(recipe.clone(), secret_changed);
            change.describe(hint, expires);
            if change.signs_with(&made_from, &credentials) {
                return;
            }
            let client = Client::new(ClientConfig {
                site: recipe.site,
                credentials,
                endpoint: recipe.endpoint.clone(),
                transport: self.means.transport.clone(),
                budget: account.budget.clone(),
                clock: self.means.clock.clone(),
                timeout: recipe.timeout,
                time_zone: recipe.time_zone,
                sizes: account.sizes.clone(),
            });
            if change.state.made_from.as_ref() != Some(&made_from) {
                // Its spec may name other hosts.
                account.budget.outages().clear();
            }
            change.renew(client, made_from, self.means.clock.now());
        });
    }

    /// The account's client with credentials that have not ended. `None`: nothing is known of the account yet.
    ///
    /// # Errors
    /// The temporary credentials have ended, and there are no others.
    pub(super) async fn client(&self, account: &Account) -> Result<Option<Client>, Failure> {
        if let Some(client) = account.live_client() {
            return Ok(Some(client));
        }
        let Some(recipe) = account.recipe() else { return Ok(None) };
        match self.obtain(account, &recipe, Why::Due).await {
            Ok(obtained) => {
                self.supply(account, &recipe, obtained);
                // Its spec may have changed meanwhile: its controller has the last word.
                self.wake(&account.key);
                Ok(account.live_client())
            }
            Err(NoCredentials::Refused(failure)) => {
                self.refused(account, &failure);
                Err(failure)
            }
            // Its controller tells what is missing.
            Err(_) => {
                self.wake(&account.key);
                Ok(None)
            }
        }
    }

    /// The cloud rejected the credentials: they are read again, or others are asked for, before anything is reported. Where
    /// many calls are rejected at once, what began after a call's rejection serves that call too. `None`: there is nothing
    /// else to be had.
    ///
    /// # Errors
    /// The STS gave no others.
    pub(super) async fn read_again(
        &self,
        account: &Account,
        rejected: &Credentials,
    ) -> Result<Option<Client>, Failure> {
        let begun = account.readings.load(Ordering::Acquire);
        let _reading = account.reading.lock().await;
        if account.readings.load(Ordering::Acquire) != begun {
            return self.client(account).await;
        }
        account.readings.fetch_add(1, Ordering::AcqRel);
        let Some(recipe) = account.recipe() else { return Ok(None) };
        match self.obtain(account, &recipe, Why::Rejected(rejected)).await {
            Ok(obtained) => {
                self.supply(account, &recipe, obtained);
                // Its spec may have changed while the Secret was read: its controller has the last word.
                self.wake(&account.key);
                Ok(account.live_client())
            }
            Err(NoCredentials::Refused(failure)) => {
                self.refused(account, &failure);
                Err(failure)
            }
            // Whether there are others is not known yet, and these are not to be reported.
            Err(NoCredentials::Unreadable(_)) if recipe.is_temporary() => Err(just_changed("AssumeRole")),
            Err(_) => Ok(None),
        }
    }
}

impl Current {
    fn of(issued: Issued) -> Self {
        let now = Instant::now();
        let part = EARLIEST + (LATEST - EARLIEST) * fastrand::f64();
        Self {
            credentials: issued.credentials,
            renew: now + issued.valid_for.mul_f64(part),
            expires: now + issued.valid_for,
        }
    }
}

fn request(role: &Role) -> RoleRequest {
    RoleRequest { role: role.role.clone(), session_name: role.session_name.clone(), duration: role.duration }
}

fn missing(text: String) -> NoCredentials {
    NoCredentials::Missing { text, gone: false }
}

#[cfg(test)]
#[path = "supply_tests.rs"]
mod tests;
