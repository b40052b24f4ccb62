//! Cleans up after a process that was killed before it could do so.
//!
//! Destructors do not run on SIGKILL, and never for statics. A watchdog is a shell that reads from a pipe whose only write
//! end this process holds: when the process ends, for any reason, the kernel closes the pipe, the read returns, and the
//! shell cleans up. This needs no unsafe code, works on every Unix, and reaches whole process groups. PR_SET_PDEATHSIG
//! reaches only one process, and fires when the *thread* that spawned it ends, in a test binary long before the process does.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::Pid;

/// Cleans up when this process ends; dropping it disarms it.
#[derive(Debug)]
pub struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Arms a watchdog that kills the process group.
    pub fn kill_group(group: Pid) -> Result<Self> {
        Self::start(r#"read -r _; kill -s KILL -- "-$1""#, group.to_string().as_ref())
    }

    /// Arms a watchdog that removes the folder. It retries, because programs that are being killed at the same time may still
    /// add files.
    pub fn remove_folder(folder: &Path) -> Result<Self> {
        Self::start(
            r#"read -r _; for _ in 1 2 3 4 5 6 7 8 9; do rm -rf -- "$1" && exit; sleep 0.2; done"#,
            folder.as_ref(),
        )
    }

    fn start(script: &str, argument: &std::ffi::OsStr) -> Result<Self> {
        let shell = Command::new("/bin/sh")
            .args(["-c", script, "watchdog"])
            .arg(argument)
            // A group of its own: a signal to this process's group (Ctrl-C, a runner's timeout) must not reach it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start a watchdog shell")?;
        Ok(Self { shell })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Killed before `shell` is dropped, which closes the pipe. A failure means that the shell has already ended.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
