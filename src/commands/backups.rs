//! `backups`: lists the backups that the cloud holds now for an account or an instance, with the filters of a
//! BackupInventory.

use std::collections::HashMap;

use anyhow::anyhow;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

use super::access::{Access, ResolvedAccount};
use super::show::{self, Cell, Paint, Progress, TextStyle, plain, table};
use super::{Exit, target, validate};
use crate::accounts::AccountKey;
use crate::api::BackupInventory;
use crate::api::inventory::{BackupInventoryStatus, InventoryItem};
use crate::cli::Global;
use crate::cli::backups::{Backups, ListFormat};
use crate::clock::Clock;
use crate::cloud::{Listing, ListingProgress, MAX_CONCURRENT_PAGES, Selection};
use crate::controllers::inventory::convert::{binary_size, write_result};
use crate::controllers::inventory::desired::scope_of;
use crate::domain::{Backup, InstanceRef};
use crate::plan::inventory::listing_summary::{is_usable, of_backups};
use crate::plan::inventory::{ListingSummary, TwoPassTally};

const DETAIL: &str = "DescribeBackupDetail";
/// Concurrent detail calls; the account's request budget limits their rate.
const CONCURRENT_CALLS: usize = 32;

/// # Errors
/// A filter is invalid, the account cannot be used, or the listing fails.
pub async fn run(global: &Global, args: &Backups) -> anyhow::Result<Exit> {
    // Reports an invalid filter before any call.
    inventory(args, "default", "cn-beijing")?;
    let target::Sources { access, namespace, .. } = target::sources(global, &args.of, &args.source).await?;
    let key = target::key(&access, &args.of, &namespace)?;
    let namespace = key.namespace.clone().unwrap_or(namespace);
    let resolved = target::resolved(&access, &key).await?;
    let mut listed = Vec::new();
    for region in target::regions(&args.of, &resolved) {
        let inventory = inventory(args, &namespace, &region)?;
        let found = list(&access, &resolved, &inventory, args).await?;
        let mut status = BackupInventoryStatus::default();
        write_result(&found, &mut status);
        listed.push((region, status));
    }
    show::print(&match args.output {
        ListFormat::Table => rows(&listed, TITLES, usual),
        ListFormat::Wide => rows(&listed, WIDE, wide),
        ListFormat::Json => show::json(&objects(&key, &listed)?)?,
        ListFormat::Yaml => serde_saphyr::to_string(&sanitized(objects(&key, &listed)?))?,
    })?;
    let total: i64 = listed.iter().filter_map(|(_, status)| status.total).sum();
    show::note(&format!("{total} backups. {} cloud calls, none that changes anything.", access.sent.total()));
    Ok(Exit::Success)
}

/// Builds a BackupInventory from the flags and validates it against the CRD.
fn inventory(args: &Backups, namespace: &str, region: &str) -> anyhow::Result<BackupInventory> {
    let mut filter = Map::new();
    let texts = [
        ("startTime", &args.start_time),
        ("endTime", &args.end_time),
        ("since", &args.since),
        ("backupPointName", &args.backup_point_name),
        ("backupPointId", &args.backup_point_id),
        ("projectName", &args.project_name),
    ];
    for (name, value) in texts {
        filter.extend(value.as_ref().map(|value| (name.to_owned(), json!(value))));
    }
    for (name, values) in [("statuses", &args.statuses), ("strategies", &args.strategies)] {
        filter.extend((!values.is_empty()).then(|| (name.to_owned(), json!(values))));
    }
    let mut spec = json!({
        "accountRef": {"name": "account"},
        "region": region,
        "scope": "Account",
        "filter": filter,
        "includeDetails": args.include_details,
    });
    if let Some(instance) = &args.instance {
        spec["scope"] = json!("Instance");
        spec["instanceId"] = json!(instance);
    }
    let value = json!({
        "apiVersion": "crossregionbackup.io/v1alpha1",
        "kind": "BackupInventory",
        "metadata": {"name": "backups", "namespace": namespace},
        "spec": spec,
    });
    let value = validate::check_value(&value)
        .map_err(|problems| anyhow!("the filter is not valid: {}", problems.join("; ")))?;
    Ok(serde_json::from_value(value)?)
}

