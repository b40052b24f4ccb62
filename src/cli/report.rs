//! Flags of `report`.

use clap::{Args, ValueEnum};

use super::source::{SourceArgs, TargetArgs};

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Reads the cloud live: one call for each instance, and the pages of its listings. Changes nothing.

Examples:
  # Everything that the policies of the cluster are about, as a page for an audit
  cross-region-backup-operator report --from-cluster -o html > report.html
  # One account with credentials of the environment, in two regions
  cross-region-backup-operator report --region cn-beijing --region cn-shanghai")]
pub struct Report {
    #[command(flatten)]
    pub of: TargetArgs,

    /// How it is printed: csv has a row for each instance, html is one page that needs nothing else
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: ReportFormat,

    #[command(flatten)]
    pub source: SourceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Text,
    Json,
    Csv,
    Html,
}
