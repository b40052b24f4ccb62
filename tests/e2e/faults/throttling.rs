//! Throttling by the cloud: the operator honours Retry-After, and other accounts are not affected.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cloud_simulator::{Effect, FaultSpec, RequestRecord, ThrottleStyle};
use jiff::Timestamp;
use serde_json::json;
use testbed::{AuditFilter, wait_until};

use crate::checks::{DESCRIBE, MODIFY, VERIFY, With, expect, message, seconds};
use crate::harness::{KEY_ID, LIMIT, POLICY, Stage};

const OTHER_KEY: &str = "AKLTOtherAccessKeyId00000000042";
const OTHER_INSTANCE: &str = "redis-cn9f8e7d6c5b4a3";

fn throttle(style: ThrottleStyle, retry_after: Option<&str>) -> FaultSpec {
    FaultSpec::new(Effect::Throttle { style, retry_after: retry_after.map(str::to_owned) }).on_key(KEY_ID)
}

fn after<'r>(requests: &'r [RequestRecord], key: &str, start: Timestamp) -> Vec<&'r RequestRecord> {
    requests.iter().filter(|r| r.access_key_id.as_deref() == Some(key) && r.at > start).collect()
}

#[tokio::test]
async fn retry_after_holds_the_whole_account_and_no_other() -> Result<()> {
    let stage = Stage::running("faults-retry-after").await?;
    stage.add_other_account(OTHER_KEY, OTHER_INSTANCE).await?;
    stage.apply_policy(json!({})).await?;
    let before = stage.until_reason("InSync").await?;
    let other_before = stage.until_reason_of("other", "InSync").await?;

    let fault = stage.place(throttle(ThrottleStyle::Flow429, Some("6")).on_action(DESCRIBE).times(1))?;
    stage.wait("the throttled look", || stage.fired(fault) == 1).await?;
    // A user's reconcile request does not end a pause that the cloud asked for.
    stage.request_now("crbp", POLICY, "during-the-pause").await?;
    let throttled = |r: &RequestRecord| r.outcome.as_deref().is_some_and(|o| o != "ok");
    let start =
        stage.requests(DESCRIBE).iter().rev().find(|r| throttled(r)).map(|r| r.at).unwrap_or_default();
    stage.until_handled("crbp", POLICY, "during-the-pause").await?;

    let requests = stage.cloud.requests();
    let next = after(&requests, KEY_ID, start);
    let pause = next.first().map(|r| seconds(start, r.at));
    ensure!(pause.is_some_and(|p| (6.0..9.0).contains(&p)), "{pause:?}: {next:#?}");
    let meanwhile = after(&requests, OTHER_KEY, start).iter().filter(|r| seconds(start, r.at) < 6.0).count();
    ensure!(meanwhile >= 2, "the other account is asked every two seconds: {requests:#?}");
    let now = stage.policy().await?;
    ensure!(now["status"]["conditions"] == before["status"]["conditions"], "a pause is no news: {now:#}");
    let other = stage.get("crbp", "other").await?;
    ensure!(other["status"] == other_before["status"]);
    expect(&stage.until_account("CredentialsVerified").await?, "True", "CredentialsVerified", With::Nothing)
}

#[tokio::test]
async fn every_way_of_saying_too_fast_is_understood() -> Result<()> {
    let stage = Stage::running("faults-throttle-styles").await?;
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;
    let styles = [
        (ThrottleStyle::Flow429, "FlowLimitExceeded", "cn-guangzhou"),
        (ThrottleStyle::Account400, "AccountFlowLimitExceeded", "cn-shanghai"),
        (ThrottleStyle::Account200, "AccountFlowLimitExceeded", "cn-guangzhou"),
    ];
    for (style, code, target) in styles {
        let fault = stage.place(throttle(style, None))?;
        stage.wait("a throttled request", || stage.fired(fault) > 0).await?;
        stage.patch_policy(json!({"crossBackupRegion": target})).await?;
        let policy = stage.until_reason("Throttled").await?;
        expect(&policy, "Unknown", "Throttled", With::Reconciling)?;
        let text = message(&policy);
        ensure!(text == format!("{DESCRIBE}: {code}") || text == "the account is throttled", "{text}");
        ensure!(policy["status"]["syncedGeneration"] != policy["metadata"]["generation"]);
        stage.until_event(POLICY, "ReconcileFailed: Throttled").await?;
        stage.until_account("CredentialsVerified").await?;
        stage.cloud.remove_fault(fault)?;
        expect(&stage.until_reason("InSync").await?, "True", "InSync", With::Nothing)?;
    }
    ensure!(stage.modifies() == 4, "one for each spec");
    Ok(())
}

