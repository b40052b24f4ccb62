//! The controllers under faults, in virtual time: killed at every point of every life, and told by the API server what is late,
//! old, or nothing at all. An oracle judges what they did meanwhile, and what has become of everything afterwards.

mod claims;
mod cloud;
mod conflicts;
mod crashes;
mod lists;
mod liveness;
mod oracle;
mod play;
mod refusals;
mod restored;
mod scenarios;
mod stale;
mod steps;
mod trouble;
