use std::sync::Arc;

use cloud_simulator::{
    BackupSpec, Effect, FaultSpec, InstanceSpec, KeySpec, Policy, Simulator, Tag, TencentBackupSpec,
    TencentInstanceSpec,
};
use http::StatusCode;
use jiff::tz::Offset;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::*;
use crate::accounts::identity::Identity;
use crate::accounts::{AccountKey, Accounts, Deps};
use crate::clock::Clock;
use crate::cloud::{
    Budget, CallContext, Client, ClientConfig, Credentials, EndpointRule, SizeLimits, service_transport,
};
use crate::cluster::secrets::Secrets;
use crate::cluster::testing;
use crate::plan::shared_listing::{Filter, InventorySelector, TallyBuilder};

const START: &str = "2026-11-22T12:00:00Z";
const LIST: &str = "DescribeCrossRegionBackups";

/// An account of a simulated cloud, in virtual time.
struct TestAccount {
    cloud: Simulator,
    clock: Clock,
    site: Site,
    client: Client,
    account: Arc<Account>,
    details: Details,
}

impl TestAccount {
    fn new(site: Site) -> Self {
        let clock = Clock::from_tokio(START.parse().unwrap());
        let cloud = Simulator::new(cloud_simulator::Clock::from_tokio(START.parse().unwrap()));
        cloud
            .put_key(KeySpec {
                access_key_id: "AKLT1".to_owned(),
                secret_access_key: "secret".to_owned(),
                ..KeySpec::default()
            })
            .unwrap();
        let router = service_transport(cloud_simulator::router(cloud.clone()));
        let rule = EndpointRule::new(&[]).unwrap();
        let kube = testing::client(|_| async { (StatusCode::NOT_FOUND, Value::Null) });
        let deps = Deps {
            secrets: Secrets::Cluster(kube),
            clock: clock.clone(),
            rule: rule.clone(),
            transport: router.clone(),
            own_namespace: "operator".to_owned(),
            identity: Identity::default(),
            concurrency: 1,
            meters: Default::default(),
        };
        let accounts = Accounts::new(deps, |_| {}, |_| {});
        let key = AccountKey { namespace: Some("payments".to_owned()), name: "prod".to_owned() };
        let client = Client::new(ClientConfig {
            site,
            credentials: Credentials::new("AKLT1", "secret", None),
            endpoint: rule.endpoint(site, None).unwrap(),
            transport: router,
            budget: Arc::new(Budget::new(10_000, 10_000, Arc::new(Semaphore::new(8)))),
            clock: clock.clone(),
            timeout: Duration::from_secs(10),
            sizes: SizeLimits::default(),
            time_zone: Offset::constant(8),
        });
        let account = accounts.register(&key, "uid", site.provider(), true);
        Self { cloud, clock, site, client, account, details: Details::default() }
    }

    fn instance(&self, id: &str, active: bool) {
        let policy = if active { Policy::to_region("cn-shanghai") } else { Policy::default() };
        let spec = InstanceSpec { instance_id: id.to_owned(), policy, ..InstanceSpec::default() };
        self.cloud.put_instance(spec).unwrap();
    }

    fn backups(&self, instance: &str, count: usize) {
        for number in 0..count {
            let spec = BackupSpec {
                backup_point_id: format!("b-{instance}-{number}"),
                instance_id: instance.to_owned(),
                age_seconds: Some(60.0 * number as f64),
                ..BackupSpec::default()
            };
            self.cloud.put_backup(spec).unwrap();
        }
    }

    fn fault(&self, action: &str, after: u64, count: u64, status: u16, code: &str) {
        let effect = Effect::Error { status, code: code.to_owned(), message: String::new(), code_n: None };
        self.cloud.place_fault(FaultSpec::new(effect).on_action(action).after(after).times(count)).unwrap();
    }

    fn calls(&self, action: &str) -> u64 {
        self.cloud.counters().by_action.get(action).copied().unwrap_or_default()
    }

    fn begin(&self, ask: InventoryScope) -> InventoryReading {
        InventoryReading::begin(self.site, ask, self.clock.now()).unwrap()
    }

    /// Steps until the reading is complete, or a call fails.
    async fn go_on(&mut self, reading: &mut InventoryReading) -> Result<ListingSummary, Failure> {
        let account_client = AccountClient::LastSeen(self.client.clone(), false, CallContext::default());
        loop {
            let now = self.clock.now();
            if let Some(found) = reading.step(&account_client, &self.account, &mut self.details, now).await? {
                return Ok(found);
            }
        }
    }

