//! What a user does, end to end: a real control plane, kubectl, the operator's own binary, and the simulated cloud.

mod admission;
mod canary;
mod checks;
mod conflict;
mod credentials;
mod deletion;
mod faults;
mod harness;
mod inventory;
mod lifecycle;
mod objects;
mod process;
mod replicas;
mod rest;
mod unreadable;
mod validation;
