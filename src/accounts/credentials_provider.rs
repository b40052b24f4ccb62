//! Credentials provider: obtains the credentials that sign an account's calls, either a Secret's or temporary ones of
//! a role, which are renewed before they expire.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::account::{Account, ClientInputs, lock};
use super::account_client::account_just_changed;
use super::client_spec::{ClientSpec, Role, Source};
use super::registry::Accounts;
use crate::api::account::SecretRef;
use crate::cloud::{Client, ClientConfig, Credentials, RoleRequest, Sts, StsConfig, TemporaryCredentials};
use crate::cluster::secrets;
use crate::domain::{Failure, Kind};
use crate::plan::polling::backoff;
use crate::telemetry::scrub::message_with_causes;

/// Earliest renewal of temporary credentials, as a fraction of their lifetime; [`RENEW_LATEST`] is the latest one. The time
/// in between is random, so that accounts that were created together do not renew together.
const RENEW_EARLIEST: f64 = 0.6;
const RENEW_LATEST: f64 = 0.8;
/// Maximum delay before a renewal is retried that failed for a transient reason.
const MAX_RENEWAL_RETRY_DELAY: Duration = Duration::from_secs(30);
/// How long a refusal is cached: concurrent callers get the same answer.
const REFUSAL_CACHE_TTL: Duration = Duration::from_secs(1);

