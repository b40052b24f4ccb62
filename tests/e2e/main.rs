//! What a user does, end to end: a real control plane, kubectl, the operator's own binary, and the simulated cloud.

mod admission;
mod bad_input;
mod budget;
mod canary;
mod checks;
mod conflict;
mod credentials;
mod deletion;
mod faults;
mod harness;
mod inventory;
mod leaders;
mod lifecycle;
mod metrics;
mod namespaced;
mod objects;
mod process;
mod proxy;
mod rbac;
mod replicas;
mod rest;
mod roles;
mod sharing;
mod unreadable;
mod validation;
