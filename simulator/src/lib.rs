//! A simulator of the clouds' Redis backup APIs, written from their wire references alone.
//!
//! [`Simulator`] is the handle on a simulated cloud; [`router`] puts it behind HTTP, [`Server`] on a socket.

mod admin;
mod answer;
mod clock;
mod faults;
mod keys;
mod ledger;
mod limits;
mod model;
mod serve;
mod simulator;
pub mod volcengine;
mod world;

use axum::Router;
use axum::routing::any;

pub use clock::Clock;
pub use faults::{Effect, FaultSpec, FaultState, Malformed, ThrottleStyle};
pub use keys::Rotation;
pub use ledger::{Counters, RequestRecord};
pub use model::{
    AccountSpec, BackupSpec, Cadence, DEFAULT_ACCOUNT, InactiveShape, InstanceSpec, KeySpec, KeyStatus,
    Policy, RateLimit, Seed, Settings, Tag, Visibility,
};
pub use serve::{Server, serve};
pub use simulator::{AdminError, Simulator};
pub use world::{BackupView, PolicyView};

/// The cloud's API at `/` and the admin API under `/admin`.
///
/// A connection reset needs a socket, so behind this router alone it is a body that fails at once.
pub fn router(sim: Simulator) -> Router {
    Router::new().route("/", any(volcengine::gateway::answer)).merge(admin::router()).with_state(sim)
}
