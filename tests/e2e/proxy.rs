//! A way to the API server that only one operator takes, and that can be made to hang.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testbed::ControlPlane;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Passes on what comes over TCP, TLS and all, until it is cut; then connections stay open, and nothing comes through any more,
/// as behind a firewall that drops packets. Or the connections that are open are swallowed, and new ones work, as behind a load
/// balancer that has forgotten them.
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
                // What was swallowed before does not concern this one.
                is_swallowed.mark_unchanged();
                connections.spawn(pass_on(client, server.clone(), is_cut.clone(), is_swallowed.clone()));
            }
        });
        Ok(Self { address, cut, swallowed, _serving: serving })
    }

    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// New connections come through again; those that were cut stay so.
    pub fn restore(&self) {
        self.cut.send_replace(false);
    }

    /// Nothing comes through any more on the connections that are open now.
    pub fn swallow(&self) {
        self.swallowed.send_replace(());
    }

    /// A kubeconfig of this ServiceAccount that leads here.
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
            // However it ends, it has ended for both.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    };
    let cut = async {
        // Without a sender the test is over.
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
