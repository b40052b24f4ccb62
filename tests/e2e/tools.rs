//! The programs that test deploy/, with their input and output.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::harness::root;

/// Returns the command of helm, promtool or judge.
pub fn tool(name: &str) -> Result<Command> {
    let path: PathBuf = root(".build/bin").join(name);
    ensure!(path.is_file(), "no {}; `make ship` builds it", path.display());
    Ok(Command::new(path))
}

/// Runs the command to its end with this input, regardless of its exit code.
pub fn output(command: &mut Command, input: &str) -> Result<Output> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| shown.clone())?;
    let mut pipe = child.stdin.take().context("no standard input")?;
    let input = input.to_owned();
    // A separate thread writes, since the program may print before it has read everything.
    let feed = std::thread::spawn(move || pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output().context(shown)?;
    drop(feed.join());
    Ok(output)
}

/// Runs the command, which must succeed, and returns its output.
pub fn run(command: &mut Command) -> Result<String> {
    run_with(command, "")
}

pub fn run_with(command: &mut Command, input: &str) -> Result<String> {
    let output = output(command, input)?;
    let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}: {out}{err}", output.status);
    Ok(out)
}

pub fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root(path)).with_context(|| path.to_owned())
}

/// Reads a file of one YAML document.
pub fn yaml(path: &str) -> Result<Value> {
    serde_saphyr::from_str(&read(path)?).with_context(|| path.to_owned())
}

/// Returns the objects in a stream of YAML documents.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut document = String::new();
    for line in text.lines().chain(["---"]) {
        if line != "---" {
            document.push_str(line);
            document.push('\n');
            continue;
        }
        let is_empty = |line: &str| line.trim().is_empty() || line.starts_with('#');
        if !document.lines().all(is_empty) {
            found.push(serde_saphyr::from_str(&document).with_context(|| document.clone())?);
        }
        document.clear();
    }
    Ok(found)
}

/// Adds `--set name=value` for each value.
pub fn set<S: AsRef<OsStr>>(command: &mut Command, values: impl IntoIterator<Item = S>) -> &mut Command {
    for value in values {
        command.arg("--set").arg(value);
    }
    command
}
