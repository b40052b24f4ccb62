//! The operator's binary.

use std::process::ExitCode;

use cross_region_backup_operator::cli::{Cli, Command};
use cross_region_backup_operator::commands::{Exit, show};
use cross_region_backup_operator::{app, telemetry};

/// Returns memory after a burst better than the system's allocator and mimalloc: see docs/performance.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::from_process() {
        Ok(cli) => cli,
        Err(ended) => return ended,
    };
    // Errors of the server go to the log, for machines; errors of a command to the person who typed it.
    let serves = matches!(cli.command, Command::Run(_));
    match work(cli) {
        Ok(exit) => exit.into(),
        Err(error) if serves => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
        Err(error) => {
            show::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn work(cli: Cli) -> anyhow::Result<Exit> {
    telemetry::init(cli.global.log_format(), &cli.global.log_level)?;
    // kube and reqwest share rustls: one provider for the process, chosen here.
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider was installed before"))?;
    app::run(cli)
}
