//! Cleans up after a process that had no chance to do it itself.
//!
//! Destructors do not run on SIGKILL, and never for statics. A watchdog is a shell that reads from a pipe whose only
//! writing end this process holds: the kernel closes it when the process ends, however it ends, the read returns, and
//! the shell does the work. This needs no unsafe code, works on every Unix, and reaches whole process groups. The
//! kernel's own PR_SET_PDEATHSIG does not: it reaches one process, and fires already when the *thread* ends that
//! spawned it, which in a test binary is long before the process does.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::Pid;

/// Acts when this process ends; dropping it calls it off.
#[derive(Debug)]
pub struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Will kill the process group with this number.
    pub fn kill_group(group: Pid) -> Result<Self> {
        Self::start(r#"read -r _; kill -s KILL -- "-$1""#, group.to_string().as_ref())
    }

    /// Will remove the folder. Its users are being killed at the same time and may still be adding files: hence the
    /// repetitions.
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
            // A group of its own: what kills the group of this process (Ctrl-C, a runner's timeout) must spare it.
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
        // Killed before `shell` is dropped, which closes the pipe. Failure means that it is gone already.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
