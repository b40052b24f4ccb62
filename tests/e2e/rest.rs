//! Steady state: an unchanged environment is polled, and neither status nor cloud is written.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cloud_simulator::{FaultSpec, InstanceSpec, Policy};
use serde_json::{Value, json};
use testbed::{AuditEntry, AuditFilter, wait_until};

use crate::client;
use crate::harness::{LIMIT, OPERATOR_NAMESPACE, Stage, condition};

const POLICIES: usize = 50;
/// A round takes two seconds; the rest is an allowance for a busy machine.
const ROUNDS_LIMIT: Duration = Duration::from_secs(240);
const DESCRIBE: &str = "DescribeCrossRegionBackupPolicy";
const MODIFY: &str = "ModifyCrossRegionBackupPolicy";

/// Returns the number of polls of every policy: `make test-extended` sets TEST_EXTENDED.
fn how_many_rounds() -> u64 {
    if std::env::var_os("TEST_EXTENDED").is_some() { 20 } else { 4 }
}

fn name(number: usize) -> String {
    format!("p{number:02}")
}

fn instance(number: usize) -> String {
    format!("redis-rest{number:02}")
}

/// Returns whether the policy of this number has to modify its instance.
fn is_modified(number: usize) -> bool {
    number % 10 >= 6
}

/// Creates instances and policies of every kind that settles: inactive, observed, with a distant objective, in sync
/// from the start, and modified once.
async fn fleet(stage: &Stage<'_>) -> Result<()> {
    let mut items = Vec::new();
    for number in 0..POLICIES {
        let kind = number % 10;
        let on = !(kind == 0 || kind == 2 || is_modified(number));
        stage.cloud.put_instance(InstanceSpec {
            instance_id: instance(number),
            region: "cn-beijing".to_owned(),
            policy: if on { Policy::to_region("cn-shanghai") } else { Policy::default() },
            ..InstanceSpec::default()
        })?;
        if kind != 4 {
            let id = format!("b-{number}");
            stage.add_backup_with(
                json!({"backupPointId": id, "instanceId": instance(number), "ageSeconds": 3600}),
            )?;
        }
        let mut spec = json!({"instanceId": instance(number)});
        match kind {
            0 => spec["active"] = json!(false),
            1 => spec["managementPolicy"] = json!("Observe"),
            2 => {
                spec["managementPolicy"] = json!("Observe");
                spec["active"] = json!(false);
            }
            3 | 4 => spec["recoveryPointObjective"] = json!("8760h"),
            _ => {}
        }
        items.push(stage.policy_manifest(&name(number), spec));
    }
    stage.apply(json!({"apiVersion": "v1", "kind": "List", "items": items})).await.map(drop)
}

/// Waits until all policies are Ready and their Events are written.
async fn all_ready(stage: &Stage<'_>) -> Result<()> {
    wait_until(LIMIT, "all policies to be Ready", async || {
        let items = stage.list("crbp").await?;
        let waiting: Vec<_> = items
            .iter()
            .filter(|p| condition(p, "Ready")["status"] != "True")
            .map(|p| format!("{}: {}", p["metadata"]["name"], condition(p, "Ready")))
            .collect();
        ensure!(waiting.is_empty(), "not Ready: {}", waiting.join(", "));
        let modified = (0..POLICIES).filter(|number| is_modified(*number)).count();
        let told = policy_events(stage).await?.len();
        Ok((items.len() == POLICIES && told >= modified).then_some(()))
    })
    .await
    .with_context(|| stage.log().lines().rev().take(40).collect::<Vec<_>>().join("\n"))
}

/// Returns name, reason and count of the Events about policies.
async fn policy_events(stage: &Stage<'_>) -> Result<Vec<(String, String, i64)>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = stage.list("Event").await?;
    Ok(items
        .iter()
        .filter(|e| e["regarding"]["kind"] == "CrossRegionBackupPolicy")
        .map(|e| {
            let count = e["series"]["count"].as_i64().unwrap_or(1);
            (text(&e["regarding"]["name"]), text(&e["reason"]), count)
        })
        .collect())
}

/// Returns the operator's writes in the stage's namespace so far, without renewals of the Lease.
pub async fn writes(stage: &Stage<'_>, marker: &str) -> Result<Vec<AuditEntry>> {
    // A request of the test marks the point up to which the audit log is complete.
    client::get_opt(&stage.client, "configmap", &stage.namespace, marker).await?;
    let own = AuditFilter { namespace: Some(&stage.namespace), name: Some(marker), ..AuditFilter::default() };
    wait_until(LIMIT, "the audit log", async || Ok(stage.plane.audit_entries(&own)?.pop())).await?;
    let user = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR_NAMESPACE}");
    let filter = AuditFilter {
        user: Some(&user),
        namespace: Some(&stage.namespace),
        writes_only: true,
        ..AuditFilter::default()
    };
    let mut entries = stage.plane.audit_entries(&filter)?;
    entries.retain(|entry| entry.resource != "leases");
    Ok(entries)
}

