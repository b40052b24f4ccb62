//! Converts an inventory's spec to requests to the cloud, and to their schedule.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::accounts::{AccountKey, InventoryScope};
use crate::api::inventory::{BackupInventorySpec, BackupStatus, BackupStrategy};
use crate::api::{BackupInventory, RECONCILE_REQUESTED_AT, duration};
use crate::cloud::Selection;
use crate::controllers::{Context, poll_offset};
use crate::plan::inventory::DesiredInventory;
use crate::plan::polling::DEFAULT_INTERVAL;
use crate::plan::shared_listing::{Filter, InventorySelector, Window};

/// Returns the interval in force: the inventory's own, or the minimum of its account if that is longer.
fn interval_of(context: &Context, inventory: &BackupInventory) -> Duration {
    let account = account_of(&inventory.spec, &inventory.namespace().unwrap_or_default());
    own_interval(context.interval_override, &inventory.spec).max(context.accounts.min_interval(&account))
}

/// Returns the interval of the spec, unless the operator's flag overrides it.
pub fn own_interval(overridden: Option<Duration>, spec: &BackupInventorySpec) -> Duration {
    let own = || duration::interval(&spec.refresh_interval).unwrap_or(DEFAULT_INTERVAL);
    overridden.unwrap_or_else(own).max(Duration::from_secs(1))
}

pub fn wanted(context: &Context, inventory: &BackupInventory) -> DesiredInventory {
    DesiredInventory {
        generation: inventory.metadata.generation.unwrap_or_default(),
        created: inventory.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0),
        suspended: inventory.spec.suspend,
        interval: interval_of(context, inventory),
        request: inventory.annotations().get(RECONCILE_REQUESTED_AT).cloned(),
        poll_offset: poll_offset(&inventory.uid().unwrap_or_default()),
    }
}

pub fn account_of(spec: &BackupInventorySpec, namespace: &str) -> AccountKey {
    AccountKey::of(&spec.account_ref, Some(namespace.to_owned()))
}

/// Returns the request of the spec at this time: the window of `since` moves with the time.
pub fn scope_of(spec: &BackupInventorySpec, now: Timestamp) -> InventoryScope {
    let filter = spec.filter.clone().unwrap_or_default();
    let fixed = filter.start_time.zip(filter.end_time).map(|(start, end)| (start.0, end.0));
    let moving = filter.since.as_deref().and_then(duration::parse);
    let moving = moving.map(|since| (now.checked_sub(since).unwrap_or(Timestamp::MIN), now));
    let selection = Selection {
        region: spec.region.clone(),
        instance: spec.instance_id.clone(),
        statuses: filter.statuses.iter().map(|status| status_word(*status).to_owned()).collect(),
        strategies: filter.strategies.iter().map(|strategy| strategy_word(*strategy).to_owned()).collect(),
        window: fixed.or(moving),
        backup_point_name: filter.backup_point_name,
        backup_point_id: filter.backup_point_id,
        project_name: filter.project_name,
    };
    InventoryScope {
        selection,
        limit: usize::try_from(spec.limit).unwrap_or(0),
        details: spec.include_details,
        ..InventoryScope::default()
    }
}

/// Returns whether the spec has a filter that only the cloud can apply, so that a listing of all backups cannot serve
/// it.
pub fn needs_own_listing(spec: &BackupInventorySpec) -> bool {
    let given = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
    spec.filter.as_ref().is_some_and(|filter| {
        given(&filter.backup_point_name) || given(&filter.backup_point_id) || given(&filter.project_name)
    })
}

/// Returns the part of a shared listing of all backups that the spec needs. With a filter that only the cloud can
/// apply, the matching backups are listed separately.
pub fn selector_of(spec: &BackupInventorySpec) -> InventorySelector {
    if needs_own_listing(spec) {
        return InventorySelector::default();
    }
    let limit = usize::try_from(spec.limit).unwrap_or(0);
    let Selection { statuses, strategies, .. } = scope_of(spec, Timestamp::UNIX_EPOCH).selection;
    let window = spec.filter.as_ref().and_then(|filter| {
        let fixed = filter.start_time.as_ref().zip(filter.end_time.as_ref());
        let fixed = fixed.map(|(start, end)| Window::Fixed(start.0, end.0));
        fixed.or_else(|| filter.since.as_deref().and_then(duration::parse).map(Window::Last))
    });
    let filter = Filter { statuses, strategies, window };
    InventorySelector { limit, filter: Some(filter).filter(|filter| *filter != Filter::default()) }
}

