//! Command-line options of the soak test.

use std::time::Duration;

use clap::Parser;
use jiff::SignedDuration;

/// Runs two replicas of the operator for a while with everything that can go wrong, then checks that nothing did.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// How long things go wrong; what is made ready and checked around it takes some minutes more
    #[arg(long = "for", default_value = "3m", value_parser = duration)]
    pub length: Duration,
    /// How many instances there are; most have a policy most of the time
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(4..=5_000))]
    pub policies: u32,
    /// The same seed, length and number of policies make the same decisions. Default: another one each time
    #[arg(long)]
    pub seed: Option<u64>,
    /// How often each policy is looked at, in place of its resyncInterval
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub resync: Duration,
    /// Added by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    let duration = Duration::try_from(duration).map_err(|error| error.to_string())?;
    if duration < Duration::from_secs(1) { Err("at least 1s".to_owned()) } else { Ok(duration) }
}
