//! Flags of `import`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::source::{SourceArgs, TargetArgs};
use super::values;

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Applying what is written changes nothing in the cloud.

Examples:
  # All instances of an account of the cluster, as one stream
  cross-region-backup-operator import --from-cluster --account payments/prod > policies.yaml
  # One file for each instance with this tag, in a folder that is committed; files that are there already stay as they are
  cross-region-backup-operator import --account payments/prod --tag team=payments --directory policies/")]
pub struct Import {
    #[command(flatten)]
    pub of: TargetArgs,

    /// Only instances with this tag: KEY or KEY=VALUE. Repeatable: all of them
    #[arg(long = "tag", value_name = "KEY[=VALUE]", value_parser = values::tag)]
    pub tags: Vec<(String, Option<String>)>,

    /// Only instances of this project. Repeatable: any of them
    #[arg(long = "project", value_name = "PROJECT", value_parser = values::not_empty)]
    pub projects: Vec<String>,

    /// Only instances whose name or id contains this, in any case
    #[arg(long, value_name = "TEXT", value_parser = values::not_empty)]
    pub name: Option<String>,

    /// What the operator does about differences: Observe never modifies
    #[arg(long, value_name = "POLICY", default_value = "Observe", ignore_case = true)]
    pub management_policy: Management,

    /// Writes this into each manifest, such as 26h
    #[arg(long, value_name = "D")]
    pub recovery_point_objective: Option<String>,

    /// Writes one file for each instance into this directory, in place of standard output
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,

    #[command(flatten)]
    pub source: SourceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Management {
    #[value(name = "Observe")]
    Observe,
    #[value(name = "Manage")]
    Manage,
}
