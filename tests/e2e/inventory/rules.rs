//! Validation of inventories at `kubectl apply`: invalid specs are refused, and values at the bounds are accepted.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::harness::Stage;
use crate::validation::refused;

const ID: &str = "redis-cn0a1b2c3d4e5f6";

/// Returns a spec of scope Instance with `filter`.
fn of_instance(filter: Value) -> Value {
    json!({"scope": "Instance", "instanceId": ID, "filter": filter})
}

fn filter(filter: Value) -> Value {
    json!({ "filter": filter })
}

fn window(start: &str, end: &str) -> Value {
    filter(json!({"startTime": start, "endTime": end}))
}

fn long(length: usize) -> String {
    format!("{ID}-{}", "a".repeat(length - ID.len() - 1))
}

#[tokio::test]
async fn an_inventory_that_cannot_be_meant_is_refused() -> Result<()> {
    let stage = Stage::new("inv-refused").await?;
    let mut without_scope = stage.inventory_manifest("i", json!({}));
    without_scope["spec"].as_object_mut().context("spec")?.remove("scope");
    refused(&stage, without_scope, &["spec.scope", "Required"]).await?;
    let together = "startTime and endTime must be given together";
    let later = "endTime must be later than startTime";
    let instead = "since is instead of startTime and endTime";
    let (start, end) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    for (spec, words) in [
        (json!({"scope": "Region"}), vec!["spec.scope", "Instance", "Account"]),
        (json!({"scope": "Instance"}), vec!["spec.instanceId", "required when scope is Instance"]),
        (json!({"instanceId": ID}), vec!["spec.instanceId", "forbidden when scope is Account"]),
        (filter(json!({"startTime": start})), vec!["spec.filter", together]),
        (filter(json!({"endTime": end})), vec!["spec.filter", together]),
        (window(start, start), vec!["spec.filter.endTime", later]),
        (window(end, start), vec!["spec.filter.endTime", later]),
        (window(start, "2026-01-01T08:00:00+08:00"), vec!["spec.filter.endTime", later]),
        (window(start, "tomorrow"), vec!["spec.filter.endTime", "date-time"]),
        (
            filter(json!({"since": "1h", "startTime": start, "endTime": end})),
            vec!["spec.filter.since", instead],
        ),
        (filter(json!({"since": "59s"})), vec!["spec.filter.since", "1m to 8760h"]),
        (filter(json!({"since": "8760h1s"})), vec!["spec.filter.since", "1m to 8760h"]),
        (filter(json!({"since": "7d"})), vec!["spec.filter.since", "h|m|s"]),
        (filter(json!({"since": ""})), vec!["spec.filter.since"]),
        (filter(json!({"statuses": ["Good"]})), vec!["spec.filter.statuses[0]", "Available", "Exported"]),
        (
            filter(json!({"statuses": ["Available", "Available"]})),
            vec!["spec.filter.statuses[1]", "Duplicate"],
        ),
        (filter(json!({"strategies": ["Nightly"]})), vec!["spec.filter.strategies[0]", "ManualBackup"]),
        (filter(json!({"backupPointName": ""})), vec!["spec.filter.backupPointName"]),
        (filter(json!({"status": "Available"})), vec!["status"]),
        (
            of_instance(json!({"backupPointName": "n"})),
            vec!["spec.filter.backupPointName", "scope Account only"],
        ),
        (of_instance(json!({"backupPointId": "b"})), vec!["spec.filter.backupPointId", "scope Account only"]),
        (of_instance(json!({"projectName": "p"})), vec!["spec.filter.projectName", "scope Account only"]),
        (json!({"limit": 301}), vec!["spec.limit", "300"]),
        (json!({"limit": -1}), vec!["spec.limit", "0"]),
        (json!({"refreshInterval": "59s"}), vec!["spec.refreshInterval", "1m to 24h"]),
        (json!({"refreshInterval": "25h"}), vec!["spec.refreshInterval", "1m to 24h"]),
        (json!({"refreshInterval": "24h1s"}), vec!["spec.refreshInterval", "1m to 24h"]),
        (json!({"refreshInterval": "10"}), vec!["spec.refreshInterval"]),
        (json!({"region": "Beijing"}), vec!["spec.region"]),
        (json!({"region": "c-1"}), vec!["spec.region", "4"]),
        (json!({"region": format!("cn-{}", "a".repeat(38))}), vec!["spec.region", "40"]),
        (json!({"scope": "Instance", "instanceId": "redis"}), vec!["spec.instanceId"]),
        (json!({"scope": "Instance", "instanceId": "Redis-1"}), vec!["spec.instanceId"]),
        (json!({"scope": "Instance", "instanceId": "../redis-1"}), vec!["spec.instanceId"]),
        (json!({"scope": "Instance", "instanceId": long(65)}), vec!["spec.instanceId", "64"]),
        (json!({"accountRef": {"name": "UPPER"}}), vec!["spec.accountRef.name"]),
        (json!({"accountRef": {"name": "prod", "kind": "Secret"}}), vec!["spec.accountRef.kind"]),
        (json!({"includeDetails": "yes"}), vec!["spec.includeDetails", "boolean"]),
    ] {
        refused(&stage, stage.inventory_manifest("i", spec), &words).await?;
    }
    let named = stage.inventory_manifest(&"i".repeat(64), json!({}));
    refused(&stage, named, &["metadata.name must be at most 63 characters"]).await
}

