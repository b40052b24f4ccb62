use super::*;
use crate::telemetry::redact::Redactor;
use http::HeaderMap;
use proptest::prelude::*;
use serde_json::json;

const LIST: &str = "DescribeInstanceBackups";
const BEIJING: Offset = Offset::constant(8);

type Reader = fn(&ResponseHead<'_>, &[u8]) -> Result<Answer, Failure>;

fn read_by(reader: Reader, action: &'static str, status: u16, body: &[u8]) -> Result<Answer, Failure> {
    let (headers, redactor) = (&HeaderMap::new(), &Redactor::default());
    let status = StatusCode::from_u16(status).unwrap();
    reader(&ResponseHead { action, status, headers, now: Timestamp::UNIX_EPOCH, redactor }, body)
}

fn read(status: u16, body: &str) -> Result<Answer, Failure> {
    read_by(answer, LIST, status, body.as_bytes())
}

fn read_detail(status: u16, body: &str) -> Result<Answer, Failure> {
    read_by(detail_answer, "DescribeBackupDetail", status, body.as_bytes())
}

fn result(mut value: Value) -> Answer {
    value["RequestId"] = json!("r");
    read(200, &json!({"Response": value}).to_string()).unwrap()
}

fn backups(value: Value) -> Result<BackupPage, &'static str> {
    result(value).backups("ap-guangzhou", BEIJING)
}

fn one(record: Value) -> Backup {
    backups(json!({"TotalCount": 1, "BackupSet": [record]})).unwrap().backups.remove(0)
}

fn time_of(text: &str) -> Option<Timestamp> {
    Some(text.parse().unwrap())
}

