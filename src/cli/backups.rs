//! Flags of `backups`: the filters of a BackupInventory.

use clap::{Args, ValueEnum};

use super::source::{SourceArgs, TargetArgs};

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Volcengine and BytePlus list the copies in other regions, Tencent Cloud the instances' own backups.

Examples:
  # The usable copies of an account's backups of the last week
  cross-region-backup-operator backups --from-cluster --account payments/prod --status Available --since 168h
  # All of one instance, with credentials of the environment
  cross-region-backup-operator backups --region cn-beijing --instance redis-cnlfq69d9abcdefgh -o wide")]
pub struct Backups {
    #[command(flatten)]
    pub of: TargetArgs,

    /// Only of this instance. Default: of the whole account
    #[arg(long, value_name = "ID")]
    pub instance: Option<String>,

    /// Only with this status: Available, Creating, Unavailable, Deleting; with Tencent also Locked, Exporting, Exported, Expired,
    /// Deleted. Repeatable
    #[arg(long = "status", value_name = "STATUS")]
    pub statuses: Vec<String>,

    /// Only begun so: ManualBackup or AutomatedBackup. Repeatable
    #[arg(long = "strategy", value_name = "STRATEGY")]
    pub strategies: Vec<String>,

    /// Only begun at this time or later, such as 2026-11-01T00:00:00Z; with --end-time
    #[arg(long, value_name = "TIME")]
    pub start_time: Option<String>,

    /// Only begun at this time or earlier; with --start-time
    #[arg(long, value_name = "TIME")]
    pub end_time: Option<String>,

    /// Only begun within this time, such as 168h
    #[arg(long, value_name = "D")]
    pub since: Option<String>,

    /// Only with a name like this. Whole accounts, not Tencent
    #[arg(long, value_name = "TEXT")]
    pub backup_point_name: Option<String>,

    /// Only with an id like this. Whole accounts, not Tencent
    #[arg(long, value_name = "TEXT")]
    pub backup_point_id: Option<String>,

    /// Only of this project. Whole accounts, not Tencent
    #[arg(long, value_name = "PROJECT")]
    pub project_name: Option<String>,

    /// Tencent: asks for the details of each backup that is shown, by one call each
    #[arg(long)]
    pub include_details: bool,

    /// Shows so many of the newest; all are counted. Default: all
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,

    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: ListFormat,

    #[command(flatten)]
    pub source: SourceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    Table,
    Wide,
    Json,
    Yaml,
}
