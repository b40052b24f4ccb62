//! Metrics at `/metrics` in Prometheus' text format: counters that the process updates while it works, and values that
//! are looked up at each scrape.

mod account;
mod exposition;
mod meters;

pub use account::{AccountMeter, Outcome, PriorityLabel};
pub use exposition::{Exposition, Family, MetricType};
pub use meters::{Meters, ReconcileResult};
