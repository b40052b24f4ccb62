use super::*;
use crate::cloud::api_client::{INVALID_REQUEST, MALFORMED_RESPONSE};
use crate::cloud::volcengine::query::Scope;
use crate::domain::Kind;
use jiff::SignedDuration;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const REGION: &str = "ap-guangzhou";

fn now() -> Timestamp {
    "2026-06-30T12:00:00Z".parse().unwrap()
}

fn days(count: i64) -> Timestamp {
    now() - SignedDuration::from_hours(24 * count)
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

fn of_account() -> Selection {
    Selection { region: REGION.to_owned(), ..Selection::default() }
}

fn of_one() -> Selection {
    Selection { instance: Some("crs-0".to_owned()), ..of_account() }
}

fn listing(site: Site, selection: Selection) -> Listing {
    Listing::new(site, selection, words(&["crs-0", "crs-1", "crs-2"]), now()).unwrap()
}

fn refusal(kind: Kind, code: &str) -> Failure {
    Failure::by_code(kind, "DescribeInstanceBackups", code)
}

fn page(total: u64, ids: std::ops::Range<usize>) -> BackupPage {
    let backup = |id| Backup {
        backup_point_id: format!("b-{id}"),
        status: "Available".to_owned(),
        ..Backup::default()
    };
    BackupPage { total: Some(total), records: ids.len(), backups: ids.map(backup).collect() }
}

/// Returns the fields of a Tencent request that the tests check.
fn asked(listing: &Listing) -> Option<(Option<String>, Vec<i64>, u32)> {
    let request = listing.request()?;
    assert_eq!((request.region.as_str(), request.action()), (REGION, "DescribeInstanceBackups"));
    match request.query {
        Query::Tencent(query) => Some((query.instance_id, query.statuses, query.offset)),
        Query::Volcengine(_) => panic!("another cloud"),
    }
}

fn question(
    instance: Option<&str>,
    statuses: &[i64],
    offset: u32,
) -> Option<(Option<String>, Vec<i64>, u32)> {
    Some((instance.map(str::to_owned), statuses.to_vec(), offset))
}

#[test]
fn a_filter_that_the_cloud_lacks_is_refused_by_its_name() {
    let text = |value: &str| Some(value.to_owned());
    let window = |start, end| Selection { window: Some((start, end)), ..of_account() };
    let cases = [
        (
            Site::Volcengine,
            Selection { statuses: words(&["Locked"]), ..of_account() },
            "statuses",
            "Unavailable",
        ),
        (
            Site::BytePlus,
            Selection { statuses: words(&["Available", "x"]), ..of_account() },
            "statuses",
            "Deleting",
        ),
        (
            Site::Tencent,
            Selection { statuses: words(&["Unavailable"]), ..of_account() },
            "statuses",
            "Exported",
        ),
        (
            Site::Volcengine,
            Selection { strategies: words(&["Auto"]), ..of_account() },
            "strategies",
            "ManualBackup",
        ),
        (
            Site::Tencent,
            Selection { strategies: words(&["SpecificationChange"]), ..of_one() },
            "strategies",
            "AutomatedBackup",
        ),
        (Site::Volcengine, window(days(1), days(1)), "endTime", "later"),
        (Site::TencentInternational, window(days(1), days(2)), "endTime", "later"),
        (
            Site::Volcengine,
            Selection { backup_point_name: text("n"), ..of_one() },
            "backupPointName",
            "scope Account",
        ),
        (
            Site::Volcengine,
            Selection { backup_point_id: text("b"), ..of_one() },
            "backupPointId",
            "scope Account",
        ),
        (Site::Volcengine, Selection { project_name: text("p"), ..of_one() }, "projectName", "scope Account"),
        (
            Site::Tencent,
            Selection { backup_point_name: text("n"), ..of_account() },
            "backupPointName",
            "Volcengine",
        ),
        (
            Site::Tencent,
            Selection { backup_point_id: text("b"), ..of_account() },
            "backupPointId",
            "Volcengine",
        ),
        (Site::Tencent, Selection { project_name: text("p"), ..of_one() }, "projectName", "Volcengine"),
    ];
    for (site, selection, name, allowed) in cases {
        let failure = Listing::new(site, selection.clone(), Vec::new(), now()).unwrap_err();
        assert_eq!(
            (failure.kind, failure.code.as_str()),
            (Kind::InvalidRequest, INVALID_REQUEST),
            "{selection:?}"
        );
        let message = failure.message.unwrap();
        assert!(message.starts_with(&format!("filter.{name}: ")) && message.contains(allowed), "{message}");
    }
    let empty = Selection { project_name: text(""), ..of_one() };
    assert!(Listing::new(Site::Tencent, empty, Vec::new(), now()).is_ok());
}

#[test]
fn volcengine_gets_every_filter_that_it_has() {
    let ask = |selection| match listing(Site::Volcengine, selection).request().unwrap().query {
        Query::Volcengine(query) => query,
        Query::Tencent(_) => panic!("another cloud"),
    };
    let all = ask(of_account());
    assert_eq!((all.scope, all.instance_id, all.status), (Scope::AccountInstances, None, None));
    assert_eq!((all.start_time, all.end_time), (Some("2000-01-01T00:00:00Z".parse().unwrap()), Some(now())));
    assert_eq!((all.page_size, all.page_number), (Some(100), Some(1)));
    let some = ask(Selection {
        statuses: words(&["Available"]),
        strategies: words(&["ManualBackup"]),
        window: Some((days(2), days(-2))),
        backup_point_name: Some("n".to_owned()),
        backup_point_id: Some("b".to_owned()),
        project_name: Some("p".to_owned()),
        ..of_account()
    });
    assert_eq!((some.status.as_deref(), some.strategies), (Some("Available"), words(&["ManualBackup"])));
    assert_eq!((some.start_time, some.end_time), (Some(days(2)), Some(days(-2))));
    let optional_filters = [some.backup_point_name, some.backup_point_id, some.project_name];
    assert_eq!(optional_filters, ["n", "b", "p"].map(|value| Some(value.to_owned())));
    let two = ask(Selection { statuses: words(&["Available", "Creating"]), ..of_one() });
    assert_eq!(
        (two.scope, two.status, two.instance_id.as_deref()),
        (Scope::OneInstance, None, Some("crs-0"))
    );
}

#[test]
fn tencent_gets_codes_for_statuses() {
    let cases: [(&[&str], &[i64]); 6] = [
        (&[], &[1, 2, 3, 4]),
        (&["Creating"], &[1]),
        (&["Locked", "Creating"], &[1]),
        (&["Exported", "Available"], &[2, 4]),
        (&["Deleted", "Expired"], &[-1, -2]),
        (&["Exporting", "Locked"], &[1, 3]),
    ];
    for (statuses, codes) in cases {
        let listing = listing(Site::Tencent, Selection { statuses: words(statuses), ..of_one() });
        assert_eq!(asked(&listing), question(Some("crs-0"), codes, 0), "{statuses:?}");
    }
}

#[test]
fn what_is_in_process_and_what_is_locked_are_told_apart_here() {
    let mut listing = listing(Site::Tencent, Selection { statuses: words(&["Locked"]), ..of_one() });
    let mut found = page(3, 0..3);
    found.backups[1].status = "Locked".to_owned();
    found.backups[2].status = "Creating".to_owned();
    let step = listing.apply(Ok(found)).unwrap();
    let ids: Vec<_> = step.backups.iter().map(|b| b.backup_point_id.as_str()).collect();
    assert_eq!((ids, step.next), (vec!["b-1"], ListingProgress::End { moved: false }));
    assert_eq!(listing.request(), None);
}

#[test]
fn tencent_is_asked_for_at_most_30_days_at_once() {
    let windows = |start, end| -> Vec<(Timestamp, Timestamp)> {
        let mut listing = listing(Site::Tencent, Selection { window: Some((start, end)), ..of_one() });
        let mut found = Vec::new();
        while let Some(PageRequest { query: Query::Tencent(query), .. }) = listing.request() {
            found.extend(query.window);
            listing.apply(Ok(page(0, 0..0))).unwrap();
        }
        found
    };
    assert_eq!(windows(days(30), days(0)).len(), 2);
    assert_eq!(windows(days(29), days(0)), [(days(29), days(0))]);
    let fractions = SignedDuration::from_millis(900);
    let found = windows(days(95) + fractions, days(1) + SignedDuration::from_millis(100));
    assert_eq!((found.len(), found[0].0, found[3].1), (4, days(95), days(1)));
    for pair in found.windows(2) {
        assert_eq!(pair[1].0.as_second() - pair[0].1.as_second(), 1);
    }
    assert!(found.iter().all(|(start, end)| end.as_second() - start.as_second() < 30 * 24 * 3600));
    let forever = windows(Timestamp::MIN, Timestamp::MAX);
    assert!(forever.len() < 400 && forever.last().unwrap().1 >= now());
    assert_eq!(windows(days(-500), days(-900)).len(), 1, "nothing is asked of the far future");
}

#[test]
fn refused_statuses_are_left_out() {
    let mut listing = listing(Site::Tencent, of_one());
    assert_eq!(asked(&listing), question(Some("crs-0"), &[1, 2, 3, 4], 0));
    let refused = refusal(Kind::InvalidRequest, "InvalidParameter.InvalidParameter");
    let step = listing.apply(Err(refused.clone())).unwrap();
    assert_eq!(step, ListingStep { backups: Vec::new(), next: ListingProgress::More });
    assert_eq!(asked(&listing), question(Some("crs-0"), &[1, 2], 0));
    assert_eq!(listing.apply(Err(refused.clone())), Err(refused), "no other form is left");
    assert_eq!(asked(&listing), question(Some("crs-0"), &[1, 2], 0));
    assert_eq!(listing.apply(Ok(page(1, 0..1))).unwrap().next, ListingProgress::End { moved: false });
}

#[test]
fn statuses_that_the_cloud_does_not_list_are_named() {
    for selection in [of_one(), of_account()] {
        let selection = Selection { statuses: words(&["Exporting", "Expired"]), ..selection };
        let mut listing = Listing::new(Site::Tencent, selection, Vec::new(), now()).unwrap();
        let before = listing.request();
        let failure = listing.apply(Err(refusal(Kind::InvalidRequest, "InvalidParameterValue"))).unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (Kind::InvalidRequest, "InvalidParameterValue"));
        assert!(failure.message.unwrap().starts_with("filter.statuses: "));
        assert_eq!(listing.request(), before);
    }
}

