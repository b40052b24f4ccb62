//! Commands behind a proxy: they reach the API server as kubectl does, and never show the proxy's password.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testbed::ControlPlane;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Said, command, said, write};
use crate::harness::Stage;

/// Proxy credentials `ci:Pa55word` in base64.
const BASIC: &str = "Proxy-Authorization: Basic Y2k6UGE1NXdvcmQ=";
const HOST: &str = "kube.no-such-host.invalid:6443";

/// Proxy that forwards an unresolvable host name to the API server, for user `ci` with the password `Pa55word`.
struct Forward {
    address: SocketAddr,
    opened: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Forward {
    async fn start(plane: &ControlPlane) -> Result<Self> {
        let server = plane.server().trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let opened = Arc::new(AtomicUsize::new(0));
        let (counted, mut serving) = (opened.clone(), JoinSet::new());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(forward(client, server.clone(), counted.clone()));
            }
        });
        Ok(Self { address, opened, _serving: serving })
    }
}

async fn forward(mut client: TcpStream, server: String, opened: Arc<AtomicUsize>) {
    let mut head = vec![0; 4096];
    let length = client.read(&mut head).await.unwrap_or_default();
    let head = String::from_utf8_lossy(&head[..length]).into_owned();
    if !head.starts_with(&format!("CONNECT {HOST} ")) || !head.contains(BASIC) {
        // The connection is closed in any case, so a failed write does not matter.
        let _ = client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        return;
    }
    opened.fetch_add(1, Ordering::SeqCst);
    if let Ok(mut server) = TcpStream::connect(server).await {
        let _ = client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

/// Writes the administrator's kubeconfig with the API server's address behind the proxy.
fn kubeconfig(stage: &Stage<'_>, own: Option<&str>) -> Result<PathBuf> {
    let text = std::fs::read(stage.plane.kubeconfig())?;
    let mut config: Value = serde_json::from_slice(&text)?;
    let cluster = config.pointer_mut("/clusters/0/cluster").context("no cluster")?;
    cluster["server"] = json!(format!("https://{HOST}"));
    cluster["tls-server-name"] = json!("127.0.0.1");
    if let Some(own) = own {
        cluster["proxy-url"] = json!(own);
    }
    let file = stage.plane.file(&format!("{}.{}.kubeconfig", stage.namespace, own.is_some()));
    std::fs::write(&file, config.to_string())?;
    Ok(file)
}

/// Returns every command that accesses a cluster.
fn every_command(stage: &Stage<'_>, folder: &str) -> Vec<Vec<String>> {
    let account = format!("{}/{}", stage.namespace, "prod");
    let of = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
    let reading = ["--from-cluster", "--allowed-endpoint", &stage.endpoint];
    vec![
        of(&["status", &format!("{}/sessions", stage.namespace)]),
        [of(&["plan", folder]), of(&reading)].concat(),
        [of(&["backups", "--account", &account]), of(&reading)].concat(),
        [of(&["report", "--account", &account]), of(&reading)].concat(),
        [of(&["import", "--account", &account]), of(&reading)].concat(),
    ]
}

fn shows_no_password(said: &Said, of: &str) -> Result<()> {
    for text in [&said.out, &said.err] {
        for part in ["Pa55", "ci:", "Y2k6"] {
            ensure!(!text.contains(part), "{of}: {text}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reach_the_api_server_through_the_proxy_that_kubectl_would_use() -> Result<()> {
    let stage = Stage::new("commands-proxied").await?;
    stage.apply_account().await?;
    // Uses its own instance, because `plan` includes the policies of all namespaces.
    stage.add_instances(&["redis-proxied"])?;
    let policy = stage.policy_manifest("sessions", json!({"instanceId": "redis-proxied"}));
    stage.apply(policy.clone()).await?;
    let folder = tempfile::tempdir()?;
    write(folder.path(), &[policy])?;
    let proxy = Forward::start(stage.plane).await?;
    let file = kubeconfig(&stage, None)?;
    let right = format!("http://ci:Pa55word@{}", proxy.address);
    let own = kubeconfig(&stage, Some(&right))?;
    let folder = folder.path().display().to_string();
    for args in every_command(&stage, &folder) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = async |file: &PathBuf, variables: &[(&str, &str)]| {
            let mut command = command(&args);
            command
                .args(["--log-level", "trace,kube=trace,kube_client=trace,hyper_util=trace,reqwest=trace"]);
            command.env("KUBECONFIG", file).envs(variables.iter().copied());
            let said = said(command).await?;
            shows_no_password(&said, &format!("{args:?} with {variables:?}"))?;
            anyhow::Ok(said)
        };
        for variable in ["HTTPS_PROXY", "https_proxy"] {
            let before = proxy.opened.load(Ordering::SeqCst);
            let through = ended(&file, &[(variable, &right), ("NO_PROXY", "127.0.0.1,.example,")]).await?;
            ensure!([0, 2].contains(&through.code), "{args:?}: {}{}", through.out, through.err);
            ensure!(proxy.opened.load(Ordering::SeqCst) > before, "{args:?} went another way");
        }
        // The kubeconfig's proxy-url takes precedence over the environment.
        let before = proxy.opened.load(Ordering::SeqCst);
        let through = ended(&own, &[("NO_PROXY", "*")]).await?;
        ensure!([0, 2].contains(&through.code), "{args:?}: {}{}", through.out, through.err);
        ensure!(proxy.opened.load(Ordering::SeqCst) > before, "{args:?} went another way");

        let before = proxy.opened.load(Ordering::SeqCst);
        let wrong = right.replace("ci:Pa55word", "ci:Pa55other");
        let cases: [&[(&str, &str)]; 7] = [
            &[("HTTPS_PROXY", &right), ("NO_PROXY", "*")],
            &[("HTTPS_PROXY", &right), ("no_proxy", HOST)],
            &[("ALL_PROXY", &right), ("NO_PROXY", "127.0.0.1")],
            &[("HTTPS_PROXY", &wrong), ("NO_PROXY", "127.0.0.1")],
            &[("HTTPS_PROXY", "http://ci:Pa55word@no-such-proxy.invalid:3128")],
            &[("HTTPS_PROXY", "http://ci:Pa55 word@:bad")],
            &[("HTTPS_PROXY", "ftp://ci:Pa55word@p")],
        ];
        for variables in cases {
            let refused = ended(&file, variables).await?;
            ensure!(refused.code == 1, "{args:?} with {variables:?}: {}{}", refused.out, refused.err);
        }
        ensure!(proxy.opened.load(Ordering::SeqCst) == before, "{args:?} went through the proxy");
    }
    Ok(())
}

#[tokio::test]
async fn a_flag_that_is_wrong_is_repeated_without_its_password() -> Result<()> {
    for args in [
        &["report", "--provider", "http://ci:Pa55word@p:3128"][..],
        &["run", "--http-address", "http://ci:Pa55 word@:bad"],
        &["status", "http://ci:Pa55word@p/x"],
        &["plan", "--help"],
    ] {
        let mut command = command(args);
        command.env("CRBO_ALLOWED_ENDPOINT", "https://ci:Pa55word@cloud.example");
        shows_no_password(&said(command).await?, &format!("{args:?}"))?;
    }
    Ok(())
}
