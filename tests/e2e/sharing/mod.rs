//! Shared accounts: `ClusterCloudAccount`, and namespaces with and without access.

mod deletion;
mod directions;
mod fair;
mod isolation;
mod keys;
mod operators;
mod scene;
mod schema;
mod seen;
mod words;
mod works;

pub use scene::says;

use std::process::Command;

use anyhow::{Context, Result};
use cloud_simulator::{Clock, Server, Simulator};
use testbed::{ControlPlane, Options, Process};
use tokio::sync::OnceCell;

use crate::harness::{OPERATOR_NAMESPACE, install, operator_binary};

/// A control plane of its own, a cloud, and one operator that watches all namespaces and polls once an hour: any change
/// within a minute has another cause than a poll.
pub struct World {
    pub plane: ControlPlane,
    pub cloud: Simulator,
    pub endpoint: String,
    pub operator: Process,
}

/// Returns the environment that all tests of this module share. It lasts until the process ends.
pub async fn world() -> Result<&'static World> {
    static WORLD: OnceCell<Result<World, String>> = OnceCell::const_new();
    let start = || async { World::start().await.map_err(|error| format!("{error:#}")) };
    WORLD.get_or_init(start).await.as_ref().map_err(|error| anyhow::anyhow!("no world: {error}"))
}

impl World {
    async fn start() -> Result<Self> {
        let plane = ControlPlane::start(Options::default()).await?;
        install(&plane).await?;
        let cloud = Simulator::new(Clock::system());
        let endpoint = serve(cloud.clone())?;
        let kubeconfig = plane.service_account_kubeconfig(OPERATOR_NAMESPACE, OPERATOR_NAMESPACE).await?;
        let mut command = Command::new(operator_binary());
        command
            .args(["run", "--operator-namespace", OPERATOR_NAMESPACE, "--http-address", "127.0.0.1:0"])
            .args(["--allowed-endpoint", &endpoint, "--resync-interval-override=1h"])
            .args(["--leader-elect=false", "--log-format=text", "--log-level=debug"])
            .env("KUBECONFIG", kubeconfig);
        let operator = Process::spawn(command, plane.file("operator-of-all.log"))?;
        Ok(Self { plane, cloud, endpoint, operator })
    }
}

/// Serves the cloud until the process ends: a test's own runtime ends with the test.
fn serve(cloud: Simulator) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime.block_on(async {
            let server = Server::start(cloud).await;
            // Without a server the receiver gets `None` and fails the test.
            let _ = tell.send(server.as_ref().ok().map(Server::url));
            std::future::pending::<()>().await;
        });
    });
    told.recv()?.context("the cloud does not listen")
}