async fn list(
    access: &Access,
    resolved: &ResolvedAccount,
    inventory: &BackupInventory,
    args: &Backups,
) -> anyhow::Result<ListingSummary> {
    let (site, now) = (resolved.site(), Clock::system().now());
    let selection = scope_of(&inventory.spec, now).selection;
    let limit = args.limit.unwrap_or(usize::MAX);
    let region = selection.region.clone();
    let mut reading = TwoPassTally::new(limit);
    let moved = for_each_page(access, resolved, selection, now, |page| match page {
        ListEvent::Read(backups) => reading.add(backups),
        ListEvent::Again => reading.begin_again(),
    })
    .await?;
    let mut found = of_backups(&reading.end(moved), limit, site.statuses());
    found.cross_region = site.has_policies();
    if args.include_details && site.has_details() {
        found.with_details = true;
        detailed(access, resolved, &region, &mut found.items).await;
    }
    Ok(found)
}

/// Event of a listing.
pub enum ListEvent {
    Read(Vec<Backup>),
    /// A backup was added or removed during the listing: all pages are read again.
    Again,
}

/// Reads a listing to its end. Returns whether it changed during both passes.
///
/// # Errors
/// This cloud does not support a filter, or a call fails.
pub async fn for_each_page(
    access: &Access,
    resolved: &ResolvedAccount,
    selection: Selection,
    now: Timestamp,
    mut take: impl FnMut(ListEvent),
) -> anyhow::Result<bool> {
    // Built before any call, so that an unsupported filter is reported without one.
    let mut listing = Listing::new(resolved.site(), selection.clone(), Vec::new(), now)?;
    if !resolved.site().has_policies() && selection.instance.is_none() {
        let instances = target::instances(access, resolved, &selection.region).await?;
        let ids = instances.into_iter().map(|instance| instance.id).collect();
        listing = Listing::new(resolved.site(), selection.clone(), ids, now)?;
    }
    let mut progress = Progress::on_stderr();
    let (mut moved, mut records) = (false, 0);
    access
        .read(resolved, async |account_client| {
            let answers = account_client.backups_pages(listing.requests(MAX_CONCURRENT_PAGES)).await;
            let (steps, failure) = listing.take(answers);
            let progressed = !steps.is_empty();
            for step in steps {
                records += step.backups.len();
                progress.update(&format!("{}: {records} backups listed", selection.region));
                take(ListEvent::Read(step.backups));
                match step.next {
                    ListingProgress::More => {}
                    ListingProgress::SecondPass => take(ListEvent::Again),
                    ListingProgress::End { moved: again } => moved = again,
                }
            }
            // The next step requests missing pages again anyway; a failure uses up a retry only if no page was read.
            match failure {
                Some(failure) if !progressed => Err(failure),
                _ => Ok(listing.request().is_none()),
            }
        })
        .await?;
    Ok(moved)
}

/// Fetches the details of each backup. A backup that was deleted meanwhile, or whose call fails, is shown without them.
async fn detailed(access: &Access, resolved: &ResolvedAccount, region: &str, items: &mut [Backup]) {
    let mut progress = Progress::on_stderr();
    let (mut done, total) = (0, items.len());
    let asked = items.iter().map(|item| {
        (
            InstanceRef { region: region.to_owned(), id: item.instance_id.clone() },
            item.backup_point_id.clone(),
        )
    });
    let answers: HashMap<_, _> = futures::stream::iter(asked.collect::<Vec<_>>())
        .map(|(instance, backup)| async move {
            let answer = access
                .call(resolved, DETAIL, |client| {
                    let (instance, backup) = (instance.clone(), backup.clone());
                    async move { client.backup_detail(&instance, &backup).await }
                })
                .await;
            ((instance.id, backup), answer)
        })
        .buffer_unordered(CONCURRENT_CALLS)
        .inspect(|_| {
            done += 1;
            progress.update(&format!("details of {done} of {total} backups read"));
        })
        .collect()
        .await;
    drop(progress);
    let mut failed = 0;
    for item in items {
        match answers.get(&(item.instance_id.clone(), item.backup_point_id.clone())) {
            Some(Ok(Some(detail))) => item.detail.complete(detail),
            Some(Err(_)) => failed += 1,
            Some(Ok(None)) | None => {}
        }
    }
    if failed > 0 {
        show::note(&format!("the details of {failed} backups could not be read"));
    }
}

