//! Resolves the accounts of a command: where each is declared (files, cluster, or nowhere), where its credentials come
//! from (files, cluster, environment), and whether the cloud accepts them. Calls go through [`crate::accounts`], like
//! the controller's, over a read-only transport.

pub mod cluster;
mod credential_source;
mod environment;
mod manifests_source;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1 as core;
use kube::Api;
use tokio::sync::Mutex;

use crate::accounts::identity::Identity;
use crate::accounts::{
    Account, AccountClient, AccountKey, Accounts, CredentialsError, CredentialsRequest, Deps, Sharing,
    home_region, provider_name,
};
use crate::api::account::Provider;
use crate::cli::Global;
use crate::cli::source::SourceArgs;
use crate::clock::Clock;
use crate::cloud::{
    CallContext, EndpointRule, Proxies, RequestCounts, Site, Transport, read_only_transport,
    reqwest_transport,
};
use crate::cluster::OPERATOR_NAME;
use crate::cluster::secrets::{InMemory, Secrets};
use crate::controllers::sharing::{Admission, Denial, Labels, Purpose, admission, fault};
use crate::domain::{Failure, Kind, Reason};
use crate::plan::AccountReadiness;
use crate::plan::polling::backoff;
use crate::plan::reason_of;
use cluster::Cluster;
pub use cluster::stored_policies;
pub use manifests_source::{Declared, ManifestsSource};

/// Concurrent cloud calls, as in `run`.
const CONCURRENCY: usize = 256;
/// Attempts at a call that fails transiently.
const MAX_ATTEMPTS: u32 = 4;
/// Longest backoff between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(8);

/// Access of a command to cloud accounts.
pub struct Access {
    accounts: Accounts,
    held: InMemory,
    given: ManifestsSource,
    pub cluster: Option<Cluster>,
    provider: Option<Provider>,
    endpoint: Option<String>,
    own_namespace: String,
    labels: Mutex<HashMap<String, Option<Labels>>>,
    /// Notes written so far; each is written once.
    written_notes: std::sync::Mutex<HashSet<String>>,
    /// Counters of sent calls.
    pub sent: RequestCounts,
}

/// Account that can be used, with its credentials.
pub struct ResolvedAccount {
    pub account: Arc<Account>,
    pub provider: Provider,
    /// Home region of the account.
    pub region: String,
}

impl ResolvedAccount {
    pub fn site(&self) -> Site {
        self.account.site().unwrap_or(Site::Volcengine)
    }
}

/// Result of looking up an account.
pub struct AccountLookup {
    sharing: Option<Sharing>,
    /// The account, or the reason and message of the condition that its resources would have.
    pub access: Result<ResolvedAccount, (Reason, String)>,
}

impl Access {
    /// # Errors
    /// A flag or the environment's proxy is invalid.
    pub fn new(
        global: &Global,
        source: &SourceArgs,
        cluster: Option<Cluster>,
        given: ManifestsSource,
    ) -> anyhow::Result<Self> {
        let rule = EndpointRule::new(&global.allowed_endpoint).map_err(anyhow::Error::msg)?;
        let proxies = Proxies::from_env().map_err(anyhow::Error::msg)?;
        let transport = reqwest_transport(&rule, &proxies)?;
        Ok(Self::through(transport, rule, Clock::system(), cluster, source, given))
    }

    /// Builds the access with this transport and clock.
    pub fn through(
        transport: Transport,
        rule: EndpointRule,
        clock: Clock,
        cluster: Option<Cluster>,
        source: &SourceArgs,
        given: ManifestsSource,
    ) -> Self {
        let (transport, sent) = read_only_transport(transport);
        let held = given.held();
        let own_namespace = source.operator_namespace.clone().unwrap_or_else(|| OPERATOR_NAME.to_owned());
        let deps = Deps {
            secrets: Secrets::InMemory(held.clone()),
            clock,
            rule,
            transport,
            own_namespace: own_namespace.clone(),
            identity: Identity::from_env(),
            concurrency: CONCURRENCY,
            meters: Default::default(),
        };
        Self {
            accounts: Accounts::new(deps, |_| {}, |_| {}),
            held,
            given,
            cluster,
            provider: source.provider,
            endpoint: source.endpoint.clone(),
            own_namespace,
            labels: Mutex::default(),
            written_notes: Default::default(),
            sent,
        }
    }

