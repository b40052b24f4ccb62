//! The accounts of a command, opened: where each is declared (files, cluster, or nowhere), where its credentials come from
//! (files, cluster, environment), and whether the cloud takes them. The calls go through [`crate::observe`], as the
//! controller's do, by a transport that lets nothing through that changes anything.

pub mod cluster;
mod environment;
mod given;

use std::collections::HashMap;
use std::env;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use kube::Api;
use tokio::sync::Mutex;

use crate::api::account::{CloudAccountSpec, CredentialsSource, Provider, SecretRef};
use crate::api::{CloudAccount, ClusterCloudAccount};
use crate::cli::Global;
use crate::cli::source::Source;
use crate::clock::Clock;
use crate::cloud::{Caller, EndpointRule, Proxies, Sent, Site, Transport, reading_alone, reqwest_transport};
use crate::cluster::MANAGER;
use crate::cluster::secrets::{Held, Secrets, read_secret};
use crate::controllers::sharing::{Admission, Denial, Labels, Purpose, admission, fault};
use crate::domain::{Failure, Kind, Reason};
use crate::observe::identity::Identity;
use crate::observe::{
    Account, AccountKey, Accounts, Means, NoCredentials, Reached, Sharing, Why, home_region, provider_name,
};
use crate::plan::Gate;
use crate::plan::pace::backoff;
use crate::plan::reason_of;
use cluster::Cluster;
pub use cluster::stored_policies;
pub use given::{Declared, Given};

/// Cloud calls at once, as `run` has it.
const CONCURRENCY: usize = 256;
/// What fails in passing is tried so often.
const TRIES: u32 = 4;
/// Between two tries at most.
const PAUSE: Duration = Duration::from_secs(8);
/// The name of the Secret that stands for the environment in messages; none in a cluster can have it.
const ENVIRONMENT: &str = "of the environment";
/// What a file may not say of an account whose credentials are not the file's.
const TRUSTED: [&str; 4] =
    ["spec.endpoint", "spec.stsEndpoint", "spec.assumeRole", "spec.credentials.workloadIdentity"];

/// What a command reaches clouds with.
pub struct Access {
    accounts: Accounts,
    held: Held,
    given: Given,
    pub cluster: Option<Cluster>,
    provider: Option<Provider>,
    endpoint: Option<String>,
    own_namespace: String,
    labels: Mutex<HashMap<String, Option<Labels>>>,
    /// The calls that were sent.
    pub sent: Sent,
}

/// An account that can be used.
pub struct Opened {
    pub account: Arc<Account>,
    pub provider: Provider,
    /// Its home region.
    pub region: String,
}

impl Opened {
    pub fn site(&self) -> Site {
        self.account.site().unwrap_or(Site::Volcengine)
    }
}

/// An account as a command finds it.
pub struct Entry {
    sharing: Option<Sharing>,
    /// Or why it cannot be used, in the words of its resources' conditions.
    pub way: Result<Opened, (Reason, String)>,
}

impl Access {
    /// # Errors
    /// A flag is wrong.
    pub fn new(
        global: &Global,
        source: &Source,
        cluster: Option<Cluster>,
        given: Given,
    ) -> anyhow::Result<Self> {
        let rule = EndpointRule::new(&global.allowed_endpoint).map_err(anyhow::Error::msg)?;
        let proxies = Proxies::of_environment().map_err(anyhow::Error::msg)?;
        let transport = reqwest_transport(&rule, &proxies)?;
        Ok(Self::through(transport, rule, Clock::system(), cluster, source, given))
    }

    /// The same by another transport and clock.
    pub fn through(
        transport: Transport,
        rule: EndpointRule,
        clock: Clock,
        cluster: Option<Cluster>,
        source: &Source,
        given: Given,
    ) -> Self {
        let (transport, sent) = reading_alone(transport);
        let held = given.secrets().clone();
        let own_namespace = source.operator_namespace.clone().unwrap_or_else(|| MANAGER.to_owned());
        let means = Means {
            secrets: Secrets::Held(held.clone()),
            clock,
            rule,
            transport,
            own_namespace: own_namespace.clone(),
            identity: Identity::of_environment(),
            concurrency: CONCURRENCY,
            meters: Default::default(),
        };
        Self {
            accounts: Accounts::new(means, |_| {}, |_| {}),
            held,
            given,
            cluster,
            provider: source.provider,
            endpoint: source.endpoint.clone(),
            own_namespace,
            labels: Mutex::default(),
            sent,
        }
    }

