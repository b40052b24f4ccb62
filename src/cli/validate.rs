//! Flags of `validate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Exit codes: 0 valid, 1 not. Needs neither a cluster nor a cloud.

Examples:
  cross-region-backup-operator validate manifests/
  kustomize build overlays/prod | cross-region-backup-operator validate -o json -")]
pub struct Validate {
    /// Manifests: files, directories with all below them, or - for standard input
    #[arg(value_name = "FILE|DIR", required = true)]
    pub paths: Vec<PathBuf>,

    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: ValidateFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ValidateFormat {
    Text,
    Json,
}
