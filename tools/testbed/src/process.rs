//! A child process that logs to a file and never outlives its owner.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use crate::wait::wait_until;
use crate::watchdog::Watchdog;

pub use rustix::process::Signal;

/// Number of log lines in a failure's message.
const TAIL_LINES: usize = 40;

/// A running (or ended) child and its descendants, as one process group.
///
/// Dropping it kills the group; in a panicking test it also prints the end of the log to stderr. When this process itself is
/// killed, a watchdog kills the group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    ended: Option<ExitStatus>,
    /// None once the child was reaped: its process id may be reused from then on.
    watchdog: Option<Watchdog>,
    log: PathBuf,
    /// Byte offset in the log at which this process's output begins.
    log_start: u64,
    tells_on_panic: bool,
}

impl Process {
    /// Starts the command without standard input, and appends its stdout and stderr to the file `log`.
    ///
    /// # Errors
    /// When the log cannot be written or the program cannot be started.
    pub fn spawn(mut command: Command, log: impl Into<PathBuf>) -> Result<Self> {
        let log = log.into();
        let name =
            Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let output = OpenOptions::new().create(true).append(true).open(&log);
        let output = output.with_context(|| format!("cannot write the log {}", log.display()))?;
        let log_start = output.metadata()?.len();
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let pid = Pid::from_child(&child);
        let watchdog = match Watchdog::kill_group(pid) {
            Ok(watchdog) => Some(watchdog),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                return Err(error);
            }
        };
        Ok(Self { name, child, pid, ended: None, watchdog, log, log_start, tells_on_panic: true })
    }

    /// Omits the log on panic; for the control plane's programs, whose logs do not explain why a test failed.
    pub(crate) fn silent_on_panic(mut self) -> Self {
        self.tells_on_panic = false;
        self
    }

    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends the signal to the process alone, as a kubelet does; a no-op when it has ended already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.try_wait()?.is_some() {
            return Ok(());
        }
        kill_process(self.pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Returns the exit status if the process has ended, and then kills the rest of its group.
    ///
    /// # Errors
    /// When the kernel does not know the child.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_some() {
            return Ok(self.ended);
        }
        // Checks without reaping: the dead child keeps its id, so that the kill reaches the right group.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(self.pid), options)?.is_none() {
            return Ok(None);
        }
        self.kill_group_and_reap()
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// When it still runs after `limit`; the message has the end of the log.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait_until(limit, what, async || self.try_wait()).await.map_err(|error| self.with_log(&error))
    }

    /// Sends SIGTERM and waits for the end; kills the group after `limit`.
    ///
    /// # Errors
    /// When the process did not end within `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let ended = self.wait(limit).await;
        if ended.is_err() {
            self.kill_group_and_reap()?;
        }
        ended
    }

    /// Returns the process's output so far, stdout and stderr.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        self.read_log().unwrap_or_else(|error| panic!("cannot read the log {}: {error}", self.log.display()))
    }

    /// Returns the path of the log.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Returns the last lines of the log under a heading, for a failure's message.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = self.read_log().unwrap_or_else(|error| format!("(no log: {error})"));
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("--- the end of the log of {} ({}) ---\n{}", self.name, self.id(), tail.join("\n"))
    }

    /// Appends the end of the log to the error.
    #[must_use]
    pub fn with_log(&self, error: &Error) -> Error {
        anyhow!("{error:#}\n{}", self.log_tail())
    }

    fn read_log(&self) -> std::io::Result<String> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.log_start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn kill_group_and_reap(&mut self) -> Result<Option<ExitStatus>> {
        match kill_process_group(self.pid, Signal::KILL) {
            // No such process, or (macOS) only a dead one: nothing left to kill.
            Ok(()) | Err(Errno::SRCH | Errno::PERM) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot kill {}", self.name)),
        }
        // Disarmed before the process id becomes free.
        self.watchdog = None;
        self.ended = Some(self.child.wait()?);
        Ok(self.ended)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() && self.tells_on_panic {
            eprintln!("{}", self.log_tail());
        }
        if self.ended.is_none() {
            // Drop cannot return an error; on failure the watchdog is still armed and tries again later.
            let _ = self.kill_group_and_reap();
        }
    }
}
