//! Several replicas: at most one leads at any time.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cloud_simulator::Policy;
use jiff::Timestamp;
use serde_json::json;
use testbed::{AuditFilter, ControlPlane, Options, Process, Signal, wait_until};

use crate::checks::MODIFY;
use crate::harness::{LIMIT, OPERATOR_NAMESPACE, POLICY, Stage, condition, install};
use crate::objects::{OPERATOR_USER, ends_with};
use crate::process::until_healthy;

const OPERATOR: (&str, &str) = (OPERATOR_NAMESPACE, OPERATOR_NAMESPACE);

pub async fn until_logged(process: &Process, words: &str) -> Result<Instant> {
    let found = wait_until(LIMIT, format!("{words} in the log"), async || {
        Ok(process.log().contains(words).then(Instant::now))
    });
    found.await.map_err(|error| process.with_log(&error))
}

pub fn leads(process: &Process) -> bool {
    process.log().lines().any(|line| line.contains(": leading"))
}

/// Counts the lists. Every replica lists once when it starts, as leader or standby, and once more when it takes over,
/// since its cache may be stale. A read of the resourceVersion alone, with `limit=1`, does not count.
fn lists(stage: &Stage<'_>) -> Result<usize> {
    let filter = AuditFilter {
        user: Some(OPERATOR_USER),
        verb: Some("list"),
        resource: Some("crossregionbackuppolicies"),
        namespace: Some(&stage.namespace),
        ..AuditFilter::default()
    };
    let entries = stage.plane.audit_entries(&filter)?;
    Ok(entries
        .iter()
        .filter(|entry| !entry.request_uri.contains("limit=1&") && !entry.request_uri.ends_with("limit=1"))
        .count())
}

#[tokio::test]
async fn one_leads_and_the_other_takes_over_when_it_goes() -> Result<()> {
    let stage = Stage::new("replicas").await?;
    stage.apply_account().await?;
    stage.grant_lease().await?;
    let mut first = stage.another_operator("first", OPERATOR, &[]).await?;
    until_logged(&first, ": leading").await?;
    let mut second = stage.another_operator("second", OPERATOR, &[]).await?;
    until_logged(&second, "standing by").await?;
    for replica in [&first, &second] {
        until_healthy(replica).await?;
    }
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;
    stage.more_looks(4).await?;
    // The first replica took the lead during its list, or right after.
    let listed = lists(&stage)?;
    ensure!(!leads(&second) && (2..=3).contains(&listed), "{listed} lists: {}", second.log());

    let asked = Instant::now();
    first.signal(Signal::TERM)?;
    ends_with(&mut first, 0, Duration::from_secs(10)).await?;
    let taken = until_logged(&second, ": leading").await?;
    ensure!(taken - asked < Duration::from_secs(8), "it took {:?}", taken - asked);
    stage.drift(Policy::default())?;
    stage.until("crbp", POLICY, "a correction", |o| o["status"]["drift"]["corrections"] == 1).await?;
    ensure!(stage.modifies() == 2 && lists(&stage)? == listed + 1);

    let third = stage.another_operator("third", OPERATOR, &[]).await?;
    until_logged(&third, "standing by").await?;
    second.signal(Signal::KILL)?;
    second.wait(LIMIT).await?;
    let (killed, killed_at) = (Instant::now(), Timestamp::now());
    stage.drift(Policy::default())?;
    let taken = until_logged(&third, ": leading").await?;
    // A renewal may be up to 5 s old when the leader dies.
    let away = taken - killed;
    ensure!(away > Duration::from_secs(8) && away < Duration::from_secs(30), "it took {away:?}");
    stage.until("crbp", POLICY, "a correction", |o| o["status"]["drift"]["corrections"] == 2).await?;
    let early = killed_at + Duration::from_secs(8);
    let too_soon = |r: &&cloud_simulator::RequestRecord| r.at > killed_at && r.at < early;
    ensure!(stage.cloud.requests().iter().filter(too_soon).count() == 0, "two were at work");
    ensure!(stage.modifies() == 3);
    Ok(())
}

