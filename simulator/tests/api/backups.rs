//! The list of cross-region backups: scopes, filters, pages, shapes.

use cloud_simulator::{BackupSpec, InstanceSpec, Settings, Simulator};
use jiff::ToSpan;
use serde_json::{Value, json};

use crate::client::{Ask, BACKUPS, ID, ask, backup, cloud};

const OTHER: &str = "redis-other";

/// Returns a cloud with five backups of two instances, ten seconds apart, newest `b-1`.
fn shelf() -> Simulator {
    let simulator = cloud();
    simulator.put_instance(InstanceSpec::new(OTHER, "cn-beijing")).unwrap();
    for number in 1..=5 {
        let instance = if number == 5 { OTHER } else { ID };
        simulator
            .put_backup(BackupSpec {
                instance_id: instance.into(),
                backup_point_name: format!("nightly-{number}"),
                backup_strategy: if number == 2 { "ManualBackup" } else { "AutomatedBackup" }.into(),
                status: if number == 1 { "Creating" } else { "Available" }.into(),
                project_name: if number == 3 { "special" } else { "default" }.into(),
                ..backup(&format!("b-{number}"), f64::from(number) * 10.0)
            })
            .unwrap();
    }
    simulator
}

fn ids(result: &Value) -> Vec<&str> {
    result["Backups"].as_array().unwrap().iter().map(|b| b["BackupPointId"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn filters_choose_and_total_counts() {
    let simulator = shelf();
    let start = (simulator.now() - 30.seconds()).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let end = (simulator.now() - 20.seconds()).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let account = "AccountInstances";
    for (body, expected) in [
        (json!({ "InstanceId": ID }), "b-1 b-2 b-3 b-4"),
        (json!({ "InstanceId": OTHER, "Scope": "OneInstance" }), "b-5"),
        (json!({ "InstanceId": ID, "Status": "Creating" }), "b-1"),
        (json!({ "InstanceId": ID, "Status": null, "BackupStrategyList": null }), "b-1 b-2 b-3 b-4"),
        (json!({ "InstanceId": ID, "BackupStrategyList": ["ManualBackup"] }), "b-2"),
        (json!({ "InstanceId": ID, "BackupStrategyList": ["AllStrategy"] }), "b-1 b-2 b-3 b-4"),
        (json!({ "InstanceId": ID, "StartTime": start, "EndTime": end }), "b-2 b-3"),
        (json!({ "InstanceId": ID, "BackupPointName": "nothing", "ProjectName": "x" }), "b-1 b-2 b-3 b-4"),
        (json!({ "Scope": account }), "b-1 b-2 b-3 b-4 b-5"),
        (json!({ "Scope": account, "InstanceId": OTHER }), "b-5"),
        (json!({ "Scope": account, "BackupPointName": "ly-3" }), "b-3"),
        (json!({ "Scope": account, "BackupPointId": "-4" }), "b-4"),
        (json!({ "Scope": account, "ProjectName": "special" }), "b-3"),
        (json!({ "Scope": "DestroyedInstances" }), ""),
    ] {
        let told = ask(&simulator, BACKUPS, body.clone()).await;
        assert_eq!(ids(told.result()).join(" "), expected, "{body}");
        assert_eq!(told.result()["Total"], expected.split_whitespace().count(), "{body}");
    }
    let elsewhere = Ask::new(&simulator, BACKUPS, json!({ "Scope": account }))
        .region("cn-shanghai")
        .send(&simulator)
        .await;
    assert_eq!(elsewhere.result()["Total"], 0);
    simulator.remove_instance(OTHER).unwrap();
    let destroyed = ask(&simulator, BACKUPS, json!({ "Scope": "DestroyedInstances" })).await;
    assert_eq!(ids(destroyed.result()), ["b-5"]);
    assert_eq!(destroyed.result()["Backups"][0]["InstanceInfo"]["InstanceId"], OTHER);
}

#[tokio::test(start_paused = true)]
async fn pages_cut_after_counting() {
    let simulator = shelf();
    for (size, number, expected) in
        [(2, 1, "b-1 b-2"), (2, 2, "b-3 b-4"), (2, 3, "b-5"), (2, 4, ""), (100, 1, "b-1 b-2 b-3 b-4 b-5")]
    {
        let body = json!({ "Scope": "AccountInstances", "PageSize": size, "PageNumber": number });
        let told = ask(&simulator, BACKUPS, body).await;
        assert_eq!(ids(told.result()).join(" "), expected);
        assert_eq!(told.result()["Total"], 5);
    }
    let last = json!({ "Scope": "AccountInstances", "PageSize": 100, "PageNumber": i32::MAX });
    assert_eq!(ids(ask(&simulator, BACKUPS, last).await.result()).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn parameters_are_checked() {
    let simulator = shelf();
    let time = "2024-08-22T07:51:09Z";
    for (fields, error) in [
        (json!({ "InstanceId": null }), "MissingParameter"),
        (json!({ "InstanceId": "redis-nowhere" }), "InstanceNotExist"),
        (json!({ "Scope": "Everything" }), "ParamError"),
        (json!({ "Status": "Broken" }), "ParamError"),
        (json!({ "BackupStrategyList": ["Weekly"] }), "ParamError"),
        (json!({ "BackupStrategyList": "ManualBackup" }), "ParamError"),
        (json!({ "BackupStrategyList": [1] }), "ParamError"),
        (json!({ "StartTime": time }), "MissingParameter"),
        (json!({ "EndTime": time }), "MissingParameter"),
        (json!({ "StartTime": "2024-08-22 07:51:09", "EndTime": time }), "TimeFormatInvalid"),
        (json!({ "StartTime": time, "EndTime": "2024-08-22T07:51:09+08:00" }), "TimeFormatInvalid"),
        (json!({ "StartTime": time, "EndTime": time }), "TimeIntervalInvalid"),
        (json!({ "PageSize": 10 }), "ParamError"),
        (json!({ "PageNumber": 1 }), "ParamError"),
        (json!({ "PageSize": 0, "PageNumber": 1 }), "ParamError"),
        (json!({ "PageSize": 101, "PageNumber": 1 }), "ParamError"),
        (json!({ "PageSize": 10, "PageNumber": 0 }), "ParamError"),
        (json!({ "PageSize": "10", "PageNumber": 1 }), "ParamError"),
        (json!({ "PageSize": 10, "PageNumber": 2_147_483_648_i64 }), "ParamError"),
    ] {
        let mut body = json!({ "InstanceId": ID });
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        assert_eq!(ask(&simulator, BACKUPS, body).await.error(), (400, error), "{fields}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_has_the_documented_fields() {
    let simulator = cloud();
    simulator.put_backup(backup("b-1", 3600.0)).unwrap();
    let told = ask(&simulator, BACKUPS, json!({ "InstanceId": ID })).await;
    let expected = json!({
        "BackupPointId": "b-1", "BackupPointName": "", "BackupStrategy": "AutomatedBackup",
        "BackupType": "Full", "StartTime": "2026-01-02T02:04:05Z", "EndTime": "2026-01-02T02:05:05Z",
        "InstanceId": ID, "ProjectName": "default", "Size": 486_040, "SourceRegion": "cn-beijing",
        "TargetRegion": "cn-shanghai", "Status": "Available", "TTL": 7,
        "InstanceInfo": {
            "AccountId": 2_100_000_000_u64, "ArchType": "Standard", "ChargeType": "PostPaid",
            "DeletionProtection": "disabled", "EngineVersion": "7.0", "ExpiredTime": "", "InstanceId": ID,
            "InstanceName": "", "MaintenanceTime": "02:00-02:59", "NetworkType": "VPC",
            "RegionId": "cn-beijing", "Replicas": 2, "ShardCapacity": 1024, "ShardNumber": 1,
            "TotalCapacity": 1024, "VpcId": "vpc-rs5811nceqyov0x58x400001", "ZoneIds": ["cn-beijing-a"],
        },
    });
    assert_eq!(told.result()["Backups"][0], expected);
    simulator.patch_backup("b-1", json!({ "overrides": { "StartTime": "soon", "Size": null } })).unwrap();
    simulator.set_settings(Settings { quirks: true, ..Settings::default() });
    let told = ask(&simulator, BACKUPS, json!({ "InstanceId": ID })).await;
    let item = &told.result()["Backups"][0];
    assert_eq!((&item["StartTime"], &item["Size"]), (&json!("soon"), &Value::Null));
    assert_eq!(item["BackupType"], "Snapshot");
    assert!(item["FutureField"].is_object() && item["InstanceInfo"]["FutureField"].is_object());
}
