//! Command line: commands, flags, and their environment variables.

pub mod backups;
pub mod import;
pub mod plan;
pub mod report;
pub mod source;
pub mod status;
#[cfg(test)]
mod tests;
pub mod validate;
mod values;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

pub use self::status::Status;
use crate::cluster::OPERATOR_NAME;
use crate::telemetry::{Filter, Format, scrub};

/// File in which Kubernetes provides a pod's namespace.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// File name by which kubectl finds the plugin on the path; kubectl also passes it as the program name.
const PLUGIN: &str = "kubectl-crossregionbackup";

/// Keeps the cross-region backup policy of managed Redis instances as declared.
///
/// Each flag of run, and each that all commands have, has an environment variable: CRBO_, its name in capitals, with _ for -;
/// several values are separated by commas. An empty one counts as not set.
#[derive(Clone, Debug, Parser)]
#[command(name = OPERATOR_NAME, version, arg_required_else_help = false)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Lets clouds be reached here too: host, host:port, *.suffix, or with a scheme. Repeatable
    #[arg(
        long,
        global = true,
        value_name = "E",
        env = "CRBO_ALLOWED_ENDPOINT",
        value_delimiter = ',',
        value_parser = values::not_empty
    )]
    pub allowed_endpoint: Vec<String>,

    /// How log lines are written: json or text. Default: text on a terminal, json otherwise
    #[arg(long, global = true, value_name = "FORMAT", env = "CRBO_LOG_FORMAT")]
    pub log_format: Option<Format>,

    /// What is logged: a level is the operator's own; CRATE=LEVEL, separated by commas, adds others, which stay at warn otherwise
    #[arg(long, global = true, value_name = "FILTER", env = "CRBO_LOG_LEVEL", default_value = "info")]
    pub log_level: Filter,
}

impl Global {
    /// Returns `--log-format`, else the format that suits standard error.
    pub fn log_format(&self) -> Format {
        self.log_format.unwrap_or_else(Format::for_stderr)
    }
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Runs the controller
    Run(Run),
    #[command(flatten)]
    Tool(Tool),
}

/// Commands other than the controller, for pipelines and people.
#[derive(Clone, Debug, Subcommand)]
pub enum Tool {
    /// Prints the custom resource definitions as YAML
    Crds,
    /// Checks manifests against schema and rules, offline
    Validate(validate::Validate),
    /// Shows what applying manifests would change in the cloud, and changes nothing
    Plan(Box<plan::Plan>),
    /// Lists the backups that the cloud holds, live
    Backups(Box<backups::Backups>),
    /// Tells which instances are protected, since when, to where, and which are not
    Report(Box<report::Report>),
    /// Writes a manifest for each instance of an account, as the cloud has it
    Import(Box<import::Import>),
    /// Explains a policy in words, from its status in the cluster
    Status(Status),
    /// Prints what a shell needs to complete the commands and flags
    #[command(after_help = "\
Example:
  source <(cross-region-backup-operator completion bash)")]
    Completion {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Watches this namespace alone. Repeatable. Default: all namespaces
    #[arg(
        long,
        value_name = "NS",
        env = "CRBO_WATCH_NAMESPACE",
        value_delimiter = ',',
        value_parser = values::namespace
    )]
    pub watch_namespace: Vec<String>,

    /// Where the Lease is, and the Secrets of ClusterCloudAccounts. Default: the pod's own namespace, else cross-region-backup-operator
    #[arg(long, value_name = "NS", env = "CRBO_OPERATOR_NAMESPACE", value_parser = values::namespace)]
    operator_namespace: Option<String>,

    /// Serves /livez and /readyz on this address and port
    #[arg(long, value_name = "A", env = "CRBO_HTTP_ADDRESS", default_value = "[::]:8080")]
    pub http_address: SocketAddr,

    /// Whether to wait for the Lease before anything is done
    #[arg(
        long,
        value_name = "BOOL",
        env = "CRBO_LEADER_ELECT",
        action = ArgAction::Set,
        default_value_t = true
    )]
    pub leader_elect: bool,

    /// Whether every policy acts as Observe, so that nothing is changed in a cloud
    #[arg(
        long,
        value_name = "BOOL",
        env = "CRBO_READ_ONLY",
        action = ArgAction::Set,
        default_value_t = false
    )]
    pub read_only: bool,

    /// How many cloud calls may be in flight, over all accounts: 1 to 10000
    #[arg(
        long,
        value_name = "N",
        env = "CRBO_CONCURRENCY",
        default_value_t = 256,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000)
    )]
    pub concurrency: usize,

    /// Uses this interval for every policy, such as 30s or 1h30m, at least 1s. For tests and drills
    #[arg(
        long,
        value_name = "D",
        env = "CRBO_RESYNC_INTERVAL_OVERRIDE",
        value_parser = values::interval
    )]
    pub resync_interval_override: Option<Duration>,
}

impl Run {
    /// Returns `--operator-namespace`, else the namespace of the pod that this runs in, else
    /// `cross-region-backup-operator`.
    pub fn operator_namespace(&self) -> String {
        self.operator_namespace_or(Path::new(POD_NAMESPACE))
    }

    fn operator_namespace_or(&self, file: &Path) -> String {
        let of_pod = || values::namespace(std::fs::read_to_string(file).ok()?.trim()).ok();
        self.operator_namespace.clone().or_else(of_pod).unwrap_or_else(|| OPERATOR_NAME.to_owned())
    }
}

impl Cli {
    /// Reads the process' arguments and environment. Prints the error if they are invalid, or the help if they ask for
    /// it.
    ///
    /// # Errors
    /// The exit code of the process: 1 for invalid arguments, since 2 means changes for `plan`; 0 for help and the
    /// version.
    pub fn from_process() -> Result<Self, ExitCode> {
        Self::read(std::env::args_os()).map_err(|error| {
            // Errors repeat the invalid value, and help shows the values of variables: either may contain credentials.
            let text = error.render().to_string();
            let printed = match (scrub::clean(&text), error.use_stderr()) {
                (Cow::Borrowed(_), _) => error.print(),
                (Cow::Owned(cleaned), true) => std::io::stderr().write_all(cleaned.as_bytes()),
                (Cow::Owned(cleaned), false) => std::io::stdout().write_all(cleaned.as_bytes()),
            };
            // A failed write cannot be reported anywhere else.
            let _ = printed;
            if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        })
    }

    /// Reads these arguments, the program's name first, and the process' environment.
    ///
    /// # Errors
    /// The arguments are invalid (the message names the flag), or ask for help or the version.
    pub fn read<A: Into<OsString> + Clone>(args: impl IntoIterator<Item = A>) -> Result<Self, clap::Error> {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let is_plugin =
            args.first().is_some_and(|name| Path::new(name).file_name() == Some(OsStr::new(PLUGIN)));
        let command = without_empty_variables(Self::command());
        // The command that a person types, so that usage lines can be copied.
        let command = if is_plugin { command.bin_name("kubectl crossregionbackup") } else { command };
        let matches = command.try_get_matches_from(args)?;
        Self::from_arg_matches(&matches)
    }
}

/// Ignores empty variables: manifests set an optional variable to an empty string, which clap would take as a value.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(None) } else { arg })
        .mut_subcommands(without_empty_variables)
}
