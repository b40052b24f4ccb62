//! Tencent Cloud: inventories of the instances' own backups.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{T_DETAIL, T_INSTANCE, T_LIST, ids};
use crate::harness::Stage;

const MARKER: &str = "DecryptKeyMarkerMustNotAppear";

#[tokio::test]
async fn an_instance_s_backups_with_details() -> Result<()> {
    let mut stage = Stage::new("inv-tencent-instance").await?;
    stage.apply_tencent_account().await?;
    stage.add_tencent_instance(json!({"instanceId": T_INSTANCE, "instanceName": "orders"}))?;
    stage.add_tencent_backup(json!({
        "backupId": "1-2-3", "instanceId": T_INSTANCE, "ageSeconds": 3600, "backupType": "0", "remark": "by hand",
        "encrypted": true, "decryptKey": MARKER,
    }))?;
    stage.add_tencent_backup(json!({
        "backupId": "1-2-4", "instanceId": T_INSTANCE, "ageSeconds": 60, "status": 1, "running": true,
    }))?;
    stage.flag("--log-level=trace,hyper=trace,reqwest=trace,kube=trace,tower=trace");
    stage.start_operator().await?;
    let spec = json!({
        "accountRef": {"name": "tencent"}, "region": "ap-guangzhou", "scope": "Instance", "instanceId": T_INSTANCE,
        "includeDetails": true,
    });
    let status = stage.listed("orders", spec).await?;
    ensure!(ids(&status)? == ["1-2-4", "1-2-3"], "{status:#}");
    ensure!(status["backupsOf"] == "Local" && status["total"] == 2, "{status:#}");
    ensure!(status["newest"]["backupPointId"] == "1-2-3", "{status:#}");
    ensure!(status["instances"].is_null() && status["unprotected"].is_null(), "{status:#}");
    let (running, manual) = (&status["items"][0], &status["items"][1]);
    ensure!(running["status"] == "Creating" && running["providerStatus"] == "1", "{status:#}");
    ensure!(running["endTime"].is_null() && running["strategy"] == "AutomatedBackup", "{status:#}");
    ensure!(manual["strategy"] == "ManualBackup" && manual["providerType"] == "0", "{status:#}");
    ensure!(manual["remark"] == "by hand" && manual["locked"] == false, "{status:#}");
    ensure!(
        manual["memSizeMiB"] == 2048 && manual["shardNum"] == 3 && manual["replicasNum"] == 1,
        "{status:#}"
    );
    ensure!(manual["instanceName"] == "orders" && manual["sourceRegion"] == "ap-guangzhou", "{status:#}");
    let listings = stage.calls(T_LIST);
    stage.wait("more listings", || stage.calls(T_LIST) >= listings + 3).await?;
    ensure!(stage.calls(T_DETAIL) == 2, "details are fetched once: {}", stage.calls(T_DETAIL));
    ensure!(!stage.log().contains(MARKER) && !status.to_string().contains(MARKER));
    Ok(())
}

#[tokio::test]
async fn a_policy_on_a_tencent_account_is_led_to_an_inventory() -> Result<()> {
    let stage = Stage::running("tencent-policy").await?;
    stage.apply_tencent_account().await?;
    let spec = json!({
        "accountRef": {"name": "tencent"}, "region": "ap-guangzhou", "instanceId": T_INSTANCE,
        "crossBackupRegion": "ap-shanghai", "deletionPolicy": "Disable",
    });
    stage.apply_policy(spec).await?;
    let policy = stage.until_reason("NotSupported").await?;
    crate::checks::expect(&policy, "False", "NotSupported", crate::checks::With::Stalled)?;
    let message = crate::checks::message(&policy);
    ensure!(message.contains("BackupInventory"), "{message}");
    stage.delete("crbp", "sessions").await?;
    stage.until_gone("crbp", "sessions").await?;
    stage.until_event("sessions", "DisableSkipped").await
}
