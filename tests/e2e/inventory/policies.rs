//! Instances that no policy protects, and the number of calls that finding them takes.

use anyhow::{Result, ensure};
use cloud_simulator::{Effect, FaultSpec, InstanceSpec, Policy};
use serde_json::json;

use super::ids;
use crate::checks::{DESCRIBE, With, expect};
use crate::harness::{INSTANCE, Stage};

impl Stage<'_> {
    fn descriptions_of(&self, instance: &str) -> usize {
        self.requests(DESCRIBE).iter().filter(|r| r.instance_id.as_deref() == Some(instance)).count()
    }
}

#[tokio::test]
async fn policies_that_may_not_be_described_are_counted_and_delay_nothing() -> Result<()> {
    let mut stage = Stage::new("inv-unknown").await?;
    stage.flag("--resync-interval-override=1s");
    stage.add_instances(&["redis-second", "redis-third"])?;
    stage.apply_account().await?;
    stage.deny(DESCRIBE)?;
    stage.start_operator().await?;
    stage.apply_inventory("all", json!({})).await?;
    let inventory = stage.until_inventory("all", "Listed").await?;
    expect(&inventory, "True", "Listed", With::Nothing)?;
    let unprotected = &inventory["status"]["unprotected"];
    ensure!(unprotected["unknown"] == 3 && unprotected["total"] == 0, "{inventory:#}");
    ensure!(unprotected["items"] == json!([]) && unprotected["unsupported"] == 0, "{inventory:#}");
    for instance in inventory["status"]["instances"].as_array().into_iter().flatten() {
        ensure!(instance["policyActive"].is_null(), "{inventory:#}");
    }
    // Later listings do not describe the policies again.
    let listings = stage.calls(super::LIST);
    stage.wait("more listings", || stage.calls(super::LIST) >= listings + 3).await?;
    ensure!(stage.calls(DESCRIBE) == 3, "{} descriptions", stage.calls(DESCRIBE));
    Ok(())
}

#[tokio::test]
async fn an_instance_whose_policy_always_fails_holds_nothing_up() -> Result<()> {
    let mut stage = Stage::new("inv-failing").await?;
    stage.flag("--resync-interval-override=9999h");
    stage.add_instances(&["redis-second", "redis-third"])?;
    stage.apply_account().await?;
    let boom = Effect::Error {
        status: 500,
        code: "InternalError".to_owned(),
        message: "boom".to_owned(),
        code_n: None,
    };
    stage.place(FaultSpec::new(boom).on_action(DESCRIBE).on_instance("redis-second"))?;
    stage.start_operator().await?;
    let status = stage.listed("all", json!({})).await?;
    let unprotected = &status["unprotected"];
    ensure!(unprotected["unknown"] == 1 && unprotected["total"] == 2, "{status:#}");
    ensure!((2..=6).contains(&stage.descriptions_of("redis-second")), "{}", stage.calls(DESCRIBE));
    ensure!(stage.descriptions_of("redis-third") == 1 && stage.descriptions_of(INSTANCE) == 1);
    Ok(())
}

#[tokio::test]
async fn what_a_policy_knows_is_not_asked_for_again() -> Result<()> {
    let mut stage = Stage::new("inv-known").await?;
    stage.flag("--resync-interval-override=9999h");
    stage.add_instances(&["redis-second"])?;
    stage.apply_account().await?;
    stage.start_operator().await?;
    stage.apply_policy(json!({})).await?;
    stage.until_reason("InSync").await?;
    let before = stage.descriptions_of(INSTANCE);
    let status = stage.listed("all", json!({})).await?;
    ensure!(status["unprotected"]["total"] == 1, "{status:#}");
    ensure!(status["unprotected"]["items"][0]["instanceId"] == "redis-second", "{status:#}");
    ensure!(stage.descriptions_of(INSTANCE) == before && stage.descriptions_of("redis-second") == 1);
    // A second inventory does not describe them again either.
    stage.listed("again", json!({"limit": 1})).await?;
    ensure!(stage.descriptions_of(INSTANCE) == before && stage.descriptions_of("redis-second") == 1);
    Ok(())
}

