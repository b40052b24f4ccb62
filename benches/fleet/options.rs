//! Command-line options of the load benchmark.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use jiff::SignedDuration;
use serde::Serialize;

/// A requestsPerSecond that does not limit: the account schema allows it, and two cores cannot reach it.
pub const NO_LIMIT: u32 = 10_000;
/// Upper bound of the default rate of the phase `drip`: a usual request budget.
const DRIP_RATE: u32 = 20;

/// What a fleet of policies costs: runs the operator on a real control plane against a simulated cloud.
#[derive(Clone, Debug, Parser, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// How many policies, each of an instance of its own
    #[arg(long, default_value_t = 2_000)]
    pub policies: usize,
    /// How many backups each instance has
    #[arg(long, default_value_t = 14)]
    pub backups: usize,
    /// How long the cloud takes for every call, in milliseconds
    #[arg(long, default_value_t = 20)]
    pub latency_ms: u32,
    /// How often each policy is looked at, in place of its resyncInterval
    #[arg(long = "resync", default_value = "1m", value_parser = seconds)]
    pub resync_seconds: u64,
    /// recoveryPointObjective of each policy, so that each has RecoveryPointMet. Default: none
    #[arg(long)]
    pub objective: Option<String>,
    /// The account's requestsPerSecond once the policies are created; the default does not limit
    #[arg(long, default_value_t = NO_LIMIT)]
    pub rate: u32,
    /// requestsPerSecond while policies are created
    #[arg(long, default_value_t = NO_LIMIT)]
    pub create_rate: u32,
    /// requestsPerSecond of the phase drip. Default: that of --rate, at most 20
    #[arg(long)]
    pub drip_rate: Option<u32>,
    /// How many specs are changed at once in the phase burst
    #[arg(long, default_value_t = 50)]
    pub changes: usize,
    /// How many specs are changed each second in the phase drip
    #[arg(long, default_value_t = 5)]
    pub drip_changes: u32,
    /// How long the phase drip takes
    #[arg(long, default_value_t = 60)]
    pub drip_seconds: u32,
    /// How many intervals the phase steady takes
    #[arg(long, default_value_t = 2)]
    pub intervals: u32,
    /// How many policies the second account has
    #[arg(long, default_value_t = 200)]
    pub others: usize,
    /// What is done after the creation, in this order
    #[arg(long, value_delimiter = ',', default_value = "create,steady,burst,restart,second")]
    pub phases: Vec<Phase>,
    /// Where the figures are written as JSON
    #[arg(long, default_value = "target/fleet.json")]
    #[serde(skip)]
    pub json: PathBuf,
    /// Added by cargo
    #[arg(long, hide = true)]
    #[serde(skip)]
    bench: bool,
}

impl Options {
    pub fn drip_rate(&self) -> u32 {
        self.drip_rate.unwrap_or(self.rate.min(DRIP_RATE))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// All policies are created; always done first
    Create,
    /// Whole intervals in which nothing changes, and the same calls in a bare loop
    Steady,
    /// Many specs change at once
    Burst,
    /// Specs change one after the other, while a small budget is used up by polling
    Drip,
    /// The operator is stopped and started again
    Restart,
    /// burst, and drip where it is chosen, while a second account answers 429 only, then not at all
    Second,
    /// As many policies again are created, to see how memory grows
    Memory,
}

fn seconds(text: &str) -> Result<u64, String> {
    let duration: SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    u64::try_from(duration.as_secs()).ok().filter(|s| *s > 0).ok_or_else(|| "at least 1s".to_owned())
}