    /// Returns the keys of all accounts that the files declare.
    pub fn declared(&self) -> impl Iterator<Item = &AccountKey> {
        self.given.accounts()
    }

    /// Resolves these accounts, each once.
    pub async fn resolve_all(
        &self,
        keys: impl IntoIterator<Item = AccountKey>,
    ) -> HashMap<AccountKey, AccountLookup> {
        let mut distinct: Vec<_> = keys.into_iter().collect();
        distinct.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        distinct.dedup();
        let resolved = join_all(distinct.iter().map(|key| self.resolve(key))).await;
        distinct.into_iter().zip(resolved).collect()
    }

    /// Finds an account and its credentials, and verifies them with one call.
    pub async fn resolve(&self, key: &AccountKey) -> AccountLookup {
        let closed = |(reason, text): (Reason, String)| (reason, format!("{key}: {text}"));
        let (declared, of_cluster) = match self.found(key).await {
            Ok(found) => found,
            Err(why) => return AccountLookup { sharing: None, access: Err(closed(why)) },
        };
        let sharing = declared.sharing.clone();
        let access = match self.authenticate(key, declared, of_cluster).await {
            Ok(resolved) => self.verify(resolved).await,
            Err(why) => Err(why),
        };
        AccountLookup { sharing, access: access.map_err(closed) }
    }

    /// Returns the home region of an account without verifying it; empty if the account is not found.
    pub async fn home_region(&self, key: &AccountKey) -> String {
        let found = self.found(key).await.ok();
        found.map_or_else(String::new, |(declared, _)| home_region(&declared.spec).to_owned())
    }

    /// Returns the provider of an account without verifying it.
    pub async fn provider_of(&self, key: &AccountKey) -> Option<Provider> {
        if let Some(declared) = self.given.account(key) {
            return Some(declared.spec.provider);
        }
        let stored = self.stored(self.cluster.as_ref()?, key).await.ok().flatten();
        stored.map(|declared| declared.spec.provider)
    }

    async fn authenticate(
        &self,
        key: &AccountKey,
        declared: Declared,
        of_cluster: Option<Declared>,
    ) -> Result<ResolvedAccount, (Reason, String)> {
        if declared.spec.suspend {
            return Err((Reason::Suspended, "spec.suspend is true".to_owned()));
        }
        if let Some(fault) = declared.sharing.as_ref().and_then(|(allowed, _)| fault(allowed)) {
            return Err((Reason::AccountNotReady, fault));
        }
        let spec = self.resolve_credentials(key, declared.spec, of_cluster.as_ref()).await?;
        let account = self.accounts.register(key, "", provider_name(spec.provider), false);
        account.configure_budget(&spec);
        let recipe =
            self.accounts.recipe(key, &spec, 0).map_err(|refused| (Reason::EndpointNotAllowed, refused.0))?;
        let resolved =
            self.accounts.resolve_credentials(&account, &recipe, CredentialsRequest::Due).await.map_err(
                |none| match none {
                    CredentialsError::Missing { text, .. } | CredentialsError::Unreadable(text) => {
                        (Reason::CredentialsMissing, text)
                    }
                    CredentialsError::Refused(failure) => {
                        let reason = match failure.kind {
                            Kind::CredentialsRejected => Reason::CredentialsRejected,
                            Kind::EndpointNotAllowed => Reason::EndpointNotAllowed,
                            _ => Reason::AccountNotReady,
                        };
                        (reason, failure.to_string())
                    }
                },
            )?;
        self.accounts.install_credentials(&account, &recipe, resolved);
        Ok(ResolvedAccount { account, provider: spec.provider, region: home_region(&spec).to_owned() })
    }

