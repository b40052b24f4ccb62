//! Wires the rooms together; the only one that knows them all.

use std::env;
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Cli, Command, Global, Run};
use crate::clock::Clock;
use crate::cloud::{EndpointRule, Proxies, reqwest_transport};
use crate::cluster::elector::{Elector, Leadership, Timing, identity};
use crate::cluster::events::Events;
use crate::cluster::list_watch::SILENCE;
use crate::commands::{self, Exit};
use crate::controllers::{self, Settings};
use crate::metrics::Meters;
use crate::observe::identity::Identity;
use crate::serve::serve;
use crate::telemetry::health::Health;

/// Does what the command line asks for.
///
/// # Errors
/// What keeps the command from its work: a flag, the cluster, the Lease.
pub async fn run(cli: Cli) -> anyhow::Result<Exit> {
    match cli.command {
        Command::Run(run) => operate(&cli.global, run).await.map(|()| Exit::Success),
        Command::Tool(tool) => commands::run(&cli.global, tool).await,
    }
}

async fn operate(global: &Global, run: Run) -> anyhow::Result<()> {
    let stop = stop_signal()?.shared();
    let rule = EndpointRule::new(&global.allowed_endpoint).map_err(anyhow::Error::msg)?;
    let proxies = Proxies::of_environment().map_err(anyhow::Error::msg)?;
    let transport = reqwest_transport(&rule, &proxies)?;
    let clock = Clock::system();
    let (health, meters) = (Health::default(), Meters::of_process());
    let server = tokio::spawn(serve(run.http_address, health.clone(), meters.clone(), stop.clone()));
    // The server's end is news only where it failed: asked to stop, it ends before the controllers do.
    let failed = async move {
        match server.await {
            Ok(Ok(())) => std::future::pending().await,
            Ok(Err(error)) => error,
            Err(error) => error.into(),
        }
    };
    tokio::pin!(failed);

    let mut config = kube::Config::infer().await.context("no Kubernetes cluster to connect to")?;
    // The environment's proxy is for the clouds alone.
    config.proxy_url = config.proxy_url.filter(|url| !is_of_environment(url));
    // Also of connections that wait in the pool: what a firewall has dropped is not taken for a request later on.
    // A watch notices its silence by itself, before.
    config.read_timeout = Some(SILENCE + Duration::from_secs(1));
    let kube = kube::Client::try_from(config.clone())?;
    let identity = identity();
    let elector = run.leader_elect.then(|| {
        // A renewal must not be held up by retries: the elector has its own pace.
        config.default_retry = false;
        let client = kube::Client::try_from(config)?;
        anyhow::Ok(Elector::new(client, &run.operator_namespace(), identity.clone(), Timing::default()))
    });
    let mut elector = elector.transpose()?;
    let settings = Settings {
        events: Events::new(kube.clone(), identity.clone(), clock.clone()),
        kube,
        rule,
        transport,
        clock,
        namespaces: run.watch_namespace.clone(),
        own_namespace: run.operator_namespace(),
        identity: Identity::of_environment(),
        read_only: run.read_only,
        concurrency: run.concurrency,
        interval_override: run.resync_interval_override,
        meters,
        health: health.clone(),
    };
    let leading = async {
        match &mut elector {
            Some(candidate) => Ok(candidate.acquire().await?),
            None => Ok(Leadership::always()),
        }
    };
    let ended = tokio::select! {
        ended = controllers::run(settings, leading, stop.clone()) => ended,
        error = &mut failed => Err(error),
    };
    if let Err(error) = &ended {
        health.fail(&error.to_string());
    }
    if let Some(elector) = elector {
        elector.release().await;
    }
    ended
}

/// Whether a proxy comes from where kube looks for one besides the kubeconfig.
fn is_of_environment(proxy: &http::Uri) -> bool {
    let named = ["HTTPS_PROXY", "https_proxy"].map(|name| env::var(name).unwrap_or_default());
    named.iter().filter_map(|value| value.parse::<http::Uri>().ok()).any(|uri| uri == *proxy)
}

/// Resolves on SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + Sync + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (done, asked) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        drop(done);
    });
    Ok(asked.map(|_| ()))
}
