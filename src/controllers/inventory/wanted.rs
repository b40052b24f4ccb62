//! From an inventory's spec to what is asked of the cloud, and when.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::inventory::{BackupInventorySpec, BackupStatus, BackupStrategy};
use crate::api::{BackupInventory, RECONCILE_REQUESTED_AT, duration};
use crate::cloud::Selection;
use crate::controllers::{Context, phase};
use crate::observe::{AccountKey, Ask};
use crate::plan::inventory::Wanted;
use crate::plan::pace::DEFAULT_INTERVAL;

/// The interval in force.
fn interval_of(context: &Context, inventory: &BackupInventory) -> Duration {
    own_interval(context, inventory).max(context.accounts.floor(&account_of(inventory)))
}

/// The interval that the inventory asks for.
pub fn own_interval(context: &Context, inventory: &BackupInventory) -> Duration {
    let own = || duration::parse(&inventory.spec.refresh_interval).unwrap_or(DEFAULT_INTERVAL);
    context.interval_override.unwrap_or_else(own).max(Duration::from_secs(1))
}

pub fn wanted(context: &Context, inventory: &BackupInventory) -> Wanted {
    Wanted {
        generation: inventory.metadata.generation.unwrap_or_default(),
        created: inventory.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0),
        suspended: inventory.spec.suspend,
        interval: interval_of(context, inventory),
        request: inventory.annotations().get(RECONCILE_REQUESTED_AT).cloned(),
        phase: phase(&inventory.uid().unwrap_or_default()),
    }
}

pub fn account_of(inventory: &BackupInventory) -> AccountKey {
    AccountKey::of(&inventory.spec.account_ref, inventory.namespace())
}

/// What the spec asks for at this moment: `since` moves with the time.
pub fn ask(spec: &BackupInventorySpec, now: Timestamp) -> Ask {
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
    Ask {
        selection,
        limit: usize::try_from(spec.limit).unwrap_or(0),
        details: spec.include_details,
        ..Ask::default()
    }
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

    fn asked(filter: serde_json::Value) -> Selection {
        let spec = json!({
            "accountRef": {"name": "prod"}, "region": "cn-beijing", "scope": "Account", "filter": filter,
        });
        let spec: BackupInventorySpec = serde_json::from_value(spec).unwrap();
        ask(&spec, "2026-11-22T12:00:00Z".parse().unwrap()).selection
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
}
