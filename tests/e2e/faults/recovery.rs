//! Recovery points and their objective (RPO), evaluated at polls and as time passes between them.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::checks::{BACKUPS, DESCRIBE, With, expect, seconds, time};
use crate::harness::{INSTANCE, POLICY, Stage, condition};

fn met(policy: &Value) -> &Value {
    condition(policy, "RecoveryPointMet")
}

/// Returns a stage whose operator polls once an hour, so that changes in between come from the passing of time.
async fn patient(name: &str) -> Result<Stage<'static>> {
    let mut stage = Stage::new(name).await?;
    stage.flag("--resync-interval-override=1h");
    stage.apply_account().await?;
    stage.start_operator().await?;
    stage.until_account("CredentialsVerified").await?;
    Ok(stage)
}

async fn until_met(stage: &Stage<'_>, reason: &str) -> Result<Value> {
    stage.until("crbp", POLICY, reason, |o| met(o)["reason"] == reason).await
}

#[tokio::test]
async fn the_first_backup_comes_later() -> Result<()> {
    let stage = Stage::running("recovery-first").await?;
    stage.apply_policy(json!({"recoveryPointObjective": "1h"})).await?;
    let policy = stage.until_reason("InSync").await?;
    expect(&policy, "True", "InSync", With::Nothing)?;
    ensure!(met(&policy)["status"] == "Unknown" && met(&policy)["reason"] == "NoBackupYet", "{policy:#}");
    ensure!(policy["status"]["recoveryPoint"].is_null() && policy["status"]["backups"]["total"] == 0);

    stage.add_backup_with(json!({"backupPointId": "b-1", "instanceId": INSTANCE, "status": "Creating"}))?;
    let policy = stage.until("crbp", POLICY, "the backup", |o| o["status"]["backups"]["total"] == 1).await?;
    ensure!(policy["status"]["recoveryPoint"].is_null(), "it is not usable yet");
    ensure!(met(&policy)["reason"] == "NoBackupYet");
    ensure!(policy["status"]["instance"]["name"] == format!("name-of-{INSTANCE}"), "{policy:#}");

    stage.cloud.patch_backup("b-1", json!({"status": "Available"}))?;
    let policy = until_met(&stage, "WithinObjective").await?;
    ensure!(met(&policy)["status"] == "True");
    let status = &policy["status"];
    ensure!(status["recoveryPoint"]["backupPointId"] == "b-1", "{status:#}");
    ensure!(status["recoveryPoint"]["time"] == status["backups"]["items"][0]["startTime"], "{status:#}");
    ensure!(stage.policy_events("RecoveryPoint").await?.is_empty(), "it was never exceeded");
    Ok(())
}

#[tokio::test]
async fn the_objective_is_exceeded_by_the_clock_and_restored_by_a_newer_backup() -> Result<()> {
    let stage = patient("recovery-clock").await?;
    stage.add_backup("b-1", 40.0)?;
    stage.apply_policy(json!({"recoveryPointObjective": "1m"})).await?;
    let policy = stage.until_reason("InSync").await?;
    ensure!(met(&policy)["reason"] == "WithinObjective", "{policy:#}");
    let (looks, readings) = (stage.calls(DESCRIBE), stage.calls(BACKUPS));

    let exceeded = until_met(&stage, "ObjectiveExceeded").await?;
    ensure!(met(&exceeded)["status"] == "False");
    let point = time(&exceeded["status"]["recoveryPoint"]["time"])?;
    let flipped = seconds(point, time(&met(&exceeded)["lastTransitionTime"])?);
    ensure!((60.0..=62.0).contains(&flipped), "at its deadline: {flipped}");
    expect(&exceeded, "True", "InSync", With::Nothing)?;
    ensure!(stage.calls(DESCRIBE) == looks && stage.calls(BACKUPS) == readings, "the clock alone");
    stage.until_event(POLICY, "RecoveryPointExceeded").await?;

    // The newest attempt failed, and the message names it.
    stage
        .add_backup_with(json!({"backupPointId": "b-2", "instanceId": INSTANCE, "status": "Unavailable"}))?;
    stage.request_now("crbp", POLICY, "one").await?;
    let policy = stage.until_handled("crbp", POLICY, "one").await?;
    let text = met(&policy)["message"].as_str().unwrap_or_default();
    ensure!(text.ends_with("; the newest attempt, b-2, is Unavailable"), "{text}");
    ensure!(met(&policy)["lastTransitionTime"] == met(&exceeded)["lastTransitionTime"]);

    stage.add_backup("b-3", 0.0)?;
    stage.request_now("crbp", POLICY, "two").await?;
    let policy = until_met(&stage, "WithinObjective").await?;
    ensure!(policy["status"]["recoveryPoint"]["backupPointId"] == "b-3");
    stage.until_event(POLICY, "RecoveryPointRestored").await?;
    ensure!(stage.policy_events("RecoveryPointExceeded").await?.len() == 1);
    Ok(())
}

