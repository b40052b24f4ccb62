//! Backups that cannot be listed as often as the resources of an account request.

use std::fmt;
use std::time::Duration;

use super::demand::{Demand, needed, readable};

/// A region where listing the backups takes longer than a resource's interval. Its `Display` is the message of the
/// account's condition.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowListing {
    region: String,
    /// Shortest interval at which the backups can be listed; a resource with a longer interval keeps its own.
    pub interval: Duration,
    /// Requests per second that the resources need at their own intervals, rounded up.
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