#[tokio::test]
async fn a_policy_that_is_switched_off_shows_at_the_next_listing() -> Result<()> {
    let stage = Stage::running("inv-off").await?;
    stage.drift(Policy::to_region("cn-shanghai"))?;
    stage.apply_policy(json!({"managementPolicy": "Observe"})).await?;
    stage.until_reason("Observed").await?;
    let status = stage.listed("all", json!({})).await?;
    ensure!(
        status["unprotected"]["total"] == 0 && status["instances"][0]["policyActive"] == true,
        "{status:#}"
    );
    stage.drift(Policy::default())?;
    let off = |o: &serde_json::Value| o["status"]["unprotected"]["total"] == 1;
    let inventory = stage.until("bkinv", "all", "one without protection", off).await?;
    ensure!(inventory["status"]["instances"][0]["policyActive"] == false, "{inventory:#}");
    stage.drift(Policy::to_region("cn-shanghai"))?;
    let on = |o: &serde_json::Value| o["status"]["unprotected"]["total"] == 0;
    stage.until("bkinv", "all", "none without protection", on).await?;
    // Disabled by the operator itself.
    stage.patch_policy(json!({"managementPolicy": "Manage", "deletionPolicy": "Disable"})).await?;
    stage.until_reason("InSync").await?;
    stage.delete("crbp", crate::harness::POLICY).await?;
    stage.until_gone("crbp", crate::harness::POLICY).await?;
    stage.until("bkinv", "all", "one without protection", off).await.map(drop)
}

#[tokio::test]
async fn long_lists_are_cut_and_say_so() -> Result<()> {
    let mut stage = Stage::new("inv-cut").await?;
    stage.flag("--resync-interval-override=9999h");
    for number in 0..204 {
        stage.cloud.put_instance(InstanceSpec::new(format!("redis-n{number:03}"), "cn-beijing"))?;
        let age = f64::from(number) * 100.0 + 10.0;
        stage.add_backup_with(json!({
            "backupPointId": format!("b-{number:03}"), "instanceId": format!("redis-n{number:03}"), "ageSeconds": age,
        }))?;
    }
    stage.apply_account().await?;
    stage.start_operator().await?;
    let status = stage.listed("all", json!({"limit": 300})).await?;
    ensure!(
        status["truncated"] == json!({"items": false, "instances": true, "unprotected": true}),
        "{status:#}"
    );
    let instances = status["instances"].as_array().cloned().unwrap_or_default();
    ensure!(instances.len() == 200 && ids(&status)?.len() == 204, "{status:#}");
    // The instance without a backup comes first, then the instance whose newest backup is the oldest.
    ensure!(instances[0]["instanceId"] == INSTANCE && instances[0]["newestBackup"].is_null(), "{status:#}");
    ensure!(instances[1]["instanceId"] == "redis-n203" && instances[199]["instanceId"] == "redis-n005");
    let unprotected = &status["unprotected"];
    let listed: Vec<_> = unprotected["items"].as_array().into_iter().flatten().collect();
    ensure!(unprotected["total"] == 205 && listed.len() == 100, "{unprotected:#}");
    ensure!(listed.is_sorted_by_key(|item| item["instanceId"].to_string()), "{unprotected:#}");
    let status = stage.listed("none", json!({"limit": 0})).await?;
    ensure!(status["items"] == json!([]) && status["total"] == 204, "{status:#}");
    ensure!(
        status["truncated"]["items"] == true && status["newest"]["backupPointId"] == "b-000",
        "{status:#}"
    );
    let status = stage.listed("few", json!({"limit": 2})).await?;
    ensure!(ids(&status)? == ["b-000", "b-001"] && status["truncated"]["items"] == true, "{status:#}");
    Ok(())
}

#[tokio::test]
async fn instances_come_in_the_order_of_their_need() -> Result<()> {
    let mut stage = Stage::new("inv-order").await?;
    stage.flag("--resync-interval-override=9999h");
    stage.add_instances(&["redis-old", "redis-bad", "redis-new", "redis-none"])?;
    for (instance, age, status) in [
        (INSTANCE, 500, "Available"),
        ("redis-old", 9000, "Available"),
        // Newest backup, but not usable.
        ("redis-old", 5, "Creating"),
        ("redis-bad", 10, "Unavailable"),
        ("redis-new", 100, "Available"),
        // Backup of a deleted instance.
        ("redis-gone", 50, "Available"),
    ] {
        stage.add_backup_with(json!({
            "backupPointId": format!("b-{instance}-{age}"), "instanceId": instance, "ageSeconds": age, "status": status,
        }))?;
    }
    stage.apply_account().await?;
    stage.start_operator().await?;
    let status = stage.listed("all", json!({})).await?;
    let line =
        |i: &serde_json::Value| (i["instanceId"].as_str().unwrap_or("").to_owned(), i["total"].as_i64());
    let order: Vec<_> = status["instances"].as_array().into_iter().flatten().map(line).collect();
    let wanted = [("redis-bad", 1), ("redis-none", 0), ("redis-old", 2), (INSTANCE, 1), ("redis-new", 1)];
    ensure!(order == wanted.map(|(id, total)| (id.to_owned(), Some(total))), "{status:#}");
    ensure!(status["total"] == 6 && status["newest"]["instanceId"] == "redis-gone", "{status:#}");
    ensure!(ids(&status)?[..3] == ["b-redis-old-5", "b-redis-bad-10", "b-redis-gone-50"], "{status:#}");
    Ok(())
}
