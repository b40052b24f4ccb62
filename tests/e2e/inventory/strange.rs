//! Responses with unknown values and without fields that are usually present.

use anyhow::{Result, ensure};
use cloud_simulator::Effect;
use serde_json::json;

use super::{CLOUDS, T_INSTANCE, ids};
use crate::harness::{INSTANCE, Stage};

#[tokio::test]
async fn words_that_nobody_knows_and_fields_that_are_not_there_are_told_as_such() -> Result<()> {
    let stage = Stage::with_both_accounts("inv-strange", "9999h").await?;
    for (id, age, overrides) in [
        ("b-plain", 60, json!({})),
        ("b-word", 50, json!({"Status": "Melted", "BackupStrategy": "Whim", "Size": -5, "New": {"x": [1]}})),
        (
            "b-bare",
            40,
            json!({"Status": null, "BackupStrategy": null, "Size": null, "TTL": null, "ProjectName": null}),
        ),
        ("b-timeless", 30, json!({"StartTime": null, "EndTime": null, "InstanceInfo": null})),
    ] {
        stage.add_backup_with(json!({
            "backupPointId": id, "instanceId": INSTANCE, "ageSeconds": age, "size": 1024, "overrides": overrides,
        }))?;
    }
    let status = stage.listed("prod", json!({})).await?;
    ensure!(ids(&status)? == ["b-bare", "b-word", "b-plain", "b-timeless"], "{status:#}");
    let counts =
        json!({"Available": 2, "Creating": 0, "Deleting": 0, "Unavailable": 0, "Melted": 1, "Unknown": 1});
    ensure!(status["byStatus"] == counts, "{status:#}");
    ensure!(status["totalSizeBytes"] == 2048 && status["totalSize"] == "2.0 KiB", "{status:#}");
    ensure!(status["newest"]["backupPointId"] == "b-plain", "{status:#}");
    let (bare, word) = (&status["items"][0], &status["items"][1]);
    ensure!(bare["status"] == "Unknown" && bare["providerStatus"].is_null(), "{bare:#}");
    ensure!(word["providerStatus"] == "Melted" && word["strategy"] == "Whim", "{word:#}");
    ensure!(bare["sizeBytes"].is_null() && bare["ttlDays"].is_null(), "{bare:#}");

    stage.add_tencent_instance(json!({"instanceId": T_INSTANCE}))?;
    for (id, age, overrides) in [
        ("t-plain", 60, json!({})),
        ("t-word", 50, json!({"Status": 9, "BackupType": "9"})),
        ("t-bare", 40, json!({"BackupSize": null, "ExpireTime": null, "Remark": null, "Locked": null})),
        ("t-empty", 30, json!({"Status": 1, "EndTime": ""})),
        ("t-zero", 20, json!({"Status": 1, "EndTime": "0000-00-00 00:00:00"})),
    ] {
        stage.add_tencent_backup(json!({
            "backupId": id, "instanceId": T_INSTANCE, "ageSeconds": age, "size": 1, "overrides": overrides,
        }))?;
    }
    let status = stage.listed("tencent", Stage::whole("tencent", json!({}))).await?;
    ensure!(ids(&status)? == ["t-zero", "t-empty", "t-bare", "t-word", "t-plain"], "{status:#}");
    let word = &status["items"][3];
    ensure!(word["status"] == "Unknown" && word["providerStatus"] == "9", "{word:#}");
    ensure!(word["strategy"] == "Unknown" && word["providerType"] == "9", "{word:#}");
    ensure!(
        status["items"][0]["status"] == "Creating" && status["items"][1]["status"] == "Creating",
        "{status:#}"
    );
    ensure!(status["byStatus"]["Unknown"] == 1 && status["byStatus"]["Creating"] == 2, "{status:#}");
    ensure!(status["totalSizeBytes"] == 4 && status["newest"]["backupPointId"] == "t-bare", "{status:#}");
    ensure!(status["items"][2]["expiryTime"].is_null(), "{status:#}");
    Ok(())
}

#[tokio::test]
async fn an_answer_about_another_instance_takes_nothing_away() -> Result<()> {
    let stage = Stage::with_both_accounts("inv-confused", "2s").await?;
    stage.add_backup("b-1", 60.0)?;
    stage.add_tencent_instance(json!({"instanceId": T_INSTANCE}))?;
    stage.add_tencent_backup(json!({"backupId": "t-1", "instanceId": T_INSTANCE, "ageSeconds": 60}))?;
    stage.apply_policy(json!({"recoveryPointObjective": "26h"})).await?;
    stage.until_reason("InSync").await?;
    for (account, instance, list) in CLOUDS {
        let one = json!({"scope": "Instance", "instanceId": instance});
        let before = stage.listed(account, Stage::whole(account, one)).await?;
        stage.fault(list, None, Effect::WrongInstance { instance_id: "redis-other".to_owned() })?;
        let asked = stage.calls(list);
        stage.wait("wrong answers", || stage.calls(list) >= asked + 3).await?;
        let after = stage.get("bkinv", account).await?["status"].clone();
        ensure!(after == before, "{after:#}");
    }
    let policy = stage.policy().await?;
    ensure!(policy["status"]["recoveryPoint"]["backupPointId"] == "b-1", "{policy:#}");
    Ok(())
}