/// Checks that each policy has one complete status write and each Modify one Event; returns the writes.
async fn was_written_once(stage: &Stage<'_>) -> Result<Vec<AuditEntry>> {
    let entries = writes(stage, "marker-before").await?;
    let mut statuses = BTreeMap::<String, usize>::new();
    for entry in entries.iter().filter(|e| e.resource == "crossregionbackuppolicies") {
        ensure!(entry.subresource == "status" && entry.verb == "patch" && entry.code == 200, "{entry:?}");
        *statuses.entry(entry.name.clone()).or_default() += 1;
    }
    let once: BTreeMap<_, _> = (0..POLICIES).map(|number| (name(number), 1)).collect();
    ensure!(statuses == once, "status writes: {statuses:?}");
    let mut told = policy_events(stage).await?;
    told.sort();
    let due: Vec<_> = (0..POLICIES)
        .filter(|number| is_modified(*number))
        .map(|number| (name(number), "PolicyModified".to_owned(), 1))
        .collect();
    ensure!(told == due, "Events: {told:?}");
    ensure!(stage.modifies() == due.len() as u64 && stage.calls(MODIFY) == due.len() as u64);
    Ok(entries)
}

/// Waits until every instance was polled `rounds` times more.
async fn rounds(stage: &Stage<'_>, rounds: u64) -> Result<()> {
    let looks = || -> u64 { stage.calls(DESCRIBE) };
    let of_instances = || stage.cloud.counters().by_instance;
    let (before, each_before) = (looks(), of_instances());
    wait_until(ROUNDS_LIMIT, format!("{rounds} rounds of looks"), async || {
        let now = of_instances();
        // A successful describe is followed by a listing of the backups.
        let least = (0..POLICIES)
            .map(|number| {
                let count = |all: &BTreeMap<String, u64>| all.get(&instance(number)).copied().unwrap_or(0);
                count(&now) - count(&each_before)
            })
            .min()
            .unwrap_or(0);
        let seen = looks() - before;
        ensure!(
            seen >= rounds * POLICIES as u64 && least >= rounds,
            "{seen} looks, at least {least} calls each"
        );
        Ok(Some(()))
    })
    .await
    .with_context(|| stage.log().lines().rev().take(40).collect::<Vec<_>>().join("\n"))
}

fn fail_some(stage: &Stage<'_>, seed: u64, effect: Value) -> Result<u64> {
    let fault: FaultSpec = serde_json::from_value(
        json!({"action": DESCRIBE, "probability": 0.1, "seed": seed, "effect": effect}),
    )?;
    Ok(stage.cloud.place_fault(fault)?)
}

fn fired(stage: &Stage<'_>) -> u64 {
    stage.cloud.faults().iter().map(|fault| fault.fired).sum()
}

#[tokio::test]
async fn an_unchanged_world_causes_no_write_also_when_some_looks_fail() -> Result<()> {
    let mut stage = Stage::running("rest").await?;
    fleet(&stage).await?;
    all_ready(&stage).await?;
    let before = was_written_once(&stage).await?;

    stage.cloud.reset_counters();
    let count = how_many_rounds();
    rounds(&stage, count).await?;
    let quiet = writes(&stage, "marker-quiet").await?;
    ensure!(quiet == before, "written at rest: {:#?}", &quiet[before.len()..]);
    ensure!(stage.calls(MODIFY) == 0);

    fail_some(
        &stage,
        7,
        json!({"type": "error", "status": 500, "code": "InternalError", "message": "boom"}),
    )?;
    rounds(&stage, count).await?;
    // One describe in ten fails; half of that is enough here.
    ensure!(fired(&stage) >= count * POLICIES as u64 / 20, "{} looks failed", fired(&stage));
    let failing = writes(&stage, "marker-failing").await?;
    ensure!(failing == before, "written while looks fail: {:#?}", &failing[before.len()..]);

    // A throttled response pauses the whole account for a second or two, hence fewer rounds.
    stage.cloud.clear_faults();
    fail_some(&stage, 8, json!({"type": "throttle"}))?;
    rounds(&stage, 3).await?;
    stage.wait("some throttled looks", || fired(&stage) >= 5).await?;
    ensure!(stage.calls(MODIFY) == 0 && stage.modifies() == 0);
    stage.operator().terminate(LIMIT).await?;
    let throttled = writes(&stage, "marker-throttled").await?;
    ensure!(throttled == before, "written while throttled: {:#?}", &throttled[before.len()..]);
    Ok(())
}

/// Lets the operator's user hold its Lease in the stage's namespace, with the rights that deploy/ grants in its own.
async fn allow_lease(stage: &Stage<'_>) -> Result<()> {
    for kind in ["role", "rolebinding"] {
        let name = "cross-region-backup-operator-leader-election";
        let mut object = client::get(&stage.client, kind, OPERATOR_NAMESPACE, name).await?;
        object["metadata"] = json!({"name": name, "namespace": stage.namespace});
        stage.apply(object).await?;
    }
    Ok(())
}

#[tokio::test]
async fn with_leader_election_only_the_lease_is_written() -> Result<()> {
    let mut stage = Stage::new("rest-leading").await?;
    allow_lease(&stage).await?;
    stage.flag("--leader-elect=true");
    stage.flag("--operator-namespace=rest-leading");
    stage.apply_account().await?;
    // All objects exist before the operator starts; the order of creation does not matter.
    fleet(&stage).await?;
    stage.start_operator().await?;
    all_ready(&stage).await?;
    let before = was_written_once(&stage).await?;
    stage.cloud.reset_counters();
    rounds(&stage, how_many_rounds()).await?;
    ensure!(stage.calls(MODIFY) == 0);
    stage.operator().terminate(LIMIT).await?;
    let after = writes(&stage, "marker-after").await?;
    ensure!(after == before, "written at rest: {:#?}", &after[before.len()..]);
    let leases = AuditFilter {
        namespace: Some(&stage.namespace),
        resource: Some("leases"),
        verb: Some("update"),
        ..AuditFilter::default()
    };
    ensure!(stage.plane.audit_entries(&leases)?.len() >= 2, "the Lease was not renewed");
    Ok(())
}
