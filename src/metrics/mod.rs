//! What the process tells at `/metrics`, in Prometheus' text format: what it counts while it works, and what others look up at the
//! moment that they are asked.

mod account;
mod exposition;
mod meters;

pub use account::{AccountMeter, Outcome, Priority};
pub use exposition::{Exposition, Family, Type};
pub use meters::{Ended, Meters};
