//! Filters of Tencent Cloud, in each of the forms that its documentation describes.

use anyhow::{Context, Result, ensure};
use cloud_simulator::{BackupSetKey, StatusesAllowed};
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::world::{T_A, expect_all_tencent_instances, expect_found};
use super::{T_INSTANCES, T_LIST};
use crate::checks::{With, expect, message};
use crate::harness::Stage;

const ALL: &[&str] = &["t-5", "t-4", "t-3", "t-2", "t-1", "t-8"];

fn spec(filter: Value) -> Value {
    json!({"accountRef": {"name": "tencent"}, "region": "ap-guangzhou", "filter": filter})
}

fn of_instance(filter: Value) -> Value {
    let mut spec = spec(filter);
    spec["scope"] = json!("Instance");
    spec["instanceId"] = json!(T_A);
    spec
}

async fn stage(name: &str) -> Result<Stage<'static>> {
    let mut stage = Stage::new(name).await?;
    stage.fill_tencent()?;
    stage.flag("--resync-interval-override=9999h");
    stage.apply_tencent_account().await?;
    stage.start_operator().await?;
    Ok(stage)
}

/// Filter, ids of the matching backups, and the status codes in the request.
fn cases() -> Vec<(Value, &'static [&'static str], Value)> {
    let all = json!([1, 2, 3, 4]);
    vec![
        (json!({}), ALL, all.clone()),
        (json!({"statuses": ["Available"]}), &["t-1", "t-8"], json!([2])),
        (json!({"statuses": ["Creating"]}), &["t-2"], json!([1])),
        (json!({"statuses": ["Locked"]}), &["t-3"], json!([1])),
        (json!({"statuses": ["Locked", "Creating"]}), &["t-3", "t-2"], json!([1])),
        (json!({"statuses": ["Exporting", "Exported"]}), &["t-5", "t-4"], json!([3, 4])),
        (json!({"statuses": ["Expired"]}), &["t-6"], json!([-1])),
        (json!({"statuses": ["Deleted", "Expired"]}), &["t-7", "t-6"], json!([-1, -2])),
        (json!({"strategies": ["ManualBackup"]}), &["t-5", "t-3"], all.clone()),
        (json!({"strategies": ["AutomatedBackup"]}), &["t-4", "t-2", "t-1"], all.clone()),
        (
            json!({"strategies": ["ManualBackup"], "statuses": ["Locked", "Available"]}),
            &["t-3"],
            json!([1, 2]),
        ),
        (
            json!({"startTime": "2025-03-01T00:00:00Z", "endTime": "2025-03-04T00:00:00Z"}),
            &["t-4", "t-3", "t-2", "t-1"],
            all.clone(),
        ),
        (
            json!({"startTime": "2025-03-01T00:00:01Z", "endTime": "2025-03-03T23:59:59Z"}),
            &["t-3", "t-2"],
            all,
        ),
    ]
}