    /// Verifies the credentials with one cheap call, so that wrong ones do not cost a call for each resource.
    async fn verify(&self, resolved: ResolvedAccount) -> Result<ResolvedAccount, (Reason, String)> {
        let answer = self
            .call(&resolved, resolved.site().instances_action(), |client| {
                let region = resolved.region.clone();
                async move { client.verify(&region).await }
            })
            .await;
        let Err(failure) = answer else { return Ok(resolved) };
        let reason = match reason_of(failure.kind) {
            Reason::CloudUnavailable | Reason::Throttled => Reason::AccountNotReady,
            reason => reason,
        };
        Err((reason, failure.to_string()))
    }

    /// Makes a call and retries transient failures.
    ///
    /// # Errors
    /// The last failure.
    pub async fn call<T, F>(
        &self,
        resolved: &ResolvedAccount,
        action: &'static str,
        op: impl Fn(crate::cloud::Client) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let account_client = self.account_client(resolved);
        retry(async || account_client.call(action, &op).await).await
    }

    /// Repeats `step` until it returns `true`, and retries transient failures.
    ///
    /// # Errors
    /// The last failure.
    pub async fn read(
        &self,
        resolved: &ResolvedAccount,
        mut step: impl AsyncFnMut(&AccountClient<'_>) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let account_client = self.account_client(resolved);
        while !retry(async || step(&account_client).await).await? {}
        Ok(())
    }

    fn account_client<'a>(&'a self, resolved: &'a ResolvedAccount) -> AccountClient<'a> {
        AccountClient::Account(&self.accounts, &resolved.account, CallContext::default())
    }

    /// Returns the readiness of the account for resources of this namespace, as the controller would report it.
    pub async fn readiness(
        &self,
        entry: &AccountLookup,
        key: &AccountKey,
        namespace: &str,
        purpose: Purpose,
    ) -> AccountReadiness {
        let access = match &entry.access {
            Ok(_) => AccountReadiness::Open,
            Err((reason, text)) => AccountReadiness::Closed(*reason, text.clone()),
        };
        let Some((allowed, permissions)) = &entry.sharing else { return access };
        if matches!(access, AccountReadiness::Closed(Reason::Suspended, _)) {
            return access;
        }
        let labels = self.labels_of(namespace).await;
        let is_known = labels.is_some();
        // The API server sets this label on every namespace.
        let name_alone = || Labels::from([("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())]);
        match admission(allowed, *permissions, || Some(labels.unwrap_or_else(name_alone)), purpose) {
            Admission::Denied(Denial::Namespace) if !is_known => AccountReadiness::Closed(
                Reason::AccountNotAllowed,
                format!(
                    "{key}: {}, as far as is known: the labels of {namespace} come from a Namespace in the files or \
                     --from-cluster",
                    Denial::Namespace.text()
                ),
            ),
            Admission::Denied(denial) => {
                AccountReadiness::Closed(Reason::AccountNotAllowed, format!("{key}: {}", denial.text()))
            }
            Admission::Allowed | Admission::Unknown => access,
        }
    }

    /// Returns the labels of a namespace; `None` if neither the files nor the cluster have them.
    async fn labels_of(&self, namespace: &str) -> Option<Labels> {
        let mut known = self.labels.lock().await;
        if let Some(labels) = known.get(namespace) {
            return labels.clone();
        }
        let labels = match (self.given.labels(namespace), &self.cluster) {
            (Some(labels), _) => {
                let mut labels = labels.clone();
                labels.insert("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
                Some(labels)
            }
            (None, Some(cluster)) => {
                let api = Api::<core::Namespace>::all(cluster.client.clone());
                let found = cluster.get(api, namespace).await.ok().flatten();
                found.map(|found| found.metadata.labels.unwrap_or_default())
            }
            (None, None) => None,
        };
        known.insert(namespace.to_owned(), labels.clone());
        labels
    }
}

/// Retries transient failures.
async fn retry<T>(mut attempt: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut tries = 0;
    loop {
        let failure = match attempt().await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        tries += 1;
        match failure.kind {
            _ if tries >= MAX_ATTEMPTS => return Err(failure),
            // The account's rate limit delays the next attempt for as long as the cloud asked.
            Kind::Throttled => {}
            Kind::CloudUnavailable => tokio::time::sleep(backoff(tries, MAX_BACKOFF, fastrand::f64())).await,
            _ => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests;
