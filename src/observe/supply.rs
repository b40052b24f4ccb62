//! Credentials provider: obtains the credentials that sign an account's calls, either a Secret's or temporary ones of
//! a role, which are renewed before they expire.

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

/// Earliest renewal of temporary credentials, as a fraction of their lifetime; [`LATEST`] is the latest one. The time
/// in between is random, so that accounts that were created together do not renew together.
const EARLIEST: f64 = 0.6;
const LATEST: f64 = 0.8;
/// Maximum delay before a renewal is retried that failed for a transient reason.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long a refusal is cached: concurrent callers get the same answer.
const BELIEVED: Duration = Duration::from_secs(1);

/// Reason why there are no credentials.
#[derive(Clone)]
pub enum NoCredentials {
    /// Secret, key or token file are missing, or the value cannot be a credential; `text` is for the account's owner.
    Missing {
        text: String,
        /// The Secret itself does not exist.
        gone: bool,
    },
    /// The API server did not return the Secret, or the spec has changed since; a retry may help.
    Unreadable(String),
    /// The cloud's STS issued none.
    Refused(Failure),
}

/// Reason why credentials are requested.
pub enum Why<'a> {
    /// Regular use: the present credentials will do if they are valid.
    Due,
    /// A person requests an attempt now.
    Asked,
    /// The cloud rejects these credentials.
    Rejected(&'a Credentials),
}

/// Credentials and their origin.
pub struct Obtained {
    credentials: Credentials,
    made_from: MadeFrom,
    /// Hint at the Secret's key id, not at a temporary one.
    hint: Option<String>,
    /// Time of the Secret's last change, as recorded by the API server.
    secret_changed: Option<Timestamp>,
    /// Expiry of the credentials.
    pub expires: Option<Instant>,
    /// Time of the next renewal.
    pub again: Option<Instant>,
}

/// Temporary credentials of an account.
#[derive(Default)]
pub struct Temporary {
    /// Parameters that the credentials depend on, and the fingerprint of the key that signed the request for them.
    basis: Option<(String, [u8; 32])>,
    /// Latest generation of the spec that requested them.
    generation: i64,
    current: Option<Current>,
    failures: u32,
    /// Last refusal, and until when it is cached.
    refused: Option<(Failure, Instant)>,
}

#[derive(Clone)]
struct Current {
    credentials: Credentials,
    renew: Instant,
    expires: Instant,
}

impl Accounts {
    /// Obtains the credentials that a `ClientSpec` leads to. Only one exchange with the STS runs at a time for an
    /// account; if it fails, the present credentials stay in use until they expire.
    ///
    /// # Errors
    /// There are no credentials.
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
            // A remaining client signs with rejected or expired credentials, or is of another Secret or spec.
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

    /// Returns the present or the renewed credentials, and the time of the next renewal.
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
            // A throttling pause of the STS holds for every request.
            let refused = held.refused.take().filter(|(failure, _)| failure.kind == Kind::Throttled);
            *held = Temporary { basis, generation: made_from.generation, refused, ..Temporary::default() };
        }
        let now = Instant::now();
        let valid = held.current.clone().filter(|current| current.expires > now);
        if let Some(current) = valid.as_ref().filter(|current| current.renew > now) {
            return Ok((current.clone(), current.renew));
        }
        // Waiting for the end of a pause would hold up everything else about the account.
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
        // Checked again, as the exchange may have taken longer than the credentials were valid.
        let valid = valid.filter(|current| current.expires > Instant::now());
        if valid.is_some() {
            tracing::warn!(account = %account.key, %why, "temporary credentials could not be renewed yet");
        }
        valid.map(|valid| (valid, until)).ok_or(no_credentials)
    }

    /// Requests credentials from the STS: for the identity's role if there is no key, then for the role to assume.
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

    /// Reads the key pair in a Secret, with its session token if there is one, and the time of the Secret's last
    /// change.
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

    /// Makes the account's client with these credentials, unless it has them already. A client that was made from
    /// other inputs so far has to be verified.
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
                // The new spec may name other hosts.
                account.budget.outages().clear();
            }
            change.renew(client, made_from, self.means.clock.now());
        });
    }

    /// Returns the account's client with unexpired credentials; `None` if there is no spec yet, or if the credentials
    /// are missing or cannot be read.
    ///
    /// # Errors
    /// The temporary credentials have expired, and there are no others.
    pub(super) async fn client(&self, account: &Account) -> Result<Option<Client>, Failure> {
        if let Some(client) = account.live_client() {
            return Ok(Some(client));
        }
        let Some(recipe) = account.recipe() else { return Ok(None) };
        match self.obtain(account, &recipe, Why::Due).await {
            Ok(obtained) => {
                self.supply(account, &recipe, obtained);
                // The spec may have changed meanwhile: the account's controller has to check that.
                self.wake(&account.key);
                Ok(account.live_client())
            }
            Err(NoCredentials::Refused(failure)) => {
                self.refused(account, &failure);
                Err(failure)
            }
            // The account's controller reports what is missing.
            Err(_) => {
                self.wake(&account.key);
                Ok(None)
            }
        }
    }

    /// Replaces rejected credentials before anything is reported: reads them again, or requests others. Where many
    /// calls are rejected at once, a read that began after a call's rejection serves that call too. Returns `None` if
    /// there are no others.
    ///
    /// # Errors
    /// The STS issued no others.
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
                // The spec may have changed while the Secret was read: the account's controller has to check that.
                self.wake(&account.key);
                Ok(account.live_client())
            }
            Err(NoCredentials::Refused(failure)) => {
                self.refused(account, &failure);
                Err(failure)
            }
            // There may be other credentials, so that the rejection of these is not reported yet.
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
