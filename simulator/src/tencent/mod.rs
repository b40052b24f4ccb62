//! Tencent Cloud: signatures, errors, actions, the gateway in front of them, and their objects.

mod actions;
pub(crate) mod admin;
pub mod auth;
mod error;
pub(crate) mod gateway;
mod handle;
pub(crate) mod model;
mod params;
pub(crate) mod settings;
pub mod signing;
mod sts;
pub(crate) mod world;