#[test]
fn a_cloud_that_wants_an_instance_is_asked_for_each() {
    let invalid = refusal(Kind::InvalidRequest, "InvalidParameter.InvalidParameter");
    for refusals in
        [vec![refusal(Kind::InvalidRequest, "MissingParameter")], vec![invalid.clone(), invalid.clone()]]
    {
        let mut listing = listing(Site::Tencent, of_account());
        for refused in refusals {
            assert_eq!(asked(&listing).unwrap().0, None);
            listing.apply(Err(refused)).unwrap();
        }
        assert_eq!(asked(&listing), question(Some("crs-0"), &[1, 2, 3, 4], 0), "with all statuses again");
        listing.apply(Ok(page(150, 0..100))).unwrap();
        assert_eq!(asked(&listing), question(Some("crs-0"), &[1, 2, 3, 4], 100));
        listing.apply(Ok(page(150, 100..150))).unwrap();
        let gone = refusal(Kind::InstanceNotFound, "ResourceNotFound.InstanceNotExists");
        assert_eq!(asked(&listing).unwrap().0.as_deref(), Some("crs-1"));
        assert_eq!(listing.apply(Err(gone)).unwrap().next, ListingProgress::More, "it has no backups");
        assert_eq!(asked(&listing).unwrap().0.as_deref(), Some("crs-2"));
        listing.apply(Err(invalid.clone())).unwrap();
        assert_eq!(asked(&listing), question(Some("crs-2"), &[1, 2], 0));
        assert_eq!(listing.apply(Ok(page(0, 0..0))).unwrap().next, ListingProgress::End { moved: false });
    }
}