fn objects(key: &AccountKey, listed: &[(String, BackupInventoryStatus)]) -> anyhow::Result<Value> {
    let regions: Result<Vec<_>, serde_json::Error> = listed
        .iter()
        .map(|(region, status)| {
            let mut object = serde_json::to_value(status)?;
            if let Some(fields) = object.as_object_mut() {
                fields.retain(|name, _| !["conditions", "observedGeneration"].contains(&name.as_str()));
                fields.insert("region".to_owned(), json!(region));
            }
            Ok(object)
        })
        .collect();
    Ok(json!({"account": key.to_string(), "regions": regions?}))
}

/// Makes all texts safe for a terminal. YAML, unlike JSON, does not have an escaped form of every text.
fn sanitized(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(plain(&text)),
        Value::Array(items) => items.into_iter().map(sanitized).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, sanitized(value))).collect(),
        value => value,
    }
}

const TITLES: [&str; 8] = ["INSTANCE", "BACKUP", "STRATEGY", "STATUS", "REGION", "TARGET", "STARTED", "SIZE"];
const WIDE: [&str; 16] = [
    "INSTANCE",
    "BACKUP",
    "STRATEGY",
    "STATUS",
    "REGION",
    "TARGET",
    "STARTED",
    "SIZE",
    "NAME",
    "PROJECT",
    "BACKUP-NAME",
    "TYPE",
    "ENDED",
    "EXPIRES",
    "TTL",
    "PROVIDER-STATUS",
];

fn rows<const N: usize>(
    listed: &[(String, BackupInventoryStatus)],
    titles: [&str; N],
    row: impl Fn(&str, &InventoryItem) -> [Cell; N],
) -> String {
    let items = |(region, status): &'_ (String, BackupInventoryStatus)| {
        status.items.iter().flatten().map(|item| row(region, item)).collect::<Vec<_>>()
    };
    let rows: Vec<_> = listed.iter().flat_map(items).collect();
    table(titles, &rows, Paint::of_stdout())
}

fn usual(region: &str, item: &InventoryItem) -> [Cell; 8] {
    [
        item.instance_id.as_str().into(),
        item.backup_point_id.as_str().into(),
        item.strategy.as_deref().into(),
        Cell::new(&item.status, text_style(&item.status)),
        region.into(),
        item.target_region.as_deref().into(),
        time(&item.start_time),
        item.size_bytes.map(binary_size).into(),
    ]
}

fn wide(region: &str, item: &InventoryItem) -> [Cell; 16] {
    let [instance, backup, strategy, status, region, target, started, size] = usual(region, item);
    [
        instance,
        backup,
        strategy,
        status,
        region,
        target,
        started,
        size,
        item.instance_name.as_deref().into(),
        item.project_name.as_deref().into(),
        item.backup_point_name.as_deref().into(),
        item.backup_type.as_deref().into(),
        time(&item.end_time),
        time(&item.expiry_time),
        item.ttl_days.map(|days| format!("{days}d")).into(),
        item.provider_status.as_deref().into(),
    ]
}

fn time(time: &Option<Time>) -> Cell {
    time.as_ref().map(|time| time.0.to_string()).into()
}

fn text_style(status: &str) -> TextStyle {
    match status {
        "Unavailable" | "Expired" | "Deleted" => TextStyle::Bad,
        status if is_usable(status) => TextStyle::Good,
        _ => TextStyle::Notice,
    }
}
