//! 100 000 backups over 2000 instances: one list call per page, a status below 256 KiB, and memory that does not grow
//! with the number of backups.

use anyhow::{Result, ensure};
use cloud_simulator::{
    BackupSpec, InstanceSpec, Policy, Seed, TencentBackupSpec, TencentInstanceSpec, TencentLimits,
    TencentSeed,
};
use serde_json::{Value, json};

use super::{INSTANCES, LIST, T_DETAIL, T_INSTANCES, T_LIST};
use crate::checks::DESCRIBE;
use crate::harness::Stage;

const ALL_INSTANCES: usize = 2000;
const ALL_BACKUPS: usize = 100_000;
const STATUS_MAX: usize = 256 << 10;
const GROWTH_MAX_KIB: u64 = 64 << 10;

/// Returns an instance id of the maximum length in the schema.
fn instance(number: usize) -> String {
    format!("redis-{number:058}")
}

/// Returns a text longer than a status shows, with three bytes a character.
fn long(number: usize) -> String {
    format!("{number:06}{}", "名".repeat(128))
}

fn backup(number: usize) -> String {
    format!("b-{number:062}")
}

fn world() -> Seed {
    let instances = (0..ALL_INSTANCES).map(|n| InstanceSpec {
        instance_id: instance(n),
        instance_name: long(n),
        project_name: long(n),
        policy: if n % 2 == 0 { Policy::to_region("cn-shanghai") } else { Policy::default() },
        ..InstanceSpec::default()
    });
    let backups = (0..ALL_BACKUPS).map(|n| BackupSpec {
        backup_point_id: backup(n),
        backup_point_name: long(n),
        instance_id: instance(n % ALL_INSTANCES),
        project_name: long(n),
        age_seconds: Some(n as f64 * 60.0),
        ..BackupSpec::default()
    });
    Seed { instances: instances.collect(), backups: backups.collect(), ..Seed::default() }
}

fn tencent_world() -> Seed {
    let instances = (0..ALL_INSTANCES).map(|n| TencentInstanceSpec {
        instance_id: instance(n),
        instance_name: long(n),
        ..TencentInstanceSpec::default()
    });
    let backups = (0..ALL_BACKUPS).map(|n| TencentBackupSpec {
        remark: long(n),
        ..TencentBackupSpec::new(backup(n), instance(n % ALL_INSTANCES), n as f64 * 60.0)
    });
    let tencent = TencentSeed { instances: instances.collect(), backups: backups.collect() };
    Seed { tencent, ..Seed::default() }
}

/// Lists all backups once and checks the limits of status, calls and memory.
async fn list_all(stage: &mut Stage<'_>, list: &str, spec: Value) -> Result<Value> {
    stage.until_account("CredentialsVerified").await?;
    let before = stage.memory_kib("VmRSS")?;
    stage.apply_inventory("all", spec).await?;
    let status = stage.until_long("all", "Listed").await?;
    let growth = stage.memory_kib("VmHWM")?.saturating_sub(before);
    let bytes = status.to_string().len();
    println!("{list}: {} list calls, status {bytes} bytes, peak memory +{growth} KiB", stage.calls(list));
    ensure!(stage.calls(list) == ALL_BACKUPS as u64 / 100, "{} list calls", stage.calls(list));
    ensure!(bytes < STATUS_MAX, "status has {bytes} bytes");
    ensure!(growth < GROWTH_MAX_KIB, "memory grew by {growth} KiB");
    ensure!(status["total"] == ALL_BACKUPS && status["truncated"]["instances"] == true);
    ensure!(status["instances"].as_array().is_some_and(|i| i.len() == 200), "{}", status["instances"]);
    Ok(status)
}

#[tokio::test]
#[ignore = "long: make test-extended"]
async fn a_large_account_of_volcengine() -> Result<()> {
    let mut stage = Stage::new("inv-scale-volc").await?;
    stage.cloud.seed(world())?;
    stage.flag("--resync-interval-override=1h");
    stage.apply_account().await?;
    stage.start_operator().await?;
    let status = list_all(&mut stage, LIST, json!({"limit": 300})).await?;
    // Every stage adds one instance of its own.
    ensure!(stage.calls(DESCRIBE) == ALL_INSTANCES as u64 + 1, "{} descriptions", stage.calls(DESCRIBE));
    // Three pages of instances, and one instance for the account.
    ensure!(stage.calls(INSTANCES) == 4, "{}", stage.calls(INSTANCES));
    ensure!(status["unprotected"]["total"] == ALL_INSTANCES / 2 + 1, "{}", status["unprotected"]["total"]);
    ensure!(status["truncated"]["unprotected"] == true);
    Ok(())
}

#[tokio::test]
#[ignore = "long: make test-extended"]
async fn a_large_account_of_tencent_cloud() -> Result<()> {
    let mut stage = Stage::new("inv-scale-tencent").await?;
    stage.cloud.seed(tencent_world())?;
    stage.tencent_settings(|settings| settings.limits = TencentLimits::Off);
    stage.flag("--resync-interval-override=1h");
    stage.apply_account().await?;
    stage.apply_tencent_account().await?;
    stage.start_operator().await?;
    let spec = json!({
        "accountRef": {"name": "tencent"}, "region": "ap-guangzhou", "limit": 300, "includeDetails": true,
    });
    let status = list_all(&mut stage, T_LIST, spec).await?;
    ensure!(stage.calls(T_INSTANCES) == 3, "{}", stage.calls(T_INSTANCES));
    ensure!(stage.calls(T_DETAIL) == 300, "{}", stage.calls(T_DETAIL));
    ensure!(status["items"][0]["remark"].as_str().is_some_and(|remark| remark.chars().count() == 64));
    Ok(())
}