    async fn read(&mut self, ask: InventoryScope) -> ListingSummary {
        let mut reading = self.begin(ask);
        self.go_on(&mut reading).await.unwrap()
    }
}

fn account_wide() -> InventoryScope {
    let selection = Selection { region: "cn-beijing".to_owned(), ..Selection::default() };
    InventoryScope { selection, limit: 3, ..InventoryScope::default() }
}

#[tokio::test(start_paused = true)]
async fn a_reading_goes_on_where_a_call_failed() {
    let mut world = TestAccount::new(Site::Volcengine);
    world.instance("redis-1", true);
    world.backups("redis-1", 350);
    world.fault(LIST, 2, 2, 500, "InternalError");
    let mut reading = world.begin(account_wide());
    assert_eq!(world.go_on(&mut reading).await.unwrap_err().kind, Kind::CloudUnavailable);
    let found = world.go_on(&mut reading).await.unwrap();
    assert_eq!((found.total, found.items.len()), (350, 3));
    assert_eq!(world.calls(LIST), 4 + 2, "no page was read twice");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_long_ago_is_no_part_of_the_same_picture() {
    let mut world = TestAccount::new(Site::Volcengine);
    world.instance("redis-1", true);
    let mut reading = world.begin(account_wide());
    let account_client = AccountClient::LastSeen(world.client.clone(), false, CallContext::default());
    reading.step(&account_client, &world.account, &mut world.details, world.clock.now()).await.unwrap();
    tokio::time::advance(MAX_RESUME_AGE - Duration::from_secs(1)).await;
    assert!(reading.is_resumable(world.clock.now()));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!reading.is_resumable(world.clock.now()));
}

