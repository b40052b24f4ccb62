//! Tencent's backup list and backup details: filters, pages, shapes, settings.

use cloud_simulator::{
    BackupSetKey, Settings, Simulator, StatusesAllowed, TencentBackupSpec, TencentInstanceSpec,
    TencentSettings,
};
use jiff::{Timestamp, ToSpan, tz};
use serde_json::{Value, json};

use crate::client::pass;
use crate::tencent_client::{Ask, BACKUPS, DETAIL, ID, ask, backup, cloud, ids, listed, of_instance, set};

const OTHER: &str = "crs-other";

/// Returns a cloud with five backups of two instances, ten seconds apart, newest `b-1`; `b-3` is running, `b-4` expired.
fn shelf() -> Simulator {
    let simulator = cloud();
    let other = TencentInstanceSpec::new(OTHER, "ap-guangzhou");
    simulator.put_tencent_instance(TencentInstanceSpec { instance_name: "carts".into(), ..other }).unwrap();
    for number in 1..=5 {
        let spec = TencentBackupSpec {
            instance_id: if number == 5 { OTHER } else { ID }.into(),
            status: [2, 2, 1, -1, 2][number - 1],
            ..backup(&format!("b-{number}"), number as f64 * 10.0)
        };
        simulator.put_tencent_backup(spec).unwrap();
    }
    simulator
}