#[tokio::test]
async fn a_leader_that_was_frozen_does_nothing_any_more() -> Result<()> {
    let stage = Stage::new("replicas-frozen").await?;
    stage.apply_account().await?;
    stage.grant_lease().await?;
    let mut first = stage.another_operator("first", OPERATOR, &[]).await?;
    until_logged(&first, ": leading").await?;
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;
    let second = stage.another_operator("second", OPERATOR, &[]).await?;
    until_logged(&second, "standing by").await?;
    first.signal(Signal::STOP)?;
    until_logged(&second, ": leading").await?;
    stage.drift(Policy::default())?;
    stage.until("crbp", POLICY, "a correction", |o| o["status"]["drift"]["corrections"] == 1).await?;
    let modifies = stage.calls(MODIFY);
    first.signal(Signal::CONT)?;
    until_logged(&first, "no longer leading").await?;
    until_logged(&first, "standing by for the Lease").await?;
    ensure!(first.try_wait()?.is_none(), "{}", first.log_tail());
    ensure!(stage.calls(MODIFY) == modifies && modifies == 2);
    // The other replica still holds the Lease.
    stage.drift(Policy::default())?;
    stage.until("crbp", POLICY, "a correction", |o| o["status"]["drift"]["corrections"] == 2).await?;
    ensure!((3..=4).contains(&lists(&stage)?) && stage.modifies() == 3);
    Ok(())
}

#[tokio::test]
async fn a_lease_that_is_not_permitted_is_a_start_up_error() -> Result<()> {
    let stage = Stage::new("replicas-forbidden").await?;
    stage.run(["create", "serviceaccount", "powerless"]).await?;
    let powerless = (stage.namespace.as_str(), "powerless");
    let mut operator = stage.another_operator("powerless", powerless, &[]).await?;
    ends_with(&mut operator, 1, LIMIT).await?;
    let log = operator.log();
    let words = "cannot get the Lease cross-region-backup-operator in namespace replicas-forbidden: ";
    ensure!(log.contains(words), "{log}");
    ensure!(stage.cloud.counters().requests == 0);
    Ok(())
}

#[tokio::test]
async fn an_outage_of_the_api_server_stops_no_correction_and_ends_a_leadership() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    install(&plane).await?;
    let mut alone = Stage::on(&plane, "outage-alone").await?;
    let led = Stage::on(&plane, "outage-led").await?;
    for stage in [&alone, &led] {
        stage.apply_account().await?;
        stage.grant_lease().await?;
    }
    alone.may_be_refused = true;
    alone.start_operator().await?;
    let mut leader = led.another_operator("leader", OPERATOR, &[]).await?;
    alone.apply_policy(json!({})).await?;
    led.apply_policy(json!({})).await?;
    alone.until_reason("InSync").await?;
    led.until_reason("InSync").await?;

    // The kubeconfig's token is requested while the API server still answers.
    let mut next = led.another_operator("next", OPERATOR, &[]).await?;
    until_logged(&next, "standing by").await?;
    plane.stop_apiserver().await?;
    for stage in [&alone, &led] {
        stage.drift(Policy::default())?;
    }
    alone.wait("the correction", || alone.held().is_ok_and(|held| held.active)).await?;
    until_logged(&leader, "no longer leading").await?;
    ensure!(leader.try_wait()?.is_none(), "{}", leader.log_tail());
    ensure!(next.try_wait()?.is_none() && !leads(&next), "{}", next.log_tail());
    ensure!(alone.operator().try_wait()?.is_none(), "{}", alone.log());
    led.drift(Policy::default())?;
    let modifies = led.modifies();

    plane.start_apiserver().await?;
    let back = Instant::now();
    alone.until("crbp", POLICY, "the correction", |o| o["status"]["drift"]["corrections"] == 1).await?;
    alone.until_reason("InSync").await?;
    ensure!(alone.modifies() == 2);
    // The Lease still names the former leader, which can therefore renew it at once.
    let leads_again = wait_until(LIMIT, "a leader", async || {
        Ok((leader.log().matches(": leading").count() == 2 || leads(&next)).then(|| back.elapsed()))
    });
    let took = leads_again.await.map_err(|error| leader.with_log(&error))?;
    ensure!(took < Duration::from_secs(20), "it took {took:?}");
    let policy = led.until("crbp", POLICY, "InSync", |_| led.held().is_ok_and(|held| held.active)).await?;
    ensure!(led.modifies() == modifies + 1, "{:#?}", led.accepted());
    ensure!(condition(&policy, "Ready")["reason"] == "InSync", "{policy:#}");
    // The watches work again.
    alone.patch_policy(json!({"crossBackupRegion": "cn-guangzhou"})).await?;
    alone.until_reason("InSync").await?;
    for log in [leader.log(), next.log(), alone.log()] {
        is_terse(&log)?;
    }
    Ok(())
}

/// Checks that an outage logs one line at its start and one at its end for each lost dependency, and none from a
/// library.
fn is_terse(log: &str) -> Result<()> {
    let of = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    ensure!(of("lost the API server") == 1 && of("reached the API server again") == 1, "{log}");
    ensure!(of("kube_client") == 0 && of("kube_runtime") == 0 && of("ErrorResponse") == 0, "{log}");
    let troubles = of(" WARN ") + of(" ERROR ");
    ensure!(troubles <= 20, "{troubles} lines of trouble: {log}");
    Ok(())
}
