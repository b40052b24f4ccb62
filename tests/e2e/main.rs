//! What a user does, end to end: a real control plane, kubectl, the operator's own binary, and the simulated cloud.

mod canary;
mod checks;
mod credentials;
mod faults;
mod harness;
mod lifecycle;
mod rest;
mod validation;
