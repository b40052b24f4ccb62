//! The Redis API of Volcengine and of BytePlus, version 2020-12-07.

mod calls;
mod client;
pub mod codes;
pub mod query;
mod sign;
pub mod wire;

pub use calls::{Accepted, LIST_BACKUPS};
pub use client::{Client, Unsigned};
pub use sign::canonical_query;
