//! Flags of the commands that connect to a cluster or to a cloud.

use std::path::PathBuf;

use clap::Args;

use super::values;
use crate::api::account::Provider;

/// Flags that select the cluster.
#[derive(Clone, Debug, Default, Args)]
pub struct ClusterArgs {
    /// The kubeconfig. Default: as kubectl finds it, else the cluster that this runs in
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig. Default: its current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// The namespace of what names none. Default: the context's, else default
    #[arg(short, long, value_name = "NS", value_parser = values::namespace)]
    pub namespace: Option<String>,
}

/// Flags that select the source of accounts and their credentials.
#[derive(Clone, Debug, Default, Args)]
pub struct SourceArgs {
    /// Takes what the files lack, accounts, Secrets and other policies, from the cluster
    #[arg(long)]
    pub from_cluster: bool,

    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// The cloud of the environment's credentials: Volcengine, BytePlus or Tencent. Default: the only one that has some
    #[arg(long, value_name = "PROVIDER", value_parser = values::provider)]
    pub provider: Option<Provider>,

    /// Where that cloud is reached with the environment's credentials; {region} stands for the region. Default: the provider's own
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,

    /// Where the Secrets of ClusterCloudAccounts are. Default: cross-region-backup-operator
    #[arg(long, value_name = "NS", env = "CRBO_OPERATOR_NAMESPACE", value_parser = values::namespace)]
    pub operator_namespace: Option<String>,
}

/// Flags that select the target account and its regions.
#[derive(Clone, Debug, Default, Args)]
pub struct TargetArgs {
    /// Manifests that declare accounts and Secrets: files, directories, or - for standard input. Repeatable
    #[arg(short, long = "filename", value_name = "FILE|DIR")]
    pub files: Vec<PathBuf>,

    /// The account: NAME or NAMESPACE/NAME of a CloudAccount, /NAME of a ClusterCloudAccount. Default: the only one of the
    /// files, else the environment's
    #[arg(long, value_name = "ACCOUNT", value_parser = values::account)]
    pub account: Option<AccountName>,

    /// The region of the instances. Repeatable. Default: the account's home region
    #[arg(long = "region", value_name = "REGION", value_parser = values::region)]
    pub regions: Vec<String>,
}

/// Account name from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountName {
    /// `None`: the namespace of objects that name none.
    pub namespace: Option<String>,
    pub name: String,
    pub is_shared: bool,
}
