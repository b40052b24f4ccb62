//! The demo's environment: control plane, simulated cloud and operator, and the printed commands.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use testbed::{ControlPlane, Options, Process, wait_until};

use crate::http;
use crate::terminal::{Terminal, shell_line};

/// Namespace and name of the operator's ServiceAccount in deploy/.
const OPERATOR: &str = "cross-region-backup-operator";
/// Limit for steps that take a moment on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Stage {
    // Fields drop in this order: clients before servers.
    operator: Option<Process>,
    simulator: Option<Process>,
    plane: ControlPlane,
    pub terminal: Terminal,
    /// The simulator's address.
    pub cloud: String,
}

impl Stage {
    /// Starts a control plane with nothing installed.
    pub async fn new(terminal: Terminal) -> Result<Self> {
        let plane = ControlPlane::start(Options::default()).await?;
        Ok(Self { operator: None, simulator: None, plane, terminal, cloud: String::new() })
    }

    /// Returns the version of the API server.
    pub async fn version(&self) -> Result<String> {
        let version = self.plane.kubectl().json(["version"]).await?;
        let git = version["serverVersion"]["gitVersion"].as_str();
        git.map(str::to_owned).context("kubectl version tells no server version")
    }

    /// Prints and runs kubectl, which must succeed.
    pub async fn kubectl(&mut self, args: &[&str]) -> Result<()> {
        self.terminal.command(&shell_line(["kubectl"].into_iter().chain(args.iter().copied())))?;
        let output = tokio::select! {
            output = self.plane.kubectl().output(args) => output?,
            // Otherwise `kubectl wait` would run into its timeout.
            error = ended([&mut self.operator, &mut self.simulator]) => return Err(error),
        };
        self.terminal.output(&String::from_utf8_lossy(&output.stderr))?;
        self.terminal.output(&String::from_utf8_lossy(&output.stdout))?;
        ensure!(output.status.success(), "kubectl {}: {}", args[0], output.status);
        Ok(())
    }

    /// Prints kubectl, runs it until its output has the word, and prints that output.
    pub async fn kubectl_until(&mut self, args: &[&str], word: &str) -> Result<()> {
        self.terminal.command(&shell_line(["kubectl"].into_iter().chain(args.iter().copied())))?;
        let found = wait_until(LIMIT, format!("{word} in the output"), async || {
            let output = self.plane.kubectl().run(args).await?;
            Ok(output.contains(word).then_some(output))
        });
        self.terminal.output(&found.await?)
    }

    /// Starts the simulator's binary, and remembers its address.
    pub async fn start_simulator(&mut self, world: &str) -> Result<()> {
        let mut command = Command::new(sibling("cloud-simulator")?);
        command.args(["--state", world]);
        self.terminal.command(&shell_line(["cloud-simulator", "--state", world]))?;
        let process = Process::spawn(command, self.plane.file("cloud-simulator.log"))?;
        let log = first_line(self.simulator.insert(process), "listening on ").await?;
        self.terminal.output(&log)?;
        self.cloud = log.trim_start_matches("listening on ").to_owned();
        Ok(())
    }

    /// Starts the operator's binary as its ServiceAccount of deploy/, and returns when it is the leader.
    pub async fn start_operator(&mut self) -> Result<()> {
        let kubeconfig = self.plane.service_account_kubeconfig(OPERATOR, OPERATOR).await?;
        // A port chosen by the system: the usual one may be in use.
        let args = ["run", "--http-address", "127.0.0.1:0", "--log-format", "text"];
        let more = ["--resync-interval-override", "5s", "--allowed-endpoint", &self.cloud];
        let args = [&args[..], &more].concat();
        self.terminal.command(&shell_line([OPERATOR].into_iter().chain(args.iter().copied())))?;
        let mut command = Command::new(sibling(OPERATOR)?);
        command.args(args).env("KUBECONFIG", kubeconfig);
        let process = Process::spawn(command, self.plane.file("operator.log"))?;
        let line = first_line(self.operator.insert(process), "leading").await?;
        self.terminal.output(&line)
    }

    /// Prints a curl command and sends its request without curl, which need not be installed.
    pub async fn curl(&mut self, method: &str, path: &str, body: &str) -> Result<()> {
        let url = format!("{}{path}", self.cloud);
        let mut words = vec!["curl", "-s"];
        if method != "GET" {
            words.extend(["-X", method]);
        }
        words.push(&url);
        if !body.is_empty() {
            words.extend(["-d", body]);
        }
        self.terminal.command(&shell_line(words))?;
        self.terminal.output(&http::request(method, &url, body).await?)
    }

    /// Prints the operator's log.
    pub fn show_log(&self) -> Result<()> {
        self.terminal.output(&self.operator.as_ref().map(Process::log).unwrap_or_default())
    }

    /// Stops the operator with SIGTERM, as a kubelet does.
    ///
    /// # Errors
    /// When its exit code is not 0.
    pub async fn stop_operator(&mut self) -> Result<()> {
        let operator = self.operator.as_mut().context("no operator runs")?;
        let status = operator.terminate(LIMIT).await?;
        ensure!(status.success(), "the operator ended with {status}");
        self.operator = None;
        Ok(())
    }

    /// Appends the ends of the logs to the error.
    pub fn with_logs(&self, error: Error) -> Error {
        let logs = self.simulator.iter().chain(&self.operator).map(Process::log_tail);
        let logs: Vec<String> = logs.collect();
        anyhow!("{error:#}\n{}", logs.join("\n"))
    }
}

/// Returns the path of a program in the folder of this one.
fn sibling(name: &str) -> Result<PathBuf> {
    let path = env::current_exe()?.with_file_name(name);
    if !path.is_file() {
        bail!("{} is missing; `make demo` builds it", path.display());
    }
    Ok(path)
}

/// Waits for a log line that contains the word, and returns the first.
async fn first_line(process: &mut Process, word: &str) -> Result<String> {
    let found = wait_until(LIMIT, format!("a line with {word:?}"), async || {
        if let Some(status) = process.try_wait()? {
            return Ok(Some(Err(anyhow!("ended with {status}"))));
        }
        Ok(process.log().lines().find(|line| line.contains(word)).map(|line| Ok(line.to_owned())))
    });
    found.await.and_then(|ended| ended)
}

/// Resolves with an error when one of the processes has ended.
async fn ended<const N: usize>(mut processes: [&mut Option<Process>; N]) -> Error {
    let forever = Duration::from_secs(24 * 3600);
    let found = wait_until(forever, "the end of a process", async || {
        for process in processes.iter_mut().filter_map(|slot| slot.as_mut()) {
            if let Some(status) = process.try_wait()? {
                return Ok(Some(anyhow!("process {} of the demo ended with {status}", process.id())));
            }
        }
        Ok(None)
    });
    found.await.unwrap_or_else(|error| error)
}
