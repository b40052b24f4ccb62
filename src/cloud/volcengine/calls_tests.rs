use super::*;
use crate::cloud::fake::{FakeCloud, error, instance, ok};
use crate::domain::Kind;

const REGION: &str = "cn-beijing";

#[tokio::test(start_paused = true)]
async fn a_change_sends_what_has_an_effect() {
    let fake = FakeCloud::new(|_, _| ok(Value::Null));
    let on = Change { active: true, cross_backup_region: Some("cn-shanghai".to_owned()) };
    let off = Change { active: false, cross_backup_region: Some("cn-shanghai".to_owned()) };
    let accepted = fake.client.modify_policy(&instance(), &on, "t-1").await.unwrap();
    assert_eq!(accepted.request_id.as_deref(), Some("20230604110420-ok"));
    fake.client.modify_policy(&instance(), &off, "t-2").await.unwrap();
    let id = instance().id;
    let expected = [
        json!({"InstanceId": id, "Active": true, "CrossBackupRegion": "cn-shanghai", "ClientToken": "t-1"}),
        json!({"InstanceId": id, "Active": false, "ClientToken": "t-2"}),
    ];
    assert_eq!(fake.seen().into_iter().map(|s| s.body).collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_breaks_a_rule_is_not_sent() {
    let fake = FakeCloud::new(|_, _| ok(Value::Null));
    let off = Change { active: false, cross_backup_region: None };
    let without_region =
        |region: Option<&str>| Change { active: true, cross_backup_region: region.map(str::to_owned) };
    let long = "t".repeat(128);
    let cases = [
        (&without_region(None), "t", "CrossBackupRegion"),
        (&without_region(Some("")), "t", "CrossBackupRegion"),
        (&off, "", "ClientToken"),
        (&off, &long, "ClientToken"),
        (&off, "tökén", "ClientToken"),
    ];
    for (change, token, field) in cases {
        let failure = fake.client.modify_policy(&instance(), change, token).await.unwrap_err();
        assert_eq!(failure.kind, Kind::InvalidRequest);
        assert!(failure.message.unwrap().starts_with(field));
    }
    assert!(fake.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failed_change_is_sent_once() {
    for (status, code) in
        [(500, "InternalError"), (504, "InternalServiceTimeout"), (400, "InstanceStatusNotMatch")]
    {
        let fake = FakeCloud::new(move |_, _| error(status, code, ""));
        let off = Change { active: false, cross_backup_region: None };
        fake.client.modify_policy(&instance(), &off, "t").await.unwrap_err();
        assert_eq!(fake.seen().len(), 1, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_not_what_the_api_promises() {
    let other = json!({"InstanceId": "redis-other", "Active": true, "TargetRegionIds": ["cn-shanghai"]});
    for result in [Value::Null, json!({}), json!({"Active": null}), other.clone()] {
        let fake = FakeCloud::new(move |_, _| ok(result.clone()));
        let failure = fake.client.describe_policy(&instance()).await.unwrap_err();
        assert_eq!(failure.kind, Kind::CloudUnavailable);
        assert_eq!(failure.code, "an answer that is not what the API promises");
        assert!(failure.message.is_some() && failure.request_id.is_some());
        assert!(!failure.message.unwrap().contains("redis-other"));
    }
    let fake = FakeCloud::new(move |_, _| ok(other.clone()));
    assert_eq!(fake.client.available_regions(&instance()).await.unwrap_err().kind, Kind::CloudUnavailable);
}

#[tokio::test(start_paused = true)]
async fn describe_and_regions_read_the_answer() {
    let id = instance().id;
    let fake = FakeCloud::new(move |_, seen| {
        if seen.uri.query().unwrap().contains("DescribeAvailableCrossRegion") {
            ok(json!({"TargetRegionIds": ["cn-shanghai", "cn-guangzhou"]}))
        } else {
            ok(json!({"InstanceId": id, "Active": true, "CrossBackupRegion": "cn-shanghai", "TTL": 7}))
        }
    });
    let state = fake.client.describe_policy(&instance()).await.unwrap();
    let expected =
        PolicyState { active: true, cross_backup_region: Some("cn-shanghai".to_owned()), ttl_days: Some(7) };
    assert_eq!(state, expected);
    assert_eq!(fake.client.available_regions(&instance()).await.unwrap(), ["cn-shanghai", "cn-guangzhou"]);
}

#[tokio::test(start_paused = true)]
async fn listings_that_break_a_rule_are_not_sent() {
    let fake = FakeCloud::new(|_, _| ok(Value::Null));
    let failure = fake.volcengine().backups_page(REGION, &BackupQuery::default()).await.unwrap_err();
    assert_eq!(failure.kind, Kind::InvalidRequest);
    assert!(failure.message.unwrap().starts_with("InstanceId"));
    for (page, size, field) in [(0, 1, "PageNumber"), (1, 0, "PageSize"), (1, 1001, "PageSize")] {
        let failure = fake.client.instances_page(REGION, page, size).await.unwrap_err();
        assert!(failure.message.unwrap().starts_with(field));
    }
    assert!(fake.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn listings_send_their_query_and_read_a_page() {
    let fake = FakeCloud::new(|n, _| match n {
        0 => ok(json!({"Total": 1, "Backups": [{"BackupPointId": "b-1", "InstanceId": "redis-9"}]})),
        _ => ok(json!({"TotalInstancesNum": 1, "Instances": [{"InstanceId": "redis-9"}]})),
    });
    let query = BackupQuery { scope: Scope::AccountInstances, ..BackupQuery::default() };
    let page = fake.volcengine().backups_page(REGION, &query).await.unwrap();
    assert_eq!((page.total, page.backups[0].instance_id.as_str()), (Some(1), "redis-9"));
    let page = fake.client.instances_page(REGION, 2, 50).await.unwrap();
    assert_eq!((page.total, page.instances[0].id.as_str()), (Some(1), "redis-9"));
    let seen = fake.seen();
    assert_eq!(seen[0].body, json!({"Scope": "AccountInstances"}));
    assert_eq!(seen[1].body, json!({"PageNumber": 2, "PageSize": 50}));
}