#[test]
fn a_refused_account_without_instances_has_no_backups_only_where_one_is_missed() {
    let mut listing = Listing::new(Site::Tencent, of_account(), Vec::new(), now()).unwrap();
    let mut other = listing.clone();
    let step = listing.apply(Err(refusal(Kind::InvalidRequest, "MissingParameter"))).unwrap();
    assert_eq!((step.next, listing.request()), (ListingProgress::End { moved: false }, None));
    let refused = refusal(Kind::InvalidRequest, "InvalidParameter");
    other.apply(Err(refused.clone())).unwrap();
    assert_eq!(other.apply(Err(refused.clone())), Err(refused));
}

#[test]
fn a_failure_that_no_form_helps_against_changes_nothing() {
    let refused = [
        (Site::Volcengine, refusal(Kind::InvalidRequest, "ParamError")),
        (Site::Volcengine, refusal(Kind::InstanceNotFound, "InstanceNotExist")),
        (Site::Tencent, Failure::new(Kind::InvalidRequest, "DescribeInstanceBackups", INVALID_REQUEST)),
        (Site::Tencent, refusal(Kind::InstanceNotFound, "ResourceNotFound.InstanceNotExists")),
        (Site::Tencent, refusal(Kind::Throttled, "RequestLimitExceeded")),
        (Site::Tencent, refusal(Kind::CloudUnavailable, "InternalError")),
        (Site::Tencent, refusal(Kind::PermissionDenied, "InvalidParameter.PermissionDenied")),
    ];
    for (site, failure) in refused {
        let mut listing = listing(site, of_one());
        listing.apply(Ok(page(250, 0..100))).unwrap();
        let before = listing.request();
        assert_eq!(listing.apply(Err(failure.clone())), Err(failure));
        assert!(before.is_some() && listing.request() == before);
        assert_eq!(listing.apply(Ok(page(250, 100..200))).unwrap().next, ListingProgress::More);
        assert_eq!(
            listing.apply(Ok(page(250, 200..250))).unwrap().next,
            ListingProgress::End { moved: false }
        );
    }
}

