//! Prints the figures of a run as a table.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use cloud_simulator::Counters;

use crate::options::Options;
use crate::requests::Requests;
use crate::usage::Usage;

pub struct Report {
    title: String,
    figures: Vec<(String, String)>,
    /// Steps by kind.
    pub done: BTreeMap<String, u64>,
    pub cloud: Counters,
    pub api: Requests,
    /// Usage of leader and standby, before and after the phase that both replicas survive.
    pub usage: Vec<[Usage; 2]>,
}

impl Report {
    pub fn new(seed: u64, options: &Options) -> Self {
        let (policies, length, resync) = (options.policies, options.length, options.resync);
        Self {
            title: format!("seed {seed}: {policies} instances, {length:?}, an interval of {resync:?}"),
            figures: Vec::new(),
            done: BTreeMap::new(),
            cloud: Counters::default(),
            api: Requests::default(),
            usage: Vec::new(),
        }
    }

    pub fn tell(&mut self, name: impl Into<String>, value: impl ToString) {
        self.figures.push((name.into(), value.to_string()));
    }

    /// Adds a figure and prints it immediately: a run takes minutes.
    pub fn seconds(&mut self, name: &str, length: Duration) {
        let seconds = format!("{:.1}", length.as_secs_f64());
        eprintln!("{name}: {seconds}");
        self.tell(name, seconds);
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:<58} {value:>10}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}\n", self.title)?;
        row(f, "what was done", self.done.values().sum::<u64>())?;
        for (kind, count) in &self.done {
            row(f, &format!("  {kind}"), count)?;
        }
        row(f, "cloud calls", self.cloud.requests)?;
        for (outcome, count) in &self.cloud.by_outcome {
            row(f, &format!("  {outcome}"), count)?;
        }
        row(f, "Modifies that took effect", self.cloud.modifies_applied)?;
        row(f, "API server: status writes", self.api.status_writes)?;
        row(f, "  Events", self.api.events)?;
        row(f, "  other writes", self.api.other_writes)?;
        row(f, "  Lease", self.api.lease)?;
        row(f, "  reads", self.api.reads)?;
        for (name, value) in &self.figures {
            row(f, name, value)?;
        }
        for (index, role) in ["leader", "standby"].iter().enumerate() {
            let of = |value: fn(&Usage) -> usize| {
                let all: Vec<_> = self.usage.iter().map(|both| value(&both[index]).to_string()).collect();
                all.join(" -> ")
            };
            row(f, &format!("{role}: resident KiB"), of(|u| u.resident_kib as usize))?;
            row(f, "  open descriptors", of(|u| u.descriptors))?;
            row(f, "  TCP connections", of(|u| u.connections))?;
        }
        Ok(())
    }
}
