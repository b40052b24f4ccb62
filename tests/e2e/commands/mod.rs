//! The commands other than `run`, executed as processes.

mod agreement;
mod cloud;
mod proxies;
mod validate;

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use serde_json::Value;
use testbed::ControlPlane;

use crate::harness::{KEY_ID, SECRET_KEY, Stage, operator_binary};

/// Returns a command for the binary without the caller's environment.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(operator_binary());
    command.args(args).env_clear().env("HOME", "/nonexistent");
    command
}

/// Runs the command on a blocking thread, so that the simulator in this process can answer.
pub async fn run(mut command: Command) -> Result<Output> {
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

/// Exit code and text output of a process.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub async fn said(command: Command) -> Result<Said> {
    let output = run(command).await?;
    Ok(Said {
        code: output.status.code().context("it was killed")?,
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}

/// Sets the key of the simulated cloud in the environment.
pub fn with_key(mut command: Command) -> Command {
    command.env("VOLCENGINE_ACCESS_KEY", KEY_ID).env("VOLCENGINE_SECRET_KEY", SECRET_KEY);
    command
}

/// Gives the command the cluster administrator's kubeconfig.
pub fn in_cluster(mut command: Command, plane: &ControlPlane) -> Command {
    command.env("KUBECONFIG", plane.kubeconfig());
    command
}

/// Writes each manifest to its own file in a folder.
pub fn write(folder: &Path, manifests: &[Value]) -> Result<()> {
    for (at, manifest) in manifests.iter().enumerate() {
        let kind = manifest["kind"].as_str().unwrap_or_default().to_lowercase();
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
        std::fs::write(folder.join(format!("{at:03}-{kind}-{name}.yaml")), format!("{manifest:#}\n"))?;
    }
    Ok(())
}

impl Stage<'_> {
    pub fn secret_manifest(&self) -> Value {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "cloud-key", "namespace": self.namespace},
            "stringData": {"accessKeyId": KEY_ID, "secretAccessKey": SECRET_KEY},
        })
    }
}