#[tokio::test]
async fn backups_are_read_once_more_before_the_deadline() -> Result<()> {
    let stage = patient("recovery-last-reading").await?;
    stage.add_backup("b-1", 15.0)?;
    stage.apply_policy(json!({"recoveryPointObjective": "1m"})).await?;
    stage.until_reason("InSync").await?;
    let looks = stage.calls(DESCRIBE);
    ensure!(stage.calls(BACKUPS) == 1, "half a minute is left until the last reading");
    stage.add_backup("b-2", 2.0)?;
    let policy = stage
        .until("crbp", POLICY, "the newer backup", |o| o["status"]["recoveryPoint"]["backupPointId"] == "b-2")
        .await?;
    let reading = &stage.requests(BACKUPS)[1];
    let age = seconds(time(&policy["status"]["backups"]["items"][1]["startTime"])?, reading.at);
    ensure!((30.0..=32.0).contains(&age), "30 s before the deadline: {age}");
    ensure!(stage.calls(DESCRIBE) == looks && met(&policy)["reason"] == "WithinObjective");
    ensure!(stage.policy_events("RecoveryPoint").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn many_backups_are_all_counted_and_the_newest_are_shown() -> Result<()> {
    let stage = patient("recovery-many").await?;
    for n in 0..130 {
        let status = if n % 10 == 3 { "Unavailable" } else { "Available" };
        let age = 1000 + n * 60;
        let backup = json!({"backupPointId": format!("b-{n:03}"), "instanceId": INSTANCE, "ageSeconds": age, "status": status});
        stage.add_backup_with(backup)?;
    }
    stage.apply_policy(json!({"backups": {"limit": 5}})).await?;
    let policy = stage.until_reason("InSync").await?;
    let backups = &policy["status"]["backups"];
    ensure!(backups["total"] == 130, "{backups:#}");
    let by_status = json!({"Available": 117, "Unavailable": 13, "Creating": 0, "Deleting": 0});
    ensure!(backups["byStatus"] == by_status, "{backups:#}");
    let items = backups["items"].as_array().cloned().unwrap_or_default();
    let ids: Vec<_> = items.iter().filter_map(|i| i["backupPointId"].as_str()).collect();
    ensure!(ids == ["b-000", "b-001", "b-002", "b-003", "b-004"], "{ids:?}");
    ensure!(policy["status"]["recoveryPoint"]["backupPointId"] == "b-000");
    let pages: Vec<_> = stage.requests(BACKUPS).iter().map(|r| r.body["PageNumber"].clone()).collect();
    ensure!(pages == [json!(1), json!(2)], "two pages, once: {pages:?}");
    Ok(())
}

#[tokio::test]
async fn a_recovery_point_vanishes_only_after_a_second_reading() -> Result<()> {
    let stage = patient("recovery-vanishes").await?;
    stage.add_backup("b-1", 600.0)?;
    stage.add_backup("b-2", 60.0)?;
    stage.apply_policy(json!({"recoveryPointObjective": "1h"})).await?;
    stage.until_reason("InSync").await?;
    stage.cloud.remove_backup("b-2")?;
    stage.request_now("crbp", POLICY, "one").await?;
    let policy = stage.until_handled("crbp", POLICY, "one").await?;
    ensure!(stage.calls(BACKUPS) == 3, "one reading is not believed: {}", stage.calls(BACKUPS));
    ensure!(policy["status"]["recoveryPoint"]["backupPointId"] == "b-1", "{policy:#}");
    ensure!(policy["status"]["backups"]["total"] == 1);
    Ok(())
}
