//! Backups that cannot be read as often as the resources of an account ask for.

use std::fmt;
use std::time::Duration;

use super::demand::{Demand, needed, readable};

/// A region whose backups take longer to be listed than the interval of a resource there. Displayed, it is what the account's
/// condition says.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowListing {
    region: String,
    /// The shortest interval at which the backups can be listed; a resource with a longer one keeps its own.
    pub interval: Duration,
    /// Requests per second, in whole ones, that the resources need at their own intervals.
    needed: f64,
}

impl SlowListing {
    pub fn new(region: String, interval: Duration, demands: &[Demand]) -> Self {
        Self { region, interval, needed: needed(demands).ceil() }
    }
}

impl fmt::Display for SlowListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, interval, needed } = self;
        let interval = readable(*interval);
        write!(
            f,
            "listing the backups in {region} takes too long for a look at each resource more often than every {interval}; at \
             their own intervals the resources need {needed} requests per second"
        )
    }
}
