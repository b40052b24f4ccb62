//! Wires the rooms together; the only one that knows them all.

use std::sync::Arc;
use std::time::Duration;
use std::{io, process};

use anyhow::Context as _;
use futures::FutureExt;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, timeout};

use crate::cli::{Cli, Command, Global, Run};
use crate::clock::Clock;
use crate::cloud::{EndpointRule, Proxies, reqwest_transport};
use crate::cluster::connect::{self, Target};
use crate::cluster::elector::{Elector, Leadership, Timing, identity};
use crate::cluster::events::Events;
use crate::cluster::link::Link;
use crate::cluster::list_watch::SILENCE;
use crate::commands::{self, Exit};
use crate::controllers::{self, Settings};
use crate::metrics::Meters;
use crate::observe::identity::Identity;
use crate::serve::serve;
use crate::telemetry::health::Health;

/// So long after SIGTERM the Lease was given up, or runs out by itself.
const RELEASED: Duration = Duration::from_millis(1_750);
/// So long after SIGTERM the process has ended.
const STOPPED: Duration = Duration::from_millis(1_900);

/// Does what the command line asks for.
///
/// # Errors
/// What keeps the command from its work: a flag, the cluster, the Lease.
pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    in_runtime(async {
        match cli.command {
            Command::Run(run) => operate(&cli.global, run).await.map(|()| Exit::Success),
            Command::Tool(tool) => commands::run(&cli.global, tool).await,
        }
    })?
}

/// Waits for `work`, and for nothing else that it has left behind.
fn in_runtime<T>(work: impl Future<Output = T>) -> io::Result<T> {
    // One thread: nearly all of the time everything waits, and to wake a second one costs more than what it would do.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    // To drop it would wait for the threads that block, such as one that asks for the address of a host and gets no answer.
    runtime.shutdown_background();
    Ok(done)
}

async fn operate(global: &Global, run: Run) -> anyhow::Result<()> {
    let stop = stop_signal()?.shared();
    let rule = EndpointRule::new(&global.allowed_endpoint).map_err(anyhow::Error::msg)?;
    let proxies = Proxies::of_environment().map_err(anyhow::Error::msg)?;
    let transport = reqwest_transport(&rule, &proxies)?;
    let clock = Clock::system();
    let (health, meters) = (Health::default(), Meters::of_process());
    let server =
        tokio::spawn(serve(run.http_address, health.clone(), meters.clone(), stop.clone().map(drop)));
    // The server's end is news only where it failed: asked to stop, it ends before the controllers do.
    let failed = async move {
        match server.await {
            Ok(Ok(())) => std::future::pending().await,
            Ok(Err(error)) => error,
            Err(error) => error.into(),
        }
    };
    tokio::pin!(failed);

    // The environment's proxy is for the clouds alone; the kubeconfig's own one holds.
    let Target { mut config, proxy } =
        Target::find(None, None).await.context("no Kubernetes cluster to connect to")?;
    // Also of connections that wait in the pool: what a firewall has dropped is not taken for a request later on.
    // A watch notices its silence by itself, before.
    config.read_timeout = Some(SILENCE + Duration::from_secs(1));
    let link = Link::default();
    let kube = link.around(connect::client(config.clone(), proxy.as_ref())?);
    let identity = identity();
    // Neither a renewal nor a watch may be held up by retries, whose pauses grow to minutes: they have a pace of their own.
    config.default_retry = false;
    let without_retries = link.around(connect::client(config, proxy.as_ref())?);
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
        identity: Identity::of_environment(),
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
        elector.lock().await.release((asked + RELEASED).saturating_duration_since(Instant::now())).await;
    }
    ended
}

/// Resolves on SIGTERM or SIGINT, to the time of it. A second signal ends the process at once, and [`STOPPED`] after the first one it
/// is ended whatever the runtime's thread is doing: it may be held by what cannot be cancelled, such as a write to a log that
/// nobody reads. So a thread of its own waits for the signals.
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
            // Nobody waits for it any more where the process is about to end by itself.
            let _ = done.send(Instant::now());
            let _ = timeout(STOPPED, next()).await;
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
