//! Wires the layers of the crate together; the only module that knows them all.

use std::sync::Arc;
use std::time::Duration;
use std::{io, process};

use anyhow::Context as _;
use futures::FutureExt;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, timeout};

use crate::accounts::identity::Identity;
use crate::cli::{Cli, Command, Global, Run};
use crate::clock::Clock;
use crate::cloud::{EndpointRule, Proxies, reqwest_transport};
use crate::cluster::connect::{self, ClusterTarget};
use crate::cluster::elector::{Elector, Leadership, Timing, identity};
use crate::cluster::events::Events;
use crate::cluster::list_watch::SILENCE_TIMEOUT;
use crate::cluster::reachability::ApiServerReachability;
use crate::commands::{self, Exit};
use crate::controllers::{self, Settings};
use crate::metrics::Meters;
use crate::serve::serve;
use crate::telemetry::health::Health;

/// Delay after SIGTERM by which the Lease is released, or left to expire.
const LEASE_RELEASE_DEADLINE: Duration = Duration::from_millis(1_750);
/// Delay after SIGTERM by which the process has ended.
const EXIT_DEADLINE: Duration = Duration::from_millis(1_900);

/// Runs the command of the command line.
///
/// # Errors
/// Returns the reason why the command cannot run: a flag, the cluster, the Lease.
pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    in_runtime(async {
        match cli.command {
            Command::Run(run) => run_operator(&cli.global, run).await.map(|()| Exit::Success),
            Command::Tool(tool) => commands::run(&cli.global, tool).await,
        }
    })?
}

/// Runs `work` to its end, and waits for nothing that it leaves behind.
fn in_runtime<T>(work: impl Future<Output = T>) -> io::Result<T> {
    // One thread: the process waits nearly all of the time, and waking a second thread costs more than the work it
    // would do.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    // Dropping the runtime would wait for blocked threads, such as one that resolves a host name and gets no answer.
    runtime.shutdown_background();
    Ok(done)
}

async fn run_operator(global: &Global, run: Run) -> anyhow::Result<()> {
    let stop = stop_signal()?.shared();
    let rule = EndpointRule::new(&global.allowed_endpoint).map_err(anyhow::Error::msg)?;
    let proxies = Proxies::from_env().map_err(anyhow::Error::msg)?;
    let transport = reqwest_transport(&rule, &proxies)?;
    let clock = Clock::system();
    let (health, meters) = (Health::default(), Meters::with_process_metrics());
    let server =
        tokio::spawn(serve(run.http_address, health.clone(), meters.clone(), stop.clone().map(drop)));
    // Only a failure of the server matters: on shutdown it ends before the controllers do.
    let failed = async move {
        match server.await {
            Ok(Ok(())) => std::future::pending().await,
            Ok(Err(error)) => error,
            Err(error) => error.into(),
        }
    };
    tokio::pin!(failed);

    // The environment's proxy applies to the clouds only; for the cluster that of the kubeconfig applies.
    let ClusterTarget { mut config, proxy } =
        ClusterTarget::find(None, None).await.context("no Kubernetes cluster to connect to")?;
    // Applies to idle connections of the pool as well, so that no request uses one that a firewall has dropped. A watch
    // detects silence earlier, by itself.
    config.read_timeout = Some(SILENCE_TIMEOUT + Duration::from_secs(1));
    let link = ApiServerReachability::default();
    let kube = link.wrap_client(connect::client(config.clone(), proxy.as_ref())?);
    let identity = identity();
    // Lease renewals and watches have retry schedules of their own; the client's retries, whose pauses grow to minutes,
    // would delay them.
    config.default_retry = false;
    let without_retries = link.wrap_client(connect::client(config, proxy.as_ref())?);
    let elector = run.leader_elect.then(|| {
        let namespace = run.operator_namespace();
        let elector = Elector::new(without_retries.clone(), &namespace, identity.clone(), Timing::default());
        Arc::new(Mutex::new(elector))
    });
    let settings = Settings {
        events: Events::new(kube.clone(), identity.clone(), clock.clone()),
        kube,
        watching: without_retries,
        rule,
        transport,
        clock,
        namespaces: run.watch_namespace.clone(),
        own_namespace: run.operator_namespace(),
        identity: Identity::from_env(),
        read_only: run.read_only,
        concurrency: run.concurrency,
        interval_override: run.resync_interval_override,
        meters,
        health: health.clone(),
    };
    let candidate = elector.clone();
    let leading = move || {
        let candidate = candidate.clone();
        async move {
            match candidate {
                Some(candidate) => Ok(candidate.lock().await.acquire().await?),
                None => Ok(Leadership::always()),
            }
        }
    };
    let ended = tokio::select! {
        ended = controllers::run(settings, leading, stop.clone().map(drop)) => ended,
        error = &mut failed => Err(error),
    };
    if let Err(error) = &ended {
        health.fail(&error.to_string());
    }
    if let Some(elector) = elector {
        let asked = stop.peek().copied().unwrap_or_else(Instant::now);
        elector
            .lock()
            .await
            .release((asked + LEASE_RELEASE_DEADLINE).saturating_duration_since(Instant::now()))
            .await;
    }
    ended
}

/// Resolves on SIGTERM or SIGINT to the time of the signal. A second signal ends the process at once. [`EXIT_DEADLINE`] after
/// the first one the process is ended even if the runtime's thread is blocked by something that cannot be cancelled,
/// such as a write to a log that nobody reads; therefore a separate thread waits for the signals.
fn stop_signal() -> anyhow::Result<impl Future<Output = Instant> + Send + Sync + 'static> {
    let (done, asked) = oneshot::channel();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let inside = runtime.enter();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    drop(inside);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let mut next = async || {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            next().await;
            // The receiver is gone if the process is about to end by itself.
            let _ = done.send(Instant::now());
            let _ = timeout(EXIT_DEADLINE, next()).await;
        });
        process::exit(1)
    })?;
    Ok(asked.map(|asked| asked.unwrap_or_else(|_| Instant::now())))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_end_waits_for_no_thread_that_blocks() {
        let (_never, blocking) = mpsc::channel::<()>();
        let begun = std::time::Instant::now();
        // As long as a resolver may wait for a DNS server that does not answer.
        let work = async {
            let (started, starts) = oneshot::channel();
            drop(tokio::task::spawn_blocking(move || {
                let _ = started.send(());
                blocking.recv_timeout(Duration::from_secs(20))
            }));
            starts.await
        };
        in_runtime(work).unwrap().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}
