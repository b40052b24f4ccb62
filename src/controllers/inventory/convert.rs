//! Converts the result of a listing to an inventory's status, and back as far as a restart needs it.

use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::fit::clean_text;
use crate::accounts::Details;
use crate::api::inventory as api;
use crate::api::whole_seconds;
use crate::domain::{Backup, BackupDetail};
use crate::plan::inventory::{InstanceSummary, ListingSummary};

/// Maximum lengths of the lists, as the API documents them.
const ITEMS_MAX: usize = 300;
const INSTANCES_MAX: usize = 200;
const UNPROTECTED_MAX: usize = 100;

/// Writes the result of a complete listing into a status.
pub fn write_result(found: &ListingSummary, status: &mut api::BackupInventoryStatus) {
    status.backups_of =
        Some(if found.cross_region { api::BackupsOf::CrossRegion } else { api::BackupsOf::Local });
    status.total = Some(found.total);
    status.total_size_bytes = Some(found.size_bytes);
    status.total_size = Some(binary_size(found.size_bytes));
    status.by_status =
        Some(found.by_status.iter().map(|(status, count)| (clean_text(status), *count)).collect());
    status.newest = found.newest.as_ref().map(|newest| api::Newest {
        time: whole_seconds(newest.time),
        backup_point_id: newest.backup_point_id.clone(),
        instance_id: newest.instance_id.clone(),
    });
    status.items = Some(found.items.iter().map(|backup| item(backup, found.with_details)).collect());
    status.instances =
        found.instances.as_ref().map(|lines| lines.iter().take(INSTANCES_MAX).map(instance).collect());
    status.unprotected = found.unprotected.as_ref().map(|unprotected| api::Unprotected {
        total: i64::try_from(unprotected.items.len()).unwrap_or(i64::MAX),
        items: unprotected
            .items
            .iter()
            .take(UNPROTECTED_MAX)
            .map(|(id, name)| api::UnprotectedInstance {
                instance_id: id.clone(),
                instance_name: name.as_deref().map(clean_text),
            })
            .collect(),
        unsupported: unprotected.unsupported,
        unknown: unprotected.unknown,
        as_of: unprotected.as_of.map(whole_seconds),
    });
    let beyond = |count: Option<usize>, max| count.is_some_and(|count| count > max);
    status.truncated = Some(api::Truncated {
        items: i64::try_from(found.items.len()).unwrap_or(i64::MAX) < found.total,
        instances: beyond(found.instances.as_ref().map(Vec::len), INSTANCES_MAX),
        unprotected: beyond(found.unprotected.as_ref().map(|u| u.items.len()), UNPROTECTED_MAX),
    });
}

/// Returns a stored status without values that cannot be written again, whoever wrote them: times before 1970, which
/// no listing returns, negative counts, and lists longer than the limits. The next listing restores them.
pub fn credible(mut status: api::BackupInventoryStatus) -> api::BackupInventoryStatus {
    let are_after_epoch =
        |times: &[&Option<Time>]| times.iter().all(|time| time.as_ref().is_none_or(is_after_epoch));
    status.total = status.total.filter(|total| *total >= 0);
    status.total_size_bytes = status.total_size_bytes.filter(|bytes| *bytes >= 0);
    status.newest = status.newest.filter(|newest| is_after_epoch(&newest.time));
    status.items = status.items.filter(|items| {
        let are_after_epoch = |item: &api::InventoryItem| {
            are_after_epoch(&[&item.start_time, &item.end_time, &item.expiry_time])
        };
        items.len() <= ITEMS_MAX && items.iter().all(are_after_epoch)
    });
    status.instances = status.instances.filter(|instances| {
        instances.len() <= INSTANCES_MAX
            && instances.iter().all(|instance| are_after_epoch(&[&instance.newest_backup]))
    });
    status.unprotected = status.unprotected.filter(|unprotected| {
        unprotected.items.len() <= UNPROTECTED_MAX && are_after_epoch(&[&unprotected.as_of])
    });
    status
}

fn is_after_epoch(time: &Time) -> bool {
    time.0 >= Timestamp::UNIX_EPOCH
}

fn item(backup: &Backup, with_details: bool) -> api::InventoryItem {
    let time = |t: Option<Timestamp>| t.map(whole_seconds);
    let cut = |text: &Option<String>| text.as_deref().map(clean_text);
    let detail = if with_details { backup.detail.clone() } else { BackupDetail::default() };
    api::InventoryItem {
        instance_id: backup.instance_id.clone(),
        instance_name: backup.instance.as_ref().and_then(|instance| cut(&instance.name)),
        project_name: cut(&backup.project_name),
        backup_point_id: backup.backup_point_id.clone(),
        backup_point_name: cut(&backup.backup_point_name),
        strategy: cut(&backup.strategy),
        backup_type: cut(&backup.backup_type),
        status: clean_text(&backup.status),
        provider_status: cut(&backup.provider_status),
        provider_type: cut(&backup.provider_type),
        source_region: cut(&backup.source_region),
        target_region: cut(&backup.target_region),
        start_time: time(backup.start_time),
        end_time: time(backup.end_time),
        expiry_time: time(backup.expiry_time),
        size_bytes: backup.size_bytes,
        ttl_days: backup.ttl_days,
        locked: detail.locked,
        remark: cut(&detail.remark),
        instance_type: detail.instance_type,
        mem_size_mib: detail.mem_size_mib,
        shard_num: detail.shard_num,
        replicas_num: detail.replicas_num,
    }
}