#[tokio::test]
async fn every_filter_of_tencent_cloud() -> Result<()> {
    let stage = stage("inv-filters-tencent").await?;
    for (number, (filter, wanted, codes)) in cases().into_iter().enumerate() {
        let (status, asked) = stage.list_with(&format!("a{number}"), spec(filter.clone()), T_LIST).await?;
        expect_found(&status, wanted).with_context(|| filter.to_string())?;
        expect_all_tencent_instances(&status).with_context(|| filter.to_string())?;
        ensure!(asked.len() == if filter == json!({}) { 1 } else { 2 }, "{asked:#?}");
        let mut sent = asked[0]["Status"].clone();
        sent.as_array_mut()
            .context("no Status")?
            .sort_by_key(|code| (code.as_i64() < Some(0), code.as_i64().map(i64::abs)));
        ensure!(sent == codes, "{filter}: {asked:#?}");
        ensure!(asked.iter().all(|body| body["InstanceId"].is_null()), "{asked:#?}");
        if let Some(whole) = asked.get(1) {
            ensure!(whole["Status"] == json!([1, 2, 3, 4]) && whole["BeginTime"].is_null(), "{whole:#}");
        }
    }
    for (name, filter, wanted) in [
        ("i0", json!({}), &["t-3", "t-2", "t-1", "t-8"][..]),
        ("i1", json!({"statuses": ["Locked", "Exported"]}), &["t-3"]),
        ("i2", json!({"strategies": ["AutomatedBackup"]}), &["t-2", "t-1"]),
        (
            "i3",
            json!({"startTime": "2025-02-01T00:00:00Z", "endTime": "2025-03-01T00:00:00Z"}),
            &["t-1", "t-8"],
        ),
    ] {
        let (status, asked) = stage.list_with(name, of_instance(filter.clone()), T_LIST).await?;
        expect_found(&status, wanted).with_context(|| filter.to_string())?;
        ensure!(status["instances"].is_null() && status["unprotected"].is_null(), "{status:#}");
        ensure!(asked.len() == 1 && asked[0]["InstanceId"] == T_A, "{asked:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_tencent_cloud_cannot_filter_is_named_and_nothing_is_listed() -> Result<()> {
    let stage = stage("inv-filter-lacks-t").await?;
    for (name, filter, words) in [
        ("name", json!({"backupPointName": "n"}), ["filter.backupPointName", "Volcengine"]),
        ("id", json!({"backupPointId": "n"}), ["filter.backupPointId", "Volcengine"]),
        ("project", json!({"projectName": "n"}), ["filter.projectName", "Volcengine"]),
        ("status", json!({"statuses": ["Available", "Unavailable"]}), ["filter.statuses", "Exporting"]),
        ("deleting", json!({"statuses": ["Deleting"]}), ["filter.statuses", "Exporting"]),
    ] {
        stage.apply_inventory(name, spec(filter)).await?;
        let inventory = stage.until_inventory(name, "InvalidRequest").await?;
        expect(&inventory, "False", "InvalidRequest", With::Stalled)?;
        for word in words {
            ensure!(message(&inventory).contains(word), "{word}: {inventory:#}");
        }
        ensure!(inventory["status"]["total"].is_null(), "{inventory:#}");
    }
    let instances = stage.asked(T_INSTANCES);
    ensure!(stage.calls(T_LIST) == 0 && instances.iter().all(|body| body["Limit"] == 1), "{instances:#?}");
    stage.listed("name", spec(json!({}))).await.map(drop)
}

/// Returns BeginTime and EndTime of each request, parsed in this zone.
fn spans(asked: &[Value], zone: Offset) -> Result<Vec<(Timestamp, Timestamp)>> {
    let read = |value: &Value| -> Result<Timestamp> {
        let text = value.as_str().context("no time")?;
        let time = DateTime::strptime("%Y-%m-%d %H:%M:%S", text)?;
        Ok(time.to_zoned(TimeZone::fixed(zone))?.timestamp())
    };
    asked.iter().map(|body| Ok((read(&body["BeginTime"])?, read(&body["EndTime"])?))).collect()
}

/// Lists more than 30 days and checks the time spans of the requests.
async fn spans_in(stage: &Stage<'_>, name: &str, zone: Offset) -> Result<()> {
    let (start, end) = ("2025-02-01T00:00:00Z", "2025-04-20T00:00:00Z");
    let filter = json!({"startTime": start, "endTime": end});
    let (status, asked) = stage.list_with(name, of_instance(filter), T_LIST).await?;
    expect_found(&status, &["t-3", "t-2", "t-1", "t-8"])?;
    let mut spans = spans(&asked, zone)?;
    spans.sort();
    ensure!(spans.len() == 3, "{asked:#?}");
    ensure!(spans[0].0 == start.parse()? && spans[2].1 == end.parse()?, "{asked:#?}");
    for (begin, last) in &spans {
        ensure!(last.duration_since(*begin) <= SignedDuration::from_hours(30 * 24), "{asked:#?}");
    }
    for pair in spans.windows(2) {
        ensure!(pair[1].0.duration_since(pair[0].1) == SignedDuration::from_secs(1), "{asked:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_long_window_is_asked_for_in_spans_in_the_account_s_zone() -> Result<()> {
    let stage = stage("inv-spans").await?;
    spans_in(&stage, "beijing", Offset::constant(8)).await?;
    let west = Offset::from_seconds(-(3 * 3600 + 1800))?;
    stage.tencent_settings(|settings| settings.time_zone = west);
    let patch = json!({"spec": {"tencent": {"timeZone": "-03:30"}}}).to_string();
    stage.run(["patch", "cacct", "tencent", "--type=merge", "-p", &patch]).await?;
    spans_in(&stage, "west", west).await?;
    let status = stage.listed("all-west", spec(json!({}))).await?;
    expect_found(&status, ALL)?;
    ensure!(status["items"][0]["startTime"] == "2025-04-20T00:00:00Z", "{status:#}");
    ensure!(status["items"][0]["endTime"] == "2025-04-20T00:00:21Z", "{status:#}");
    ensure!(status["items"][0]["expiryTime"] == "2025-04-27T00:00:00Z", "{status:#}");
    Ok(())
}

#[tokio::test]
async fn every_form_of_the_documents_is_understood() -> Result<()> {
    let stage = stage("inv-forms").await?;
    let basic = ["t-3", "t-2", "t-1", "t-8"];
    stage.tencent_settings(|settings| settings.backup_set_key = BackupSetKey::RedisBackupSet);
    let status = stage.listed("key", spec(json!({}))).await?;
    expect_found(&status, ALL)?;

    // When the cloud refuses some status codes, the operator requests those that every document lists.
    stage.tencent_settings(|settings| settings.statuses_allowed = StatusesAllowed::Newest);
    let (status, asked) = stage.list_with("newest", spec(json!({})), T_LIST).await?;
    expect_found(&status, &basic)?;
    let statuses: Vec<_> = asked.iter().map(|body| body["Status"].clone()).collect();
    ensure!(statuses == [json!([1, 2, 3, 4]), json!([1, 2])], "{asked:#?}");
    // Statuses that the user selected are not dropped silently.
    for (name, statuses) in [("exported", json!(["Exported"])), ("some", json!(["Available", "Exported"]))] {
        stage.apply_inventory(name, spec(json!({"statuses": statuses}))).await?;
        let refused = stage.until_inventory(name, "InvalidRequest").await?;
        expect(&refused, "False", "InvalidRequest", With::Stalled)?;
        ensure!(message(&refused).contains("filter.statuses"), "{refused:#}");
    }

    // When the cloud requires an instance id, the operator lists instance by instance.
    stage.tencent_settings(|settings| settings.require_instance_id = true);
    let (status, asked) = stage.list_with("by-instance", spec(json!({})), T_LIST).await?;
    expect_found(&status, ALL)?;
    expect_all_tencent_instances(&status)?;
    ensure!(asked.len() == 3 && asked[0]["InstanceId"].is_null(), "{asked:#?}");
    ensure!(asked[1..].iter().all(|body| body["InstanceId"].is_string()), "{asked:#?}");
    let filter = json!({"startTime": "2025-02-01T00:00:00Z", "endTime": "2025-04-20T00:00:00Z"});
    let status = stage.listed("by-instance-in-spans", spec(filter)).await?;
    expect_found(&status, ALL)?;

    stage.tencent_settings(|settings| {
        settings.require_instance_id = true;
        settings.statuses_allowed = StatusesAllowed::Newest;
        settings.backup_set_key = BackupSetKey::RedisBackupSet;
    });
    let status = stage.listed("all-at-once", spec(json!({}))).await?;
    expect_found(&status, &basic)?;
    let refused = json!({"statuses": ["Exported"], "strategies": ["ManualBackup"]});
    stage.apply_inventory("exported-by-instance", spec(refused)).await?;
    let refused = stage.until_inventory("exported-by-instance", "InvalidRequest").await?;
    ensure!(message(&refused).contains("filter.statuses"), "{refused:#}");
    Ok(())
}
