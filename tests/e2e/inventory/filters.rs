//! Filters of Volcengine and BytePlus: the backups that match, and the requests sent to the cloud.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::world::{expect_all_instances, expect_found};
use super::{LIST, ids};
use crate::checks::{With, expect, message, seconds, time};
use crate::harness::{INSTANCE, Stage};

/// Cases for scope Account: filter, ids of the matching backups, and parameters of the second request; null: no second
/// request, since the listing of all backups is enough.
fn of_account() -> Vec<(Value, &'static [&'static str], Value)> {
    let fits = |filter: Value, wanted: &'static [&'static str]| (filter, wanted, Value::Null);
    vec![
        fits(json!({}), &["b-6", "b-5", "b-4", "b-3", "b-2", "b-1"]),
        fits(json!({"statuses": ["Available"]}), &["b-5", "b-4", "b-1"]),
        fits(json!({"statuses": ["Deleting"]}), &["b-6"]),
        fits(json!({"statuses": ["Available", "Creating"]}), &["b-5", "b-4", "b-2", "b-1"]),
        fits(json!({"strategies": ["ManualBackup"]}), &["b-5", "b-3"]),
        fits(
            json!({"strategies": ["ManualBackup", "AutomatedBackup"]}),
            &["b-6", "b-5", "b-4", "b-3", "b-2", "b-1"],
        ),
        fits(
            json!({"startTime": "2025-03-02T00:00:00Z", "endTime": "2025-03-05T00:00:00Z"}),
            &["b-5", "b-4", "b-3", "b-2"],
        ),
        fits(
            json!({"startTime": "2025-03-02T08:00:01+08:00", "endTime": "2025-03-04T23:59:59Z"}),
            &["b-4", "b-3"],
        ),
        (
            json!({"backupPointName": "nightly"}),
            &["b-6", "b-4", "b-2", "b-1"],
            json!({"BackupPointName": "nightly"}),
        ),
        (json!({"backupPointId": "-5"}), &["b-5"], json!({"BackupPointId": "-5"})),
        (json!({"projectName": "shop"}), &["b-6", "b-5", "b-4"], json!({"ProjectName": "shop"})),
        (json!({"projectName": "none-such"}), &[], json!({"ProjectName": "none-such"})),
        (
            json!({
                "statuses": ["Available", "Deleting"], "strategies": ["AutomatedBackup"], "projectName": "shop",
                "backupPointName": "night", "startTime": "2025-03-04T00:00:00Z", "endTime": "2025-03-05T23:00:00Z",
            }),
            &["b-4"],
            json!({
                "Status": null, "BackupStrategyList": ["AutomatedBackup"], "ProjectName": "shop",
                "BackupPointName": "night", "StartTime": "2025-03-04T00:00:00Z", "EndTime": "2025-03-05T23:00:00Z",
            }),
        ),
    ]
}

/// Cases for scope Instance: filter, ids of the matching backups of `INSTANCE`, and parameters of the request.
fn of_instance() -> Vec<(Value, &'static [&'static str], Value)> {
    vec![
        (json!({}), &["b-3", "b-2", "b-1"], json!({"Status": null, "ProjectName": null})),
        (json!({"statuses": ["Unavailable"]}), &["b-3"], json!({"Status": "Unavailable"})),
        (json!({"statuses": ["Deleting"]}), &[], json!({"Status": "Deleting"})),
        (json!({"statuses": ["Creating", "Unavailable"]}), &["b-3", "b-2"], json!({"Status": null})),
        (json!({"strategies": ["ManualBackup"]}), &["b-3"], json!({"BackupStrategyList": ["ManualBackup"]})),
        (
            json!({"startTime": "2025-03-01T00:00:00Z", "endTime": "2025-03-02T00:00:00Z"}),
            &["b-2", "b-1"],
            json!({"StartTime": "2025-03-01T00:00:00Z", "EndTime": "2025-03-02T00:00:00Z"}),
        ),
    ]
}

fn was_asked(body: &Value, wanted: &Value) -> Result<()> {
    for (name, value) in wanted.as_object().context("no fields")? {
        ensure!(body[name] == *value, "{name} is not {value}: {body:#}");
    }
    Ok(())
}

