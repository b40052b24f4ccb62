//! Connection of a command to the cluster, resolved as kubectl does.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use kube::api::ListParams;
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;

use crate::api::CrossRegionBackupPolicy;
use crate::cli::source::ClusterArgs;
use crate::cloud::Proxies;
use crate::cluster::connect::{ClusterTarget, client};
use crate::telemetry::scrub::{clean, message_with_causes};

/// Timeout for connecting; [`READ_TIMEOUT`] is that for a response.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Objects per page of a list (`limit`).
const PAGE_SIZE: u32 = 500;

#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    /// Namespace of objects that name none.
    pub namespace: String,
}

impl Cluster {
    /// # Errors
    /// There is no cluster to connect to, or the kubeconfig is wrong.
    pub async fn connect(args: &ClusterArgs) -> anyhow::Result<Self> {
        let (client, config) = connect(args).await?;
        let namespace = args.namespace.clone().unwrap_or(config.default_namespace);
        Ok(Self { client, namespace })
    }

    /// Gets one object; `None` if it does not exist.
    ///
    /// # Errors
    /// The API server refuses the request, or does not respond.
    pub async fn get<K>(&self, api: Api<K>, what: &str) -> anyhow::Result<Option<K>>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        let name = what.rsplit('/').next().unwrap_or(what);
        api.get_opt(name).await.map_err(|error| api_error(error, what))
    }
}

/// Builds a client for the cluster that kubectl would use, through the kubeconfig's proxy, else the environment's.
///
/// # Errors
/// No cluster is configured, or the kubeconfig or the environment's proxy is invalid.
pub async fn connect(args: &ClusterArgs) -> anyhow::Result<(Client, Config)> {
    let found = ClusterTarget::find(args.kubeconfig.as_deref(), args.context.as_deref()).await.context(
        "no Kubernetes cluster to ask: set KUBECONFIG, or name a file with --kubeconfig and a context with --context",
    );
    let ClusterTarget { mut config, proxy } = found?;
    // A person waits for the command, so every wait is bounded.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    let proxies = Proxies::from_env().map_err(anyhow::Error::msg)?;
    let proxy = proxy.as_ref().or_else(|| proxies.for_api_server(&config.cluster_url));
    Ok((client(config.clone(), proxy)?, config))
}

/// Converts an API error to a message that names the requested object.
pub fn api_error(error: kube::Error, what: &str) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow!("{what}: the API server says: {}", clean(&status.message)),
        error => anyhow!("{what}: no answer from the API server: {}", message_with_causes(&error)),
    }
}

/// Lists all policies of the cluster.
///
/// # Errors
/// The API server refuses the request, or does not respond.
pub async fn stored_policies(cluster: &Cluster) -> anyhow::Result<Vec<CrossRegionBackupPolicy>> {
    let api = Api::<CrossRegionBackupPolicy>::all(cluster.client.clone());
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let params = ListParams { limit: Some(PAGE_SIZE), continue_token: from, ..ListParams::default() };
        let page = api.list(&params).await.map_err(|error| api_error(error, "CrossRegionBackupPolicies"))?;
        from = page.metadata.continue_.filter(|token| !token.is_empty());
        all.extend(page.items);
        if from.is_none() {
            return Ok(all);
        }
    }
}
