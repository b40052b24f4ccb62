//! A real Kubernetes control plane and the processes under test, for the integration tests and the demo.
//!
//! [`ControlPlane`] runs etcd, kube-apiserver and kube-controller-manager on loopback; [`Kubectl`] does what a user
//! does; [`Process`] runs the operator or whatever else is tested; [`wait_until`] replaces every sleep.
//!
//! All of it is independent of the tokio runtime it was started in, since each `#[tokio::test]` has its own while the
//! control plane of [`shared`] serves them all. Nothing survives the process that started it, however that ends.

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
