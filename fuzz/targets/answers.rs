//! Responses of the Redis APIs: from status, headers and body to the operator's values.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::Offset;
use tokio::sync::Semaphore;

use super::{Answer, OWN, START, assert_hidden, assert_plain, checked, run};
use cross_region_backup_operator::clock::Clock;
use cross_region_backup_operator::cloud::{
    Budget, Client, ClientConfig, Credentials, EndpointRule, Listing, ListingProgress, Selection, Site,
    SizeLimits,
};
use cross_region_backup_operator::domain::{Backup, Change, Instance, InstanceRef};

const REGION: &str = "cn-beijing";
/// Ids in the corpus.
const INSTANCE: &str = "redis-fz7";
const BACKUP: &str = "b-fz7";
/// Two listings of a hundred pages, each with a second attempt after a clock error.
const CALLS_MAX: u64 = 2 * 100 * 2;
/// Number of pages that are read: a listing of a whole account may be long, and its pages are read alike.
const PAGES_READ: usize = 3;

/// Gives one response to every call of either cloud.
pub fn answers(data: &[u8]) {
    let answer = Answer::parse(data);
    for site in [Site::Volcengine, Site::Tencent] {
        run(ask(site, &answer, &OWN));
    }
}

async fn ask(site: Site, answer: &Answer, credentials: &Credentials) {
    let instance = InstanceRef { region: REGION.to_owned(), id: INSTANCE.to_owned() };
    let now: Timestamp = START.parse().expect("a time");
    // One client per call, so that no backoff of an earlier call delays the next.
    let client = || client(site, answer, credentials);
    checked(client().verify(REGION).await);
    if let Some(page) = checked(client().instances_page(REGION, 1, 100).await) {
        page.instances.iter().for_each(check_instance);
    }
    if let Some(state) = checked(client().describe_policy(&instance).await) {
        state.cross_backup_region.iter().for_each(|region| assert_plain(region));
        assert!(state.ttl_days.unwrap_or_default() >= 0, "{state:?}");
    }
    let change = Change { active: true, cross_backup_region: Some("cn-shanghai".to_owned()) };
    if let Some(accepted) = checked(client().modify_policy(&instance, &change, "token").await) {
        accepted.request_id.iter().for_each(|id| assert_plain(id));
        assert_hidden(&accepted);
    }
    for region in checked(client().available_regions(&instance).await).into_iter().flatten() {
        assert_plain(&region);
    }
    if let Some(Some(detail)) = checked(client().backup_detail(&instance, BACKUP).await) {
        check_backup(&Backup { detail, ..Backup::default() });
    }
    let (transport, asked) = answer.cloud();
    let listed = with(site, transport, credentials).instance_backups(&instance, now).await;
    checked(listed).into_iter().flatten().for_each(|backup| check_backup(&backup));
    assert!(asked.load(Ordering::Relaxed) <= CALLS_MAX, "{asked:?} requests for one listing");
    list_account(site, answer, credentials, now).await;
}

async fn list_account(site: Site, answer: &Answer, credentials: &Credentials, now: Timestamp) {
    let selection = Selection { region: REGION.to_owned(), ..Selection::default() };
    let Some(mut listing) = checked(Listing::new(site, selection, vec![INSTANCE.to_owned()], now)) else {
        return;
    };
    for _ in 0..PAGES_READ {
        let Some(request) = listing.request() else { return };
        let page = client(site, answer, credentials).backups_page(&request).await;
        let Some(step) = checked(listing.apply(page)) else { return };
        step.backups.iter().for_each(check_backup);
        if matches!(step.next, ListingProgress::End { .. }) {
            assert_eq!(listing.request(), None, "it goes on after its end");
        }
    }
}

fn client(site: Site, answer: &Answer, credentials: &Credentials) -> Client {
    with(site, answer.cloud().0, credentials)
}

fn with(
    site: Site,
    transport: cross_region_backup_operator::cloud::Transport,
    credentials: &Credentials,
) -> Client {
    Client::new(ClientConfig {
        site,
        credentials: credentials.clone(),
        endpoint: EndpointRule::default().endpoint(site, None).expect("a site's own endpoint is allowed"),
        transport,
        budget: Arc::new(Budget::new(1_000_000, 1_000_000, Arc::new(Semaphore::new(256)))),
        clock: Clock::from_tokio(START.parse().expect("a time")),
        timeout: Duration::from_secs(10),
        time_zone: Offset::constant(8),
        sizes: SizeLimits::default(),
    })
}

fn check_instance(instance: &Instance) {
    let Instance { id, name, region, status, class, engine_version, project_name, tags } = instance;
    let others = [name, region, status, class, engine_version, project_name];
    [Some(id)].into_iter().chain(others.map(Option::as_ref)).flatten().for_each(|text| assert_plain(text));
    tags.iter().flat_map(|(key, value)| [key, value]).for_each(|text| assert_plain(text));
    assert!(!id.is_empty());
}

fn check_backup(backup: &Backup) {
    let Backup {
        instance_id,
        backup_point_id,
        backup_point_name,
        strategy,
        backup_type,
        provider_type,
        status,
        provider_status,
        source_region,
        target_region,
        start_time,
        end_time,
        size_bytes,
        ttl_days,
        expiry_time,
        project_name,
        instance,
        detail,
    } = backup;
    [instance_id, backup_point_id, status].into_iter().for_each(|text| assert_plain(text));
    let texts = [
        backup_point_name,
        strategy,
        backup_type,
        provider_type,
        provider_status,
        source_region,
        target_region,
        project_name,
        &detail.remark,
    ];
    texts.into_iter().flatten().for_each(|text| assert_plain(text));
    if let Some(info) = instance {
        [&info.name, &info.engine_version].into_iter().flatten().for_each(|text| assert_plain(text));
    }
    let numbers = [
        size_bytes,
        ttl_days,
        &detail.instance_type,
        &detail.mem_size_mib,
        &detail.shard_num,
        &detail.replicas_num,
    ];
    assert!(numbers.into_iter().flatten().all(|number| *number >= 0), "{backup:?}");
    // Kubernetes writes years with four digits, and reads no others.
    let times = [start_time, end_time, expiry_time];
    assert!(times.into_iter().flatten().all(|time| *time >= Timestamp::UNIX_EPOCH), "{backup:?}");
}
