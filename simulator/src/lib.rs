//! A simulator of the clouds' Redis backup APIs, written from their wire references alone.
//!
//! [`Simulator`] is the handle on a simulated cloud; [`router`] puts it behind HTTP, [`Server`] on a socket.

mod admin;
mod answer;
mod clock;
mod digest;
mod error;
mod faults;
mod jwt;
mod keys;
mod limits;
mod listing;
mod model;
mod redact;
mod request;
mod request_log;
mod request_pipeline;
mod roles;
mod serve;
mod simulator;
pub mod tencent;
pub mod volcengine;
mod world;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;

pub use clock::Clock;
pub use error::ApiError;
pub use faults::{Effect, FaultSpec, FaultState, Malformed, ThrottleStyle};
pub use keys::Rotation;
pub use model::{
    AccountSpec, BackupSpec, Cadence, DEFAULT_ACCOUNT, InactiveShape, InstanceSpec, KeySpec, KeyStatus,
    Policy, RateLimit, Seed, Settings, Tag, Visibility,
};
pub use request::Signed;
pub use request_log::{Counters, RequestRecord};
pub use roles::{OidcSpec, RoleSpec};
pub use serve::{Server, serve};
pub use simulator::{AdminError, Simulator};
pub use tencent::model::{TencentBackupSpec, TencentInstanceSpec, TencentSeed};
pub use tencent::settings::{BackupSetKey, StatusesAllowed, TencentLimits, TencentSettings};
pub use world::{BackupView, PolicyView};

/// Returns the clouds' APIs at `/` and the admin API under `/admin`.
///
/// A connection reset needs a socket; with this router alone it is a body that fails at once.
pub fn router(sim: Simulator) -> Router {
    Router::new().route("/", any(answer)).merge(admin::router()).with_state(sim)
}

async fn answer(State(sim): State<Simulator>, request: Request) -> Response {
    if tencent::gateway::is_meant(request.headers()) {
        request_pipeline::answer::<tencent::gateway::Tencent>(sim, request).await
    } else {
        request_pipeline::answer::<volcengine::gateway::Volcengine>(sim, request).await
    }
}
