//! The Helm chart: what it renders, and its life on a control plane.

mod release;
mod render;

use std::process::Command;

use anyhow::Result;

use crate::harness::{OPERATOR_NAMESPACE, root};
use crate::tools::tool;

/// The release's name; with it the objects have the names of deploy/.
pub const RELEASE: &str = OPERATOR_NAMESPACE;

/// `helm template` of the chart in this namespace.
pub fn template(namespace: &str) -> Result<Command> {
    let mut command = tool("helm")?;
    command.args(["template", RELEASE]).arg(root("deploy/helm")).args(["--namespace", namespace]);
    Ok(command)
}
