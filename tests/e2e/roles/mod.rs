//! Temporary credentials: roles assumed with a Secret's key or with the operator's own identity.

mod canary;
mod cloud;
mod identity;
mod outage;
mod scene;
mod secret;
mod words;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use cloud_simulator::{Clock, Server, Settings, Simulator, TencentLimits, TencentSettings};
use testbed::{ControlPlane, Options, Process};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::canary::EVERYTHING;
use crate::harness::{OPERATOR_NAMESPACE, install, operator_binary};

/// Content of the token file without its final newline, with characters that need escaping.
pub const TOKEN: &str = r#"eyTk9+Vw.7-Jf/2Lq_8~Vd&Gp<4>Tm5='Wz3%Rn=="#;

/// A control plane of its own, a cloud, and one operator that watches all namespaces and polls once an hour: any change
/// within a minute has another cause than a poll.
pub struct World {
    pub plane: ControlPlane,
    pub cloud: Simulator,
    pub endpoint: String,
    pub operator: Process,
    /// Path in TKE_WEB_IDENTITY_TOKEN_FILE. No test changes the file of the other provider.
    tencent_token: Mutex<PathBuf>,
    /// Endpoint in VOLCENGINE_OIDC_STS_ENDPOINT.
    pub of_environment: Ear,
    /// Endpoint that no configuration names.
    pub unnamed: Ear,
}

/// A listener that counts connections and never answers.
pub struct Ear {
    pub address: String,
    connections: Arc<AtomicUsize>,
}

impl Ear {
    fn new() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let connections = Arc::<AtomicUsize>::default();
        let count = connections.clone();
        std::thread::spawn(move || {
            // Each connection is closed as soon as it is counted.
            for _connection in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(Self { address, connections })
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
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
        let tencent = TencentSettings { limits: TencentLimits::Off, ..TencentSettings::default() };
        cloud.set_settings(Settings { tencent, ..Settings::default() });
        let endpoint = serve(cloud.clone())?;
        let (of_environment, unnamed) = (Ear::new()?, Ear::new()?);
        let token = |name: &str| {
            let path = plane.file(name);
            std::fs::write(&path, format!("{TOKEN}\n")).map(|()| path)
        };
        let (volcengine_token, tencent_token) = (token("volcengine-token")?, token("tencent-token")?);
        let kubeconfig = plane.service_account_kubeconfig(OPERATOR_NAMESPACE, OPERATOR_NAMESPACE).await?;
        let mut command = Command::new(operator_binary());
        command
            .args(["run", "--operator-namespace", OPERATOR_NAMESPACE, "--http-address", "127.0.0.1:0"])
            .args(["--allowed-endpoint", &endpoint, "--allowed-endpoint", "*.wild.example"])
            .args(["--allowed-endpoint", &format!("https://{}", of_environment.address)])
            .args(["--resync-interval-override=1h", "--leader-elect=false"])
            .args(["--log-format=json", EVERYTHING])
            .env("VOLCENGINE_OIDC_TOKEN_FILE", &volcengine_token)
            .env("VOLCENGINE_OIDC_STS_ENDPOINT", &of_environment.address)
            .env("TKE_WEB_IDENTITY_TOKEN_FILE", &tencent_token)
            .env("KUBECONFIG", kubeconfig);
        let operator = Process::spawn(command, plane.file("operator-of-roles.log"))?;
        let tencent_token = Mutex::new(tencent_token);
        Ok(Self { plane, cloud, endpoint, operator, tencent_token, of_environment, unnamed })
    }

    /// Locks the file of Tencent Cloud's token for one test at a time; it holds [`TOKEN`].
    pub async fn tencent_token(&self) -> Result<MutexGuard<'_, PathBuf>> {
        let file = self.tencent_token.lock().await;
        std::fs::write(&*file, format!("{TOKEN}\n"))?;
        Ok(file)
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