/// Reason why there are no credentials.
#[derive(Clone)]
pub enum CredentialsError {
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
pub enum CredentialsRequest<'a> {
    /// Regular use: the present credentials will do if they are valid.
    Due,
    /// A person requests an attempt now.
    ByUser,
    /// The cloud rejects these credentials.
    Rejected(&'a Credentials),
}

/// Credentials and their origin.
pub struct ResolvedCredentials {
    credentials: Credentials,
    client_inputs: ClientInputs,
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
pub struct RenewedCredentials {
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
    pub async fn resolve_credentials(
        &self,
        account: &Account,
        recipe: &ClientSpec,
        why: CredentialsRequest<'_>,
    ) -> Result<ResolvedCredentials, CredentialsError> {
        if let CredentialsRequest::Rejected(rejected) = &why {
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
        let client_inputs = ClientInputs { generation: recipe.generation, source };
        let hint = key.as_ref().and_then(Credentials::access_key_id_hint);
        if let (Some(credentials), false) = (&key, recipe.is_temporary()) {
            let credentials = credentials.clone();
            return Ok(ResolvedCredentials {
                credentials,
                client_inputs,
                hint,
                secret_changed,
                expires: None,
                again: None,
            });
        }
        let mut held = account.temporary.lock().await;
        let renewed = self.renewed(&mut held, account, recipe, key, &client_inputs, why).await;
        let (current, again) = renewed.inspect_err(|_| {
            // A remaining client signs with rejected or expired credentials, or is of another Secret or spec.
            self.update(account, |change| change.end(&client_inputs));
        })?;
        Ok(ResolvedCredentials {
            credentials: current.credentials,
            client_inputs,
            hint,
            secret_changed,
            expires: Some(current.expires),
            again: Some(again),
        })
    }

    /// Returns the present or the renewed credentials, and the time of the next renewal.
    async fn renewed(
        &self,
        held: &mut RenewedCredentials,
        account: &Account,
        recipe: &ClientSpec,
        key: Option<Credentials>,
        client_inputs: &ClientInputs,
        why: CredentialsRequest<'_>,
    ) -> Result<(Current, Instant), CredentialsError> {
        if lock(&account.state).is_later(held.generation, client_inputs.generation) {
            return Err(CredentialsError::Unreadable("the spec has changed meanwhile".to_owned()));
        }
        held.generation = client_inputs.generation;
        let basis = Some((recipe.basis(), client_inputs.source));
        if held.basis != basis {
            // A throttling pause of the STS holds for every request.
            let refused = held.refused.take().filter(|(failure, _)| failure.kind == Kind::Throttled);
            *held = RenewedCredentials {
                basis,
                generation: client_inputs.generation,
                refused,
                ..RenewedCredentials::default()
            };
        }
        let now = Instant::now();
        let valid = held.current.clone().filter(|current| current.expires > now);
        if let Some(current) = valid.as_ref().filter(|current| current.renew > now) {
            return Ok((current.clone(), current.renew));
        }
        // Waiting for the end of a pause would hold up everything else about the account.
        let paused = account.sts_budget.paused_until().filter(|until| *until > now);
        if let Some((failure, until)) = &held.refused
            && (paused.is_some() || *until > now && !matches!(why, CredentialsRequest::ByUser))
        {
            let until = paused.map_or(*until, |paused| paused.max(*until));
            return valid.map(|v| (v, until)).ok_or(CredentialsError::Refused(failure.clone()));
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
        let pause = backoff(held.failures, MAX_RENEWAL_RETRY_DELAY, fastrand::f64()).max(REFUSAL_CACHE_TTL);
        let until = Instant::now() + pause;
        let why = match &no_credentials {
            CredentialsError::Refused(failure) => {
                let cached_for =
                    if failure.kind == Kind::CloudUnavailable { pause } else { REFUSAL_CACHE_TTL };
                held.refused = Some((failure.clone(), Instant::now() + cached_for));
                format!("{}: {}", failure.action, failure.code)
            }
            CredentialsError::Missing { text, .. } => text.clone(),
            CredentialsError::Unreadable(error) => error.clone(),
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
        recipe: &ClientSpec,
        key: Option<Credentials>,
    ) -> Result<TemporaryCredentials, CredentialsError> {
        let refused = CredentialsError::Refused;
        let Some(endpoint) = recipe.sts.clone() else {
            return Err(missing("spec.credentials has neither secretRef nor workloadIdentity".to_owned()));
        };
        let sts = Sts::new(StsConfig {
            endpoint,
            region: recipe.region.clone(),
            transport: self.deps.transport.clone(),
            budget: account.sts_budget.clone(),
            clock: self.deps.clock.clone(),
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
    ) -> Result<(Credentials, Option<Timestamp>), CredentialsError> {
        let secret = self
            .deps
            .secrets
            .read(namespace, &reference.name)
            .await
            .map_err(|error| CredentialsError::Unreadable(message_with_causes(&error)))?
            .ok_or_else(|| CredentialsError::Missing {
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
    pub fn install_credentials(&self, account: &Account, recipe: &ClientSpec, resolved: ResolvedCredentials) {
        let ResolvedCredentials { credentials, client_inputs, hint, secret_changed, expires, .. } = resolved;
        self.update(account, |change| {
            if change.has_later_inputs(&client_inputs) {
                return;
            }
            change.store_spec(recipe.clone(), secret_changed);
            change.describe(hint, expires);
            if change.signs_with(&client_inputs, &credentials) {
                return;
            }
            let client = Client::new(ClientConfig {
                site: recipe.site,
                credentials,
                endpoint: recipe.endpoint.clone(),
                transport: self.deps.transport.clone(),
                budget: account.budget.clone(),
                clock: self.deps.clock.clone(),
                timeout: recipe.timeout,
                time_zone: recipe.time_zone,
                sizes: account.sizes.clone(),
            });
            if change.state.client_inputs.as_ref() != Some(&client_inputs) {
                // The new spec may name other hosts.
                account.budget.outages().clear();
            }
            change.renew(client, client_inputs, self.deps.clock.now());
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
        match self.resolve_credentials(account, &recipe, CredentialsRequest::Due).await {
            Ok(resolved) => {
                self.install_credentials(account, &recipe, resolved);
                // The spec may have changed meanwhile: the account's controller has to check that.
                self.trigger_account(&account.key);
                Ok(account.live_client())
            }
            Err(CredentialsError::Refused(failure)) => {
                self.refused(account, &failure);
                Err(failure)
            }
            // The account's controller reports what is missing.
            Err(_) => {
                self.trigger_account(&account.key);
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
    pub(super) async fn replace_rejected(
        &self,
        account: &Account,
        rejected: &Credentials,
    ) -> Result<Option<Client>, Failure> {
        let begun = account.secret_rereads.load(Ordering::Acquire);
        let _reading = account.secret_reread_lock.lock().await;
        if account.secret_rereads.load(Ordering::Acquire) != begun {
            return self.client(account).await;
        }
        account.secret_rereads.fetch_add(1, Ordering::AcqRel);
        let Some(recipe) = account.recipe() else { return Ok(None) };
        match self.resolve_credentials(account, &recipe, CredentialsRequest::Rejected(rejected)).await {
            Ok(resolved) => {
                self.install_credentials(account, &recipe, resolved);
                // The spec may have changed while the Secret was read: the account's controller has to check that.
                self.trigger_account(&account.key);
                Ok(account.live_client())
            }
            Err(CredentialsError::Refused(failure)) => {
                self.refused(account, &failure);
                Err(failure)
            }
            // There may be other credentials, so that the rejection of these is not reported yet.
            Err(CredentialsError::Unreadable(_)) if recipe.is_temporary() => {
                Err(account_just_changed("AssumeRole"))
            }
            Err(_) => Ok(None),
        }
    }
}

impl Current {
    fn of(issued: TemporaryCredentials) -> Self {
        let now = Instant::now();
        let part = RENEW_EARLIEST + (RENEW_LATEST - RENEW_EARLIEST) * fastrand::f64();
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

fn missing(text: String) -> CredentialsError {
    CredentialsError::Missing { text, gone: false }
}

#[cfg(test)]
#[path = "credentials_provider_tests.rs"]
mod tests;
