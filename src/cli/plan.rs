//! Flags of `plan`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::source::SourceArgs;

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Exit codes: 0 nothing to change, 2 changes, 1 an error. Never changes anything in a cloud.

Examples:
  # What a pull request would change, with the accounts and Secrets of the cluster, as a comment
  cross-region-backup-operator plan --from-cluster -o markdown manifests/
  # With credentials of the environment (VOLCENGINE_ACCESS_KEY, VOLCENGINE_SECRET_KEY)
  cross-region-backup-operator plan policies.yaml
  # What deleting the policies of these files would change
  cross-region-backup-operator plan --from-cluster --delete retired/")]
pub struct Plan {
    /// Manifests: files, directories with all below them, or - for standard input
    #[arg(value_name = "FILE|DIR", required = true)]
    pub paths: Vec<PathBuf>,

    /// What deleting the policies of these files would change, in place of applying them
    #[arg(long)]
    pub delete: bool,

    /// How it is printed: markdown is for a comment in a pull request
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: PlanFormat,

    #[command(flatten)]
    pub source: SourceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    Text,
    Json,
    Markdown,
}
