//! Memory, descriptors and TCP connections of a replica.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::process::memory;

/// Kernel states of a TCP connection, as /proc/net/tcp writes them.
const ESTABLISHED: &str = "01";
const CLOSE_WAIT: &str = "08";

/// Allowed relative growth of resident memory. An idle replica holds the state of its policies and what its allocator has not
/// returned: this varies by some pages, and not in proportion to the work done since.
const GROWTH: f64 = 0.2;
const GROWTH_KIB: u64 = 4 << 10;
/// Allowed growth of descriptors: a reopened watch may coexist with its old connection, and a pool keeps a few.
const MORE_DESCRIPTORS: usize = 8;

#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub resident_kib: u64,
    pub descriptors: usize,
    /// TCP connections in ESTABLISHED.
    pub connections: usize,
    /// TCP connections in CLOSE_WAIT: closed by the peer, not by the replica.
    pub half_closed: usize,
}

impl Usage {
    pub fn of(pid: u32) -> Result<Self> {
        let pid = pid.to_string();
        let folder = format!("/proc/{pid}/fd");
        let mut descriptors = 0;
        let mut sockets = Vec::new();
        for entry in fs::read_dir(&folder).context(folder)? {
            descriptors += 1;
            // A descriptor closed since the listing has no target.
            let Ok(target) = fs::read_link(entry?.path()) else { continue };
            let target = target.to_string_lossy().into_owned();
            sockets
                .extend(target.strip_prefix("socket:[").and_then(|t| t.strip_suffix(']')).map(str::to_owned));
        }
        let table = fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
        let in_state = |state: &str| {
            let its = |line: &&str| {
                let field = |index| line.split_whitespace().nth(index).unwrap_or_default();
                field(3) == state && sockets.iter().any(|inode| inode == field(9))
            };
            table.lines().filter(its).count()
        };
        Ok(Self {
            resident_kib: memory(&pid)?.resident,
            descriptors,
            connections: in_state(ESTABLISHED),
            half_closed: in_state(CLOSE_WAIT),
        })
    }
}

/// Compares the usage of both replicas before and after load.
///
/// # Errors
/// When a replica leaks memory, descriptors or connections.
pub fn compare(before: &[Usage; 2], after: &[Usage; 2]) -> Result<()> {
    for (role, (before, after)) in ["leader", "standby"].iter().zip(before.iter().zip(after)) {
        let most = (before.resident_kib as f64 * (1.0 + GROWTH)) as u64 + GROWTH_KIB;
        ensure!(after.resident_kib <= most, "the {role}'s memory grows: {before:?}, then {after:?}");
        let most = before.descriptors + MORE_DESCRIPTORS;
        ensure!(after.descriptors <= most, "the {role} loses descriptors: {before:?}, then {after:?}");
        ensure!(after.half_closed == 0, "the {role} holds on to connections: {after:?}");
    }
    Ok(())
}
