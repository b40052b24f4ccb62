//! The Helm chart: its rendered manifests, and the life cycle of a release.

mod release;
mod render;

use std::process::Command;

use anyhow::Result;

use crate::harness::{OPERATOR_NAMESPACE, root};
use crate::tools::tool;

/// Name of the release; it gives the objects the same names as the manifests in deploy/.
pub const RELEASE: &str = OPERATOR_NAMESPACE;

/// Returns a `helm template` command for the chart in this namespace.
pub fn template(namespace: &str) -> Result<Command> {
    let mut command = tool("helm")?;
    command.args(["template", RELEASE]).arg(root("deploy/helm")).args(["--namespace", namespace]);
    Ok(command)
}