#[test]
fn a_total_that_lies_has_an_end() {
    for (selection, most) in [(of_one(), 100), (of_account(), 20_000)] {
        for site in [Site::BytePlus, Site::Tencent] {
            let mut listing = listing(site, selection.clone());
            let lie = || Ok(BackupPage { total: Some(u64::MAX), records: 100, backups: Vec::new() });
            let steps = (1..).find(|_| listing.apply(lie()).is_err()).unwrap();
            assert_eq!(steps, most);
        }
    }
    let mut listing = listing(Site::Tencent, of_one());
    let failure = listing.apply(Ok(page(5, 0..0))).unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::CloudUnavailable, MALFORMED_RESPONSE));
    assert!(listing.apply(Ok(page(0, 0..0))).is_ok());
}

#[test]
fn parts_that_moved_are_all_read_once_more() {
    let window = Some((days(45), days(1)));
    let mut listing = listing(Site::Tencent, Selection { window, ..of_one() });
    let first = listing.request();
    let moves = [
        (page(150, 0..100), ListingProgress::More),
        (page(149, 100..149), ListingProgress::More),
        (page(0, 0..0), ListingProgress::SecondPass),
    ];
    for (page, next) in moves {
        assert_eq!(listing.apply(Ok(page)).unwrap().next, next);
    }
    assert_eq!(listing.request(), first);
    let still = [
        (page(3, 0..3), ListingProgress::More),
        (page(150, 0..100), ListingProgress::More),
        (page(151, 100..151), ListingProgress::End { moved: true }),
    ];
    for (page, next) in still {
        assert_eq!(listing.apply(Ok(page)).unwrap().next, next);
    }
    assert_eq!(listing.request(), None);
}

fn numbers(requests: &[PageRequest]) -> Vec<(usize, u32)> {
    let number = |request: &PageRequest| match &request.query {
        Query::Volcengine(query) => query.page_number.unwrap(),
        Query::Tencent(query) => query.offset / query.limit + 1,
    };
    requests.iter().map(|request| (request.part, number(request))).collect()
}

fn too_large() -> Failure {
    Failure::new(Kind::CloudUnavailable, "DescribeCrossRegionBackups", crate::cloud::transport::TOO_LARGE)
}

