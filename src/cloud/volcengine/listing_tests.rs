use super::*;
use crate::cloud::volcengine::fake::{Fake, Seen, error, instance, now, ok};
use serde_json::{Value, json};

fn record(id: usize) -> Value {
    json!({"BackupPointId": format!("b-{id:05}"), "Status": "Available"})
}

/// A cloud that pages as documented over the given ids.
fn page(ids: std::ops::Range<usize>, total: Value, seen: &Seen) -> http::Response<axum::body::Body> {
    let number = seen.body["PageNumber"].as_u64().unwrap() as usize;
    let records: Vec<_> = ids.skip((number - 1) * 100).take(100).map(record).collect();
    ok(json!({"Total": total, "Backups": records}))
}

async fn list(fake: &Fake) -> Result<Vec<Backup>, Failure> {
    fake.client.instance_backups(&instance(), now()).await
}

#[tokio::test(start_paused = true)]
async fn reads_all_pages_and_no_more() {
    for (count, pages) in [(0, 1), (1, 1), (99, 1), (100, 1), (101, 2), (250, 3), (300, 3)] {
        let fake = Fake::new(move |_, seen| page(0..count, json!(count), seen));
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
    let fake = Fake::new(|_, seen| page(0..1, json!(1), seen));
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
        let fake = Fake::new(move |_, seen| page(0..count, Value::Null, seen));
        assert_eq!(list(&fake).await.unwrap().len(), count);
        assert_eq!(fake.seen().len(), pages);
    }
}

#[tokio::test(start_paused = true)]
async fn a_total_that_lies_costs_no_backup_and_no_end() {
    let too_low = Fake::new(|_, seen| page(0..250, json!(10), seen));
    assert_eq!(list(&too_low).await.unwrap().len(), 250);
    let too_high = Fake::new(|_, seen| page(0..150, json!(1_000_000), seen));
    assert_eq!(list(&too_high).await.unwrap().len(), 150);
    assert_eq!(too_high.seen().len(), 3, "an empty page ends it");
    let endless = Fake::new(|_, seen| page(0..1_000_000, json!(2_000_000), seen));
    let failure = list(&endless).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::CloudUnavailable, NOT_PROMISED));
    assert_eq!(endless.seen().len(), PAGES_MAX as usize);
}

#[tokio::test(start_paused = true)]
async fn one_id_is_one_backup_and_another_instances_are_dropped() {
    let fake = Fake::new(|_, _| {
        ok(json!({"Total": 4, "Backups": [
            {"BackupPointId": "b-1", "Status": "Creating"},
            {"BackupPointId": "b-1", "Status": "Available"},
            {"BackupPointId": "b-2", "InstanceId": "redis-other"},
            {"BackupPointName": "no id"},
        ]}))
    });
    let backups = list(&fake).await.unwrap();
    let found: Vec<_> = backups.iter().map(|b| (b.backup_point_id.as_str(), b.status.as_str())).collect();
    assert_eq!(found, [("b-1", "Available")]);
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_total_that_moves_once_is_read_once_more() {
    // The first backup goes while the first page is read: what was the 101st slips onto that page unseen.
    let fake =
        Fake::new(
            |n, seen| if n == 0 { page(0..150, json!(150), seen) } else { page(1..150, json!(149), seen) },
        );
    let backups = list(&fake).await.unwrap();
    assert_eq!(fake.seen().len(), 4);
    let ids: Vec<_> = backups.iter().map(|b| b.backup_point_id.clone()).collect();
    assert_eq!(ids, (1..150).map(|id| format!("b-{id:05}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_total_that_moves_again_gives_what_either_reading_found() {
    let fake = Fake::new(|n, seen| page(n..150, json!(150 - n), seen));
    let backups = list(&fake).await.unwrap();
    assert_eq!(fake.seen().len(), 4);
    let ids: std::collections::BTreeSet<_> = backups.iter().map(|b| b.backup_point_id.clone()).collect();
    assert_eq!(ids.len(), backups.len());
    assert!(ids.contains("b-00000") && ids.contains("b-00149"));
}

#[tokio::test(start_paused = true)]
async fn a_page_that_fails_fails_the_listing() {
    let fake =
        Fake::new(
            |n, seen| if n == 1 { error(500, "InternalError", "") } else { page(0..250, json!(250), seen) },
        );
    assert_eq!(list(&fake).await.unwrap_err().code, "InternalError");
}

#[tokio::test(start_paused = true)]
async fn a_first_page_without_what_total_promises_is_no_listing_of_none() {
    let fake = Fake::new(|_, _| ok(json!({"Total": 5, "Backups": []})));
    let failure = list(&fake).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::CloudUnavailable, NOT_PROMISED));
    let none = Fake::new(|_, _| ok(json!({"Total": 0, "Backups": []})));
    assert_eq!(list(&none).await.map(|backups| backups.len()), Ok(0));
}
