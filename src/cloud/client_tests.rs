use super::*;
use crate::cloud::api_client::MALFORMED_RESPONSE;
use crate::cloud::fake::{FakeCloud, KEY_ID, RecordedRequest, SECRET, error, instance, now, ok, raw};
use serde_json::{Value, json};

const REGION: &str = "cn-beijing";

#[tokio::test(start_paused = true)]
async fn what_proves_the_credentials_verifies_them() {
    let cases = [
        (400, "InstanceNotExist", true),
        (403, "AccessDenied", true),
        (403, "LackPolicy", true),
        (400, "ParamError", true),
        (400, "InvalidOperator", true),
        (401, "InvalidAccessKey", false),
        (401, "SignatureDoesNotMatch", false),
        (429, "FlowLimitExceeded", false),
        (500, "InternalError", false),
        (404, "ServiceNotFound", false),
        (404, "InvalidActionOrVersion", false),
        (400, "MissingRequestInfo", false),
        (405, "MethodNotAllowed", false),
        (400, "BrandNewCode", false),
    ];
    for (status, code, verified) in cases {
        let fake = FakeCloud::new(move |_, _| error(status, code, ""));
        let result = fake.client.verify(REGION).await;
        assert_eq!(result.is_ok(), verified, "{code}");
        if let Err(failure) = result {
            assert_eq!(failure.code, code);
        }
    }
    let fake = FakeCloud::new(|_, _| ok(json!({"TotalInstancesNum": 0, "Instances": []})));
    fake.client.verify(REGION).await.unwrap();
    assert_eq!(fake.seen()[0].body, json!({"PageNumber": 1, "PageSize": 1}));
    assert_eq!(
        fake.client.verify("nowhere").await.unwrap_err().kind,
        Kind::InvalidRequest,
        "nothing was sent"
    );
    let html = FakeCloud::new(|_, _| raw(200, "<html>welcome</html>"));
    assert_eq!(html.client.verify(REGION).await.unwrap_err().kind, Kind::CloudUnavailable);
}

fn record(id: usize) -> Value {
    json!({"BackupPointId": format!("b-{id:05}"), "Status": "Available"})
}

/// Returns the requested page of the given ids, as documented.
fn page(
    ids: std::ops::Range<usize>,
    total: Value,
    seen: &RecordedRequest,
) -> http::Response<axum::body::Body> {
    let number = seen.body["PageNumber"].as_u64().unwrap() as usize;
    let records: Vec<_> = ids.skip((number - 1) * 100).take(100).map(record).collect();
    ok(json!({"Total": total, "Backups": records}))
}

async fn list(fake: &FakeCloud) -> Result<Vec<Backup>, Failure> {
    fake.client.instance_backups(&instance(), now()).await
}

