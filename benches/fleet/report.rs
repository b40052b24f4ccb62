//! Prints the figures as a table with a column for each phase, and writes them as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Serialize, Serializer};

use crate::options::Options;
use crate::requests::Requests;

/// Measurements of one phase.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Column {
    pub phase: String,
    pub seconds: f64,
    pub cloud_calls: usize,
    pub cloud_calls_by_action: BTreeMap<String, u64>,
    pub cloud_calls_most_in_a_second: usize,
    pub cloud_calls_of_other_account: usize,
    /// Fraction of the calls that the account's requestsPerSecond allows; 1 is all of them.
    pub budget_used: f64,
    pub api: Requests,
    /// Status writes and Events, as the API server's metrics count them.
    pub api_writes_by_metric: u64,
    pub operator_cpu_seconds: f64,
    /// CPU time of this process, which runs the simulated cloud, the changes and the watch.
    pub bench_cpu_seconds: f64,
    pub resident_kib: u64,
    pub peak_kib: u64,
    /// Figures that only this phase has, by name.
    #[serde(serialize_with = "as_map")]
    pub figures: Vec<(String, f64)>,
}

impl Column {
    pub fn figure(&mut self, name: impl Into<String>, value: f64) {
        self.figures.push((name.into(), value));
    }
}

fn as_map<S: Serializer>(figures: &[(String, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(figures.iter().map(|(name, value)| (name, value)))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    set_up: Options,
    phases: Vec<Column>,
}

impl Report {
    pub fn new(options: &Options) -> Self {
        Self { set_up: options.clone(), phases: Vec::new() }
    }

    /// Adds a phase's column, and prints a line of progress: a phase takes minutes.
    pub fn push(&mut self, column: Column) {
        eprintln!("{}: {:.1} s, {} cloud calls", column.phase, column.seconds, column.cloud_calls);
        self.phases.push(column);
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, name: &str, value: impl Fn(&Column) -> String) -> fmt::Result {
        write!(f, "{name:<36}")?;
        for column in &self.phases {
            write!(f, " {:>11}", value(column))?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set_up = &self.set_up;
        writeln!(
            f,
            "\n{} policies, {} backups each, {} ms latency, an interval of {} s, {} requests a second\n",
            set_up.policies, set_up.backups, set_up.latency_ms, set_up.resync_seconds, set_up.rate
        )?;
        self.row(f, "", |c| c.phase.clone())?;
        self.row(f, "seconds", |c| format!("{:.1}", c.seconds))?;
        self.row(f, "cloud calls", |c| c.cloud_calls.to_string())?;
        let actions: BTreeSet<_> = self.phases.iter().flat_map(|c| c.cloud_calls_by_action.keys()).collect();
        for action in actions {
            let calls = |c: &Column| c.cloud_calls_by_action.get(action).copied().unwrap_or(0).to_string();
            self.row(f, &format!("  {action}"), calls)?;
        }
        self.row(f, "  most within a second", |c| c.cloud_calls_most_in_a_second.to_string())?;
        self.row(f, "  of the budget", |c| format!("{:.1} %", 100.0 * c.budget_used))?;
        self.row(f, "  of the other account", |c| c.cloud_calls_of_other_account.to_string())?;
        self.row(f, "API server: status writes", |c| c.api.status_writes.to_string())?;
        self.row(f, "  Events", |c| c.api.events.to_string())?;
        self.row(f, "  both, by its own metrics", |c| c.api_writes_by_metric.to_string())?;
        self.row(f, "  other writes", |c| c.api.other_writes.to_string())?;
        self.row(f, "  Lease", |c| c.api.lease.to_string())?;
        self.row(f, "  reads", |c| c.api.reads.to_string())?;
        self.row(f, "operator: CPU seconds", |c| format!("{:.2}", c.operator_cpu_seconds))?;
        self.row(f, "  resident MiB at the end", |c| format!("{:.1}", mebibytes(c.resident_kib)))?;
        self.row(f, "  peak MiB", |c| format!("{:.1}", mebibytes(c.peak_kib)))?;
        self.row(f, "cloud and benchmark: CPU seconds", |c| format!("{:.2}", c.bench_cpu_seconds))?;
        for column in self.phases.iter().filter(|column| !column.figures.is_empty()) {
            writeln!(f, "\n{}", column.phase)?;
            for (name, value) in &column.figures {
                writeln!(f, "  {name:<50} {value:>10.3}")?;
            }
        }
        Ok(())
    }
}

fn mebibytes(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
