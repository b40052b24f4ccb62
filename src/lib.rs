//! Cross-Region Backup Operator: keeps the cross-region backup policy of managed Redis instances as declared.

pub mod api;
pub mod clock;
pub mod cloud;
pub mod domain;
pub mod plan;
pub mod telemetry;
