//! Details of Tencent Cloud's backups: fetched once per backup, and a failure never delays a listing.

use anyhow::{Result, ensure};
use cloud_simulator::{Effect, FaultSpec};
use serde_json::{Value, json};

use super::{T_DETAIL, T_INSTANCE, T_LIST, ids};
use crate::harness::Stage;

fn with_details() -> Value {
    Stage::whole("tencent", json!({"includeDetails": true}))
}

fn not_exists() -> Effect {
    Effect::Error {
        status: 200,
        code: "InvalidParameterValue.BackupNotExists".to_owned(),
        message: "no such backup".to_owned(),
        code_n: None,
    }
}

async fn stage(name: &str, interval: &str, backups: i64) -> Result<Stage<'static>> {
    let stage = Stage::with_both_accounts(name, interval).await?;
    stage.add_tencent_instance(json!({"instanceId": T_INSTANCE}))?;
    for number in 0..backups {
        stage.add_tencent_backup(json!({
            "backupId": format!("t-{number}"), "instanceId": T_INSTANCE, "ageSeconds": 60 + number,
        }))?;
    }
    Ok(stage)
}

#[tokio::test]
async fn a_backup_that_disappears_is_shown_without_details() -> Result<()> {
    let stage = stage("inv-disappears", "9999h", 3).await?;
    stage.place(FaultSpec::new(not_exists()).on_action(T_DETAIL).after(1).times(1))?;
    stage.apply_inventory("all", with_details()).await?;
    let inventory = stage.until_inventory("all", "Listed").await?;
    let status = &inventory["status"];
    ensure!(ids(status)? == ["t-0", "t-1", "t-2"] && status["total"] == 3, "{status:#}");
    let asked: Vec<_> = stage.asked(T_DETAIL).into_iter().take(3).map(|b| b["BackupId"].clone()).collect();
    ensure!(asked == ["t-0", "t-1", "t-2"], "{asked:?}");
    ensure!(
        status["items"][0]["memSizeMiB"] == 2048 && status["items"][2]["memSizeMiB"] == 2048,
        "{status:#}"
    );
    let without = &status["items"][1];
    ensure!(without["memSizeMiB"].is_null() && without["status"] == "Available", "{status:#}");
    // Details are not requested for backups of a deleted instance; the backups are listed.
    stage.add_tencent_instance(json!({"instanceId": "crs-gone0000"}))?;
    let gone = json!({"backupId": "t-gone", "instanceId": "crs-gone0000", "ageSeconds": 1});
    stage.add_tencent_backup(gone)?;
    stage.cloud.remove_tencent_instance("crs-gone0000")?;
    stage.request_now("bkinv", "all", "now").await?;
    let inventory = stage.until_handled("bkinv", "all", "now").await?;
    ensure!(inventory["status"]["total"] == 4, "{inventory:#}");
    ensure!(inventory["status"]["items"][0]["backupPointId"] == "t-gone", "{inventory:#}");
    ensure!(inventory["status"]["items"][0]["memSizeMiB"].is_null(), "{inventory:#}");
    stage.until_inventory("all", "Listed").await.map(drop)
}

#[tokio::test]
async fn details_are_fetched_once_also_over_a_restart() -> Result<()> {
    let mut stage = stage("inv-details-once", "1s", 4).await?;
    let status = stage.listed("all", with_details()).await?;
    ensure!(status["items"][3]["replicasNum"] == 1 && stage.calls(T_DETAIL) == 4, "{status:#}");
    let listings = stage.calls(T_LIST);
    stage.wait("more listings", || stage.calls(T_LIST) >= listings + 3).await?;
    stage.operator().signal(testbed::Signal::KILL)?;
    stage.operator().wait(crate::harness::LIMIT).await?;
    stage.start_operator().await?;
    let listings = stage.calls(T_LIST);
    stage.wait("more listings", || stage.calls(T_LIST) >= listings + 3).await?;
    ensure!(stage.calls(T_DETAIL) == 4, "{} details", stage.calls(T_DETAIL));
    // Only the new backup's details are requested.
    stage.add_tencent_backup(json!({"backupId": "t-new", "instanceId": T_INSTANCE, "ageSeconds": 1}))?;
    let has_it = |o: &Value| o["status"]["total"] == 5;
    let inventory = stage.until("bkinv", "all", "the fifth", has_it).await?;
    ensure!(inventory["status"]["items"][0]["shardNum"] == 3, "{inventory:#}");
    ensure!(stage.calls(T_DETAIL) == 5, "{} details", stage.calls(T_DETAIL));
    let after = stage.get("bkinv", "all").await?;
    ensure!(after["status"]["items"][4]["memSizeMiB"] == 2048, "{after:#}");
    Ok(())
}

#[tokio::test]
async fn details_that_tell_little_are_fetched_once_too() -> Result<()> {
    let stage = stage("inv-details-little", "1s", 0).await?;
    stage.add_tencent_instance(json!({"instanceId": T_INSTANCE}))?;
    stage.add_tencent_backup(json!({
        "backupId": "t-little", "instanceId": T_INSTANCE, "ageSeconds": 60, "remark": "by hand",
        "detailOverrides": {"MemSize": null, "ShardNum": null, "ReplicasNum": null},
    }))?;
    let status = stage.listed("all", with_details()).await?;
    ensure!(
        status["items"][0]["remark"] == "by hand" && status["items"][0]["memSizeMiB"].is_null(),
        "{status:#}"
    );
    let listings = stage.calls(T_LIST);
    stage.wait("more listings", || stage.calls(T_LIST) >= listings + 3).await?;
    ensure!(stage.calls(T_DETAIL) == 1, "{} details", stage.calls(T_DETAIL));
    Ok(())
}

#[tokio::test]
async fn a_detail_that_always_fails_holds_nothing_up() -> Result<()> {
    let stage = stage("inv-details-fail", "9999h", 2).await?;
    let boom = Effect::Malformed { shape: cloud_simulator::Malformed::WrongTypes, status: 200 };
    stage.place(FaultSpec::new(boom).on_action(T_DETAIL).times(3))?;
    let status = stage.listed("all", with_details()).await?;
    ensure!(status["total"] == 2 && status["items"][0]["memSizeMiB"].is_null(), "{status:#}");
    ensure!(status["items"][1]["memSizeMiB"] == 2048 && stage.calls(T_DETAIL) == 4, "{status:#}");
    Ok(())
}
