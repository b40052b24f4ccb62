//! Responses of a real process to scrapes and probes.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use testbed::{ControlPlane, Options, wait_until};

use crate::harness::{self, LIMIT, POLICY, Stage};
use crate::process::{get, until_healthy};
use crate::tools::{run_with, tool};

/// All metric names in the contract; the first ten have a series for each resource.
const NAMES: [&str; 21] = [
    "policy_info",
    "policy_condition",
    "policy_recovery_point_timestamp_seconds",
    "policy_recovery_point_objective_seconds",
    "policy_backups",
    "policy_last_sync_timestamp_seconds",
    "policy_drift_corrections_total",
    "account_condition",
    "account_poll_interval_seconds",
    "disable_abandoned_total",
    "inventory_condition",
    "inventory_backups",
    "inventory_newest_timestamp_seconds",
    "inventory_unprotected_instances",
    "cloud_requests_total",
    "cloud_request_duration_seconds_bucket",
    "cloud_request_budget_wait_seconds_bucket",
    "reconcile_total",
    "reconcile_duration_seconds_bucket",
    "status_writes_total",
    "leader",
];

fn body(answer: &str) -> Result<&str> {
    ensure!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    answer.split_once("\r\n\r\n").map(|(_, body)| body).context("an answer has a body")
}

#[tokio::test]
async fn a_scrape_has_what_the_contract_names_and_promtool_finds_nothing_wrong() -> Result<()> {
    let mut stage = Stage::running("metrics").await?;
    stage.add_backup("b-1", 3600.0)?;
    stage.apply_policy(json!({"recoveryPointObjective": "26h"})).await?;
    let inventory = json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "BackupInventory",
        "metadata": {"name": "all", "namespace": stage.namespace},
        "spec": {"accountRef": {"name": "prod"}, "region": "cn-beijing", "scope": "Account"},
    });
    stage.apply(inventory).await?;
    stage.until_reason("InSync").await?;
    stage.until("crbp", POLICY, "its recovery point", |o| o["status"]["recoveryPoint"].is_object()).await?;
    stage.until("bkinv", "all", "what is unprotected", |o| o["status"]["unprotected"].is_object()).await?;

    let scraped = wait_until(LIMIT, "every metric", async || {
        let answer = get(stage.operator(), "/metrics").await?;
        let scraped = body(&answer)?;
        let missing = NAMES.iter().find(|name| {
            let of = |line: &str| line.starts_with(&format!("crossregionbackup_{name}{{"));
            !scraped.lines().any(|line| of(line) || line == format!("crossregionbackup_{name} 1"))
        });
        match missing {
            None => Ok(Some(scraped.to_owned())),
            Some(missing) => anyhow::bail!("{missing} is not in\n{scraped}"),
        }
    })
    .await?;
    ensure!(scraped.contains("\nprocess_resident_memory_bytes "), "{scraped}");
    run_with(tool("promtool")?.args(["check", "metrics"]), &scraped)?;

    // The log reports the change once, in one line.
    let decisions = stage.log().lines().filter(|line| line.contains("the cloud accepted a change")).count();
    ensure!(decisions == 1, "{decisions}");
    Ok(())
}

#[tokio::test]
async fn readiness_names_the_crds_that_are_missing_and_comes_with_them() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    harness::install_without_crds(&plane).await?;
    let mut stage = Stage::on(&plane, "unready").await?;
    stage.watches_all = true;
    stage.start_operator().await?;
    let expected = "waiting for the list of CrossRegionBackupPolicy: is its CRD installed?";
    wait_until(LIMIT, expected, async || {
        let answer = get(stage.operator(), "/readyz").await?;
        let names = ["BackupInventory", "CloudAccount", "ClusterCloudAccount"];
        let all = names.iter().all(|name| answer.contains(&format!("\nwaiting for the list of {name}: ")));
        match answer.starts_with("HTTP/1.0 503 ") && answer.contains(expected) && all {
            true => Ok(Some(())),
            false => anyhow::bail!("{answer}"),
        }
    })
    .await?;
    ensure!(
        get(stage.operator(), "/livez").await?.starts_with("HTTP/1.0 200 "),
        "it is no reason to restart"
    );
    harness::install(&plane).await?;
    until_healthy(stage.operator()).await
}
