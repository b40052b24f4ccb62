//! Tests that a process ends with its owner, however the owner ends.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, test_kill_process};
use testbed::{Process, Signal, wait_until};

const SOON: Duration = Duration::from_secs(60);
/// Environment variable that makes the test below act as the parent to be killed; its value is the folder for the log.
const FOLDER: &str = "TESTBED_TEST_FOLDER";
/// Starts a grandchild, prints both process ids, and runs longer than any test.
const FAMILY: &str = "sleep 1000 & echo $$ $!; wait";

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

/// Waits for the complete first line of a log, and returns its process ids.
async fn numbers(log: impl AsyncFn() -> String) -> Result<Vec<Pid>> {
    wait_until(SOON, "the process numbers", async || {
        let text = log().await;
        let Some((line, _)) = text.split_once('\n') else { return Ok(None) };
        let parse = |word: &str| Pid::from_raw(word.parse().ok()?);
        Ok(Some(line.split(' ').map(parse).collect::<Option<_>>().context(text.clone())?))
    })
    .await
}

async fn gone(pids: &[Pid]) -> Result<()> {
    let ended = |pid: &Pid| test_kill_process(*pid).is_err() || is_zombie(*pid);
    wait_until(SOON, format!("the end of {pids:?}"), async || Ok(pids.iter().all(ended).then_some(()))).await
}

/// Whether the process is a zombie: in a container, process 1 may not reap orphans.
fn is_zombie(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[tokio::test]
async fn the_log_has_both_outputs_of_this_process_only() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    fs::write(&log, "of an earlier process\n")?;
    let mut process = Process::spawn(shell("echo out; echo err >&2; exit 3"), &log)?;
    assert_eq!(process.wait(SOON).await?.code(), Some(3));
    assert_eq!(process.log(), "out\nerr\n");
    process.signal(Signal::TERM)?;
    Ok(())
}

#[tokio::test]
async fn terminate_lets_the_process_end_by_itself() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let mut process = Process::spawn(shell(script), folder.path().join("log"))?;
    wait_until(SOON, "the trap", async || Ok(process.log().contains("ready").then_some(()))).await?;
    assert!(process.terminate(SOON).await?.success());
    assert!(process.log().contains("bye"));
    Ok(())
}

#[tokio::test]
async fn a_wait_in_vain_shows_the_log() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut process = Process::spawn(shell("echo I am stuck; exec sleep 1000"), folder.path().join("log"))?;
    wait_until(SOON, "the line", async || Ok(process.log().contains("stuck").then_some(()))).await?;
    let error = process.wait(Duration::from_millis(1)).await.unwrap_err().to_string();
    assert!(error.contains("I am stuck"), "{error}");
    Ok(())
}

#[tokio::test]
async fn dropping_kills_the_whole_group() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let process = Process::spawn(shell(FAMILY), folder.path().join("log"))?;
    let family = numbers(async || process.log()).await?;
    assert_eq!(family.len(), 2);
    drop(process);
    gone(&family).await
}

#[tokio::test]
async fn a_killed_parent_takes_the_whole_group_with_it() -> Result<()> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let _family = Process::spawn(shell(FAMILY), Path::new(&folder).join("family"))?;
        return std::future::pending().await;
    }
    let folder = tempfile::tempdir()?;
    let mut parent = Command::new(std::env::current_exe()?)
        .args(["--exact", "a_killed_parent_takes_the_whole_group_with_it", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::null())
        .spawn()?;
    let log = folder.path().join("family");
    let family = numbers(async || fs::read_to_string(&log).unwrap_or_default()).await;
    // SIGKILL: the parent cannot clean up.
    parent.kill()?;
    parent.wait()?;
    gone(&family?).await
}