#[test]
fn envelopes_of_failures() {
    let error = |code: &str| {
        json!({"Response": {"Error": {"Code": code, "Message": "m"}, "RequestId": "r"}}).to_string()
    };
    let cases = [
        (200, error("AuthFailure.SecretIdNotFound"), Kind::CredentialsRejected, "AuthFailure.SecretIdNotFound", Some("m")),
        (200, error("UnauthorizedOperation.NoCAMAuthed"), Kind::PermissionDenied, "UnauthorizedOperation.NoCAMAuthed", Some("m")),
        (200, error("Brand<New>"), Kind::CloudUnavailable, "BrandNew", None),
        (503, error("InternalError"), Kind::CloudUnavailable, "InternalError", None),
        (200, error("代码"), Kind::CloudUnavailable, "HTTP 200", None),
        (200, error(""), Kind::CloudUnavailable, MALFORMED_RESPONSE, None),
        (
            200,
            r#"{"Response":{"Error":{"Code":"RequestLimitExceeded"},"TotalCount":0,"BackupSet":[],"RequestId":"r"}}"#.to_owned(),
            Kind::Throttled,
            "RequestLimitExceeded",
            None,
        ),
        (
            200,
            r#"{"Response":{"Error":{"Code":7},"TotalCount":0,"BackupSet":[],"RequestId":"r"}}"#.to_owned(),
            Kind::CloudUnavailable,
            MALFORMED_RESPONSE,
            None,
        ),
        (
            200,
            r#"{"code":4102,"message":"who","codeDesc":"UnauthorizedOperation"}"#.to_owned(),
            Kind::PermissionDenied,
            "UnauthorizedOperation",
            Some("who"),
        ),
        (200, r#"{"code":4400,"message":"slow","codeDesc":null}"#.to_owned(), Kind::CloudUnavailable, "4400", None),
        (200, r#"{"code":0,"message":"","codeDesc":"Success"}"#.to_owned(), Kind::CloudUnavailable, MALFORMED_RESPONSE, None),
        (404, String::new(), Kind::CloudUnavailable, "HTTP 404", None),
        (429, "slow down".to_owned(), Kind::Throttled, "HTTP 429", None),
        (502, "<html>bad gateway</html>".to_owned(), Kind::CloudUnavailable, "HTTP 502", None),
        (
            500,
            r#"{"Response":{"TotalCount":0,"BackupSet":[],"RequestId":"r"}}"#.to_owned(),
            Kind::CloudUnavailable,
            "HTTP 500",
            None,
        ),
        (204, String::new(), Kind::CloudUnavailable, "HTTP 204", None),
        (302, String::new(), Kind::CloudUnavailable, "redirect refused", None),
        (200, "<html>login</html>".to_owned(), Kind::CloudUnavailable, MALFORMED_RESPONSE, None),
        (200, String::new(), Kind::CloudUnavailable, MALFORMED_RESPONSE, None),
        (200, "{}".to_owned(), Kind::CloudUnavailable, MALFORMED_RESPONSE, None),
        (200, "[]".to_owned(), Kind::CloudUnavailable, MALFORMED_RESPONSE, None),
        (200, r#"{"Response":null}"#.to_owned(), Kind::CloudUnavailable, MALFORMED_RESPONSE, None),
        (200, r#"{"Response":"x"}"#.to_owned(), Kind::CloudUnavailable, MALFORMED_RESPONSE, None),
        (200, r#"{"Response":{"TotalCount":0,"BackupSet":["#.to_owned(), Kind::CloudUnavailable, MALFORMED_RESPONSE, None),
    ];
    for (status, body, kind, code, message) in cases {
        let failure = read(status, &body).unwrap_err();
        let found = (failure.kind, failure.code.as_str(), failure.message.as_deref());
        assert_eq!(found, (kind, code, message), "{status} {body}");
        assert_eq!(failure.request_id.is_some(), body.contains("RequestId"), "{body}");
        let failure = read_detail(status, &body).unwrap_err();
        assert_eq!(
            (failure.kind, failure.code.as_str(), failure.message),
            (kind, code, None),
            "{status} {body}"
        );
    }
}

#[test]
fn a_success_says_no_error() {
    for error in ["null", "{}", r#"{"Code":"","Message":""}"#] {
        let body = format!(
            r#"{{"Response":{{"Error":{error},"TotalCount":0,"BackupSet":[],"RequestId":"r","DeprecatedWarning":"x"}}}}"#
        );
        assert_eq!(read(200, &body).unwrap().request_id(), Some("r"), "{body}");
    }
}

#[test]
fn the_newest_example_of_a_backup() {
    let value = json!({"BackupSet": [{
        "BackupId": "165706342-5832225-1641692389", "BackupSize": 537, "BackupType": "1", "Encrypted": false,
        "EndTime": "2026-06-01 02:01:09", "ExpireTime": "2026-06-08 02:00:48", "FileType": "RDB-Redis 6.2", "FullBackup": 0,
        "InstanceId": "crs-ei43p3gr", "InstanceName": "testbackup", "InstanceType": 16, "Locked": 0, "Region": "ap-guangzhou",
        "Remark": "", "StartTime": "2026-06-01 02:00:48", "Status": 2
    }], "TotalCount": 6});
    let expected = Backup {
        instance_id: "crs-ei43p3gr".to_owned(),
        backup_point_id: "165706342-5832225-1641692389".to_owned(),
        strategy: Some("AutomatedBackup".to_owned()),
        backup_type: Some("Full".to_owned()),
        provider_type: Some("1".to_owned()),
        status: "Available".to_owned(),
        provider_status: Some("2".to_owned()),
        source_region: Some("ap-guangzhou".to_owned()),
        start_time: time_of("2026-05-31T18:00:48Z"),
        end_time: time_of("2026-05-31T18:01:09Z"),
        expiry_time: time_of("2026-06-07T18:00:48Z"),
        size_bytes: Some(537),
        instance: Some(InstanceInfo { name: Some("testbackup".to_owned()), engine_version: None }),
        detail: BackupDetail { locked: Some(false), instance_type: Some(16), ..BackupDetail::default() },
        ..Backup::default()
    };
    let page = backups(value.clone()).unwrap();
    assert_eq!(page, BackupPage { total: Some(6), records: 1, backups: vec![expected] });
    let elsewhere = result(value).backups("ap-guangzhou", Offset::UTC).unwrap();
    assert_eq!(elsewhere.backups[0].start_time, time_of("2026-06-01T02:00:48Z"), "the zone is the account's");
}

/// The list has the name of its type, as in the documents of 2018.
#[test]
fn the_oldest_example_of_backups() {
    let page = backups(json!({"TotalCount": 2, "RedisBackupSet": [
        {"StartTime": "2018-09-04 12:51:21", "BackupId": "2e4127f8-affe-11e8-941e-4846fb00c75d", "BackupType": "0",
         "Status": 2, "Remark": "For testing", "Locked": 0},
        {"StartTime": "2018-09-04 12:53:06", "BackupId": "6cbbf53a-affe-11e8-905b-4846fb00c75d", "BackupType": "0",
         "Status": 2, "Remark": "xxx", "Locked": 0},
    ]}));
    let page = page.unwrap();
    assert_eq!((page.total, page.records, page.backups.len()), (Some(2), 2, 2));
    let first = &page.backups[0];
    assert_eq!(first.strategy.as_deref(), Some("ManualBackup"));
    assert_eq!(first.detail.remark.as_deref(), Some("For testing"));
    assert_eq!(first.source_region.as_deref(), Some("ap-guangzhou"), "the region that was asked");
    assert_eq!((&first.backup_type, &first.instance, first.instance_id.as_str()), (&None, &None, ""));
}

#[test]
fn statuses_and_types() {
    let status = |code: Value, end: Value| {
        let backup = one(json!({"BackupId": "b", "Status": code, "EndTime": end}));
        (backup.status, backup.provider_status)
    };
    let ended = json!("2026-06-01 02:01:09");
    let cases = [
        (json!(1), json!(""), "Creating", Some("1")),
        (json!(1), json!("0000-00-00 00:00:00"), "Creating", Some("1")),
        (json!(1), Value::Null, "Creating", Some("1")),
        (json!(1), ended.clone(), "Locked", Some("1")),
        (json!(2), json!(""), "Available", Some("2")),
        (json!(2.0), ended.clone(), "Available", Some("2")),
        (json!("2"), ended.clone(), "Available", Some("2")),
        (json!(3), ended.clone(), "Exporting", Some("3")),
        (json!(4), ended.clone(), "Exported", Some("4")),
        (json!(-1), ended.clone(), "Expired", Some("-1")),
        (json!(-2), ended.clone(), "Deleted", Some("-2")),
        (json!(5), ended.clone(), "Unknown", Some("5")),
        (json!("new"), ended.clone(), "Unknown", Some("new")),
        (Value::Null, ended.clone(), "Unknown", None),
        (json!({}), ended, "Unknown", None),
    ];
    for (code, end, word, raw) in cases {
        let expected = (word.to_owned(), raw.map(str::to_owned));
        assert_eq!(status(code.clone(), end.clone()), expected, "{code} {end}");
    }
    let cases = [
        (json!("0"), Some("ManualBackup"), Some("0")),
        (json!(0), Some("ManualBackup"), Some("0")),
        (json!("manualBackupInstance"), Some("ManualBackup"), Some("manualBackupInstance")),
        (json!("1"), Some("AutomatedBackup"), Some("1")),
        (json!("systemBackupInstance"), Some("AutomatedBackup"), Some("systemBackupInstance")),
        (json!(2), Some("SpecificationChange"), Some("2")),
        (json!("3"), Some("Unknown"), Some("3")),
        (json!(""), None, None),
        (Value::Null, None, None),
    ];
    for (code, word, raw) in cases {
        let backup = one(json!({"BackupId": "b", "BackupType": code}));
        let found = (backup.strategy.as_deref(), backup.provider_type.as_deref());
        assert_eq!(found, (word, raw), "{code}");
    }
    for (code, word) in
        [(json!(0), Some("Full")), (json!(1), Some("Incremental")), (json!(2), None), (json!("0"), None)]
    {
        assert_eq!(one(json!({"BackupId": "b", "FullBackup": code})).backup_type.as_deref(), word, "{code}");
    }
}

#[test]
fn odd_backups() {
    let page = backups(json!({"TotalCount": 8.0, "BackupSet": [
        {"BackupId": "b-1", "StartTime": "yesterday", "EndTime": "2026-13-01 00:00:00", "ExpireTime": "0000-00-00 00:00:00",
         "BackupSize": "537", "Locked": 2, "Remark": null, "Region": "", "InstanceName": 7},
        {"BackupId": "b-2", "Locked": true, "InstanceType": 16.0, "BackupSize": 5.0, "New": {}},
        {"BackupId": ""}, {"InstanceId": "no id"}, null, 7, "b-4", []
    ]}));
    let page = page.unwrap();
    assert_eq!((page.total, page.records), (Some(8), 8));
    let blank = |id: &str| Backup {
        backup_point_id: id.to_owned(),
        status: "Unknown".to_owned(),
        source_region: Some("ap-guangzhou".to_owned()),
        ..Backup::default()
    };
    let detail = BackupDetail { locked: Some(true), instance_type: Some(16), ..BackupDetail::default() };
    assert_eq!(page.backups, [blank("b-1"), Backup { size_bytes: Some(5), detail, ..blank("b-2") }]);
}

#[test]
fn an_answer_without_its_list_is_not_an_empty_list() {
    let cases = [
        (json!({"TotalCount": 0, "BackupSet": []}), Ok(Some(0))),
        (json!({"TotalCount": 0, "BackupSet": null}), Ok(Some(0))),
        (json!({"TotalCount": 0}), Ok(Some(0))),
        (json!({"BackupSet": []}), Ok(None)),
        (json!({"TotalCount": 3}), Err("the list is missing")),
        (json!({"TotalCount": 3, "BackupSet": null}), Err("the list is missing")),
        (json!({}), Err("the list is missing")),
        (json!({"TotalCount": 1, "BackupSet": "b"}), Err("the list is no list")),
    ];
    for (value, expected) in cases {
        assert_eq!(backups(value.clone()).map(|page| page.total), expected, "{value}");
    }
}

#[test]
fn instances() {
    let page = result(json!({"TotalCount": 2, "InstanceSet": [
        {"InstanceId": "crs-1", "InstanceName": "n", "Region": "ap-guangzhou", "Status": 2, "Engine": "Redis", "RegionId": 1,
         "ProductVersion": "local", "ProjectName": "default", "CloseTime": "0000-00-00 00:00:00", "SizeUsed": 1.5},
        {"InstanceId": "crs-2", "Status": -2}, {"InstanceName": "no id"}
    ]}));
    let page = page.instances().unwrap();
    assert_eq!((page.total, page.records, page.instances.len()), (Some(2), 3, 2));
    let expected = Instance {
        id: "crs-1".to_owned(),
        name: Some("n".to_owned()),
        region: Some("ap-guangzhou".to_owned()),
        status: Some("2".to_owned()),
        project_name: Some("default".to_owned()),
        ..Instance::default()
    };
    assert_eq!(page.instances[0], expected);
    assert_eq!(page.instances[1].status.as_deref(), Some("-2"));
}

#[test]
fn the_documents_example_of_a_detail() {
    let body = r#"{"Response":{"BackupId":"154571841-1165701309-438602494","BackupSize":528,"BackupType":"0",
        "EndTime":"2022-12-19 19:42:20","InstanceType":9,"Locked":0,"MemSize":2048,"Remark":"test005","ReplicasNum":1,
        "RequestId":"add15b91-8f3c-4ff3-ba52-7c64c9c435ba","ShardNum":3,"StartTime":"2022-12-19 19:41:42","Status":2}}"#;
    let answer = read_detail(200, body).unwrap();
    let expected = BackupDetail {
        locked: Some(false),
        remark: Some("test005".to_owned()),
        instance_type: Some(9),
        mem_size_mib: Some(2048),
        shard_num: Some(3),
        replicas_num: Some(1),
    };
    assert_eq!(answer.detail(), Ok(("154571841-1165701309-438602494", expected)));
    assert_eq!(answer.request_id(), Some("add15b91-8f3c-4ff3-ba52-7c64c9c435ba"));
}

#[test]
fn odd_details() {
    let detail = |value: Value| {
        let answer = read_detail(200, &json!({"Response": value}).to_string()).unwrap();
        answer.detail().map(|(_, detail)| detail)
    };
    let odd = json!({"BackupId": "b", "Locked": true, "Remark": 7, "MemSize": 2048.0, "ShardNum": "3", "ReplicasNum": null,
                     "New": {"DecryptKey": []}});
    let expected = BackupDetail { locked: Some(true), mem_size_mib: Some(2048), ..BackupDetail::default() };
    assert_eq!(detail(odd), Ok(expected));
    assert_eq!(detail(json!({"BackupId": "b"})), Ok(BackupDetail::default()));
    for value in [json!({}), json!({"BackupId": ""}), json!({"BackupId": 7})] {
        assert_eq!(detail(value), Err("BackupId is missing"));
    }
}

#[test]
fn a_key_that_decrypts_is_in_nothing_that_can_be_shown() {
    let marker = "MarkerDecryptKey0123456789";
    let keys = format!(r#""DecryptKey":"{marker}","KmsKeyId":"{marker}-kms""#);
    let bodies = [
        format!(r#"{{"Response":{{"BackupId":"b","RequestId":"r",{keys}}}}}"#),
        format!(r#"{{"Response":{{"RequestId":"r",{keys}}}}}"#),
        format!(r#"{{"Response":{{"BackupId":"b","RequestId":"r",{keys}}}"#),
        format!(r#"{{"Response":{{"BackupId":"b","BackupId":"b",{keys}}}}}"#),
        format!(r#"{{"Response":[{{{keys}}}]}}"#),
        format!(r#"{{{keys}}}"#),
        format!("plain {marker}"),
        format!(
            r#"{{"Response":{{"Error":{{"Code":"InternalError","Message":"bad {marker}",{keys}}},{keys}}}}}"#
        ),
        format!(r#"{{"Response":{{"Error":"{marker}",{keys}}}}}"#),
        format!(r#"{{"Response":{{"Error":{{"Message":"{marker}"}},{keys}}}}}"#),
        format!(r#"{{"code":7,"message":"{marker}","codeDesc":"X",{keys}}}"#),
    ];
    for body in bodies {
        for status in [200, 302, 400, 500] {
            let answer = read_detail(status, &body);
            let detail = answer.as_ref().map(|answer| format!("{:?}", answer.detail()));
            let shown = format!("{answer:?} {detail:?} {:?}", answer.as_ref().map_err(ToString::to_string));
            assert!(!shown.contains("Marker"), "{status} {body} gave {shown}");
        }
    }
}

/// JSON that contains the API's own names, so that parsing gets past the first check.
fn json_like() -> impl Strategy<Value = Value> {
    let names = [
        "Response",
        "RequestId",
        "Error",
        "Code",
        "Message",
        "code",
        "codeDesc",
        "message",
        "TotalCount",
        "BackupSet",
        "RedisBackupSet",
        "BackupId",
        "InstanceId",
        "StartTime",
        "Status",
        "BackupType",
        "Locked",
        "InstanceSet",
        "MemSize",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[0-9]{4}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-6][0-9]:[0-6][0-9]".prop_map(Value::from),
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

fn read_all(status: u16, body: Vec<u8>) {
    for reader in [answer as Reader, detail_answer] {
        match read_by(reader, LIST, status, &body) {
            Ok(answer) => {
                let _ = (answer.backups("ap-guangzhou", BEIJING), answer.detail(), answer.instances());
            }
            Err(failure) => {
                assert!(failure.code.len() <= 64 && !failure.code.is_empty());
                let message = failure.message.unwrap_or_default();
                assert!(message.chars().count() <= 256 && !message.chars().any(char::is_control));
            }
        }
    }
}

proptest! {
    #[test]
    fn reading_arbitrary_json_never_panics(value in json_like(), status in 100_u16..600) {
        read_all(status, value.to_string().into());
        read_all(200, json!({"Response": value}).to_string().into());
    }

    #[test]
    fn reading_arbitrary_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), status in 100_u16..600) {
        read_all(status, bytes);
    }

    #[test]
    fn a_time_is_read_back_from_how_it_is_sent(seconds in 0_i64..4_000_000_000, hours in -12_i8..=14) {
        let zone = Offset::constant(hours);
        let moment = Timestamp::from_second(seconds).unwrap();
        let window = Some((moment, moment));
        let query = crate::cloud::tencent::query::BackupQuery { statuses: vec![2], window, limit: 1, ..Default::default() };
        let body = query.body(zone).unwrap();
        prop_assert_eq!(time(&body, "BeginTime", zone), Some(moment));
    }
}
