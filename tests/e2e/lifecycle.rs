//! From creation to Ready, spec changes, drift, Observe, suspend.

use anyhow::{Result, ensure};
use cloud_simulator::Policy;
use serde_json::json;

use crate::harness::{POLICY, Stage, condition};

const MODIFY: &str = "ModifyCrossRegionBackupPolicy";

#[tokio::test]
async fn a_policy_becomes_ready_and_follows_its_spec() -> Result<()> {
    let stage = Stage::running("create-to-ready").await?;
    stage.add_backup("b-1", 3600.0)?;
    stage.apply_policy(json!({"recoveryPointObjective": "26h"})).await?;
    let policy = stage.until_reason("InSync").await?;
    let status = &policy["status"];
    ensure!(status["policy"]["active"] == true && status["policy"]["ttlDays"] == 7, "{status:#}");
    ensure!(status["recoveryPoint"]["backupPointId"] == "b-1", "{status:#}");
    ensure!(status["backups"]["total"] == 1 && status["backups"]["byStatus"]["Deleting"] == 0, "{status:#}");
    ensure!(status["lastModification"]["cause"] == "SpecChanged", "{status:#}");
    ensure!(condition(&policy, "RecoveryPointMet")["reason"] == "WithinObjective", "{status:#}");
    ensure!(stage.modifies() == 1);
    stage.until_event(POLICY, "PolicyModified").await?;

    stage.patch_policy(json!({"crossBackupRegion": "cn-guangzhou"})).await?;
    stage.until_reason("InSync").await?;
    ensure!(stage.held()? == Policy::to_region("cn-guangzhou"));
    stage.patch_policy(json!({"active": false})).await?;
    let policy = stage.until_reason("InSync").await?;
    ensure!(!stage.held()?.active);
    ensure!(policy["status"]["recoveryPoint"].is_null() && policy["status"]["protectedSince"].is_null());
    ensure!(condition(&policy, "RecoveryPointMet").is_null());
    Ok(())
}

#[tokio::test]
async fn drift_is_corrected_and_told() -> Result<()> {
    let stage = Stage::running("drift").await?;
    stage.apply_policy(json!({})).await?;
    let before = stage.until_reason("InSync").await?;
    stage.drift(Policy::default())?;
    let policy =
        stage.until("crbp", POLICY, "a correction", |o| o["status"]["drift"]["corrections"] == 1).await?;
    let status = &policy["status"];
    ensure!(
        status["drift"]["lastDifference"].as_str().is_some_and(|d| d.starts_with("active: desired true"))
    );
    ensure!(status["lastModification"]["cause"] == "Drift", "{status:#}");
    ensure!(status["protectedSince"] == before["status"]["protectedSince"], "drift does not move it");
    stage.until_event(POLICY, "DriftDetected").await?;
    stage.until_event(POLICY, "DriftCorrected").await
}

#[tokio::test]
async fn observe_reports_drift_and_never_modifies() -> Result<()> {
    let stage = Stage::running("observe").await?;
    stage.apply_policy(json!({"managementPolicy": "Observe"})).await?;
    let policy = stage.until_reason("DriftDetected").await?;
    ensure!(condition(&policy, "Stalled")["status"] == "True");
    stage.drift(Policy::to_region("cn-shanghai"))?;
    stage.until_reason("Observed").await?;
    stage.drift(Policy::to_region("cn-guangzhou"))?;
    let policy = stage.until_reason("DriftDetected").await?;
    let message = condition(&policy, "Ready")["message"].as_str().unwrap_or("");
    ensure!(message == "crossBackupRegion: desired cn-shanghai, found cn-guangzhou", "{message}");
    ensure!(stage.calls(MODIFY) == 0);
    Ok(())
}

#[tokio::test]
async fn suspended_policies_and_accounts_call_nothing() -> Result<()> {
    let stage = Stage::running("suspend").await?;
    stage.until_account("CredentialsVerified").await?;
    stage.apply_policy(json!({"suspend": true})).await?;
    let policy = stage.until_reason("Suspended").await?;
    ensure!(condition(&policy, "Reconciling").is_null() && condition(&policy, "Stalled").is_null());
    ensure!(stage.calls("DescribeCrossRegionBackupPolicy") == 0);
    stage.patch_policy(json!({"suspend": false})).await?;
    stage.until_reason("InSync").await?;
    let suspend = json!({"spec": {"suspend": true}}).to_string();
    stage.run(["patch", "cacct", "prod", "--type=merge", "-p", &suspend]).await?;
    stage.until_account("Suspended").await?;
    let policy = stage.until_reason("Suspended").await?;
    ensure!(policy["status"]["policy"]["active"] == true, "what was observed is kept");
    Ok(())
}
