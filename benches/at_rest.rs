//! What a number of policies costs at rest, as counts that come out the same on every machine: calls to the cloud, requests to
//! the API server, bytes of status, memory. Nothing here is a measure of time. See docs/performance.md.

#[path = "../tests/e2e/harness.rs"]
#[allow(dead_code, reason = "the stage of the end-to-end tests has more than is used here")]
mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cloud_simulator::InstanceSpec;
use harness::{OPERATOR_NAMESPACE, Stage, condition};
use serde_json::json;
use testbed::{AuditFilter, wait_until};

/// While they are created, nobody is looked at again; then often.
const CREATING: &str = "--resync-interval-override=24h";
const RESTING: &str = "--resync-interval-override=5s";
const BACKUPS: usize = 10;
const DESCRIBE: &str = "DescribeCrossRegionBackupPolicy";
/// Generous: a wait ends as soon as what it waits for is there.
const LIMIT: Duration = Duration::from_secs(900);

#[tokio::main]
async fn main() -> Result<()> {
    // Cargo adds `--bench`.
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let policies = numbers.first().copied().unwrap_or(200);
    let rounds = numbers.get(1).copied().unwrap_or(10);

    let mut stage = Stage::new("bench").await?;
    stage.flag(CREATING);
    stage.flag("--log-level=info");
    stage.apply_account().await?;
    stage.start_operator().await?;
    stage.until_account("CredentialsVerified").await?;
    let empty = memory(&mut stage)?;
    stage.cloud.reset_counters();
    let before = requests(&stage)?;

    create(&stage, policies).await?;
    let sizes = all_ready(&stage, policies).await?;
    println!("{policies} policies, {BACKUPS} backups each, created and modified once\n");
    cloud_calls(&stage, policies, "policy");
    api_requests(&before, &requests(&stage)?, policies);
    let total: usize = sizes.iter().sum();
    println!(
        "  status            {:>10.0} bytes a policy, {} at most",
        mean(total, sizes.len()),
        sizes.iter().max().unwrap_or(&0)
    );

    stage.operator().terminate(LIMIT).await?;
    stage.flag(RESTING);
    stage.cloud.reset_counters();
    stage.start_operator().await?;
    looks(&stage, policies).await?;
    let before = requests(&stage)?;
    stage.cloud.reset_counters();
    let looks = looks(&stage, policies * rounds).await?;
    println!("\nat rest, {rounds} resyncs\n");
    cloud_calls(&stage, looks, "policy and resync");
    api_requests(&before, &requests(&stage)?, looks);
    let (resident, most) = memory(&mut stage)?;
    println!("  resident memory   {resident:>10} KiB, {most} KiB at most; {} KiB without policies", empty.0);
    Ok(())
}

/// Waits for so many looks; how many there were then.
async fn looks(stage: &Stage<'_>, wanted: u64) -> Result<u64> {
    let looks = || Ok(Some(stage.calls(DESCRIBE)).filter(|looks| *looks >= wanted));
    wait_until(LIMIT, "the looks", async || looks()).await
}

fn mean(total: usize, count: usize) -> f64 {
    total as f64 / count.max(1) as f64
}

async fn create(stage: &Stage<'_>, policies: u64) -> Result<()> {
    let mut items = Vec::new();
    for number in 0..policies {
        let instance = format!("redis-bench{number:05}");
        stage.cloud.put_instance(InstanceSpec::new(&instance, "cn-beijing"))?;
        for backup in 0..BACKUPS {
            stage.add_backup_with(json!({
                "backupPointId": format!("cbp-{number:05}-{backup:03}"), "instanceId": instance,
                "backupPointName": format!("automated-{number:05}-{backup:03}"), "ageSeconds": 3600 * (backup + 1),
            }))?;
        }
        let spec = json!({"instanceId": instance, "recoveryPointObjective": "8760h"});
        items.push(stage.policy_manifest(&format!("p{number:05}"), spec));
    }
    stage.apply(json!({"apiVersion": "v1", "kind": "List", "items": items})).await.map(drop)
}

/// Waits until all are Ready; the sizes of their statuses as JSON.
async fn all_ready(stage: &Stage<'_>, policies: u64) -> Result<Vec<usize>> {
    wait_until(LIMIT, "all policies to be Ready", async || {
        let list = stage.json(["get", "crbp"]).await?;
        let items = list["items"].as_array().context("no list")?;
        let ready: Vec<_> = items.iter().filter(|p| condition(p, "Ready")["status"] == "True").collect();
        ensure!(ready.len() as u64 == policies, "{} of {policies}", ready.len());
        Ok(Some(ready.iter().map(|policy| policy["status"].to_string().len()).collect()))
    })
    .await
}

/// Prints the calls of each action, over `count`.
fn cloud_calls(stage: &Stage<'_>, count: u64, what: &str) {
    println!("  calls to the cloud, per {what}");
    let counters = stage.cloud.counters();
    for (action, calls) in &counters.by_action {
        println!("    {action:<34} {:>8.2}", *calls as f64 / count as f64);
    }
    println!("    {:<34} {:>8}", "Modifies that took effect, in all", counters.modifies_applied);
}

type Requests = BTreeMap<String, u64>;

/// The operator's requests about the stage's namespace so far. A watch is told when it ends.
fn requests(stage: &Stage<'_>) -> Result<Requests> {
    let user = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR_NAMESPACE}");
    let filter =
        AuditFilter { user: Some(&user), namespace: Some(&stage.namespace), ..AuditFilter::default() };
    let mut counted = Requests::new();
    for entry in stage.plane.audit_entries(&filter)? {
        let part = if entry.subresource.is_empty() { "" } else { "/" };
        let name = format!("{} {}{part}{}", entry.verb, entry.resource, entry.subresource);
        *counted.entry(name).or_default() += 1;
    }
    Ok(counted)
}

fn api_requests(before: &Requests, now: &Requests, count: u64) {
    println!("  requests to the API server, in all and for each");
    let mut none = true;
    for (name, all) in now {
        let new = all - before.get(name).copied().unwrap_or(0);
        if new > 0 {
            none = false;
            println!("    {name:<34} {new:>8} {:>8.2}", new as f64 / count as f64);
        }
    }
    if none {
        println!("    none");
    }
}

/// The operator's resident memory now, and at most so far, in KiB; 0 where the system does not tell (only Linux does).
fn memory(stage: &mut Stage<'_>) -> Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{}/status", stage.operator().id())).unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Ok((of("VmRSS:").unwrap_or(0), of("VmHWM:").unwrap_or(0)))
}
