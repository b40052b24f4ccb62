//! Runs kubectl as one user of one control plane.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Limit for one call; above any `kubectl wait --timeout` of a test.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs kubectl with a kubeconfig. Cheap to clone; usable from any runtime.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(program: PathBuf, kubeconfig: PathBuf, cache: PathBuf) -> Self {
        Self { program, kubeconfig, cache }
    }

    /// Returns a kubectl that uses another kubeconfig.
    #[must_use]
    pub fn with_kubeconfig(&self, kubeconfig: impl Into<PathBuf>) -> Self {
        Self { kubeconfig: kubeconfig.into(), ..self.clone() }
    }

    /// Returns the path of the binary, for callers that run it themselves.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns the path of the kubeconfig file.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs kubectl to its end, with any exit code.
    ///
    /// # Errors
    /// When it cannot be started or does not end within three minutes. It is killed then, as when the future is dropped.
    pub async fn output<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Output> {
        self.call(&collect(args), "").await
    }

    /// Runs kubectl, which must succeed, and returns its stdout.
    ///
    /// # Errors
    /// Those of [`Kubectl::output`], and an exit code other than 0; the message has the arguments and stderr.
    pub async fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<String> {
        self.must_succeed(&collect(args), "").await
    }

    /// Runs kubectl with `-o json` and parses what it prints.
    ///
    /// # Errors
    /// Those of [`Kubectl::run`], and output that is not JSON.
    pub async fn json<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Value> {
        let mut args = collect(args);
        args.extend(["-o".into(), "json".into()]);
        let text = self.must_succeed(&args, "").await?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {} printed no JSON", shown(&args)))
    }

    /// Runs `kubectl apply -f -` with these manifests, and returns its stdout.
    ///
    /// # Errors
    /// Those of [`Kubectl::run`]: also a refusal by the API server.
    pub async fn apply(&self, manifests: &str) -> Result<String> {
        self.must_succeed(&collect(["apply", "-f", "-"]), manifests).await
    }

    async fn must_succeed(&self, args: &[OsString], stdin: &str) -> Result<String> {
        let output = self.call(args, stdin).await?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {}: {}: {}", shown(args), output.status, stderr.trim());
        }
        String::from_utf8(output.stdout).context("kubectl printed no UTF-8")
    }

    async fn call(&self, args: &[OsString], stdin: &str) -> Result<Output> {
        let mut child = Command::new(&self.program)
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            // Not the user's cache: its keys are host and port, which an earlier control plane may have used.
            .env("KUBECACHEDIR", &self.cache)
            // Ignores the user's kuberc, which changes the behavior of commands.
            .env("KUBECTL_KUBERC", "false")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let mut pipe = child.stdin.take().context("kubectl has no standard input")?;
        let feed = async {
            // Fails when kubectl ended without reading; its exit code and stderr have the cause.
            let _ = pipe.write_all(stdin.as_bytes()).await;
            drop(pipe);
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        let ended = tokio::time::timeout(LIMIT, both).await;
        let output = ended.with_context(|| format!("kubectl {} hangs", shown(args)))?;
        output.with_context(|| format!("lost kubectl {}", shown(args)))
    }
}

fn collect<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Vec<OsString> {
    args.into_iter().map(|arg| arg.as_ref().to_owned()).collect()
}

fn shown(args: &[OsString]) -> String {
    args.join(OsStr::new(" ")).to_string_lossy().into_owned()
}