    /// All accounts that the files declare.
    pub fn declared(&self) -> impl Iterator<Item = &AccountKey> {
        self.given.accounts()
    }

    /// Opens these accounts, each once.
    pub async fn open_all(&self, keys: impl IntoIterator<Item = AccountKey>) -> HashMap<AccountKey, Entry> {
        let mut distinct: Vec<_> = keys.into_iter().collect();
        distinct.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        distinct.dedup();
        let opened = join_all(distinct.iter().map(|key| self.open(key))).await;
        distinct.into_iter().zip(opened).collect()
    }

    /// Finds an account and its credentials, and asks the cloud once whether it takes them.
    pub async fn open(&self, key: &AccountKey) -> Entry {
        let closed = |(reason, text): (Reason, String)| (reason, format!("{key}: {text}"));
        let (declared, of_cluster) = match self.found(key).await {
            Ok(found) => found,
            Err(why) => return Entry { sharing: None, way: Err(closed(why)) },
        };
        let sharing = declared.sharing.clone();
        let way = match self.entered(key, declared, of_cluster).await {
            Ok(opened) => self.verified(opened).await,
            Err(why) => Err(why),
        };
        Entry { sharing, way: way.map_err(closed) }
    }

    /// Where an account is at home, without using it.
    pub async fn home_region(&self, key: &AccountKey) -> String {
        let found = self.found(key).await.ok();
        found.map_or_else(String::new, |(declared, _)| home_region(&declared.spec).to_owned())
    }

    /// Whose cloud an account is of, without using it.
    pub async fn provider_of(&self, key: &AccountKey) -> Option<Provider> {
        if let Some(declared) = self.given.account(key) {
            return Some(declared.spec.provider);
        }
        let stored = self.stored(self.cluster.as_ref()?, key).await.ok().flatten();
        stored.map(|declared| declared.spec.provider)
    }

    /// The account as it counts, and as the cluster has it.
    async fn found(&self, key: &AccountKey) -> Result<(Declared, Option<Declared>), (Reason, String)> {
        let of_cluster = match &self.cluster {
            Some(cluster) => self.stored(cluster, key).await?,
            None => None,
        };
        let declared = match self.given.account(key).cloned().or_else(|| of_cluster.clone()) {
            Some(declared) => declared,
            None => self.assumed()?,
        };
        Ok((declared, of_cluster))
    }

    async fn entered(
        &self,
        key: &AccountKey,
        declared: Declared,
        of_cluster: Option<Declared>,
    ) -> Result<Opened, (Reason, String)> {
        if declared.spec.suspend {
            return Err((Reason::Suspended, "spec.suspend is true".to_owned()));
        }
        if let Some(fault) = declared.sharing.as_ref().and_then(|(allowed, _)| fault(allowed)) {
            return Err((Reason::AccountNotReady, fault));
        }
        let spec = self.with_credentials(key, declared.spec, of_cluster.as_ref()).await?;
        let account = self.accounts.enter(key, "", provider_name(spec.provider), false);
        account.configure_budget(&spec);
        let recipe =
            self.accounts.recipe(key, &spec, 0).map_err(|refused| (Reason::EndpointNotAllowed, refused.0))?;
        let obtained =
            self.accounts.obtain(&account, &recipe, Why::Due).await.map_err(|none| match none {
                NoCredentials::Missing { text, .. } | NoCredentials::Unreadable(text) => {
                    (Reason::CredentialsMissing, text)
                }
                NoCredentials::Refused(failure) => {
                    let reason = match failure.kind {
                        Kind::CredentialsRejected => Reason::CredentialsRejected,
                        Kind::EndpointNotAllowed => Reason::EndpointNotAllowed,
                        _ => Reason::AccountNotReady,
                    };
                    (reason, failure.to_string())
                }
            })?;
        self.accounts.supply(&account, &recipe, obtained);
        Ok(Opened { account, provider: spec.provider, region: home_region(&spec).to_owned() })
    }

    /// The account as the cluster has it.
    async fn stored(
        &self,
        cluster: &Cluster,
        key: &AccountKey,
    ) -> Result<Option<Declared>, (Reason, String)> {
        let what = key.to_string().replace(' ', "/");
        let found = match &key.namespace {
            Some(namespace) => {
                let api = Api::<CloudAccount>::namespaced(cluster.client.clone(), namespace);
                cluster.get(api, &what).await.map(|found| found.as_ref().map(Declared::from))
            }
            None => {
                let api = Api::<ClusterCloudAccount>::all(cluster.client.clone());
                cluster.get(api, &what).await.map(|found| found.as_ref().map(Declared::from))
            }
        };
        found.map_err(|error| (Reason::AccountNotReady, format!("{error:#}")))
    }

