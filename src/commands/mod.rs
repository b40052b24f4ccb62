//! Commands other than `run`, for pipelines and people. Each returns an exit code; an error message says what to do
//! about it.

pub mod access;
mod backups;
mod import;
mod manifests;
mod plan;
pub mod report;
pub mod show;
pub mod status;
mod target;
mod validate;

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::api;
use crate::cli::{Cli, Global, Tool};
use crate::cluster::OPERATOR_NAME;

/// Outcome of a command; maps to the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Success,
    /// The output already reports the failure; nothing else is printed.
    Failure,
    /// `plan` only: there is something to change.
    Changes,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Changes => 2,
        })
    }
}

/// Runs a command.
///
/// # Errors
/// The command cannot do its work; the message says what to do.
pub async fn run(global: &Global, tool: Tool) -> anyhow::Result<Exit> {
    match tool {
        Tool::Crds => crds(),
        Tool::Validate(args) => validate::run(&args),
        Tool::Plan(args) => plan::run(global, &args).await,
        Tool::Backups(args) => backups::run(global, &args).await,
        Tool::Report(args) => report::run(global, &args).await,
        Tool::Import(args) => import::run(global, &args).await,
        Tool::Status(args) => status::run(&args).await,
        Tool::Completion { shell } => completion(shell),
    }
}

fn completion(shell: Shell) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), OPERATOR_NAME, &mut text);
    show::print(&String::from_utf8(text)?)?;
    Ok(Exit::Success)
}

fn crds() -> anyhow::Result<Exit> {
    let mut text = String::new();
    for crd in api::crds()? {
        text.push_str(&format!("---\n{}\n", api::yaml(&crd)?.trim_end()));
    }
    show::print(&text)?;
    Ok(Exit::Success)
}