#[tokio::test(start_paused = true)]
async fn reads_all_pages_and_no_more() {
    for (count, pages) in [(0, 1), (1, 1), (99, 1), (100, 1), (101, 2), (250, 3), (300, 3)] {
        let fake = FakeCloud::new(move |_, seen| page(0..count, json!(count), seen));
        let backups = list(&fake).await.unwrap();
        assert_eq!((backups.len(), fake.seen().len()), (count, pages));
        assert!(
            backups.iter().all(|b| b.instance_id == instance().id),
            "an id that is left out is the one asked for"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn asks_for_all_times_up_to_now() {
    let fake = FakeCloud::new(|_, seen| page(0..1, json!(1), seen));
    list(&fake).await.unwrap();
    let expected = json!({
        "Scope": "OneInstance", "InstanceId": instance().id, "StartTime": "2000-01-01T00:00:00Z",
        "EndTime": "2025-08-22T03:14:15Z", "PageSize": 100, "PageNumber": 1,
    });
    assert_eq!(fake.seen()[0].body, expected);
}

#[tokio::test(start_paused = true)]
async fn without_a_total_it_ends_with_a_page_that_is_not_full() {
    for (count, pages) in [(99, 1), (100, 2), (150, 2)] {
        let fake = FakeCloud::new(move |_, seen| page(0..count, Value::Null, seen));
        assert_eq!(list(&fake).await.unwrap().len(), count);
        assert_eq!(fake.seen().len(), pages);
    }
}

#[tokio::test(start_paused = true)]
async fn a_total_that_lies_costs_no_backup_and_no_end() {
    let too_low = FakeCloud::new(|_, seen| page(0..250, json!(10), seen));
    assert_eq!(list(&too_low).await.unwrap().len(), 250);
    let too_high = FakeCloud::new(|_, seen| page(0..150, json!(1_000_000), seen));
    assert_eq!(list(&too_high).await.unwrap().len(), 150);
    assert_eq!(
        too_high.seen().len(),
        2 * (1 + 8),
        "an empty page, of those asked for together, ends it, and what it lacks may be there the second time"
    );
    let endless = FakeCloud::new(|_, seen| page(0..1_000_000, json!(2_000_000), seen));
    let failure = list(&endless).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::CloudUnavailable, MALFORMED_RESPONSE));
    assert_eq!(endless.seen().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn one_id_is_one_backup_and_another_instances_are_no_answer() {
    let fake = FakeCloud::new(|_, _| {
        ok(json!({"Total": 3, "Backups": [
            {"BackupPointId": "b-1", "Status": "Creating"},
            {"BackupPointId": "b-1", "Status": "Available"},
            {"BackupPointName": "no id"},
        ]}))
    });
    let backups = list(&fake).await.unwrap();
    let found: Vec<_> = backups.iter().map(|b| (b.backup_point_id.as_str(), b.status.as_str())).collect();
    assert_eq!(found, [("b-1", "Available")]);
    assert_eq!(fake.seen().len(), 1);
    let confused = FakeCloud::new(|_, _| {
        ok(json!({"Total": 1, "Backups": [{"BackupPointId": "b-2", "InstanceId": "redis-other"}]}))
    });
    let failure = list(&confused).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::CloudUnavailable, MALFORMED_RESPONSE));
}

#[tokio::test(start_paused = true)]
async fn a_total_that_moves_once_is_read_once_more() {
    // The first backup is deleted while the first page is read: the 101st slips onto that page unseen.
    let fake =
        FakeCloud::new(
            |n, seen| if n == 0 { page(0..150, json!(150), seen) } else { page(1..150, json!(149), seen) },
        );
    let backups = list(&fake).await.unwrap();
    assert_eq!(fake.seen().len(), 4);
    let ids: Vec<_> = backups.iter().map(|b| b.backup_point_id.clone()).collect();
    assert_eq!(ids, (1..150).map(|id| format!("b-{id:05}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_total_that_moves_again_gives_what_either_reading_found() {
    let fake = FakeCloud::new(|n, seen| page(n..150, json!(150 - n), seen));
    let backups = list(&fake).await.unwrap();
    assert_eq!(fake.seen().len(), 4);
    let ids: std::collections::BTreeSet<_> = backups.iter().map(|b| b.backup_point_id.clone()).collect();
    assert_eq!(ids.len(), backups.len());
    assert!(ids.contains("b-00000") && ids.contains("b-00149"));
}

#[tokio::test(start_paused = true)]
async fn a_page_that_fails_fails_the_listing() {
    let fake =
        FakeCloud::new(
            |n, seen| if n == 1 { error(500, "InternalError", "") } else { page(0..250, json!(250), seen) },
        );
    assert_eq!(list(&fake).await.unwrap_err().code, "InternalError");
}

#[tokio::test(start_paused = true)]
async fn a_first_page_without_what_total_promises_is_no_listing_of_none() {
    let fake = FakeCloud::new(|_, _| ok(json!({"Total": 5, "Backups": []})));
    let failure = list(&fake).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::CloudUnavailable, MALFORMED_RESPONSE));
    let none = FakeCloud::new(|_, _| ok(json!({"Total": 0, "Backups": []})));
    assert_eq!(list(&none).await.map(|backups| backups.len()), Ok(0));
}

fn tencent_error(code: &'static str) -> FakeCloud {
    let error = json!({"Code": code, "Message": ""});
    let body = json!({"Response": {"Error": error, "RequestId": "r"}}).to_string();
    FakeCloud::tencent(move |_, _| raw(200, body.clone()))
}

#[tokio::test(start_paused = true)]
async fn what_proves_the_credentials_of_tencent_verifies_them() {
    let cases = [
        ("UnauthorizedOperation.NoCAMAuthed", true),
        ("AuthFailure.UnauthorizedOperation", true),
        ("InvalidParameter.PermissionDenied", true),
        ("InvalidParameter", true),
        ("UnsupportedOperation", true),
        ("ResourceInUse", true),
        ("AuthFailure.SecretIdNotFound", false),
        ("AuthFailure.SignatureExpire", false),
        ("RequestLimitExceeded", false),
        ("InternalError", false),
        ("InvalidAction", false),
        ("NoSuchVersion", false),
        ("NoSuchProduct", false),
        ("MissingParameter", false),
        ("UnsupportedRegion", false),
        ("UnsupportedProtocol", false),
        ("BrandNewCode", false),
    ];
    for (code, verified) in cases {
        let fake = tencent_error(code);
        assert_eq!(fake.client.verify("ap-guangzhou").await.is_ok(), verified, "{code}");
        assert_eq!(fake.seen()[0].body, json!({"Limit": 1, "Offset": 0}));
    }
    let volcengine = FakeCloud::new(|_, _| error(400, "MissingParameter", ""));
    volcengine.client.verify(REGION).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_cloud_lacks_is_not_sent() {
    let fake = tencent_error("InternalError");
    let off = Change { active: false, cross_backup_region: None };
    let refused = [
        fake.client.describe_policy(&instance()).await.unwrap_err(),
        fake.client.modify_policy(&instance(), &off, "t").await.unwrap_err(),
        fake.client.available_regions(&instance()).await.unwrap_err(),
        fake.client.instance_backups(&instance(), now()).await.unwrap_err(),
    ];
    for failure in refused {
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::NotSupported, INVALID_REQUEST));
        assert!(failure.message.as_ref().unwrap().contains("BackupInventory"));
        assert!(!fake.client.proves_credentials(&failure));
    }
    let volcengine = FakeCloud::new(|_, _| ok(Value::Null));
    let failure = volcengine.client.backup_detail(&instance(), "b").await.unwrap_err();
    assert_eq!((failure.kind, failure.action), (Kind::NotSupported, "DescribeBackupDetail"));
    let selection = Selection { region: REGION.to_owned(), ..Selection::default() };
    let listing = Listing::new(Site::Tencent, selection, Vec::new(), now()).unwrap();
    let failure = volcengine.client.backups_page(&listing.request().unwrap()).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::InvalidRequest, INVALID_REQUEST));
    assert!(fake.seen().is_empty() && volcengine.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_whole_account_of_tencent_is_read_as_far_as_the_cloud_lists_it() {
    let fake = FakeCloud::tencent(|_, seen| {
        let refusal = |code: &str| json!({"Error": {"Code": code, "Message": "m"}});
        let response = match (&seen.body["InstanceId"], seen.body["Status"].as_array().map(Vec::len)) {
            (Value::Null, _) => refusal("MissingParameter"),
            (_, Some(4)) => refusal("InvalidParameter.InvalidParameter"),
            (id, _) if id == "crs-gone" => refusal("ResourceNotFound.InstanceNotExists"),
            _ => json!({"TotalCount": 1, "BackupSet": [{"BackupId": "b", "Status": 2, "BackupType": "1"}]}),
        };
        raw(200, json!({"Response": response}).to_string())
    });
    let selection = Selection {
        region: "ap-guangzhou".to_owned(),
        strategies: vec!["AutomatedBackup".to_owned()],
        ..Selection::default()
    };
    let instances = ["crs-1", "crs-gone", "crs-2"].map(str::to_owned).to_vec();
    let mut listing = Listing::new(fake.client.site(), selection, instances, now()).unwrap();
    let mut found = Vec::new();
    while let Some(request) = listing.request() {
        let step = listing.apply(fake.client.backups_page(&request).await).unwrap();
        found.extend(step.backups.into_iter().map(|b| b.instance_id));
    }
    assert_eq!(found, ["crs-1", "crs-2"]);
    let asked: Vec<_> = fake.seen().iter().map(|seen| seen.body["InstanceId"].clone()).collect();
    assert_eq!(asked, [Value::Null, json!("crs-1"), json!("crs-1"), json!("crs-gone"), json!("crs-2")]);
}

/// A Secret may hold any words, such as a cloud's codes: the meaning of a failure does not depend on them.
#[tokio::test(start_paused = true)]
async fn decisions_rest_on_the_code_as_the_cloud_sent_it() {
    let fake = |site, code: &'static str| {
        let body = match site {
            Site::Tencent => json!({"Response": {"Error": {"Code": code, "Message": code}}}),
            _ => json!({"ResponseMetadata": {"Error": {"Code": code, "Message": code}}}),
        };
        FakeCloud::of(site, Credentials::new(code, code, Some(code)), move |_, _| {
            let mut answer = raw(400, body.to_string());
            answer.headers_mut().insert("date", "Fri, 22 Aug 2025 05:00:00 GMT".parse().unwrap());
            (Duration::ZERO, answer)
        })
    };
    for (site, code, kind, tries, verifies) in [
        (Site::Volcengine, "InvalidTimestamp", Kind::CloudUnavailable, 2, false),
        (Site::Volcengine, "InvalidActionOrVersion", Kind::InvalidRequest, 1, false),
        (Site::Volcengine, "MissingRequestInfo", Kind::InvalidRequest, 1, false),
        (Site::Volcengine, "TimeIntervalInvalid", Kind::InvalidRequest, 1, true),
        (Site::Tencent, "AuthFailure.SignatureExpire", Kind::CloudUnavailable, 2, false),
        (Site::Tencent, "MissingParameter", Kind::InvalidRequest, 1, false),
        (Site::Tencent, "InvalidParameter.Limit", Kind::InvalidRequest, 1, true),
    ] {
        let fake = fake(site, code);
        let failure = fake.client.instances_page("ap-guangzhou", 1, 1).await.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (kind, "redacted"), "{code}");
        // With CloudUnavailable a message is the operator's own.
        let message = (kind != Kind::CloudUnavailable).then_some("[redacted]");
        assert_eq!(failure.message.as_deref(), message, "{code}");
        assert_eq!(
            (fake.seen().len(), fake.client.proves_credentials(&failure)),
            (tries, verifies),
            "{code}"
        );
    }
    let gone = fake(Site::Tencent, "InvalidParameterValue.BackupNotExists");
    assert_eq!(gone.client.backup_detail(&instance(), "b").await, Ok(None));
    let by_instance = fake(Site::Tencent, "MissingParameter");
    let selection = Selection { region: "ap-guangzhou".to_owned(), ..Selection::default() };
    let mut listing = Listing::new(Site::Tencent, selection, vec!["crs-1".to_owned()], now()).unwrap();
    let refused = by_instance.client.backups_page(&listing.request().unwrap()).await;
    assert!(
        listing.apply(refused).is_ok()
            && listing.request().is_some_and(|r| format!("{r:?}").contains("crs-1"))
    );
}

/// The Secret of one account does not alter cloud messages about another account's calls.
#[tokio::test(start_paused = true)]
async fn a_secret_changes_no_text_of_another_account() {
    let words = "this-key-may-not-call-it";
    let of = |secret| {
        FakeCloud::of(Site::Volcengine, Credentials::new(KEY_ID, secret, None), move |_, _| {
            (Duration::ZERO, error(403, "LackProjectPolicy", words))
        })
    };
    let (attacker, honest) = (of(words), of(SECRET));
    let told = |failure: Failure| (failure.code, failure.message.unwrap());
    let theirs = told(attacker.client.describe_policy(&instance()).await.unwrap_err());
    let ours = told(honest.client.describe_policy(&instance()).await.unwrap_err());
    assert_eq!(theirs, ("LackProjectPolicy".to_owned(), "[redacted]".to_owned()));
    assert_eq!(ours, ("LackProjectPolicy".to_owned(), words.to_owned()));
}