/// Lists every `step`th case of [`of_account`] in an inventory of its own.
async fn every_filter(stage: &Stage<'_>, account: &str, step: usize) -> Result<()> {
    for (number, (filter, wanted, sent)) in of_account().into_iter().enumerate().step_by(step) {
        let spec = json!({"accountRef": {"name": account}, "filter": filter});
        let (status, asked) = stage.list_with(&format!("a{number}"), spec, LIST).await?;
        expect_found(&status, wanted).with_context(|| filter.to_string())?;
        expect_all_instances(&status).with_context(|| filter.to_string())?;
        ensure!(status["backupsOf"] == "CrossRegion");
        // All backups are always listed, for status.instances. Filters that only the cloud can apply take a second
        // listing.
        ensure!(asked.len() == if sent.is_null() { 1 } else { 2 }, "{asked:#?}");
        for body in &asked {
            was_asked(body, &json!({"Scope": "AccountInstances", "InstanceId": null}))?;
        }
        was_asked(&asked[0], &json!({"Status": null, "BackupStrategyList": null, "ProjectName": null}))?;
        was_asked(&asked[0], &json!({"StartTime": "2000-01-01T00:00:00Z", "BackupPointName": null}))?;
        if let Some(filtered) = asked.get(1) {
            was_asked(filtered, &sent)?;
        }
    }
    for (number, (filter, wanted, sent)) in of_instance().into_iter().enumerate().step_by(step) {
        let spec = json!({
            "accountRef": {"name": account}, "scope": "Instance", "instanceId": INSTANCE, "filter": filter,
        });
        let (status, asked) = stage.list_with(&format!("i{number}"), spec, LIST).await?;
        expect_found(&status, wanted).with_context(|| filter.to_string())?;
        ensure!(status["instances"].is_null() && status["unprotected"].is_null(), "{status:#}");
        ensure!(asked.len() == 1, "{asked:#?}");
        was_asked(&asked[0], &sent)?;
        was_asked(&asked[0], &json!({"Scope": "OneInstance", "InstanceId": INSTANCE}))?;
    }
    Ok(())
}

#[tokio::test]
async fn every_filter_of_volcengine() -> Result<()> {
    let mut stage = Stage::new("inv-filters").await?;
    stage.fill()?;
    stage.flag("--resync-interval-override=9999h");
    stage.apply_account().await?;
    stage.start_operator().await?;
    every_filter(&stage, "prod", 1).await
}

#[tokio::test]
async fn filters_of_byteplus_are_volcengine_s() -> Result<()> {
    let mut stage = Stage::new("inv-filters-byteplus").await?;
    stage.fill()?;
    stage.flag("--resync-interval-override=9999h");
    stage.apply_account().await?;
    let mut account = stage.account_manifest();
    account["metadata"]["name"] = json!("byteplus");
    account["spec"]["provider"] = json!("BytePlus");
    stage.apply(account).await?;
    stage.start_operator().await?;
    every_filter(&stage, "byteplus", 2).await
}

#[tokio::test]
async fn what_is_recent_moves_with_the_time() -> Result<()> {
    let mut stage = Stage::new("inv-since").await?;
    stage.flag("--resync-interval-override=1s");
    stage.apply_account().await?;
    stage.start_operator().await?;
    stage.until_account("CredentialsVerified").await?;
    stage.add_backup("b-ancient", 90.0)?;
    stage.add_backup("b-recent", 50.0)?;
    let spec = json!({"scope": "Instance", "instanceId": INSTANCE, "filter": {"since": "1m"}});
    let status = stage.listed("recent", spec).await?;
    ensure!(ids(&status)? == ["b-recent"] && status["newest"]["backupPointId"] == "b-recent", "{status:#}");
    let status =
        stage.until("bkinv", "recent", "none to be recent", |o| o["status"]["total"] == 0).await?["status"]
            .clone();
    ensure!(status["newest"].is_null() && status["items"] == json!([]), "{status:#}");
    let asked = stage.asked(LIST);
    let (first, last) = (&asked[0], asked.last().context("no listing")?);
    for body in [first, last] {
        let window = seconds(time(&body["StartTime"])?, time(&body["EndTime"])?);
        ensure!(window == 60.0, "{body:#}");
    }
    ensure!(time(&first["StartTime"])? < time(&last["StartTime"])?, "{first:#}\n{last:#}");
    Ok(())
}

#[tokio::test]
async fn a_status_that_the_cloud_does_not_have_is_named_and_nothing_is_listed() -> Result<()> {
    let stage = Stage::running("inv-filter-lacks").await?;
    for status in ["Locked", "Exporting", "Exported", "Expired", "Deleted"] {
        let name = status.to_lowercase();
        stage.apply_inventory(&name, json!({"filter": {"statuses": ["Available", status]}})).await?;
        let inventory = stage.until_inventory(&name, "InvalidRequest").await?;
        expect(&inventory, "False", "InvalidRequest", With::Stalled)?;
        for word in ["filter.statuses", "Creating, Available, Unavailable, Deleting", "Volcengine"] {
            ensure!(message(&inventory).contains(word), "{word}: {inventory:#}");
        }
        stage.until_event(&name, "ReconcileFailed: InvalidRequest").await?;
    }
    ensure!(stage.calls(LIST) == 0, "{} listings", stage.calls(LIST));
    // With a corrected filter the inventory is listed.
    stage.listed("locked", json!({"filter": {"statuses": ["Available"]}})).await.map(drop)
}