fn instance(line: &InstanceSummary) -> api::InventoryInstance {
    api::InventoryInstance {
        instance_id: line.id.clone(),
        instance_name: line.name.as_deref().map(clean_text),
        total: line.total,
        newest_backup: line.newest_usable.map(whole_seconds),
        policy_active: line.policy_active,
    }
}

/// Drops fetched details of backups that are no longer listed. The others are kept for the next listing, even if they
/// contain little.
pub fn keep_details(details: &mut Details, items: &[Backup]) {
    let listed: HashSet<_> =
        items.iter().map(|b| (b.instance_id.as_str(), b.backup_point_id.as_str())).collect();
    details.retain(|(instance, backup), _| listed.contains(&(instance.as_str(), backup.as_str())));
}

/// Returns the details in status: they do not change, and are not fetched again after a start.
pub fn details_from(status: &api::BackupInventoryStatus) -> Details {
    let items = status.items.iter().flatten();
    items
        .map(|item| {
            let detail = BackupDetail {
                locked: item.locked,
                remark: item.remark.clone(),
                instance_type: item.instance_type,
                mem_size_mib: item.mem_size_mib,
                shard_num: item.shard_num,
                replicas_num: item.replicas_num,
            };
            ((item.instance_id.clone(), item.backup_point_id.clone()), detail)
        })
        .filter(|(_, detail)| is_fetched(detail))
        .collect()
}

/// Returns whether the detail contains fields that no listing returns.
fn is_fetched(detail: &BackupDetail) -> bool {
    detail.mem_size_mib.is_some() || detail.shard_num.is_some() || detail.replicas_num.is_some()
}

/// Formats a size in binary units, such as `97.7 KiB`; whole bytes below 1 KiB.
pub fn binary_size(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be written as 1024.0.
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::inventory::Unprotected;

    fn detailed() -> Backup {
        Backup {
            instance_id: "crs-1".to_owned(),
            backup_point_id: "1-2-3".to_owned(),
            status: "Available".to_owned(),
            detail: BackupDetail {
                locked: Some(false),
                remark: Some("x".repeat(80)),
                instance_type: Some(16),
                mem_size_mib: Some(2048),
                shard_num: Some(3),
                replicas_num: Some(1),
            },
            ..Backup::default()
        }
    }

    #[test]
    fn details_are_known_again_after_a_start() {
        let listed_alone = Backup {
            backup_point_id: "1-2-4".to_owned(),
            detail: BackupDetail { locked: Some(false), ..BackupDetail::default() },
            ..detailed()
        };
        let items = vec![detailed(), listed_alone];
        let mut status = api::BackupInventoryStatus::default();
        write_result(
            &ListingSummary { items: items.clone(), with_details: true, ..ListingSummary::default() },
            &mut status,
        );
        let mut known = details_from(&status);
        let key = ("crs-1".to_owned(), "1-2-3".to_owned());
        assert_eq!(known.keys().collect::<Vec<_>>(), [&key]);
        assert_eq!(known[&key].mem_size_mib, Some(2048));
        keep_details(&mut known, &items);
        assert_eq!(known.len(), 1);
        keep_details(&mut known, &items[1..]);
        assert!(known.is_empty(), "it is not listed any more");
    }

    #[test]
    fn details_are_told_only_where_they_are_asked_for() {
        let told = |with_details| {
            let mut status = api::BackupInventoryStatus::default();
            write_result(
                &ListingSummary { items: vec![detailed()], with_details, ..ListingSummary::default() },
                &mut status,
            );
            serde_json::to_value(&status.items.unwrap()[0]).unwrap()
        };
        let (with, without) = (told(true), told(false));
        assert_eq!((&with["memSizeMiB"], &with["locked"]), (&2048.into(), &false.into()));
        assert_eq!(with["remark"].as_str().map(str::len), Some(64));
        for name in ["locked", "remark", "instanceType", "memSizeMiB", "shardNum", "replicasNum"] {
            assert!(without[name].is_null(), "{name}");
        }
    }

    #[test]
    fn lists_are_cut_at_their_limits_and_say_so() {
        let lines =
            |count: usize| (0..count).map(|n| InstanceSummary { id: n.to_string(), ..Default::default() });
        let told = |instances: usize, off: usize, total| {
            let found = ListingSummary {
                total,
                items: vec![detailed()],
                instances: Some(lines(instances).collect()),
                unprotected: Some(Unprotected {
                    items: (0..off).map(|n| (n.to_string(), None)).collect(),
                    ..Unprotected::default()
                }),
                ..ListingSummary::default()
            };
            let mut status = api::BackupInventoryStatus::default();
            write_result(&found, &mut status);
            let unprotected = status.unprotected.unwrap();
            let lengths = (status.instances.unwrap().len(), unprotected.items.len(), unprotected.total);
            let cut = status.truncated.unwrap();
            (lengths, (cut.items, cut.instances, cut.unprotected))
        };
        assert_eq!(told(200, 100, 1), ((200, 100, 100), (false, false, false)));
        assert_eq!(told(201, 101, 2), ((200, 100, 101), (true, true, true)));
    }

    #[test]
    fn sizes_are_written_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (99_999, "97.7 KiB"),
            (1_048_575, "1.0 MiB"),
            (486_040_000, "463.5 MiB"),
            (i64::MAX, "8.0 EiB"),
        ] {
            assert_eq!(binary_size(bytes), text, "{bytes}");
        }
    }
}
