//! Cluster-internal addresses to which a tenant tries to make the operator send requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{CRBP, Tenant};
use crate::harness::{POLICY, condition, settled};
use crate::sharing::scene::Scene;

/// A listener that counts connections.
struct Trap {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Trap {
    async fn new() -> Result<Self> {
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        let (port, connections) = (listener.local_addr()?.port(), Arc::new(AtomicUsize::new(0)));
        let counter = connections.clone();
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(Self { port, connections })
    }

    /// Checks that nothing has connected so far, and that the trap does count a connection.
    async fn is_untouched(&self, scene: &Scene) -> Result<()> {
        let touched = self.connections.load(Ordering::SeqCst);
        ensure!(touched == 0, "{touched} connections");
        tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await?;
        scene.wait("the count", || self.connections.load(Ordering::SeqCst) == 1).await
    }
}

/// Returns forbidden addresses in every form that the schema accepts.
fn addresses(trap: &Trap, api_server: &str) -> Vec<String> {
    let port = trap.port;
    let mut all = vec![api_server.to_owned(), api_server.replace("127.0.0.1", "localhost")];
    let hosts = [
        "127.0.0.1",
        "localhost",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "127.000.000.001",
        "0.0.0.0",
        "0",
        "127.0.0.1.",
        "localhost.",
        "127.0.0.1.nip.io",
    ];
    for host in hosts {
        all.extend(["http", "https"].map(|scheme| format!("{scheme}://{host}:{port}")));
    }
    let others = [
        "http://10.0.0.1",
        "https://10.0.0.1",
        "https://kubernetes.default.svc",
        "https://kubernetes.default",
        "https://kubernetes.default.svc.cluster.local",
        "http://169.254.169.254",
        "https://169.254.169.254",
        "http://100.96.0.96",
        "https://100.100.100.200",
        "http://metadata.tencentyun.com",
        "https://192.168.0.1",
        "https://172.16.0.1:6443",
        "https://evilvolcengineapi.com",
        "https://volcengineapi.com.example",
        "https://volcengineapi.com",
        "http://redis.volcengineapi.com",
        "https://redis.volcengineapi.com:8443",
        "https://redis.byteplusapi.com",
        "https://redis.tencentcloudapi.com",
        "https://{region}",
        "https://{region}.svc",
        "https://{region}.example",
    ];
    all.extend(others.map(str::to_owned));
    all
}

async fn refused_everywhere(scene: &Scene, tenant: &Tenant, accounts: Vec<Value>) -> Result<()> {
    tenant.apply(&accounts).await?;
    for account in &accounts {
        let name = account["metadata"]["name"].as_str().unwrap_or_default();
        let told = scene.until_in(&tenant.namespace, "CloudAccount", name, "a verdict", settled).await?;
        let spec = &account["spec"];
        ensure!(
            condition(&told, "Ready")["reason"] == "EndpointNotAllowed",
            "{spec:#}: {:#}",
            told["status"]
        );
        ensure!(told["status"]["accessKeyIdHint"].is_null(), "{told:#}");
    }
    Ok(())
}

/// Checks that the API server refuses every account and names these fields for each.
async fn all_are_refused(tenant: &Tenant, accounts: Vec<Value>, fields: &[&str]) -> Result<()> {
    let refused = tenant.apply(&accounts).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
    let told: Vec<&str> = refused.split(" is invalid: ").skip(1).collect();
    ensure!(told.len() == accounts.len(), "{} of {}: {refused}", told.len(), accounts.len());
    for (told, account) in told.iter().zip(&accounts) {
        let named = fields.iter().all(|field| told.contains(&format!("{field}: ")));
        ensure!(named, "{:#}: {told}", account["spec"]);
    }
    let stored = tenant.run(&["get", "cacct", "-o", "name"]).await?;
    ensure!(!stored.contains("probe-"), "{stored}");
    Ok(())
}

fn account(scene: &Scene, tenant: &Tenant, number: usize, spec: Value) -> Value {
    let mut account = scene.own_account(&tenant.namespace, &format!("probe-{number}"));
    account["spec"]["credentials"]["secretRef"]["name"] = json!("own");
    for (field, value) in spec.as_object().into_iter().flatten() {
        account["spec"][field] = value.clone();
    }
    account
}

#[tokio::test]
async fn it_cannot_have_a_request_sent_into_the_cluster_by_an_endpoint() -> Result<()> {
    let scene = Scene::new("net-endpoint").await?;
    let tenant = Tenant::with_account(&scene, "net-endpoint-tenant", "nobody").await?;
    let trap = Trap::new().await?;
    let accounts = addresses(&trap, &scene.plane.server())
        .into_iter()
        .enumerate()
        .map(|(number, endpoint)| account(&scene, &tenant, number, json!({"endpoint": endpoint})))
        .collect();
    refused_everywhere(&scene, &tenant, accounts).await?;
    // A policy on such an account reports the refusal, and causes no request either.
    let spec = json!({"accountRef": {"name": "probe-3"}, "deletionPolicy": "Disable"});
    tenant.apply(&[scene.policy(&tenant.namespace, POLICY, spec)]).await?;
    tenant.until(&scene, CRBP, POLICY, "EndpointNotAllowed").await?;
    tenant
        .run(&["annotate", "crbp,cacct", "--all", "crossregionbackup.io/reconcile-requested-at=now"])
        .await?;
    let handled = |o: &Value| o["status"]["lastHandledReconcileAt"] == "now";
    scene.until_in(&tenant.namespace, CRBP, POLICY, "the request", handled).await?;
    tenant.run(&["delete", "crbp", POLICY, "--timeout=30s"]).await?;
    tenant.proves_that_the_operator_works(&scene).await?;
    trap.is_untouched(&scene).await
}

#[tokio::test]
async fn it_cannot_have_a_request_sent_into_the_cluster_by_a_region() -> Result<()> {
    let scene = Scene::new("net-region").await?;
    let tenant = Tenant::with_account(&scene, "net-region-tenant", "nobody").await?;
    let trap = Trap::new().await?;
    let regions =
        ["127.0.0.1", "localhost", "cn-beijing.evil", "cn-beijing:80", "a@b-c", "cn-beijing/", "cn-beijing#"];
    let into = |n: usize, region: &str| {
        let endpoint = format!("http://{{region}}:{}", trap.port);
        account(&scene, &tenant, n, json!({"endpoint": endpoint, "region": region}))
    };
    let accounts = regions.iter().enumerate().map(|(n, region)| into(n, region)).collect();
    all_are_refused(&tenant, accounts, &["spec.region"]).await?;
    refused_everywhere(&scene, &tenant, vec![into(0, "local-host")]).await?;
    trap.is_untouched(&scene).await
}

#[tokio::test]
async fn it_cannot_have_a_request_sent_by_an_endpoint_of_another_shape() -> Result<()> {
    let scene = Scene::new("net-shape").await?;
    let tenant = Tenant::with_account(&scene, "net-shape-tenant", "nobody").await?;
    let endpoints = [
        "https://redis.volcengineapi.com@127.0.0.1",
        "https://127.0.0.1#.volcengineapi.com",
        "https://127.0.0.1/.volcengineapi.com",
        "https://[::1]",
        "https://[::ffff:127.0.0.1]:443",
        "file:///etc/passwd",
        "gopher://127.0.0.1:70",
        "https://127.0.0.1\\.volcengineapi.com",
        "https://127.0.0.1%2f.volcengineapi.com",
        "HTTPS://127.0.0.1",
        "https://redis.volcengineapi.com:443:80",
        "https://",
        "https://ⓛocalhost",
    ];
    let of = |n: usize, endpoint: &str| {
        account(&scene, &tenant, n, json!({"endpoint": endpoint, "stsEndpoint": endpoint}))
    };
    let accounts = endpoints.iter().enumerate().map(|(n, endpoint)| of(n, endpoint)).collect();
    all_are_refused(&tenant, accounts, &["spec.endpoint", "spec.stsEndpoint"]).await?;
    tenant.proves_that_the_operator_works(&scene).await
}

#[tokio::test]
async fn a_host_under_an_allowed_suffix_that_does_not_exist_is_sent_nothing() -> Result<()> {
    let scene = Scene::new("net-suffix").await?;
    let tenant = Tenant::with_account(&scene, "net-suffix-tenant", "nobody").await?;
    for (number, endpoint) in
        ["https://no-such-host.volcengineapi.com", "https://{region}.no-such.volcengineapi.com"]
            .into_iter()
            .enumerate()
    {
        tenant.apply(&[account(&scene, &tenant, number, json!({"endpoint": endpoint}))]).await?;
        let name = format!("probe-{number}");
        let told = scene.until_in(&tenant.namespace, "CloudAccount", &name, "a verdict", settled).await?;
        ensure!(condition(&told, "Ready")["reason"] == "EndpointUnreachable", "{told:#}");
        // The message on the tenant's own account may name its host, but no address.
        let text = condition(&told, "Ready")["message"].as_str().unwrap_or_default().to_owned();
        let unresolved = "DescribeDBInstances: name not resolved";
        ensure!(text.starts_with(unresolved) && text.ends_with(".volcengineapi.com"), "{text}");
    }
    tenant.proves_that_the_operator_works(&scene).await
}

#[tokio::test]
async fn it_cannot_have_a_request_sent_into_the_cluster_by_an_sts_endpoint() -> Result<()> {
    let scene = Scene::new("net-sts").await?;
    let tenant = Tenant::with_account(&scene, "net-sts-tenant", "nobody").await?;
    let trap = Trap::new().await?;
    let role = json!({"role": "trn:iam::2100000000:role/backup"});
    let accounts: Vec<_> = addresses(&trap, &scene.plane.server())
        .into_iter()
        .enumerate()
        .map(|(number, sts)| {
            account(&scene, &tenant, number, json!({"stsEndpoint": sts, "assumeRole": role}))
        })
        .collect();
    tenant.apply(&accounts).await?;
    for account in &accounts {
        let name = account["metadata"]["name"].as_str().unwrap_or_default();
        let told = scene.until_in(&tenant.namespace, "CloudAccount", name, "a verdict", settled).await?;
        let ready = condition(&told, "Ready");
        let said = ready["message"].as_str().unwrap_or_default();
        let refused =
            ready["reason"] == "EndpointNotAllowed" && said.starts_with("spec.stsEndpoint is not allowed");
        ensure!(refused, "{told:#}");
    }
    tenant.proves_that_the_operator_works(&scene).await?;
    trap.is_untouched(&scene).await
}
