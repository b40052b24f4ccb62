//! A small set of backups that each filter divides differently. Sizes are powers of two, so that a sum identifies its
//! backups.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::ids;
use crate::harness::{INSTANCE, Stage};

pub const OTHER: &str = "redis-zother";
pub const T_A: &str = "crs-aaaaaaaa";
pub const T_B: &str = "crs-bbbbbbbb";

/// One backup: id, instance, day of its start, status in an inventory, size.
pub struct Row {
    pub id: &'static str,
    pub instance: &'static str,
    pub start: &'static str,
    pub status: &'static str,
    pub size: i64,
}

const fn row(
    id: &'static str,
    instance: &'static str,
    start: &'static str,
    status: &'static str,
    size: i64,
) -> Row {
    Row { id, instance, start, status, size }
}

/// Backups with name, project and strategy.
const VOLCENGINE: [(Row, &str, &str, &str); 6] = [
    (row("b-1", INSTANCE, "2025-03-01T00:00:00Z", "Available", 1), "nightly-1", "default", "AutomatedBackup"),
    (row("b-2", INSTANCE, "2025-03-02T00:00:00Z", "Creating", 2), "nightly-2", "default", "AutomatedBackup"),
    (row("b-3", INSTANCE, "2025-03-03T00:00:00Z", "Unavailable", 4), "by-hand", "default", "ManualBackup"),
    (row("b-4", OTHER, "2025-03-04T00:00:00Z", "Available", 8), "nightly-3", "shop", "AutomatedBackup"),
    (row("b-5", OTHER, "2025-03-05T00:00:00Z", "Available", 16), "by-hand-2", "shop", "ManualBackup"),
    (row("b-6", OTHER, "2025-03-06T00:00:00Z", "Deleting", 32), "nightly-4", "shop", "AutomatedBackup"),
];

/// Backups with the cloud's status code, whether the backup is running, and BackupType.
const TENCENT: [(Row, i64, bool, &str); 8] = [
    (row("t-8", T_A, "2025-02-01T00:00:00Z", "Available", 128), 2, false, "2"),
    (row("t-1", T_A, "2025-03-01T00:00:00Z", "Available", 1), 2, false, "1"),
    (row("t-2", T_A, "2025-03-02T00:00:00Z", "Creating", 2), 1, true, "1"),
    (row("t-3", T_A, "2025-03-03T00:00:00Z", "Locked", 4), 1, false, "0"),
    (row("t-4", T_B, "2025-03-04T00:00:00Z", "Exporting", 8), 3, false, "1"),
    (row("t-6", T_B, "2025-03-06T00:00:00Z", "Expired", 32), -1, false, "2"),
    (row("t-7", T_B, "2025-03-07T00:00:00Z", "Deleted", 64), -2, false, "1"),
    (row("t-5", T_B, "2025-04-20T00:00:00Z", "Exported", 16), 4, false, "0"),
];

impl Stage<'_> {
    /// Adds `INSTANCE` and `OTHER`, which is protected, with their backups.
    pub fn fill(&self) -> Result<()> {
        self.cloud.put_instance(serde_json::from_value(json!({
            "instanceId": OTHER, "instanceName": "other", "policy": {"active": true, "region": "cn-shanghai", "ttl": 7},
        }))?)?;
        for (row, name, project, strategy) in &VOLCENGINE {
            self.add_backup_with(json!({
                "backupPointId": row.id, "instanceId": row.instance, "startTime": row.start, "status": row.status,
                "size": row.size, "backupPointName": name, "projectName": project, "backupStrategy": strategy,
            }))?;
        }
        Ok(())
    }

    pub fn fill_tencent(&self) -> Result<()> {
        for id in [T_A, T_B] {
            self.add_tencent_instance(json!({"instanceId": id, "instanceName": format!("name-of-{id}")}))?;
        }
        for (row, status, running, kind) in &TENCENT {
            self.add_tencent_backup(json!({
                "backupId": row.id, "instanceId": row.instance, "startTime": row.start, "status": status,
                "running": running, "backupType": kind, "size": row.size,
            }))?;
        }
        Ok(())
    }

    /// Lists with this spec; returns the status and the request bodies of `action` that the listing sent.
    pub async fn list_with(&self, name: &str, spec: Value, action: &str) -> Result<(Value, Vec<Value>)> {
        let before = self.asked(action).len();
        let status = self.listed(name, spec).await?;
        Ok((status, self.asked(action).split_off(before)))
    }
}

/// Checks counts, sizes, newest and items against these backups, newest first.
pub fn expect_found(status: &Value, wanted: &[&str]) -> Result<()> {
    let world = VOLCENGINE.iter().map(|b| &b.0).chain(TENCENT.iter().map(|b| &b.0));
    let rows: Vec<_> = world.filter(|row| wanted.contains(&row.id)).collect();
    ensure!(ids(status)? == wanted, "wanted {wanted:?}: {status:#}");
    ensure!(status["total"] == wanted.len(), "{status:#}");
    ensure!(status["totalSizeBytes"] == rows.iter().map(|row| row.size).sum::<i64>(), "{status:#}");
    for (word, count) in status["byStatus"].as_object().into_iter().flatten() {
        let expected = rows.iter().filter(|row| row.status == word).count();
        ensure!(*count == expected, "{word}: {status:#}");
    }
    for row in &rows {
        ensure!(status["byStatus"][row.status].is_i64(), "{} is not counted: {status:#}", row.status);
    }
    let usable = ["Available", "Locked", "Exporting", "Exported"];
    let newest = rows.iter().filter(|row| usable.contains(&row.status)).max_by_key(|row| row.start);
    let newest =
        newest.map(|row| json!({"time": row.start, "backupPointId": row.id, "instanceId": row.instance}));
    ensure!(status["newest"] == json!(newest), "wanted {newest:?}: {status:#}");
    ensure!(status["truncated"]["items"] == false, "{status:#}");
    Ok(())
}

/// Checks status.instances and status.unprotected of scope Account, which no filter changes.
pub fn expect_all_instances(status: &Value) -> Result<()> {
    let of = |id: &str, name: &str, newest: &str, active: bool| json!({"instanceId": id, "instanceName": name, "total": 3, "newestBackup": newest, "policyActive": active});
    let name = format!("name-of-{INSTANCE}");
    let all = json!([
        of(INSTANCE, &name, "2025-03-01T00:00:00Z", false),
        of(OTHER, "other", "2025-03-05T00:00:00Z", true),
    ]);
    ensure!(status["instances"] == all, "{status:#}");
    let unprotected = &status["unprotected"];
    let off = json!([{"instanceId": INSTANCE, "instanceName": name}]);
    ensure!(unprotected["total"] == 1 && unprotected["items"] == off, "{status:#}");
    ensure!(unprotected["unsupported"] == 0 && unprotected["unknown"] == 0, "{status:#}");
    Ok(())
}

/// Checks status.instances of Tencent Cloud, which lists expired and deleted backups only on request.
pub fn expect_all_tencent_instances(status: &Value) -> Result<()> {
    let of = |id: &str, total: i64, newest: &str| {
        let name = format!("name-of-{id}");
        json!({"instanceId": id, "instanceName": name, "total": total, "newestBackup": newest})
    };
    let all = json!([of(T_A, 4, "2025-03-03T00:00:00Z"), of(T_B, 2, "2025-04-20T00:00:00Z")]);
    ensure!(status["instances"] == all, "{status:#}");
    ensure!(status["unprotected"].is_null() && status["backupsOf"] == "Local", "{status:#}");
    Ok(())
}
