use super::*;
use crate::cloud::fake::{FakeCloud, raw};
use crate::cloud::listing::{PageRequest, Query};
use crate::domain::Kind;
use axum::body::Body;
use http::Response;
use serde_json::Value;

const REGION: &str = "ap-guangzhou";

fn instance() -> InstanceRef {
    InstanceRef { region: REGION.to_owned(), id: "crs-1".to_owned() }
}

fn ok(mut response: Value) -> Response<Body> {
    response["RequestId"] = json!("r-ok");
    raw(200, json!({"Response": response}).to_string())
}

fn request(query: BackupQuery) -> PageRequest {
    PageRequest { region: REGION.to_owned(), query: Query::Tencent(query), part: 0 }
}

#[tokio::test(start_paused = true)]
async fn backups_of_another_instance_are_no_answer() {
    let fake = FakeCloud::tencent(|number, _| {
        let other = if number == 0 { "crs-1" } else { "crs-2" };
        ok(json!({"TotalCount": 2, "BackupSet": [
            {"BackupId": "b-1", "StartTime": "2026-06-01 02:00:48"}, {"BackupId": "b-3", "InstanceId": other},
        ]}))
    });
    let query = BackupQuery { statuses: vec![2], limit: 100, offset: 100, ..BackupQuery::default() };
    let of_one = BackupQuery { instance_id: Some("crs-1".to_owned()), ..query.clone() };
    let page = fake.client.backups_page(&request(of_one.clone())).await.unwrap();
    let found: Vec<_> =
        page.backups.iter().map(|b| (b.backup_point_id.as_str(), b.instance_id.as_str())).collect();
    assert_eq!((page.records, found), (2, vec![("b-1", "crs-1"), ("b-3", "crs-1")]));
    assert_eq!(page.backups[0].start_time, Some("2026-05-31T18:00:48Z".parse().unwrap()));
    let page = fake.client.backups_page(&request(query)).await.unwrap();
    assert_eq!(page.backups.len(), 2);
    let failure = fake.client.backups_page(&request(of_one)).await.unwrap_err();
    assert_eq!(failure.message.as_deref(), Some("InstanceId is that of another instance"));
    let seen = fake.seen();
    assert_eq!(seen[0].body, json!({"InstanceId": "crs-1", "Status": [2], "Limit": 100, "Offset": 100}));
    assert_eq!(seen[1].body, json!({"Status": [2], "Limit": 100, "Offset": 100}));
    assert_eq!(seen[1].header("x-tc-action"), "DescribeInstanceBackups");
}

#[tokio::test(start_paused = true)]
async fn calls_that_break_a_rule_are_not_sent() {
    let fake = FakeCloud::tencent(|_, _| ok(json!({})));
    let failure = fake.client.backups_page(&request(BackupQuery::default())).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::InvalidRequest, "not sent"));
    assert!(failure.message.unwrap().starts_with("Status"));
    for (page, size, field) in
        [(0, 1, "Offset"), (u32::MAX, 1000, "Offset"), (1, 0, "Limit"), (1, 1001, "Limit")]
    {
        let failure = fake.client.instances_page(REGION, page, size).await.unwrap_err();
        assert!(failure.message.unwrap().starts_with(field), "{page} {size}");
    }
    assert!(fake.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn instances_are_listed_by_page() {
    let fake =
        FakeCloud::tencent(|_, _| ok(json!({"TotalCount": 51, "InstanceSet": [{"InstanceId": "crs-1"}]})));
    let page = fake.client.instances_page(REGION, 2, 50).await.unwrap();
    assert_eq!((page.total, page.instances[0].id.as_str()), (Some(51), "crs-1"));
    let seen = &fake.seen()[0];
    assert_eq!(seen.body, json!({"Limit": 50, "Offset": 50}));
    assert_eq!(seen.header("x-tc-action"), "DescribeInstances");
}

#[tokio::test(start_paused = true)]
async fn a_detail_is_that_of_the_backup() {
    let fake = FakeCloud::tencent(|_, _| ok(json!({"BackupId": "b-1", "ShardNum": 3, "DecryptKey": "x"})));
    let detail = fake.client.backup_detail(&instance(), "b-1").await.unwrap();
    assert_eq!(detail, Some(BackupDetail { shard_num: Some(3), ..BackupDetail::default() }));
    let failure = fake.client.backup_detail(&instance(), "b-2").await.unwrap_err();
    assert_eq!(failure.kind, Kind::CloudUnavailable);
    assert_eq!(failure.message.as_deref(), Some("BackupId is that of another backup"));
    assert_eq!(failure.request_id.as_deref(), Some("r-ok"));
}
