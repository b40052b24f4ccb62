//! The Redis API of Volcengine and of BytePlus, version 2020-12-07.

mod calls;
mod client;
mod codes;
mod listing;
mod query;
mod sign;
mod wire;

#[cfg(test)]
mod fake;

pub use calls::Accepted;
pub use client::{Client, ClientConfig};
pub use query::{BackupQuery, PAGE_SIZE_MAX, Scope};
pub use wire::{BackupPage, InstancePage};
