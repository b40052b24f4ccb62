//! Cross-Region Backup Operator: keeps the cross-region backup policy of managed Redis instances as declared.

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod domain;
pub mod serve;
pub mod telemetry;
