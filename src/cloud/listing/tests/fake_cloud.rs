//! Runs a listing against a fake cloud that filters and pages as documented, in the style of either: the result must
//! match the selection.

use super::*;

/// Behaviour of the cloud beyond its filters.
#[derive(Clone, Copy, Debug)]
struct Style {
    /// Accepts statuses 1 and 2 only.
    basic: bool,
    /// Refuses requests without an instance, with this code.
    by_instance: Option<&'static str>,
    /// Returns Total.
    total: bool,
    /// Seed of the order of the records.
    seed: u64,
    /// Maximum number of records in a response.
    room: u32,
    /// Number of pages that are requested concurrently.
    at_once: usize,
}

fn code(status: &str) -> i64 {
    match status {
        "Creating" | "Locked" => 1,
        "Available" => 2,
        "Exporting" => 3,
        "Exported" => 4,
        "Expired" => -1,
        _ => -2,
    }
}

fn within(backup: &Backup, start: Option<Timestamp>, end: Option<Timestamp>) -> bool {
    let second = |time: Timestamp| time.as_second();
    let began = backup.start_time.map(second).unwrap();
    start.is_none_or(|start| second(start) <= began) && end.is_none_or(|end| began <= second(end))
}

fn answer(request: &PageRequest, all: &[Backup], style: Style) -> Result<BackupPage, Failure> {
    if request.size() > style.room {
        return Err(too_large());
    }
    let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|w| w == value);
    let (mut found, skip): (Vec<_>, usize) = match &request.query {
        Query::Volcengine(query) => {
            assert_eq!(query.scope == Scope::OneInstance, query.instance_id.is_some());
            let fits = |b: &&Backup| {
                is(&query.instance_id, &b.instance_id)
                    && is(&query.status, &b.status)
                    && is(&query.project_name, b.project_name.as_deref().unwrap_or_default())
                    && (query.strategies.is_empty()
                        || query.strategies.contains(b.strategy.as_ref().unwrap()))
                    && within(b, query.start_time, query.end_time)
            };
            let skip = (query.page_number.unwrap() - 1) * query.page_size.unwrap();
            (all.iter().filter(fits).cloned().collect(), skip as usize)
        }
        Query::Tencent(query) => {
            if let (Some(code), None) = (style.by_instance, &query.instance_id) {
                return Err(refusal(Kind::InvalidRequest, code));
            }
            if style.basic && !query.statuses.iter().all(|s| [1, 2].contains(s)) {
                return Err(refusal(Kind::InvalidRequest, "InvalidParameter.InvalidParameter"));
            }
            if query.instance_id.as_deref() == Some("crs-gone") {
                return Err(refusal(Kind::InstanceNotFound, "ResourceNotFound.InstanceNotExists"));
            }
            let (start, end) = query.window.unzip();
            let fits = |b: &&Backup| {
                is(&query.instance_id, &b.instance_id)
                    && query.statuses.contains(&code(&b.status))
                    && within(b, start, end)
            };
            (all.iter().filter(fits).cloned().collect(), query.offset as usize)
        }
    };
    // Any order, but the same one for all pages of a request.
    found.sort_by_key(|b| {
        b.backup_point_id
            .bytes()
            .fold(style.seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    });
    let total = style.total.then_some(found.len() as u64);
    let backups: Vec<_> = found.into_iter().skip(skip).take(request.size() as usize).collect();
    Ok(BackupPage { total, records: backups.len(), backups })
}

fn read(mut listing: Listing, all: &[Backup], style: Style) -> Result<BTreeSet<String>, Failure> {
    let mut found = BTreeMap::new();
    while listing.request().is_some() {
        let requests = listing.requests(style.at_once);
        assert!((1..=style.at_once).contains(&requests.len()));
        let answers = requests.into_iter().map(|request| {
            let answer = answer(&request, all, style);
            (request, answer)
        });
        // The last request is answered first.
        let (steps, failure) = listing.take(answers.collect::<Vec<_>>().into_iter().rev().collect());
        for step in steps {
            found.extend(step.backups.into_iter().map(|b| (b.backup_point_id.clone(), b)));
            assert!(step.next != ListingProgress::SecondPass, "nothing moves");
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
    }
    Ok(found.into_keys().collect())
}

const VOLCENGINE: [&str; 4] = ["Creating", "Available", "Unavailable", "Deleting"];
const TENCENT: [&str; 7] = ["Creating", "Locked", "Available", "Exporting", "Exported", "Expired", "Deleted"];
const STRATEGIES: [&str; 3] = ["ManualBackup", "AutomatedBackup", "SpecificationChange"];

/// Ages in seconds, up to 100 days: many at the ends of whole days, where windows and their spans begin and end.
fn ages() -> impl Strategy<Value = i64> {
    const DAY: i64 = 24 * 3600;
    prop_oneof![0..100 * DAY, (0..100_i64, 0..=1_i64).prop_map(|(days, more)| days * DAY + more)]
}

/// Backups of four instances, from 100 days ago until now.
fn backups(statuses: &'static [&'static str]) -> impl Strategy<Value = Vec<Backup>> {
    let one = (0_usize..4, 0..statuses.len(), 0_usize..3, ages(), 0_usize..2);
    let backup = move |(instance, status, strategy, age, project): (usize, usize, usize, i64, usize)| {
        let status: &str = statuses[status];
        Backup {
            instance_id: format!("crs-{instance}"),
            status: status.to_owned(),
            strategy: Some(STRATEGIES[strategy].to_owned()),
            start_time: Some(now() - SignedDuration::from_secs(age)),
            project_name: Some(format!("p-{project}")),
            ..Backup::default()
        }
    };
    proptest::collection::vec(one.prop_map(backup), 0..450).prop_map(|mut all| {
        for (number, backup) in all.iter_mut().enumerate() {
            backup.backup_point_id = format!("b-{number}");
        }
        all
    })
}

