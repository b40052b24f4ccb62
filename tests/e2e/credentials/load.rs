//! Rotation of keys, with immediate revocation of the old key, under continuous polling of many policies.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cloud_simulator::{InstanceSpec, KeyStatus, Policy, RequestRecord};
use jiff::Timestamp;
use serde_json::{Value, json};
use testbed::{AuditFilter, wait_until};

use crate::checks::{DESCRIBE, MODIFY, seconds};
use crate::harness::{KEY_ID, LIMIT, OPERATOR_NAMESPACE, SECRET_KEY, Stage, condition};

const POLICIES: usize = 200;
const ROTATIONS: usize = 20;
/// Poll interval of each policy, in seconds.
const PACE: f64 = 2.0;
/// Grace period in seconds after a change of the Secret, in which the operator may still sign with the old key.
const GRACE: f64 = 2.0;
/// Minimum share of the scheduled polls that must happen; the rest allows for a machine that is busy with the
/// control plane, the simulated cloud and other tests.
const LEAST_SHARE: f64 = 0.6;
/// Number of calls made with a key before it is replaced.
const CALLS: u64 = 100;
/// Maximum number of Secret reads per rotation, on average; a read for each rejected call would exceed it.
const MOST_READS: usize = POLICIES / 4;
/// Time limit for all rotations on a busy machine.
const ROTATIONS_LIMIT: Duration = Duration::from_secs(120);

fn instance(number: usize) -> String {
    format!("redis-load{number:03}")
}

/// Adds the instances, each with a backup and a policy that is already in sync.
async fn fleet(stage: &Stage<'_>) -> Result<()> {
    let mut items = Vec::new();
    for number in 0..POLICIES {
        stage.cloud.put_instance(InstanceSpec {
            policy: Policy::to_region("cn-shanghai"),
            ..InstanceSpec::new(instance(number), "cn-beijing")
        })?;
        let backup = json!({"backupPointId": format!("b-{number}"), "instanceId": instance(number)});
        stage.add_backup_with(backup)?;
        let spec = json!({"instanceId": instance(number)});
        items.push(stage.policy_manifest(&format!("p{number:03}"), spec));
    }
    stage.apply(json!({"apiVersion": "v1", "kind": "List", "items": items})).await.map(drop)
}

async fn policies(stage: &Stage<'_>) -> Result<Vec<Value>> {
    stage.list("crbp").await
}

async fn all_ready(stage: &Stage<'_>) -> Result<()> {
    wait_until(LIMIT, "all policies to be Ready", async || {
        let policies = policies(stage).await?;
        let ready = policies.iter().filter(|p| condition(p, "Ready")["status"] == "True").count();
        ensure!(ready == POLICIES, "{ready} of {} are Ready", policies.len());
        Ok(Some(()))
    })
    .await
    .with_context(|| format!("operator:\n{}", stage.log_tail()))
}

/// Returns every Event of the namespace: object, reason and count.
async fn events(stage: &Stage<'_>) -> Result<Vec<(String, String, i64)>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let read = |e: &Value| {
        let count = e["series"]["count"].as_i64().unwrap_or(1);
        (text(&e["regarding"]["name"]), text(&e["reason"]), count)
    };
    let mut events: Vec<_> = stage.list("Event").await?.iter().map(read).collect();
    events.sort();
    Ok(events)
}

/// Complete request log; the simulator itself keeps requests only for some seconds.
#[derive(Default)]
struct Log(Vec<RequestRecord>);

impl Log {
    fn collect(&mut self, stage: &Stage<'_>) -> Result<()> {
        let last = self.0.last().map_or(0, |record| record.number);
        let new: Vec<_> = stage.cloud.requests().into_iter().filter(|r| r.number > last).collect();
        if let (Some(first), true) = (new.first(), last > 0) {
            ensure!(first.number == last + 1, "requests after {last} are forgotten up to {}", first.number);
        }
        self.0.extend(new);
        Ok(())
    }

    fn of<'l>(&'l self, action: &'l str) -> impl Iterator<Item = &'l RequestRecord> {
        self.0.iter().filter(move |record| record.action.as_deref() == Some(action))
    }
}

/// Waits until `calls` requests were signed with the key, then collects the request log.
async fn until_in_use(stage: &Stage<'_>, key: &str, calls: u64, log: &mut Log) -> Result<()> {
    wait_until(LIMIT, format!("{calls} calls with {key}"), async || {
        let used = stage.cloud.counters().by_key.get(key).copied().unwrap_or_default();
        Ok((used >= calls).then_some(()))
    })
    .await
    .with_context(|| format!("operator:\n{}", stage.log_tail()))?;
    log.collect(stage)
}

