//! Cross-Region Backup Operator: keeps the cross-region backup policy of managed Redis instances as declared.

pub mod accounts;
pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod cloud;
pub mod cluster;
pub mod commands;
pub mod controllers;
pub mod domain;
#[cfg(test)]
mod layers;
pub mod metrics;
pub mod plan;
pub mod serve;
pub mod telemetry;
