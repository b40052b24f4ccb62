//! Volcengine: inventories of the cross-region copies.

use anyhow::{Result, ensure};
use cloud_simulator::{InstanceSpec, Policy};
use serde_json::json;

use super::{LIST, ids, pages};
use crate::checks::DESCRIBE;
use crate::harness::{INSTANCE, Stage};

#[tokio::test]
async fn an_account_s_backups_instances_and_what_no_policy_protects() -> Result<()> {
    let stage = Stage::running("inv-volc-account").await?;
    stage.drift(Policy::to_region("cn-shanghai"))?;
    for (id, class) in [("redis-off", "PrimarySecondary"), ("redis-alone", "Standalone")] {
        stage.cloud.put_instance(InstanceSpec {
            instance_id: id.to_owned(),
            instance_name: format!("name-of-{id}"),
            class: class.to_owned(),
            ..InstanceSpec::default()
        })?;
    }
    stage.add_backup("b-old", 7200.0)?;
    stage.add_backup("b-new", 3600.0)?;
    stage.add_backup_with(
        json!({"backupPointId": "b-bad", "instanceId": INSTANCE, "ageSeconds": 60, "status": "Unavailable"}),
    )?;
    let status = stage.listed("all", json!({"limit": 2})).await?;
    ensure!(ids(&status)? == ["b-bad", "b-new"], "{status:#}");
    ensure!(status["backupsOf"] == "CrossRegion" && status["total"] == 3, "{status:#}");
    ensure!(status["totalSizeBytes"] == 3 * 486_040 && status["totalSize"] == "1.4 MiB", "{status:#}");
    let counts = json!({"Available": 2, "Creating": 0, "Deleting": 0, "Unavailable": 1});
    ensure!(status["byStatus"] == counts, "{status:#}");
    ensure!(status["newest"]["backupPointId"] == "b-new" && status["newest"]["instanceId"] == INSTANCE);
    ensure!(status["truncated"] == json!({"items": true, "instances": false, "unprotected": false}));
    let order: Vec<_> =
        status["instances"].as_array().into_iter().flatten().map(|i| i["instanceId"].clone()).collect();
    ensure!(order == ["redis-alone", "redis-off", INSTANCE], "{status:#}");
    ensure!(
        status["instances"][1]["policyActive"] == false && status["instances"][2]["policyActive"] == true
    );
    ensure!(status["instances"][2]["total"] == 3, "{status:#}");
    let unprotected = &status["unprotected"];
    let item = json!({"instanceId": "redis-off", "instanceName": "name-of-redis-off"});
    ensure!(unprotected["total"] == 1 && unprotected["items"] == json!([item]), "{status:#}");
    ensure!(unprotected["unsupported"] == 1 && unprotected["unknown"] == 0, "{status:#}");
    // Repeated listings describe no policy again within the hour.
    let listings = stage.calls(LIST);
    stage.wait("more listings", || stage.calls(LIST) >= listings + 3).await?;
    ensure!(stage.calls(DESCRIBE) == 2, "{} descriptions", stage.calls(DESCRIBE));
    let table = stage.run(["get", "bkinv"]).await?;
    ensure!(table.contains("UNPROTECTED") && table.contains("1.4 MiB"), "{table}");
    Ok(())
}

#[tokio::test]
async fn all_inventories_of_an_account_and_region_share_one_listing() -> Result<()> {
    let stage = Stage::with_both_accounts("inv-volc-shared", "9999h").await?;
    stage.add_pages(3)?;
    stage.add_backup_with(json!({
        "backupPointId": "b-manual", "instanceId": INSTANCE, "ageSeconds": 60, "backupStrategy": "ManualBackup",
    }))?;
    stage.until_account("CredentialsVerified").await?;
    let filters = [
        ("all", json!({}), 301),
        ("manual", json!({"strategies": ["ManualBackup"]}), 1),
        ("none", json!({"statuses": ["Deleting"]}), 0),
        ("recent", json!({"since": "8760h"}), 301),
    ];
    let items: Vec<_> = filters
        .iter()
        .map(|(name, filter, _)| stage.inventory_manifest(name, json!({"filter": filter, "limit": 1})))
        .collect();
    stage.apply(json!({"apiVersion": "v1", "kind": "List", "items": items})).await?;
    for (name, _, total) in &filters {
        let inventory = stage.until_inventory(name, "Listed").await?;
        ensure!(inventory["status"]["total"] == *total, "{name}: {inventory:#}");
        ensure!(inventory["status"]["instances"][0]["total"] == 301, "{name}: {inventory:#}");
    }
    // Each listing requests its first page, then the others in parallel.
    let listings = |number: usize| {
        let read = pages(&stage.asked(LIST));
        let is_one = |listing: &[i64]| {
            let mut others = listing[1..].to_vec();
            others.sort();
            listing[0] == 1 && others == [2, 3, 4]
        };
        ensure!(read.len() == 4 * number && read.chunks(4).all(is_one), "{read:?}");
        Ok(())
    };
    listings(1)?;
    // A new inventory, or one with a reconcile request, is listed alone: the facts of the others are recent enough.
    stage.listed("later", json!({})).await?;
    stage.request_now("bkinv", "recent", "now").await?;
    stage.until_handled("bkinv", "recent", "now").await?;
    listings(3)
}