    /// What stands for an account that is declared nowhere: the environment's credentials.
    fn assumed(&self) -> Result<Declared, (Reason, String)> {
        if self.cluster.is_some() {
            return Err((
                Reason::AccountNotFound,
                "it is neither in the files nor in the cluster".to_owned(),
            ));
        }
        let provider = match self.provider {
            Some(provider) => provider,
            None => environment::only_provider().map_err(|what| {
                let text =
                    format!("it is not in the files, and the environment has no credentials for it: {what}");
                (Reason::AccountNotFound, format!("{text}; or use --from-cluster"))
            })?,
        };
        let spec = CloudAccountSpec {
            provider,
            region: None,
            credentials: CredentialsSource::default(),
            assume_role: None,
            endpoint: None,
            sts_endpoint: None,
            request_budget: None,
            request_timeout: "10s".to_owned(),
            suspend: false,
            tencent: None,
        };
        Ok(Declared { spec, sharing: None })
    }

    /// The spec with credentials that are held: the files' Secret, the cluster's, or the environment's.
    async fn with_credentials(
        &self,
        key: &AccountKey,
        spec: CloudAccountSpec,
        of_cluster: Option<&Declared>,
    ) -> Result<CloudAccountSpec, (Reason, String)> {
        let namespace = key.namespace.as_deref().unwrap_or(&self.own_namespace);
        let reference = spec.credentials.secret_ref.clone();
        let of_file = self.given.account(key).is_some();
        if let Some(reference) = &reference
            && of_file
            && self.held.get(namespace, &reference.name).is_some()
        {
            return Ok(spec);
        }
        if of_file {
            let own = of_cluster.map(|declared| &declared.spec);
            if let Some(field) = untrusted(&spec, own) {
                let text = format!(
                    "{field} is set by a file, and the credentials are not the file's: they would go where the file says. \
                     Give the Secret in the files too{}",
                    match self.cluster.is_some() {
                        true => ", or apply the account first: it differs from the cluster's own",
                        false => ", or use --from-cluster, where the account equals the cluster's own",
                    }
                );
                return Err((Reason::EndpointNotAllowed, text));
            }
        }
        let Some(cluster) = &self.cluster else { return self.of_environment(namespace, spec) };
        if let Some(reference) = reference {
            let found = read_secret(&cluster.client, namespace, &reference.name).await;
            let text = |error: &dyn std::fmt::Display| format!("Secret {}: {error}", reference.name);
            match found.map_err(|error| (Reason::CredentialsMissing, text(&error)))? {
                Some(secret) => self.held.put(namespace, secret),
                None => {
                    let text =
                        format!("Secret {} is neither in the files nor in the cluster", reference.name);
                    return Err((Reason::CredentialsMissing, text));
                }
            }
        }
        Ok(spec)
    }

    /// The spec with the environment's credentials, as a Secret whose keys are the variables.
    fn of_environment(
        &self,
        namespace: &str,
        spec: CloudAccountSpec,
    ) -> Result<CloudAccountSpec, (Reason, String)> {
        let missing = |text: String| (Reason::CredentialsMissing, text);
        let Some(variables) = environment::of(spec.provider) else {
            return Err(missing(format!(
                "its Secret is not in the files: add it, set {}, or use --from-cluster",
                environment::usual(spec.provider)
            )));
        };
        let token = variables.tokens.iter().find(|name| env::var_os(name).is_some_and(|v| !v.is_empty()));
        let set = [variables.id, variables.secret].into_iter().chain(token.copied());
        let values = set.filter_map(|name| {
            let value = env::var_os(name)?.into_encoded_bytes();
            Some((name.to_owned(), ByteString(value)))
        });
        let name = format!("{ENVIRONMENT} ({})", provider_name(spec.provider));
        let mut secret = core::Secret { data: Some(values.collect()), ..Default::default() };
        secret.metadata.name = Some(name.clone());
        self.held.put(namespace, secret.into());
        let reference = SecretRef {
            name,
            access_key_id_key: variables.id.to_owned(),
            secret_access_key_key: variables.secret.to_owned(),
            session_token_key: token.copied().unwrap_or_default().to_owned(),
        };
        let credentials = CredentialsSource { secret_ref: Some(reference), workload_identity: None };
        Ok(CloudAccountSpec { credentials, endpoint: self.endpoint.clone(), ..spec })
    }