#[tokio::test]
#[ignore = "long: make test-extended"]
async fn twenty_rotations_under_two_hundred_policies_are_noticed_by_none() -> Result<()> {
    let mut stage = Stage::new("creds-load").await?;
    stage.flag("--resync-interval-override=2s");
    // The debug level would log a line for each of 200 requests a second.
    stage.flag("--log-level=info");
    let mut account = stage.account_manifest();
    account["spec"]["requestBudget"] = json!({"requestsPerSecond": 1000, "burst": 200});
    stage.apply_secret(KEY_ID, SECRET_KEY).await?;
    stage.apply(account).await?;
    fleet(&stage).await?;
    stage.start_operator().await?;
    all_ready(&stage).await?;
    let account_before = stage.until_account("CredentialsVerified").await?;
    stage.until_event("prod", "AccountVerified").await?;
    let before = policies(&stage).await?;
    let told_before = events(&stage).await?;

    stage.cloud.reset_counters();
    let mut log = Log::default();
    let (began, started) = (stage.cloud.now(), Instant::now());
    let mut old = KEY_ID.to_owned();
    // The replaced keys, and when each was removed from the Secret.
    let mut replaced = BTreeMap::<String, Timestamp>::new();
    for number in 1..=ROTATIONS {
        let new = format!("AKLTRotatedAccessKeyId{number:09}");
        let secret = format!("rotated-secret-{number}");
        stage.add_key(&new, &secret, json!({}))?;
        stage.apply_secret(&new, &secret).await?;
        replaced.insert(old.clone(), stage.cloud.now());
        stage.cloud.set_key_status(&old, KeyStatus::Revoked)?;
        until_in_use(&stage, &new, CALLS, &mut log).await.with_context(|| format!("rotation {number}"))?;
        ensure!(started.elapsed() < ROTATIONS_LIMIT, "{number} rotations took {:?}", started.elapsed());
        old = new;
    }
    let last_change = replaced.values().max().copied().context("nothing was rotated")?;
    wait_until(LIMIT, "the last key's grace to pass", async || {
        log.collect(&stage)?;
        Ok((seconds(last_change, stage.cloud.now()) > GRACE).then_some(()))
    })
    .await?;
    log.collect(&stage)?;
    let took = seconds(began, stage.cloud.now());

    // An unchanged resource version proves that no policy was written, so that no condition changed even briefly.
    let after = policies(&stage).await?;
    ensure!(after.len() == before.len());
    for (before, after) in before.iter().zip(&after) {
        ensure!(after["status"]["conditions"] == before["status"]["conditions"], "{before:#} {after:#}");
        let version = |policy: &Value| policy["metadata"]["resourceVersion"].clone();
        ensure!(version(after) == version(before), "written: {before:#} {after:#}");
    }
    let hint = format!("AKLT…{}", &old[old.len() - 4..]);
    let account =
        stage.until("cacct", "prod", &hint, |o| o["status"]["accessKeyIdHint"] == hint.as_str()).await?;
    ensure!(account["status"]["conditions"] == account_before["status"]["conditions"], "{account:#}");
    let told = events(&stage).await?;
    ensure!(told == told_before, "Events: {told:#?}, before {told_before:#?}");

    let latest = |(key, changed): (&String, &Timestamp)| {
        let of_key = log.0.iter().filter(|r| r.access_key_id.as_deref() == Some(key));
        of_key.map(|r| seconds(*changed, r.at)).fold(f64::NEG_INFINITY, f64::max)
    };
    let latest = replaced.iter().map(latest).fold(f64::NEG_INFINITY, f64::max);
    ensure!(latest <= GRACE, "an old key signed {latest:.2} s after the Secret had another");

    let answered = || log.of(DESCRIBE).filter(|r| r.outcome.as_deref() == Some("ok"));
    let looks = answered().count();
    let due = POLICIES as f64 * took / PACE;
    let refused = log.0.iter().filter(|r| r.authentic == Some(false)).count();
    let user = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR_NAMESPACE}");
    let reads = stage.plane.audit_entries(&AuditFilter {
        user: Some(&user),
        namespace: Some(&stage.namespace),
        resource: Some("secrets"),
        verb: Some("get"),
        ..AuditFilter::default()
    })?;
    println!(
        "{ROTATIONS} rotations in {took:.1} s: {looks} looks, {:.0} % of {due:.0}; an old key signed {latest:.3} s after \
         the change at the latest; {refused} of {} requests were refused; the Secret was read {} times",
        100.0 * looks as f64 / due,
        log.0.len(),
        reads.len()
    );
    ensure!(reads.len() <= ROTATIONS * MOST_READS, "the Secret was read {} times", reads.len());
    ensure!(looks as f64 >= LEAST_SHARE * due, "{looks} looks in {took:.1} s, due were {due:.0}");
    let mut each = BTreeMap::<&str, usize>::new();
    for look in answered() {
        *each.entry(look.instance_id.as_deref().unwrap_or_default()).or_default() += 1;
    }
    let least =
        (0..POLICIES).map(|n| each.get(instance(n).as_str()).copied().unwrap_or(0)).min().unwrap_or(0);
    ensure!(
        least as f64 >= LEAST_SHARE * took / PACE,
        "an instance was looked at {least} times in {took:.1} s"
    );
    ensure!(stage.calls(MODIFY) == 0);
    Ok(())
}
