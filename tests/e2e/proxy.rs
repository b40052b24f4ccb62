//! A TCP proxy to the API server for one operator, which a test can make hang.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testbed::ControlPlane;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Forwards TCP, TLS included, until it is cut. A cut keeps connections open and forwards nothing any more, like a
/// firewall that drops packets. Swallowing does so to the connections that are open and lets new ones work, like a load
/// balancer that has lost its connection table.
pub struct Proxy {
    address: SocketAddr,
    cut: watch::Sender<bool>,
    swallowed: watch::Sender<()>,
    _serving: JoinSet<()>,
}

impl Proxy {
    pub async fn start(plane: &ControlPlane) -> Result<Self> {
        let server = plane.server().trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (cut, is_cut) = watch::channel(false);
        let (swallowed, mut is_swallowed) = watch::channel(());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                // An earlier swallow does not concern this connection.
                is_swallowed.mark_unchanged();
                connections.spawn(pass_on(client, server.clone(), is_cut.clone(), is_swallowed.clone()));
            }
        });
        Ok(Self { address, cut, swallowed, _serving: serving })
    }

    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Forwards new connections again; those that were cut stay cut.
    pub fn restore(&self) {
        self.cut.send_replace(false);
    }

    /// Stops forwarding on the connections that are open now.
    pub fn swallow(&self) {
        self.swallowed.send_replace(());
    }

    /// Returns a kubeconfig of this ServiceAccount that points to the proxy.
    pub async fn kubeconfig(&self, plane: &ControlPlane, namespace: &str, name: &str) -> Result<PathBuf> {
        let direct = plane.service_account_kubeconfig(namespace, name).await?;
        let mut config: Value = serde_json::from_slice(&std::fs::read(direct)?)?;
        *config.pointer_mut("/clusters/0/cluster/server").context("no server")? =
            json!(format!("https://{}", self.address));
        let file = plane.file(&format!("{namespace}.{name}.proxied.kubeconfig"));
        std::fs::write(&file, config.to_string())?;
        Ok(file)
    }
}

async fn pass_on(
    mut client: TcpStream,
    server: String,
    mut is_cut: watch::Receiver<bool>,
    mut is_swallowed: watch::Receiver<()>,
) {
    let passing = async {
        if let Ok(mut server) = TcpStream::connect(server).await {
            // Any end of the copy ends both directions.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    };
    let cut = async {
        // A dropped sender means that the test is over.
        tokio::select! {
            _ = is_cut.wait_for(|is_cut| *is_cut) => {}
            _ = is_swallowed.changed() => {}
        }
    };
    tokio::pin!(passing);
    tokio::select! {
        biased;
        () = cut => std::future::pending().await,
        () = &mut passing => {}
    }
}