fn selections(statuses: &'static [&'static str]) -> impl Strategy<Value = Selection> {
    let window = proptest::option::of((ages(), ages().prop_map(|age| age + 1)));
    let some = proptest::sample::subsequence(statuses, 0..=statuses.len());
    let strategies = proptest::sample::subsequence(&STRATEGIES[..2], 0..=2);
    (proptest::option::of(0_usize..4), some, strategies, window).prop_map(
        |(instance, statuses, strategies, window)| Selection {
            instance: instance.map(|number| format!("crs-{number}")),
            statuses: words(&statuses),
            strategies: words(&strategies),
            window: window.map(|(age, length)| {
                let start = now() - SignedDuration::from_secs(age);
                (start, start + SignedDuration::from_secs(length))
            }),
            ..of_account()
        },
    )
}

fn styles() -> impl Strategy<Value = Style> {
    let by_instance = prop_oneof![
        Just(None),
        Just(Some("MissingParameter")),
        Just(Some("InvalidParameter.InvalidParameter"))
    ];
    let room = prop_oneof![Just(100_u32), 1..100_u32];
    (any::<bool>(), by_instance, any::<bool>(), any::<u64>(), room, 1..=8_usize).prop_map(
        |(basic, by_instance, total, seed, room, at_once)| Style {
            basic,
            by_instance,
            total,
            seed,
            room,
            at_once,
        },
    )
}

/// Returns the ids of the backups that match the selection, checked one by one.
fn by_hand(all: &[Backup], selection: &Selection, listed: impl Fn(&Backup) -> bool) -> BTreeSet<String> {
    let among = |wanted: &[String], word: &str| wanted.is_empty() || wanted.iter().any(|w| w == word);
    let (start, end) = selection.window.unzip();
    all.iter()
        .filter(|b| {
            listed(b)
                && selection.instance.as_ref().is_none_or(|id| b.instance_id == *id)
                && selection.project_name.as_ref().is_none_or(|p| b.project_name.as_ref() == Some(p))
                && among(&selection.statuses, &b.status)
                && among(&selection.strategies, b.strategy.as_deref().unwrap())
                && within(b, start, end)
        })
        .map(|b| b.backup_point_id.clone())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn volcengines_listing_is_the_selection(
        all in backups(&VOLCENGINE), selection in selections(&VOLCENGINE), style in styles(), project in any::<bool>(),
    ) {
        let mut selection = selection;
        if project && selection.instance.is_none() {
            selection.project_name = Some("p-1".to_owned());
        }
        let expected = by_hand(&all, &selection, |_| true);
        let listing = listing(Site::Volcengine, selection);
        prop_assert_eq!(read(listing, &all, style), Ok(expected));
    }

    #[test]
    fn tencents_listing_is_the_selection(
        all in backups(&TENCENT), selection in selections(&TENCENT), style in styles(),
    ) {
        // Without statuses, backups that have expired or were deleted are not requested, nor those that the cloud does
        // not list.
        let basic = |b: &Backup| !style.basic || [1, 2].contains(&code(&b.status));
        let listed = |b: &Backup| basic(b) && (!selection.statuses.is_empty() || code(&b.status) > 0);
        let expected = by_hand(&all, &selection, listed);
        let instances = words(&["crs-0", "crs-1", "crs-gone", "crs-2", "crs-3"]);
        let found = read(Listing::new(Site::Tencent, selection.clone(), instances, now()).unwrap(), &all, style);
        let refused = selection.statuses.iter().any(|s| ![1, 2].contains(&code(s)));
        if style.basic && refused {
            prop_assert!(found.unwrap_err().message.unwrap().starts_with("filter.statuses"));
        } else {
            prop_assert_eq!(found, Ok(expected));
        }
    }

    /// Whatever the pages contain, a listing ends or fails within a bound.
    #[test]
    fn a_listing_ends_whatever_moves(
        selection in selections(&TENCENT), pages in proptest::collection::vec((0_u64..400, 0_usize..=100), 1..50),
    ) {
        let mut listing = listing(Site::Tencent, selection);
        // Two passes, over at most three instances, in at most four spans, of at most 100 pages.
        let most = 2 * 3 * 4 * 100;
        let mut answers = pages.iter().cycle();
        let mut steps = 0;
        let mut again = 0;
        while listing.request().is_some() && steps <= most {
            steps += 1;
            let &(total, count) = answers.next().unwrap();
            match listing.apply(Ok(page(total, 0..count))) {
                Ok(step) => again += usize::from(step.next == ListingProgress::SecondPass),
                Err(_) => break,
            }
        }
        prop_assert!(steps <= most && again <= 1);
    }
}
