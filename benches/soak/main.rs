//! Soak test: runs two replicas of the operator's binary on a real control plane against the simulated cloud while specs change,
//! the cloud drifts and fails, replicas die and the API server restarts. At the end every policy must have converged, and no
//! replica may have leaked memory, descriptors or connections. See docs/reliability.md.

#[path = "../../tests/e2e/client.rs"]
#[allow(dead_code, reason = "the client of the end-to-end tests has more than is used here")]
mod client;
mod decide;
#[path = "../../tests/e2e/harness.rs"]
#[allow(dead_code, reason = "the stage of the end-to-end tests has more than is used here")]
mod harness;
mod options;
#[path = "../fleet/process.rs"]
#[allow(dead_code, reason = "the benchmark looks at CPU seconds as well")]
mod process;
mod replicas;
mod report;
#[path = "../fleet/requests.rs"]
#[allow(dead_code, reason = "the benchmark counts a second time, by a metric")]
mod requests;
mod scene;
mod trouble;
mod usage;
mod verdict;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use jiff::Timestamp;
use testbed::{ControlPlane, Options as PlaneOptions};
use tokio::runtime::Builder;

use decide::Decider;
use options::Options;
use report::Report;
use requests::Requests;
use scene::Scene;

/// Number of complaints in a failure's message.
const SHOWN: usize = 10;

fn main() -> Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("a TLS provider was installed before"))?;
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    eprintln!("seed {seed}");
    let mut report = Report::new(seed, &options);
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(soak(&options, seed, &mut report));
    // Printed after a failure too: a run takes minutes.
    println!("{report}");
    ended.with_context(|| format!("violated with --seed {seed} --policies {}", options.policies))
}

async fn soak(options: &Options, seed: u64, report: &mut Report) -> Result<()> {
    let plane = ControlPlane::start(PlaneOptions::default()).await?;
    harness::install(&plane).await?;
    let begun = Timestamp::now();
    let mut decider = Decider::new(seed, options.policies);
    let mut scene = Scene::new(&plane, options).await?;
    let ended = play(options, &mut decider, &mut scene, report).await;
    report.done = std::mem::take(&mut scene.done);
    report.tell("replicas started", scene.replicas.started);
    for (how, count) in &scene.replicas.ended {
        report.tell(format!("  of them ended: {how}"), count);
    }
    report.cloud = scene.stage.cloud.counters();
    report.api = Requests::within(&plane, begun, Timestamp::now())?;
    scene.replicas.look_through_logs();
    let complaints = &scene.replicas.complaints;
    let shown = complaints[..complaints.len().min(SHOWN)].join("\n");
    if ended.is_err() || !complaints.is_empty() {
        let kept = scene.replicas.keep_logs(&scene.stage, seed)?;
        eprintln!("the logs of the replicas and the API server's audit log are in {}", kept.display());
    }
    ended?;
    ensure!(complaints.is_empty(), "{} complaints about the replicas\n{shown}", complaints.len());
    Ok(())
}

/// Runs two thirds of the time with failures of replicas and API server, then one third without them: a leak of memory or
/// connections shows only in a process that lives through the whole measurement.
async fn play(
    options: &Options,
    decider: &mut Decider,
    scene: &mut Scene<'_>,
    report: &mut Report,
) -> Result<()> {
    let begun = Instant::now();
    for (number, wanted) in decider.living() {
        scene.create(number, wanted).await?;
    }
    report.seconds("all as wanted after the start, s", scene.converge(decider).await?);

    let storm = options.length * 2 / 3;
    go_on(scene, decider, storm, true).await?;
    report.seconds("all as wanted after the storm, s", scene.calm(decider).await?);
    report.seconds("  nothing more to write after, s", scene.until_rest().await?);
    let (before, started) = (scene.replicas.usage()?, scene.replicas.started);

    go_on(scene, decider, options.length - storm, false).await?;
    report.seconds("all as wanted after what the replicas lived through, s", scene.calm(decider).await?);
    report.seconds("  nothing more to write after, s", scene.until_rest().await?);
    let after = scene.replicas.usage()?;
    ensure!(scene.replicas.started == started, "a replica ended that nobody had touched");
    report.seconds("all of it, s", begun.elapsed());
    report.usage = [before, after].into();
    usage::compare(&before, &after)
}

async fn go_on(scene: &mut Scene<'_>, decider: &mut Decider, length: Duration, blows: bool) -> Result<()> {
    let mut spent = Duration::ZERO;
    // Counts the planned time, not the elapsed one: a busy machine takes longer but takes the same steps.
    while spent < length {
        let (pause, step) = decider.next(blows);
        spent += pause + step.takes();
        scene.pause(pause).await?;
        scene.perform(step).await?;
    }
    Ok(())
}
