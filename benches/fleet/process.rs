//! Reads CPU time and memory of a process from /proc (Linux only).

use std::fs;

use anyhow::{Context, Result};

/// USER_HZ, the unit of /proc/PID/stat. It does not depend on the kernel's own tick rate, and is the same on every Linux that
/// Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// Returns the CPU seconds that a process has used so far, in user and kernel mode. `self` is this process.
pub fn cpu_seconds(pid: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The command name before it may contain any character, parentheses included.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
    let ticks = |index| -> Option<u64> { fields.split(' ').nth(index)?.parse().ok() };
    let (user, system) = ticks(11).zip(ticks(12)).with_context(|| format!("{path}: {stat}"))?;
    Ok((user + system) as f64 / TICKS_PER_SECOND)
}

/// Memory in KiB.
pub struct Memory {
    pub resident: u64,
    /// Peak resident memory since [`forget_peak`].
    pub peak: u64,
}

pub fn memory(pid: &str) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let of = |name: &str| -> Result<u64> {
        let line = status.lines().find(|line| line.starts_with(name)).with_context(|| path.clone())?;
        Ok(line.split_whitespace().nth(1).with_context(|| path.clone())?.parse()?)
    };
    Ok(Memory { resident: of("VmRSS:")?, peak: of("VmHWM:")? })
}

/// Resets the peak to the current resident memory.
pub fn forget_peak(pid: &str) -> Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").context(path)
}
