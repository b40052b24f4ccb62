//! Volcengine: signatures, errors, actions, and the gateway in front of them.

mod actions;
pub mod auth;
mod envelope;
mod error;
pub(crate) mod gateway;
mod params;
pub(crate) mod replay;
pub mod signing;
mod sts;