fn status_word(status: BackupStatus) -> &'static str {
    match status {
        BackupStatus::Available => "Available",
        BackupStatus::Creating => "Creating",
        BackupStatus::Unavailable => "Unavailable",
        BackupStatus::Deleting => "Deleting",
        BackupStatus::Locked => "Locked",
        BackupStatus::Exporting => "Exporting",
        BackupStatus::Exported => "Exported",
        BackupStatus::Expired => "Expired",
        BackupStatus::Deleted => "Deleted",
    }
}

fn strategy_word(strategy: BackupStrategy) -> &'static str {
    match strategy {
        BackupStrategy::ManualBackup => "ManualBackup",
        BackupStrategy::AutomatedBackup => "AutomatedBackup",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(filter: serde_json::Value) -> BackupInventorySpec {
        let spec = json!({
            "accountRef": {"name": "prod"}, "region": "cn-beijing", "scope": "Account", "filter": filter, "limit": 7,
        });
        serde_json::from_value(spec).unwrap()
    }

    fn asked(filter: serde_json::Value) -> Selection {
        scope_of(&spec(filter), "2026-11-22T12:00:00Z".parse().unwrap()).selection
    }

    #[test]
    fn every_member_of_the_filter_is_asked_for() {
        let all = asked(json!({
            "statuses": ["Available", "Creating"], "strategies": ["ManualBackup"], "backupPointName": "nightly",
            "backupPointId": "b-1", "projectName": "default",
            "startTime": "2026-11-01T00:00:00Z", "endTime": "2026-11-02T08:00:00+08:00",
        }));
        let text = |s: &str| Some(s.to_owned());
        let expected = Selection {
            region: "cn-beijing".to_owned(),
            instance: None,
            statuses: vec!["Available".to_owned(), "Creating".to_owned()],
            strategies: vec!["ManualBackup".to_owned()],
            window: Some(("2026-11-01T00:00:00Z".parse().unwrap(), "2026-11-02T00:00:00Z".parse().unwrap())),
            backup_point_name: text("nightly"),
            backup_point_id: text("b-1"),
            project_name: text("default"),
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn since_is_a_window_that_ends_now() {
        let window = asked(json!({"since": "36h"})).window.unwrap();
        assert_eq!(window.0, "2026-11-21T00:00:00Z".parse().unwrap());
        assert_eq!(window.1, "2026-11-22T12:00:00Z".parse().unwrap());
    }

    #[test]
    fn a_listing_of_all_backups_answers_every_filter_but_those_that_only_the_cloud_has() {
        let (start, end) = ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z");
        let fixed = Window::Fixed(start.parse().unwrap(), end.parse().unwrap());
        let words = |word: &str| vec![word.to_owned()];
        let none = Filter::default();
        for (filter, expected) in [
            (json!(null), None),
            (json!({}), None),
            (json!({"statuses": ["Creating"]}), Some(Filter { statuses: words("Creating"), ..none.clone() })),
            (
                json!({"strategies": ["ManualBackup"]}),
                Some(Filter { strategies: words("ManualBackup"), ..none.clone() }),
            ),
            (
                json!({"startTime": start, "endTime": end}),
                Some(Filter { window: Some(fixed), ..none.clone() }),
            ),
            (
                json!({"since": "36h"}),
                Some(Filter { window: Some(Window::Last(Duration::from_secs(36 * 3600))), ..none.clone() }),
            ),
        ] {
            assert_eq!(
                selector_of(&spec(filter.clone())),
                InventorySelector { limit: 7, filter: expected },
                "{filter}"
            );
        }
        for name in ["backupPointName", "backupPointId", "projectName"] {
            let spec = spec(json!({name: "x", "statuses": ["Creating"]}));
            assert_eq!(
                (needs_own_listing(&spec), selector_of(&spec)),
                (true, InventorySelector::default()),
                "{name}"
            );
        }
    }
}
