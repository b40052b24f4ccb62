//! What a user does, end to end: a real control plane, kubectl, the operator's own binary, and the simulated cloud.

mod conflict;
mod deletion;
mod harness;
mod lifecycle;
mod objects;
mod process;
mod replicas;
mod unreadable;
mod validation;
