//! Fault tests in virtual time: the controllers are killed at every crash point of each scenario, and the API server
//! reports late, stale or nothing. A checker verifies their actions during the run and the final state.

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
