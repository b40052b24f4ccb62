//! A real Kubernetes control plane and the processes under test, for the integration tests and the demo.
//!
//! [`ControlPlane`] runs etcd, kube-apiserver and kube-controller-manager on loopback; [`Kubectl`] runs a user's commands;
//! [`Process`] runs the operator or another program under test; [`wait_until`] replaces fixed sleeps.
//!
//! Nothing here is bound to the tokio runtime that started it: each `#[tokio::test]` has its own runtime, and all share the
//! control plane of [`shared`]. All processes and files are removed when the starting process ends, even by SIGKILL.

mod assets;
mod audit;
pub mod capture;
mod certificates;
mod components;
mod control_plane;
mod identity;
mod kubectl;
mod port;
mod process;
mod wait;
mod watchdog;

pub use audit::{AuditEntry, AuditFilter};
pub use control_plane::{ControlPlane, Options, shared};
pub use identity::User;
pub use kubectl::Kubectl;
pub use process::{Process, Signal};
pub use wait::wait_until;