#[tokio::test]
async fn a_throttled_change_goes_on_after_the_pause_with_its_token() -> Result<()> {
    let stage = Stage::running("faults-throttled-modify").await?;
    stage.place(throttle(ThrottleStyle::Account400, Some("3")).on_action(MODIFY).times(1))?;
    stage.apply_policy(json!({})).await?;
    let policy = stage.until_reason("InSync").await?;
    expect(&policy, "True", "InSync", With::Nothing)?;
    let tries = stage.requests(MODIFY);
    ensure!(tries.len() == 2 && tries[0].client_token == tries[1].client_token, "{tries:#?}");
    ensure!(seconds(tries[0].at, tries[1].at) >= 3.0 && stage.modifies() == 1);
    ensure!(stage.policy_events("ReconcileFailed").await?.is_empty(), "a try that is repeated is no outcome");
    Ok(())
}

#[tokio::test]
async fn an_account_that_is_throttled_before_its_first_verification_is_not_ready() -> Result<()> {
    let mut stage = Stage::new("faults-throttled-account").await?;
    let fault = stage.place(throttle(ThrottleStyle::Flow429, None))?;
    stage.apply_account().await?;
    stage.apply_policy(json!({})).await?;
    stage.start_operator().await?;
    let account = stage.until_account("Throttled").await?;
    expect(&account, "False", "Throttled", With::Reconciling)?;
    ensure!(message(&account) == format!("{VERIFY}: FlowLimitExceeded"), "{}", message(&account));
    let policy = stage.until_reason("AccountNotReady").await?;
    expect(&policy, "False", "AccountNotReady", With::Reconciling)?;
    ensure!(message(&policy) == "CloudAccount prod: not verified yet: Throttled", "{}", message(&policy));
    ensure!(stage.calls(DESCRIBE) == 0);
    stage.cloud.remove_fault(fault)?;
    stage.until_account("CredentialsVerified").await?;
    expect(&stage.until_reason("InSync").await?, "True", "InSync", With::Nothing)
}

#[tokio::test]
async fn a_pause_does_not_keep_an_account_from_being_suspended() -> Result<()> {
    let mut stage = Stage::new("faults-paused-account").await?;
    stage.place(throttle(ThrottleStyle::Flow429, Some("60")))?;
    stage.apply_account().await?;
    stage.start_operator().await?;
    stage.until_account("Throttled").await?;
    // A reconcile request triggers verification, which the cloud's pause delays; reading the Secret is its first step.
    let of_secrets = AuditFilter {
        verb: Some("get"),
        resource: Some("secrets"),
        namespace: Some(&stage.namespace),
        ..AuditFilter::default()
    };
    let before = stage.plane.audit_entries(&of_secrets)?.len();
    stage.request_now("cacct", "prod", "now").await?;
    wait_until(LIMIT, "the account's next turn", async || {
        Ok((stage.plane.audit_entries(&of_secrets)?.len() > before).then_some(()))
    })
    .await?;
    ensure!(stage.calls(VERIFY) == 1);
    let begun = Instant::now();
    stage.run(["patch", "cacct", "prod", "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#]).await?;
    stage.until_account("Suspended").await?;
    ensure!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    Ok(())
}