#[tokio::test]
async fn an_inventory_within_the_bounds_is_taken() -> Result<()> {
    let stage = Stage::new("inv-taken").await?;
    let longest = format!("cn-{}", "a".repeat(37));
    for spec in [
        json!({"limit": 0}),
        json!({"limit": 300}),
        json!({"refreshInterval": "1m"}),
        json!({"refreshInterval": "60s"}),
        json!({"refreshInterval": "24h"}),
        json!({"region": "cn-b"}),
        json!({ "region": longest }),
        json!({"scope": "Instance", "instanceId": "r-123"}),
        json!({"scope": "Instance", "instanceId": long(64)}),
        of_instance(json!({"statuses": ["Available"], "strategies": ["ManualBackup"], "since": "1h30m"})),
        filter(json!({})),
        filter(json!({"since": "1m"})),
        filter(json!({"since": "8760h"})),
        filter(json!({"statuses": [
            "Available", "Creating", "Unavailable", "Deleting", "Locked", "Exporting", "Exported", "Expired", "Deleted",
        ]})),
        filter(json!({"strategies": ["ManualBackup", "AutomatedBackup"]})),
        filter(json!({"backupPointName": "n", "backupPointId": "b", "projectName": "p".repeat(128)})),
        window("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
        window("2026-01-01T00:00:00Z", "2026-01-01T08:00:01+08:00"),
    ] {
        let taken = stage.apply_inventory("i", spec.clone()).await;
        taken.with_context(|| spec.to_string())?;
        stage.run(["delete", "bkinv", "i"]).await?;
    }
    stage.apply_inventory(&"i".repeat(63), json!({})).await
}

#[tokio::test]
async fn what_an_account_of_tencent_cloud_may_say() -> Result<()> {
    let stage = Stage::new("inv-accounts").await?;
    let with = |provider: &str, tencent: Value| {
        let mut account = stage.account_manifest();
        account["spec"]["provider"] = json!(provider);
        account["spec"]["tencent"] = tencent;
        account
    };
    for provider in ["Volcengine", "BytePlus"] {
        let words = ["spec.tencent", "provider Tencent only"];
        refused(&stage, with(provider, json!({"site": "China"})), &words).await?;
        refused(&stage, with(provider, json!({})), &words).await?;
    }
    refused(
        &stage,
        with("Tencent", json!({"site": "Europe"})),
        &["spec.tencent.site", "China", "International"],
    )
    .await?;
    for zone in
        ["+15:00", "-13:00", "-12:01", "+14:01", "8", "+8:00", "08:00", "+08:60", "Z", "Asia/Shanghai"]
    {
        refused(&stage, with("Tencent", json!({ "timeZone": zone })), &["spec.tencent.timeZone"]).await?;
    }
    for zone in ["+14:01", "-13:00"] {
        let words = ["spec.tencent.timeZone", "-12:00 to +14:00"];
        refused(&stage, with("Tencent", json!({ "timeZone": zone })), &words).await?;
    }
    for zone in ["+14:00", "-12:00", "-11:59", "+13:59", "-00:00", "-03:30"] {
        let taken = stage.apply(with("Tencent", json!({"timeZone": zone, "site": "International"}))).await;
        taken.context(zone)?;
    }
    let mut other = stage.account_manifest();
    for provider in ["Volcengine", "BytePlus"] {
        other["spec"]["provider"] = json!(provider);
        refused(&stage, other.clone(), &["spec.provider", "provider is immutable"]).await?;
    }
    Ok(())
}
