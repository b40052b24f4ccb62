//! Load benchmark: runs the operator's binary with a fleet of policies on a real control plane against the simulated cloud, and
//! measures for each phase cloud calls, API server requests, CPU seconds, memory and latencies. See docs/performance.md.

mod arrivals;
mod bare;
mod changes;
#[path = "../../tests/e2e/client.rs"]
#[allow(dead_code, reason = "the client of the end-to-end tests has more than is used here")]
mod client;
#[path = "../../tests/e2e/harness.rs"]
#[allow(dead_code, reason = "the stage of the end-to-end tests has more than is used here")]
mod harness;
mod meter;
mod options;
mod phases;
mod process;
mod ready;
mod report;
mod requests;
mod scene;

use anyhow::{Result, anyhow};
use clap::Parser;

use options::{Options, Phase};
use report::Report;
use scene::Scene;
use tokio::runtime::Builder;

fn main() -> Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("a TLS provider was installed before"))?;
    if let Some(task) = bare::Task::of_arguments()? {
        // The operator uses a current-thread runtime too.
        return Builder::new_current_thread().enable_all().build()?.block_on(task.run());
    }
    let options = Options::parse();
    let mut report = Report::new(&options);
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(measure(options.clone(), &mut report));
    // Printed after a failure too: a run takes minutes.
    println!("{report}");
    report.write(&options.json)?;
    ended
}

async fn measure(options: Options, report: &mut Report) -> Result<()> {
    let phases = options.phases.clone();
    let mut scene = Scene::new(options).await?;
    phases::start(&mut scene, report).await?;
    phases::create(&mut scene, report).await?;
    for phase in phases {
        match phase {
            Phase::Create => {}
            Phase::Steady => phases::steady(&mut scene, report).await?,
            Phase::Burst => phases::burst(&mut scene, report, "burst").await?,
            Phase::Drip => phases::drip(&mut scene, report, "drip").await?,
            Phase::Restart => phases::restart(&mut scene, report).await?,
            Phase::Second => phases::second(&mut scene, report).await?,
            Phase::Memory => phases::memory(&mut scene, report).await?,
        }
    }
    Ok(())
}
