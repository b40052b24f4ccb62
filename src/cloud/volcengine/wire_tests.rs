use super::*;
use crate::telemetry::redact::Redactor;
use http::HeaderMap;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

const POLICY: &str = "DescribeCrossRegionBackupPolicy";

fn read(status: u16, body: &str) -> Result<Answer, Failure> {
    let status = StatusCode::from_u16(status).unwrap();
    read_with(&Redactor::default(), status, body.as_bytes())
}

fn read_with(redactor: &Redactor<'_>, status: StatusCode, body: &[u8]) -> Result<Answer, Failure> {
    let headers = &HeaderMap::new();
    answer(&ResponseHead { action: POLICY, status, headers, now: Timestamp::UNIX_EPOCH, redactor }, body)
}

fn result(value: Value) -> Answer {
    read(200, &json!({"ResponseMetadata": {"RequestId": "r"}, "Result": value}).to_string()).unwrap()
}

#[test]
fn envelopes_of_failures() {
    let cases: &[(u16, &str, Kind, &str, Option<&str>)] = &[
        (
            400,
            r#"{"ResponseMetadata":{"RequestId":"r","Error":{"CodeN":1,"Code":"InstanceNotExist","Message":"no such"}}}"#,
            Kind::InstanceNotFound,
            "InstanceNotExist",
            Some("no such"),
        ),
        (
            200,
            r#"{"ResponseMetadata":{"RequestId":"r","Error":{"Code":"AccountFlowLimitExceeded"}},"Result":{"Active":true}}"#,
            Kind::Throttled,
            "AccountFlowLimitExceeded",
            None,
        ),
        (
            400,
            r#"{"ResponseMetadata":{"RequestId":"r","Error":{"Code":"Brand<New>","Message":""}}}"#,
            Kind::CloudUnavailable,
            "BrandNew",
            None,
        ),
        (
            400,
            r#"{"ResponseMetadata":{"RequestId":"r","Error":{"CodeN":100099}}}"#,
            Kind::CloudUnavailable,
            "100099",
            None,
        ),
        (
            401,
            r#"{"ResponseMetadata":{"RequestId":"r","Error":{"Code":7}}}"#,
            Kind::CloudUnavailable,
            "HTTP 401",
            None,
        ),
        (
            400,
            r#"{"ResponseMetadata":{"RequestId":"r","Error":{"Code":"代码"}}}"#,
            Kind::CloudUnavailable,
            "HTTP 400",
            None,
        ),
        (
            404,
            r#"{"HTTPCode":404,"errorcode":"InvalidActionOrVersion","message":"what"}"#,
            Kind::InvalidRequest,
            "InvalidActionOrVersion",
            Some("what"),
        ),
        (
            200,
            r#"{"HTTPCode":400,"errorcode":"AccessDenied","message":"x"}"#,
            Kind::PermissionDenied,
            "AccessDenied",
            Some("x"),
        ),
        (404, "", Kind::CloudUnavailable, "HTTP 404", None),
        (403, "<html>", Kind::CloudUnavailable, "HTTP 403", None),
        (429, "slow down", Kind::Throttled, "HTTP 429", None),
        (502, "<html>bad gateway</html>", Kind::CloudUnavailable, "HTTP 502", None),
        (
            500,
            r#"{"ResponseMetadata":{"RequestId":"r"},"Result":{"Active":true}}"#,
            Kind::CloudUnavailable,
            "HTTP 500",
            None,
        ),
        (204, "", Kind::CloudUnavailable, "HTTP 204", None),
        (302, "", Kind::CloudUnavailable, "redirect refused", None),
        (200, "<html>login</html>", Kind::CloudUnavailable, MALFORMED_RESPONSE, None),
        (200, "", Kind::CloudUnavailable, MALFORMED_RESPONSE, None),
        (200, "{}", Kind::CloudUnavailable, MALFORMED_RESPONSE, None),
        (200, "[]", Kind::CloudUnavailable, MALFORMED_RESPONSE, None),
        (200, "null", Kind::CloudUnavailable, MALFORMED_RESPONSE, None),
        (200, r#"{"ResponseMetadata":"x"}"#, Kind::CloudUnavailable, MALFORMED_RESPONSE, None),
        (
            200,
            r#"{"ResponseMetadata":{"RequestId":"r","Error":{"Code":7}},"Result":null}"#,
            Kind::CloudUnavailable,
            MALFORMED_RESPONSE,
            None,
        ),
        (
            200,
            r#"{"ResponseMetadata":{"RequestId":"r","Error":{"Code":"","Message":"sorry"}},"Result":null}"#,
            Kind::CloudUnavailable,
            MALFORMED_RESPONSE,
            None,
        ),
        (
            200,
            r#"{"ResponseMetadata":{"RequestId":"r"},"Result":{"Active":"#,
            Kind::CloudUnavailable,
            MALFORMED_RESPONSE,
            None,
        ),
    ];
    for (status, body, kind, code, message) in cases {
        let failure = read(*status, body).unwrap_err();
        let found = (failure.kind, failure.code.as_str(), failure.message.as_deref());
        assert_eq!(found, (*kind, *code, *message), "{status} {body}");
        assert_eq!(
            failure.request_id.is_some(),
            body.contains("RequestId\":\"r\"") && !body.ends_with(':'),
            "{body}"
        );
    }
}

#[test]
fn envelopes_of_success() {
    let bodies = [
        r#"{"ResponseMetadata":{"RequestId":"r","Action":"x","New":1},"Result":null}"#,
        r#"{"ResponseMetadata":{"RequestId":"r"}}"#,
        r#"{"ResponseMetadata":{"RequestId":"r","Error":null},"Result":{}}"#,
        r#"{"ResponseMetadata":{"RequestId":"r","Error":{}},"Result":{}}"#,
        r#"{"ResponseMetadata":{"RequestId":"r","Error":{"CodeN":0,"Code":"","Message":""}},"Result":null}"#,
    ];
    for body in bodies {
        assert_eq!(read(200, body).unwrap().request_id.as_deref(), Some("r"), "{body}");
    }
    assert!(read(200, r#"{"Result":{"Active":true}}"#).unwrap().policy().unwrap().active);
}

#[test]
fn policies() {
    let state = |active, region: Option<&str>, ttl_days| {
        Ok(PolicyState { active, cross_backup_region: region.map(str::to_owned), ttl_days })
    };
    let missing = Err("Active is missing");
    let cases = [
        (
            json!({"InstanceId": "i", "Active": true, "CrossBackupRegion": "cn-shanghai", "TTL": 7}),
            state(true, Some("cn-shanghai"), Some(7)),
        ),
        (json!({"Active": false}), state(false, None, None)),
        (json!({"Active": false, "CrossBackupRegion": "", "TTL": null}), state(false, None, None)),
        (
            json!({"Active": false, "CrossBackupRegion": "cn-shanghai"}),
            state(false, Some("cn-shanghai"), None),
        ),
        (
            json!({"Active": true, "CrossBackupRegion": null, "TTL": 7.0, "New": {}}),
            state(true, None, Some(7)),
        ),
        (json!({"Active": true, "TTL": 7.5}), state(true, None, None)),
        (json!({"Active": true, "TTL": "7"}), state(true, None, None)),
        (json!({"Active": true, "TTL": 1e300}), state(true, None, None)),
        (json!({"Active": null}), missing.clone()),
        (json!({"Active": "true"}), missing.clone()),
        (json!({"Active": 1}), missing.clone()),
        (json!({}), missing.clone()),
        (json!(null), missing.clone()),
        (json!([true]), missing.clone()),
        (json!("x"), missing),
    ];
    for (value, expected) in cases {
        assert_eq!(result(value.clone()).policy(), expected, "{value}");
    }
}

#[test]
fn regions() {
    let cases = [
        (
            json!({"TargetRegionIds": ["cn-shanghai", "cn-guangzhou"]}),
            Ok(vec!["cn-shanghai", "cn-guangzhou"]),
        ),
        (json!({"TargetRegionIds": ["cn-shanghai", null, "", 7]}), Ok(vec!["cn-shanghai"])),
        (json!({"TargetRegionIds": []}), Ok(vec![])),
        (json!({"TargetRegionIds": null}), Ok(vec![])),
        (json!({}), Ok(vec![])),
        (json!({"TargetRegionIds": "cn-shanghai"}), Err("TargetRegionIds is no list")),
        (json!(null), Err("Result is missing")),
    ];
    for (value, expected) in cases {
        let expected = expected.map(|regions| regions.into_iter().map(str::to_owned).collect());
        assert_eq!(result(value.clone()).regions(), expected, "{value}");
    }
}

#[test]
fn the_documents_example_of_a_backup() {
    let value = json!({"Backups": [{
        "SourceRegion": "cn-beijing", "TargetRegion": "cn-shanghai", "BackupPointId": "b-cn02xmmrp751i9cdzcphjmk4",
        "BackupPointName": "testbackup", "BackupStrategy": "ManualBackup", "BackupType": "Full",
        "StartTime": "2025-04-14T12:58:19Z", "EndTime": "2025-04-14T13:31:17Z", "InstanceId": "redis-cn0212gzmh2xs",
        "InstanceInfo": {
            "AccountId": 2100000000, "ArchType": "Cluster", "EngineVersion": "5.0", "ExpiredTime": "",
            "InstanceId": "redis-cn0212gzmh2xs", "InstanceName": "test", "ShardCapacity": 1024.0, "ZoneIds": ["cn-beijing-a"]
        },
        "ProjectName": "default", "Size": 486040, "Status": "Available", "TTL": 7
    }], "Total": 1});
    let page = result(value).backups().unwrap();
    let expected = Backup {
        instance_id: "redis-cn0212gzmh2xs".to_owned(),
        backup_point_id: "b-cn02xmmrp751i9cdzcphjmk4".to_owned(),
        backup_point_name: Some("testbackup".to_owned()),
        strategy: Some("ManualBackup".to_owned()),
        backup_type: Some("Full".to_owned()),
        status: "Available".to_owned(),
        provider_status: Some("Available".to_owned()),
        source_region: Some("cn-beijing".to_owned()),
        target_region: Some("cn-shanghai".to_owned()),
        start_time: Some("2025-04-14T12:58:19Z".parse().unwrap()),
        end_time: Some("2025-04-14T13:31:17Z".parse().unwrap()),
        size_bytes: Some(486_040),
        ttl_days: Some(7),
        project_name: Some("default".to_owned()),
        instance: Some(InstanceInfo {
            name: Some("test".to_owned()),
            engine_version: Some("5.0".to_owned()),
        }),
        ..Backup::default()
    };
    assert_eq!(page, BackupPage { total: Some(1), records: 1, backups: vec![expected] });
}

#[test]
fn odd_backups() {
    let value = json!({"Total": 9.0, "Backups": [
        {"BackupPointId": "b-1", "Status": "Frozen", "BackupStrategy": "DataFlashBack", "StartTime": "", "EndTime": "yesterday"},
        {"BackupPointId": "b-2", "Status": null, "Size": 1024.0, "TTL": null, "InstanceInfo": null},
        {"BackupPointId": "b-3", "Status": "", "StartTime": "2025-04-14T20:58:19+08:00", "Size": "12", "InstanceInfo": {"InstanceId": "i"}},
        {"BackupPointId": ""}, {"BackupPointName": "no id"}, null, 7, "b-4", []
    ]});
    let page = result(value).backups().unwrap();
    assert_eq!((page.total, page.records), (Some(9), 9));
    let blank = |id: &str| Backup {
        backup_point_id: id.to_owned(),
        status: "Unknown".to_owned(),
        ..Backup::default()
    };
    let expected = [
        Backup {
            status: "Frozen".to_owned(),
            provider_status: Some("Frozen".to_owned()),
            strategy: Some("DataFlashBack".to_owned()),
            ..blank("b-1")
        },
        Backup { size_bytes: Some(1024), ..blank("b-2") },
        Backup {
            instance_id: "i".to_owned(),
            start_time: Some("2025-04-14T12:58:19Z".parse().unwrap()),
            instance: Some(InstanceInfo::default()),
            ..blank("b-3")
        },
    ];
    assert_eq!(page.backups, expected);
}

#[test]
fn an_answer_without_its_list_is_not_an_empty_list() {
    let cases = [
        (json!({"Total": 0, "Backups": []}), Ok(Some(0))),
        (json!({"Total": 0, "Backups": null}), Ok(Some(0))),
        (json!({"Total": 0}), Ok(Some(0))),
        (json!({"Backups": []}), Ok(None)),
        (json!({"Total": -1, "Backups": []}), Ok(None)),
        (json!({"Total": 3}), Err("the list is missing")),
        (json!({"Total": 3, "Backups": null}), Err("the list is missing")),
        (json!({}), Err("the list is missing")),
        (json!({"Total": 0, "Backups": {}}), Err("the list is no list")),
        (json!({"Total": 1, "Backups": "b"}), Err("the list is no list")),
        (json!(null), Err("Result is missing")),
    ];
    for (value, expected) in cases {
        assert_eq!(result(value.clone()).backups().map(|page| page.total), expected, "{value}");
    }
}

#[test]
fn instances() {
    let value = json!({"TotalInstancesNum": 2, "Instances": [
        {"InstanceId": "redis-1", "InstanceName": "n", "RegionId": "cn-beijing", "Status": "Running", "InstanceClass": "Standalone",
         "EngineVersion": "7.0", "ProjectName": "default", "ShardCapacity": 1.5, "Tags": null},
        {"InstanceId": "redis-2", "Status": "Dreaming"}, {"InstanceName": "no id"}
    ]});
    let page = result(value).instances().unwrap();
    assert_eq!((page.total, page.records, page.instances.len()), (Some(2), 3, 2));
    assert_eq!(page.instances[0].class.as_deref(), Some("Standalone"));
    assert_eq!(page.instances[0].name.as_deref(), Some("n"));
    assert_eq!(page.instances[1].status.as_deref(), Some("Dreaming"));
    assert_eq!(page.instances[1].class, None);
}

/// JSON that contains the API's own names, so that parsing gets past the first check.
fn json_like() -> impl Strategy<Value = Value> {
    let names = [
        "ResponseMetadata",
        "RequestId",
        "Error",
        "Code",
        "CodeN",
        "Message",
        "Result",
        "Active",
        "CrossBackupRegion",
        "TTL",
        "Total",
        "Backups",
        "BackupPointId",
        "InstanceId",
        "InstanceInfo",
        "StartTime",
        "Size",
        "TargetRegionIds",
        "TotalInstancesNum",
        "Instances",
        "errorcode",
        "message",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(proptest::sample::select(names.to_vec()), inner, 0..6).prop_map(
                |map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>().into()
            ),
        ]
    })
}

fn read_all(status: u16, body: &[u8]) {
    let status = StatusCode::from_u16(status).unwrap();
    match read_with(&Redactor::default(), status, body) {
        Ok(answer) => {
            let _ = (
                answer.instance_id(),
                answer.policy(),
                answer.regions(),
                answer.backups(),
                answer.instances(),
            );
        }
        Err(failure) => {
            assert!(failure.code.len() <= 64 && !failure.code.is_empty());
            let message = failure.message.unwrap_or_default();
            assert!(message.chars().count() <= 256 && !message.chars().any(char::is_control));
        }
    }
}

proptest! {
    #[test]
    fn reading_arbitrary_json_never_panics(value in json_like(), status in 100_u16..600) {
        read_all(status, value.to_string().as_bytes());
        let wrapped = json!({"ResponseMetadata": {}, "Result": value});
        read_all(200, wrapped.to_string().as_bytes());
    }

    #[test]
    fn reading_arbitrary_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), status in 100_u16..600) {
        read_all(status, &bytes);
    }
}
