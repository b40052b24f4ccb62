//! The Redis API of Tencent Cloud (API 3.0), version 2018-04-12.

mod calls;
mod client;
pub mod codes;
mod detail_filter;
pub mod query;
mod sign;
pub mod wire;

pub use calls::{BACKUP_DETAIL, LIST_BACKUPS};
pub use client::{Client, Service};