#[test]
fn pages_are_taken_in_their_order_and_what_failed_alone_is_asked_for_again() {
    let mut listing = listing(Site::Volcengine, of_account());
    assert_eq!(numbers(&listing.requests(4)), [(0, 1)], "the first one tells how many there are");
    let first = listing.requests(4).remove(0);
    let (steps, failure) = listing.take(vec![(first, Ok(page(650, 0..100)))]);
    assert_eq!((steps.len(), failure), (1, None));
    let requests = listing.requests(4);
    assert_eq!(numbers(&requests), [(0, 2), (0, 3), (0, 4), (0, 5)]);
    let refused = refusal(Kind::CloudUnavailable, "InternalError");
    let answers = requests.into_iter().zip([
        Ok(page(650, 100..200)),
        Err(refused.clone()),
        Ok(page(650, 300..400)),
        Ok(page(650, 400..500)),
    ]);
    let (steps, failure) = listing.take(answers.rev().collect());
    assert_eq!((steps.len(), failure), (1, Some(refused)));
    let requests = listing.requests(4);
    assert_eq!(numbers(&requests), [(0, 3), (0, 6)], "two are here already");
    let answers = requests.into_iter().zip([Ok(page(650, 200..300)), Ok(page(650, 500..600))]).collect();
    let (steps, _) = listing.take(answers);
    let ids: Vec<_> = steps.iter().map(|step| step.backups[0].backup_point_id.as_str()).collect();
    assert_eq!(ids, ["b-200", "b-300", "b-400", "b-500"]);
    let last = listing.requests(4).remove(0);
    let (steps, _) = listing.take(vec![(last, Ok(page(650, 600..650)))]);
    assert_eq!((steps[0].next, listing.requests(4)), (ListingProgress::End { moved: false }, Vec::new()));
}

#[test]
fn a_total_that_moves_among_pages_that_were_asked_for_together_has_all_read_again() {
    let mut listing = listing(Site::Volcengine, of_account());
    let first = listing.requests(8).remove(0);
    listing.take(vec![(first, Ok(page(350, 0..100)))]);
    let requests = listing.requests(8);
    assert_eq!(numbers(&requests), [(0, 2), (0, 3), (0, 4)]);
    let answers = [Ok(page(350, 100..200)), Ok(page(300, 200..300)), Ok(page(300, 0..0))];
    let (steps, failure) = listing.take(requests.into_iter().zip(answers).collect());
    assert_eq!((steps.last().map(|step| step.next), failure), (Some(ListingProgress::SecondPass), None));
    assert_eq!(numbers(&listing.requests(8)), [(0, 1)], "nothing of the first reading is left");
}

#[test]
fn instances_are_asked_for_side_by_side_once_the_cloud_has_taken_the_question() {
    let mut listing = listing(Site::Tencent, of_account());
    let first = listing.requests(8).remove(0);
    listing.take(vec![(first, Err(refusal(Kind::InvalidRequest, "MissingParameter")))]);
    assert_eq!(numbers(&listing.requests(8)), [(0, 1)]);
    let first = listing.requests(8).remove(0);
    listing.take(vec![(first, Ok(page(150, 0..100)))]);
    let requests = listing.requests(8);
    assert_eq!(numbers(&requests), [(0, 2), (1, 1), (2, 1)]);
    let gone = refusal(Kind::InstanceNotFound, "ResourceNotFound.InstanceNotExists");
    let answers = [Ok(page(150, 100..150)), Err(gone), Ok(page(7, 0..7))];
    let (steps, failure) = listing.take(requests.into_iter().zip(answers).collect());
    assert_eq!(
        (steps.last().map(|step| step.next), failure),
        (Some(ListingProgress::End { moved: false }), None)
    );
}

#[test]
fn an_answer_that_is_too_large_is_followed_by_smaller_pages_from_the_same_record_on() {
    for site in [Site::Volcengine, Site::Tencent] {
        let mut listing = listing(site, of_one());
        listing.apply(Ok(page(250, 0..100))).unwrap();
        for (size, number) in [(50, 3), (25, 5), (5, 21), (1, 101)] {
            let step = listing.apply(Err(too_large())).unwrap();
            assert_eq!(step, ListingStep { backups: Vec::new(), next: ListingProgress::More });
            let request = listing.request().unwrap();
            assert_eq!((request.size(), numbers(&[request])[0].1), (size, number));
        }
        let before = listing.request();
        assert!(listing.apply(Err(too_large())).unwrap_err().message.unwrap().contains("a single record"));
        assert_eq!(listing.request(), before);
    }
}

mod fake_cloud;