#[tokio::test(start_paused = true)]
async fn each_policy_is_described_once_an_hour_at_most() {
    let mut world = TestAccount::new(Site::Volcengine);
    (0..5).for_each(|n| world.instance(&format!("redis-{n}"), n > 1));
    let of_policies = world.account.clone();
    // A CrossRegionBackupPolicy knows one of the policies, however old its state is.
    let watched = InstanceRef { region: "cn-beijing".to_owned(), id: "redis-0".to_owned() };
    let long_ago = world.clock.now() - jiff::SignedDuration::from_hours(20);
    of_policies
        .record_policy(watched, PolicyObservation { policy: PolicySetting::Active(true), at: long_ago });
    let ask = || InventoryScope { watched: HashSet::from(["redis-0".to_owned()]), ..account_wide() };
    let unprotected = world.read(ask()).await.unprotected.unwrap();
    assert_eq!(unprotected.items, [("redis-1".to_owned(), None)]);
    assert_eq!(unprotected.as_of, Some(long_ago));
    assert_eq!(world.calls(DESCRIBE), 4);
    tokio::time::advance(POLICY_REFRESH_INTERVAL - Duration::from_secs(1)).await;
    world.read(ask()).await;
    assert_eq!(world.calls(DESCRIBE), 4);
    tokio::time::advance(Duration::from_secs(1)).await;
    world.read(ask()).await;
    assert_eq!(world.calls(DESCRIBE), 8);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_cannot_be_described_is_unknown_and_holds_nothing_up() {
    for (status, code, failures) in [
        (403, "AccessDenied", 0),
        (400, "ParamError", 0),
        (400, "InstanceStatusNotMatch", 0),
        (500, "InternalError", FAILURES_BEFORE_SKIP),
    ] {
        let mut world = TestAccount::new(Site::Volcengine);
        (0..3).for_each(|n| world.instance(&format!("redis-{n}"), false));
        let effect = Effect::Error { status, code: code.to_owned(), message: String::new(), code_n: None };
        let fault = FaultSpec::new(effect).on_action(DESCRIBE).on_instance("redis-1");
        world.cloud.place_fault(fault).unwrap();
        let mut reading = world.begin(account_wide());
        for _ in 0..failures {
            world.go_on(&mut reading).await.unwrap_err();
        }
        let unprotected = world.go_on(&mut reading).await.unwrap().unprotected.unwrap();
        assert_eq!((unprotected.items.len(), unprotected.unknown), (2, 1), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_while_policies_are_described_is_waited_for() {
    let mut world = TestAccount::new(Site::Volcengine);
    (0..9).for_each(|n| world.instance(&format!("redis-{n}"), n > 1));
    world.fault(DESCRIBE, 3, 40, 500, "InternalError");
    let mut reading = world.begin(account_wide());
    for _ in 0..40 {
        world.go_on(&mut reading).await.unwrap_err();
    }
    let unprotected = world.go_on(&mut reading).await.unwrap().unprotected.unwrap();
    assert_eq!((unprotected.items.len(), unprotected.unknown), (2, 1), "one was set aside, and no other");
}

#[tokio::test(start_paused = true)]
async fn what_was_known_of_a_policy_outlives_a_failure() {
    let mut world = TestAccount::new(Site::Volcengine);
    (0..3).for_each(|n| world.instance(&format!("redis-{n}"), false));
    world.read(account_wide()).await;
    tokio::time::advance(POLICY_REFRESH_INTERVAL).await;
    let effect =
        Effect::Error { status: 500, code: "InternalError".to_owned(), message: String::new(), code_n: None };
    world.cloud.place_fault(FaultSpec::new(effect).on_action(DESCRIBE).on_instance("redis-1")).unwrap();
    let mut reading = world.begin(account_wide());
    for _ in 0..FAILURES_BEFORE_SKIP {
        world.go_on(&mut reading).await.unwrap_err();
    }
    let unprotected = world.go_on(&mut reading).await.unwrap().unprotected.unwrap();
    assert_eq!((unprotected.items.len(), unprotected.unknown), (3, 0));
    assert_eq!(unprotected.as_of, Some(START.parse().unwrap()), "and says how old it is");
}

#[tokio::test(start_paused = true)]
async fn two_inventories_of_one_account_ask_for_each_policy_once() {
    let world = TestAccount::new(Site::Volcengine);
    (0..20).for_each(|n| world.instance(&format!("redis-{n}"), true));
    let account_client = AccountClient::LastSeen(world.client.clone(), false, CallContext::default());
    let read = async || {
        let (mut reading, mut details) = (world.begin(account_wide()), Details::default());
        while reading
            .step(&account_client, &world.account, &mut details, world.clock.now())
            .await
            .unwrap()
            .is_none()
        {}
    };
    tokio::join!(read(), read(), read());
    assert_eq!(world.calls(DESCRIBE), 20);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_key_or_throttling_ends_no_question() {
    for (status, code, kind) in
        [(401, "InvalidAccessKey", Kind::CredentialsRejected), (429, "FlowLimitExceeded", Kind::Throttled)]
    {
        let mut world = TestAccount::new(Site::Volcengine);
        world.instance("redis-1", false);
        world.fault(DESCRIBE, 0, 5, status, code);
        let mut reading = world.begin(account_wide());
        for _ in 0..5 {
            assert_eq!(world.go_on(&mut reading).await.unwrap_err().kind, kind);
        }
        let unprotected = world.go_on(&mut reading).await.unwrap().unprotected.unwrap();
        assert_eq!((unprotected.items.len(), unprotected.unknown), (1, 0), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn instances_do_not_follow_the_filter() {
    let mut world = TestAccount::new(Site::Volcengine);
    world.instance("redis-1", true);
    world.backups("redis-1", 5);
    let mut ask = account_wide();
    ask.selection.statuses = vec!["Creating".to_owned()];
    let found = world.read(ask).await;
    assert_eq!((found.total, found.newest, found.items.len()), (0, None, 0));
    let lines = found.instances.unwrap();
    assert_eq!((lines[0].total, lines[0].newest_usable), (5, Some(world.clock.now())));
    assert_eq!(world.calls(LIST), 2, "as filtered, and whole");
}

/// Returns the result of a shared listing; `filter` is the number of backups that match the filter.
fn shared(backups: usize, filter: Option<usize>) -> Option<(InventoryTally, u64)> {
    let fits = Filter { statuses: vec!["Creating".to_owned()], ..Filter::default() };
    let selector = InventorySelector { limit: 9, filter: filter.map(|_| fits) };
    let mut tallies = TallyBuilder::new(&[selector], START.parse().unwrap());
    let backup = |number: usize| Backup {
        instance_id: "redis-1".to_owned(),
        backup_point_id: format!("b-{number}"),
        status: if filter.is_some_and(|matching| number < matching) { "Creating" } else { "Available" }
            .to_owned(),
        start_time: START.parse().ok(),
        ..Backup::default()
    };
    tallies.add((0..backups).map(backup).collect());
    Some((tallies.end(false).remove(0), 7))
}

#[tokio::test(start_paused = true)]
async fn what_a_shared_listing_found_is_not_listed_again() {
    let mut world = TestAccount::new(Site::Volcengine);
    world.instance("redis-1", true);
    let whole = InventoryScope { shared: shared(5, None), ..account_wide() };
    let mut reading = world.begin(whole);
    assert_eq!(reading.answered(), 7);
    let found = world.go_on(&mut reading).await.unwrap();
    assert_eq!((found.total, found.items.len()), (5, 3), "others keep more of them");
    assert_eq!(found.instances.unwrap()[0].total, 5);
    assert_eq!(found.unprotected.unwrap().as_of, Some(world.clock.now()), "the policies are read as ever");

    let mut filtered = InventoryScope { shared: shared(5, Some(2)), ..account_wide() };
    filtered.selection.statuses = vec!["Creating".to_owned()];
    let found = world.read(filtered).await;
    assert_eq!((found.total, found.instances.unwrap()[0].total), (2, 5));
    assert_eq!(world.calls(LIST), 0);

    let mut only_the_clouds = InventoryScope { shared: shared(5, None), ..account_wide() };
    only_the_clouds.selection.project_name = Some("default".to_owned());
    world.backups("redis-1", 1);
    let found = world.read(only_the_clouds).await;
    assert_eq!((found.total, found.instances.unwrap()[0].total), (1, 5));
    assert_eq!(world.calls(LIST), 1, "what fits");
}

fn tencent(world: &TestAccount, backups: usize) -> InventoryScope {
    let spec = TencentInstanceSpec::new("crs-ei43p3gr", "ap-guangzhou");
    world.cloud.put_tencent_instance(spec).unwrap();
    for number in 0..backups {
        let spec = TencentBackupSpec::new(format!("{number}"), "crs-ei43p3gr", 60.0 * number as f64);
        world.cloud.put_tencent_backup(spec).unwrap();
    }
    let selection = Selection {
        region: "ap-guangzhou".to_owned(),
        instance: Some("crs-ei43p3gr".to_owned()),
        ..Selection::default()
    };
    InventoryScope { selection, limit: 4, details: true, ..InventoryScope::default() }
}

#[tokio::test(start_paused = true)]
async fn details_are_fetched_once_and_one_that_is_gone_is_told_without() {
    let mut world = TestAccount::new(Site::Tencent);
    let ask = tencent(&world, 9);
    world.fault(DETAIL, 1, 1, 200, "InvalidParameterValue.BackupNotExists");
    let found = world.read(ask.clone()).await;
    assert!(found.with_details && !found.cross_region);
    let told: Vec<_> = found.items.iter().map(|item| item.detail.mem_size_mib).collect();
    assert_eq!(told, [Some(2048), None, Some(2048), Some(2048)]);
    assert_eq!(world.calls(DETAIL), 4);
    // The missing detail is read again, the others are known.
    let found = world.read(ask).await;
    assert!(found.items.iter().all(|item| item.detail.shard_num == Some(3)), "{:?}", found.items);
    assert_eq!(world.calls(DETAIL), 5);
}

#[tokio::test(start_paused = true)]
async fn a_detail_that_is_never_answered_holds_nothing_up() {
    let mut world = TestAccount::new(Site::Tencent);
    let ask = tencent(&world, 2);
    world.fault(DETAIL, 0, u64::from(FAILURES_BEFORE_SKIP), 200, "InternalError.InternalError");
    let mut reading = world.begin(ask);
    for _ in 0..FAILURES_BEFORE_SKIP {
        world.go_on(&mut reading).await.unwrap_err();
    }
    let found = world.go_on(&mut reading).await.unwrap();
    let told: Vec<_> = found.items.iter().map(|item| item.detail.mem_size_mib).collect();
    assert_eq!(told, [None, Some(2048)]);
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_the_cloud_lacks_is_refused_before_anything_is_asked() {
    let world = TestAccount::new(Site::Tencent);
    let mut ask = account_wide();
    ask.selection.project_name = Some("default".to_owned());
    let failure = InventoryReading::begin(Site::Tencent, ask, world.clock.now()).err().unwrap();
    assert_eq!(failure.kind, Kind::InvalidRequest);
    assert!(failure.message.unwrap().contains("filter.projectName"));
}

/// 45 tags of 150 characters: they make an answer of 1000 instances larger than 8 MiB.
fn many_tags() -> Vec<Tag> {
    let tag = |number| Tag { key: format!("cost-centre-{number:02}"), value: "v".repeat(150) };
    (0..45).map(tag).collect()
}

/// Padding of a backup: with it, an answer of 100 backups is larger than 8 MiB.
fn padding(bytes: usize) -> Map<String, Value> {
    Map::from_iter([("Padding".to_owned(), Value::from("p".repeat(bytes)))])
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_too_large_are_read_in_smaller_pages_which_is_remembered() {
    for site in [Site::Volcengine, Site::Tencent] {
        let mut world = TestAccount::new(site);
        let lists = match site {
            Site::Tencent => ["DescribeInstances", "DescribeInstanceBackups"],
            _ => ["DescribeDBInstances", LIST],
        };
        for number in 0..1001 {
            let id = format!("crs-{number}");
            let (instance_id, tags) = (id.clone(), many_tags());
            match site {
                Site::Tencent => {
                    let of = TencentInstanceSpec::new(id, "ap-guangzhou");
                    world.cloud.put_tencent_instance(TencentInstanceSpec { tags, ..of }).unwrap();
                }
                _ => world
                    .cloud
                    .put_instance(InstanceSpec { instance_id, tags, ..InstanceSpec::default() })
                    .unwrap(),
            }
        }
        for number in 0..150 {
            let (id, instance, age) = (format!("b-{number}"), format!("crs-{number}"), f64::from(number));
            let overrides = padding(if number < 100 { 90_000 } else { 0 });
            match site {
                Site::Tencent => {
                    let of = TencentBackupSpec::new(id, instance, age);
                    world.cloud.put_tencent_backup(TencentBackupSpec { overrides, ..of }).unwrap();
                }
                _ => {
                    let of = BackupSpec::new(id, instance, age);
                    world.cloud.put_backup(BackupSpec { overrides, ..of }).unwrap();
                }
            }
        }
        let region = if site == Site::Tencent { "ap-guangzhou" } else { "cn-beijing" };
        let selection = Selection { region: region.to_owned(), ..Selection::default() };
        let watched = (0..1001).map(|number| format!("crs-{number}")).collect();
        let ask = InventoryScope { selection, limit: 3, watched, ..InventoryScope::default() };
        let found = world.read(ask.clone()).await;
        assert_eq!((found.total, found.instances.map(|all| all.len())), (150, Some(1001)), "{site:?}");
        assert_eq!(lists.map(|action| world.calls(action)), [1 + 3, 1 + 3], "{site:?}: 500 and 50 a page");
        let found = world.read(ask).await;
        assert_eq!(found.total, 150);
        assert_eq!(
            lists.map(|action| world.calls(action)),
            [4 + 3, 4 + 3],
            "{site:?}: none is tried in vain"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_record_that_is_too_large_is_a_failure_that_says_so_after_a_few_calls() {
    let mut world = TestAccount::new(Site::Volcengine);
    world.instance("redis-1", true);
    let of = BackupSpec::new("b-1", "redis-1", 60.0);
    world.cloud.put_backup(BackupSpec { overrides: padding(9 << 20), ..of }).unwrap();
    let mut reading = world.begin(account_wide());
    let failure = world.go_on(&mut reading).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::CloudUnavailable, "answer too large"));
    assert!(failure.message.is_some_and(|message| message.contains("a single record")));
    assert_eq!(world.calls(LIST), 5, "100, 50, 25, 5 and 1 a page");
    assert_eq!(world.go_on(&mut reading).await.unwrap_err().kind, Kind::CloudUnavailable);
    assert_eq!(world.calls(LIST), 6, "once for each try from then on");
}

#[tokio::test(start_paused = true)]
async fn pages_are_read_side_by_side() {
    let mut world = TestAccount::new(Site::Volcengine);
    world.instance("redis-1", true);
    world.backups("redis-1", 1700);
    let slow = FaultSpec::new(Effect::Delay { seconds: 2.0 }).on_action(LIST);
    world.cloud.place_fault(slow).unwrap();
    let start = tokio::time::Instant::now();
    let found = world.read(account_wide()).await;
    assert_eq!((found.total, world.calls(LIST)), (1700, 17));
    assert!(start.elapsed() < Duration::from_secs(7), "one, then eight, then eight: {:?}", start.elapsed());
}