    /// One cheap call tells of wrong credentials, in place of one for each resource.
    async fn verified(&self, opened: Opened) -> Result<Opened, (Reason, String)> {
        let answer = self
            .call(&opened, opened.site().instances_action(), |client| {
                let region = opened.region.clone();
                async move { client.verify(&region).await }
            })
            .await;
        let Err(failure) = answer else { return Ok(opened) };
        let reason = match reason_of(failure.kind) {
            Reason::CloudUnavailable | Reason::Throttled => Reason::AccountNotReady,
            reason => reason,
        };
        Err((reason, failure.to_string()))
    }

    /// Makes a call, and makes it again where it fails in passing.
    ///
    /// # Errors
    /// The last failure.
    pub async fn call<T, F>(
        &self,
        opened: &Opened,
        action: &'static str,
        op: impl Fn(crate::cloud::Client) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let reached = self.reached(opened);
        retried(async || reached.call(action, &op).await).await
    }

    /// Reads until a step says that it was the last; one that fails in passing is made again.
    ///
    /// # Errors
    /// The last failure.
    pub async fn read(
        &self,
        opened: &Opened,
        mut step: impl AsyncFnMut(&Reached<'_>) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let reached = self.reached(opened);
        while !retried(async || step(&reached).await).await? {}
        Ok(())
    }

    fn reached<'a>(&'a self, opened: &'a Opened) -> Reached<'a> {
        Reached::Account(&self.accounts, &opened.account, Caller::default())
    }

    /// Whether resources of this namespace may use the account, as its controller would say it.
    pub async fn gate(&self, entry: &Entry, key: &AccountKey, namespace: &str, purpose: Purpose) -> Gate {
        let way = match &entry.way {
            Ok(_) => Gate::Open,
            Err((reason, text)) => Gate::Closed(*reason, text.clone()),
        };
        let Some((allowed, permissions)) = &entry.sharing else { return way };
        if matches!(way, Gate::Closed(Reason::Suspended, _)) {
            return way;
        }
        let labels = self.labels_of(namespace).await;
        let is_known = labels.is_some();
        // The API server gives every namespace this label.
        let name_alone = || Labels::from([("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())]);
        match admission(allowed, *permissions, || Some(labels.unwrap_or_else(name_alone)), purpose) {
            Admission::Denied(Denial::Namespace) if !is_known => Gate::Closed(
                Reason::AccountNotAllowed,
                format!(
                    "{key}: {}, as far as is known: the labels of {namespace} come from a Namespace in the files or \
                     --from-cluster",
                    Denial::Namespace.text()
                ),
            ),
            Admission::Denied(denial) => {
                Gate::Closed(Reason::AccountNotAllowed, format!("{key}: {}", denial.text()))
            }
            Admission::Allowed | Admission::Unknown => way,
        }
    }

    /// The labels of a namespace; `None` where nobody tells them.
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

/// Tries again what fails in passing.
async fn retried<T>(mut attempt: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut tries = 0;
    loop {
        let failure = match attempt().await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        tries += 1;
        match failure.kind {
            _ if tries >= TRIES => return Err(failure),
            // The account's budget holds the next try back as long as the cloud asked for.
            Kind::Throttled => {}
            Kind::CloudUnavailable => tokio::time::sleep(backoff(tries, PAUSE, fastrand::f64())).await,
            _ => return Err(failure),
        }
    }
}

/// The first field that a file sets and the cluster's own account does not have so.
fn untrusted(file: &CloudAccountSpec, own: Option<&CloudAccountSpec>) -> Option<&'static str> {
    let differs = [
        file.endpoint.is_some() && own.is_none_or(|own| own.endpoint != file.endpoint),
        file.sts_endpoint.is_some() && own.is_none_or(|own| own.sts_endpoint != file.sts_endpoint),
        file.assume_role.is_some() && own.is_none_or(|own| own.assume_role != file.assume_role),
        file.credentials.workload_identity.is_some()
            && own.is_none_or(|own| own.credentials.workload_identity != file.credentials.workload_identity),
    ];
    TRUSTED.into_iter().zip(differs).find_map(|(field, differs)| differs.then_some(field))
}
