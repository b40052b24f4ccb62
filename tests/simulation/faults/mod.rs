//! Fault tests in virtual time: the controllers are killed at every crash point of each scenario, and the API server
//! reports late, stale or nothing. A checker verifies their actions during the run and the final state.

mod checker;
mod claims;
mod cloud;
mod conflicts;
mod convergence;
mod crashes;
mod fault_injection;
mod lists;
mod refusals;
mod restored;
mod run;
mod scenarios;
mod stale;
mod steps;