/// Formats a past time in Beijing's time zone.
fn ago(simulator: &Simulator, seconds: i64) -> String {
    let zone = tz::TimeZone::fixed(tz::offset(8));
    (simulator.now() - seconds.seconds()).to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[tokio::test(start_paused = true)]
async fn filters_choose_and_the_total_counts() {
    let simulator = shelf();
    let (ten, twenty) = (ago(&simulator, 10), ago(&simulator, 20));
    for (body, expected) in [
        (json!({}), "b-1 b-2 b-5"),
        (of_instance(), "b-1 b-2"),
        (json!({ "InstanceId": OTHER }), "b-5"),
        (json!({ "InstanceId": null, "Status": null }), "b-1 b-2 b-5"),
        (json!({ "InstanceId": "", "Status": [] }), "b-1 b-2 b-5"),
        (json!({ "Status": [1] }), "b-3"),
        (json!({ "Status": [1, 2] }), "b-1 b-2 b-3 b-5"),
        (json!({ "Status": [-1, 3, 4, -2] }), "b-4"),
        (json!({ "InstanceName": "art" }), "b-5"),
        (json!({ "InstanceName": "r" }), "b-1 b-2 b-5"),
        (json!({ "InstanceName": "r", "InstanceId": ID }), "b-1 b-2"),
        (json!({ "BeginTime": twenty, "EndTime": ten }), "b-1 b-2"),
        (json!({ "BeginTime": ten, "EndTime": ten }), "b-1"),
        (json!({ "BeginTime": twenty }), "b-1 b-2"),
        (json!({ "EndTime": twenty }), "b-2 b-5"),
    ] {
        let response = listed(&simulator, body.clone()).await;
        assert_eq!(ids(&response), expected, "{body}");
        assert_eq!(response["TotalCount"], expected.split_whitespace().count(), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_cut_after_counting() {
    let simulator = cloud();
    for number in 10..35 {
        simulator.put_tencent_backup(backup(&format!("b-{number}"), f64::from(number))).unwrap();
    }
    let response = listed(&simulator, of_instance()).await;
    assert_eq!(ids(&response).split(' ').count(), 20);
    for (limit, offset, expected) in [
        (2, 0, "b-10 b-11"),
        (2, 2, "b-12 b-13"),
        (20, 20, "b-30 b-31 b-32 b-33 b-34"),
        (100, 100, ""),
        (1, 24, "b-34"),
    ] {
        let response = listed(&simulator, json!({ "Limit": limit, "Offset": offset })).await;
        assert_eq!(ids(&response), expected);
        assert_eq!(response["TotalCount"], 25);
    }
}

#[tokio::test(start_paused = true)]
async fn parameters_are_checked() {
    let simulator = shelf();
    let invalid = "InvalidParameter.InvalidParameter";
    let day = |day: u32| format!("2026-01-{day:02} 00:00:00");
    for (body, error) in [
        (json!({ "InstanceId": "crs-nowhere" }), "ResourceNotFound.InstanceNotExists"),
        (json!({ "Limit": 0 }), invalid),
        (json!({ "Limit": 101 }), invalid),
        (json!({ "Limit": 20, "Offset": 30 }), invalid),
        (json!({ "Offset": 10 }), invalid),
        (json!({ "Offset": -20 }), invalid),
        (json!({ "Status": [0] }), invalid),
        (json!({ "Status": [2, 5] }), invalid),
        (json!({ "BeginTime": "2026-01-01T00:00:00Z" }), invalid),
        (json!({ "BeginTime": "2026-01-01" }), invalid),
        (json!({ "EndTime": "2026-1-1 0:00:00" }), invalid),
        (json!({ "BeginTime": day(2), "EndTime": day(1) }), invalid),
        (json!({ "BeginTime": day(1), "EndTime": "2026-01-31 00:00:01" }), invalid),
        (json!({ "Limit": "20" }), "InvalidParameter"),
        (json!({ "Limit": 1.5 }), "InvalidParameter"),
        (json!({ "InstanceId": 5 }), "InvalidParameter"),
        (json!({ "Status": 2 }), "InvalidParameter"),
        (json!({ "Status": ["2"] }), "InvalidParameter"),
        (json!([]), "InvalidParameter"),
        (json!({ "PageSize": 10 }), "UnknownParameter"),
    ] {
        let refused = ask(&simulator, BACKUPS, body.clone()).await;
        assert_eq!(refused.refusal(), error, "{body}");
    }
    let wrong = ask(&simulator, BACKUPS, json!({ "Limit": "20" })).await;
    assert_eq!(wrong.reason(), "Parameter `Limit` type error.");
    for body in [json!({ "BeginTime": day(1), "EndTime": day(31) }), json!({ "Limit": 100, "Offset": 200 })] {
        listed(&simulator, body).await;
    }
    let not_json = Ask { body: "{".into(), ..Ask::new(&simulator, BACKUPS, json!({})) };
    assert_eq!(not_json.send(&simulator).await.refusal(), "InvalidParameter");
    let empty = Ask { body: String::new(), ..not_json };
    assert_eq!(empty.send(&simulator).await.response()["TotalCount"], 3);
}

#[tokio::test(start_paused = true)]
async fn an_item_has_the_documented_fields() {
    let simulator = cloud();
    simulator
        .put_tencent_backup(TencentBackupSpec {
            start_time: Some("2026-05-31T18:00:48Z".parse().unwrap()),
            end_time: Some("2026-05-31T18:01:09Z".parse().unwrap()),
            age_seconds: None,
            instance_name: Some("testbackup".into()),
            ..backup("165706342-5832225-1641692389", 0.0)
        })
        .unwrap();
    // The sample of the documentation, except for its count.
    let sample = json!({
        "BackupId": "165706342-5832225-1641692389", "BackupSize": 537, "BackupType": "1", "Encrypted": false,
        "EndTime": "2026-06-01 02:01:09", "ExpireTime": "2026-06-08 02:00:48", "FileType": "RDB-Redis 6.2",
        "FullBackup": 0, "InstanceId": "crs-ei43p3gr", "InstanceName": "testbackup", "InstanceType": 16,
        "Locked": 0, "Region": "ap-guangzhou", "Remark": "", "StartTime": "2026-06-01 02:00:48", "Status": 2,
    });
    assert_eq!(listed(&simulator, of_instance()).await["BackupSet"], json!([sample]));
}

#[tokio::test(start_paused = true)]
async fn what_a_backup_does_not_say_its_instance_says() {
    let simulator = cloud();
    let instance = TencentInstanceSpec {
        instance_name: "sessions".into(),
        instance_type: 9,
        mem_size: 4096,
        shard_num: 5,
        replicas_num: 2,
        ..TencentInstanceSpec::new("crs-far", "ap-singapore")
    };
    simulator.put_tencent_instance(instance).unwrap();
    simulator.put_tencent_backup(TencentBackupSpec::new("b-1", "crs-far", 3600.0)).unwrap();
    let there = |action, body| Ask::new(&simulator, action, body).with("x-tc-region", "ap-singapore");
    let told = there(BACKUPS, json!({})).send(&simulator).await;
    let item = &told.response()["BackupSet"][0];
    assert_eq!(item["InstanceName"], "sessions");
    assert_eq!((&item["InstanceType"], &item["Region"]), (&json!(9), &json!("ap-singapore")));
    let body = json!({ "InstanceId": "crs-far", "BackupId": "b-1" });
    let detail = there(DETAIL, body).send(&simulator).await;
    let detail = detail.response();
    for (field, value) in [("InstanceType", 9), ("MemSize", 4096), ("ShardNum", 5), ("ReplicasNum", 2)] {
        assert_eq!(detail[field], value, "{field}");
    }
    // The backups of a deleted instance stay, visible only in the account's list.
    simulator.remove_tencent_instance("crs-far").unwrap();
    let told = there(BACKUPS, json!({})).send(&simulator).await;
    assert_eq!(told.response()["BackupSet"][0]["InstanceName"], "");
    let refused = there(BACKUPS, json!({ "InstanceId": "crs-far" })).send(&simulator).await;
    assert_eq!(refused.refusal(), "ResourceNotFound.InstanceNotExists");
}

#[tokio::test(start_paused = true)]
async fn a_running_backup_has_no_end() {
    let simulator = cloud();
    let running = TencentBackupSpec { status: 1, running: true, ..backup("b-1", 5.0) };
    simulator.put_tencent_backup(running).unwrap();
    let response = listed(&simulator, json!({ "Status": [1] })).await;
    assert_eq!(response["BackupSet"][0]["EndTime"], "0000-00-00 00:00:00");
    let patch = json!({ "overrides": { "EndTime": "", "Remark": null, "Extra": 1 } });
    simulator.patch_tencent_backup("b-1", patch).unwrap();
    let response = listed(&simulator, json!({ "Status": [1] })).await;
    let item = &response["BackupSet"][0];
    assert_eq!((&item["EndTime"], &item["Remark"], &item["Extra"]), (&json!(""), &Value::Null, &json!(1)));
    // Without a setting, time changes nothing.
    pass(30.0 * 86_400.0).await;
    assert_eq!(listed(&simulator, json!({ "Status": [1] })).await["BackupSet"], json!([item]));
}

#[tokio::test(start_paused = true)]
async fn a_detail_has_the_documented_fields() {
    let simulator = cloud();
    let start: Timestamp = "2022-12-19T11:41:42Z".parse().unwrap();
    let sample = TencentBackupSpec {
        start_time: Some(start),
        age_seconds: None,
        end_time: Some(start + 38.seconds()),
        backup_type: "0".into(),
        remark: "test005".into(),
        size: 528,
        instance_type: Some(9),
        ..backup("154571841-1165701309-438602494", 0.0)
    };
    simulator.put_tencent_backup(sample).unwrap();
    let body = json!({ "InstanceId": ID, "BackupId": "154571841-1165701309-438602494" });
    let told = ask(&simulator, DETAIL, body.clone()).await;
    let mut detail = told.response().clone();
    detail.as_object_mut().unwrap().remove("RequestId");
    let mut expected = json!({
        "BackupId": "154571841-1165701309-438602494", "BackupSize": 528, "BackupType": "0",
        "EndTime": "2022-12-19 19:42:20", "InstanceType": 9, "Locked": 0, "MemSize": 2048, "Remark": "test005",
        "ReplicasNum": 1, "ShardNum": 3, "StartTime": "2022-12-19 19:41:42", "Status": 2, "Encrypted": false,
    });
    assert_eq!(detail, expected);

    let patch = json!({
        "encrypted": true, "decryptKey": "marker", "kmsKeyId": "kms-1", "locked": true,
        "detailOverrides": { "EndTime": null },
    });
    simulator.patch_tencent_backup("154571841-1165701309-438602494", patch).unwrap();
    for (field, value) in [
        ("Encrypted", json!(true)),
        ("DecryptKey", json!("marker")),
        ("KmsKeyId", json!("kms-1")),
        ("KeyAlgorithm", json!("AES-256-CBC")),
        ("Locked", json!(1)),
        ("EndTime", Value::Null),
    ] {
        expected[field] = value;
    }
    let told = ask(&simulator, DETAIL, body).await;
    let mut detail = told.response().clone();
    detail.as_object_mut().unwrap().remove("RequestId");
    assert_eq!(detail, expected);
    // The list has the encryption flag but not the key.
    let item = &listed(&simulator, of_instance()).await["BackupSet"][0];
    assert_eq!((&item["Encrypted"], item.get("DecryptKey")), (&json!(true), None));
}

#[tokio::test(start_paused = true)]
async fn a_detail_is_asked_for_with_both_ids() {
    let simulator = shelf();
    for (body, error) in [
        (json!({}), "MissingParameter"),
        (of_instance(), "MissingParameter"),
        (json!({ "BackupId": "b-1" }), "MissingParameter"),
        (json!({ "InstanceId": ID, "BackupId": "b-9" }), "InvalidParameterValue.BackupNotExists"),
        (json!({ "InstanceId": ID, "BackupId": "b-5" }), "InvalidParameterValue.BackupNotExists"),
        (json!({ "InstanceId": "crs-x", "BackupId": "b-1" }), "ResourceNotFound.InstanceNotExists"),
        (json!({ "InstanceId": ID, "BackupId": 5 }), "InvalidParameter"),
        (json!({ "InstanceId": ID, "BackupId": "b-1", "Limit": 1 }), "UnknownParameter"),
    ] {
        assert_eq!(ask(&simulator, DETAIL, body.clone()).await.refusal(), error, "{body}");
    }
    let abroad = TencentBackupSpec { region: Some("ap-singapore".into()), ..backup("b-6", 5.0) };
    let strange = TencentBackupSpec { account_id: 7, ..backup("b-7", 5.0) };
    for (id, spec) in [("b-6", abroad), ("b-7", strange)] {
        simulator.put_tencent_backup(spec).unwrap();
        let refused = ask(&simulator, DETAIL, json!({ "InstanceId": ID, "BackupId": id })).await;
        assert_eq!(refused.refusal(), "InvalidParameterValue.BackupNotExists");
    }
    // Details exist for any status, also for one that the list omits.
    let told = ask(&simulator, DETAIL, json!({ "InstanceId": ID, "BackupId": "b-4" })).await;
    assert_eq!(told.response()["Status"], -1);
}

#[tokio::test(start_paused = true)]
async fn the_older_document_can_be_followed() {
    let simulator = shelf();
    set(&simulator, TencentSettings { require_instance_id: true, ..TencentSettings::default() });
    let refused = ask(&simulator, BACKUPS, json!({})).await;
    assert_eq!(refused.refusal(), "MissingParameter");
    assert_eq!(refused.reason(), "The request is missing a required parameter `InstanceId`.");
    assert_eq!(ids(&listed(&simulator, of_instance()).await), "b-1 b-2");

    let backup_set_key = BackupSetKey::RedisBackupSet;
    set(&simulator, TencentSettings { backup_set_key, ..TencentSettings::default() });
    let response = listed(&simulator, of_instance()).await;
    assert_eq!(response["RedisBackupSet"].as_array().unwrap().len(), 2);
    assert!(response.get("BackupSet").is_none());
}

#[tokio::test(start_paused = true)]
async fn the_newest_document_knows_two_statuses() {
    let simulator = shelf();
    let statuses_allowed = StatusesAllowed::Newest;
    set(&simulator, TencentSettings { statuses_allowed, ..TencentSettings::default() });
    assert_eq!(ids(&listed(&simulator, json!({ "Status": [1, 2] })).await), "b-1 b-2 b-3 b-5");
    for status in [-1, 3, 4, -2] {
        let refused = ask(&simulator, BACKUPS, json!({ "Status": [2, status] })).await;
        assert_eq!(refused.refusal(), "InvalidParameter.InvalidParameter");
    }
}

#[tokio::test(start_paused = true)]
async fn times_are_read_and_told_in_the_accounts_zone() {
    let simulator = shelf();
    for (time_zone, start) in [
        (tz::offset(8), "2026-01-02 11:03:55"),
        (tz::offset(-5), "2026-01-01 22:03:55"),
        (tz::Offset::from_seconds(5 * 3600 + 1800).unwrap(), "2026-01-02 08:33:55"),
    ] {
        set(&simulator, TencentSettings { time_zone, ..TencentSettings::default() });
        let response = listed(&simulator, json!({ "BeginTime": start, "EndTime": start })).await;
        assert_eq!(ids(&response), "b-1");
        assert_eq!(response["BackupSet"][0]["StartTime"], start);
    }
}

#[tokio::test(start_paused = true)]
async fn a_patch_moves_what_belongs_together() {
    let simulator = shelf();
    let before = simulator.tencent_backup("b-1").unwrap();
    let after = simulator.patch_tencent_backup("b-1", json!({ "ageSeconds": 5000, "status": 3 })).unwrap();
    let start = after.start_time.unwrap();
    assert_eq!(simulator.now().duration_since(start).as_secs(), 5000);
    assert_eq!(after.end_time.unwrap().duration_since(start).as_secs(), 21);
    assert_eq!(after.expire_time.unwrap().duration_since(start).as_secs(), 7 * 86_400);
    assert_eq!(before.remark, after.remark);
    assert_eq!(ids(&listed(&simulator, of_instance()).await), "b-2");
    assert_eq!(ids(&listed(&simulator, json!({ "Status": [2, 3] })).await), "b-2 b-5 b-1");
    simulator.patch_tencent_backup("b-2", json!({ "instanceId": OTHER })).unwrap();
    assert_eq!(ids(&listed(&simulator, json!({ "InstanceId": OTHER })).await), "b-2 b-5");
    simulator.remove_tencent_backup("b-2").unwrap();
    assert_eq!(ids(&listed(&simulator, json!({ "InstanceId": OTHER })).await), "b-5");
    assert!(simulator.remove_tencent_backup("b-2").is_err());
    simulator.put_tencent_instance(TencentInstanceSpec::new("crs-far", "ap-singapore")).unwrap();
    let moved = simulator.patch_tencent_backup("b-3", json!({ "instanceId": "crs-far" })).unwrap();
    assert_eq!(moved.region.as_deref(), Some("ap-singapore"));
    let kept = json!({ "instanceId": ID, "region": "ap-singapore" });
    let kept = simulator.patch_tencent_backup("b-3", kept).unwrap();
    assert_eq!(kept.region.as_deref(), Some("ap-singapore"));
    assert!(simulator.patch_tencent_backup("b-5", json!({ "colour": "red" })).is_err());
}

#[tokio::test(start_paused = true)]
async fn what_no_client_knows_can_be_added() {
    let simulator = shelf();
    simulator.set_settings(Settings { quirks: true, ..Settings::default() });
    let response = listed(&simulator, of_instance()).await;
    assert_eq!(response["BackupSet"][0]["BackupType"], "9");
    assert!(response["FutureField"].is_object() && response["BackupSet"][0]["FutureField"].is_object());
    let body = json!({ "InstanceId": ID, "BackupId": "b-1" });
    assert!(ask(&simulator, DETAIL, body).await.response()["FutureField"].is_object());
}
