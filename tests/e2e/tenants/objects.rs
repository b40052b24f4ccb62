//! Objects that a tenant stores to stop the operator, or to fill its memory.

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::PostParams;
use serde_json::{Value, json};
use testbed::wait_until;

use super::TenantStage;
use crate::client;
use crate::harness::LIMIT;
use crate::sharing::says;

/// The API server takes 256 KiB of annotations in all.
const ANNOTATION_BYTES: usize = 250_000;
const OBJECTS: usize = 120;
/// Half of what the annotations take.
const GROWTH_MAX_KIB: u64 = (OBJECTS * ANNOTATION_BYTES / 2 / 1024) as u64;

#[tokio::test]
async fn a_backup_inventory_with_absurd_times_is_refused_and_stops_nobody() -> Result<()> {
    let mut stage = TenantStage::start("absurd-times").await?;
    stage
        .attack(async |stage| {
            for (number, (start, end, field)) in [
                // The year -1 in UTC.
                ("0000-01-01T00:00:00+14:00", "0000-06-01T00:00:00Z", "startTime"),
                ("1969-12-31T23:59:59Z", "2026-01-01T00:00:00Z", "startTime"),
                ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "startTime"),
                // The year 10000 in UTC.
                ("2026-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "endTime"),
            ]
            .into_iter()
            .enumerate()
            {
                let inventory = json!({
                    "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "BackupInventory",
                    "metadata": {"name": format!("absurd-{number}")},
                    "spec": {
                        "accountRef": {"name": "missing"}, "region": "cn-beijing", "scope": "Account",
                        "filter": {"startTime": start, "endTime": end},
                    },
                });
                let refused = stage.apply(&[inventory]).await.err();
                let refused = format!("{:#}", refused.with_context(|| format!("{start} was accepted"))?);
                ensure!(refused.contains(&format!("spec.filter.{field}")), "{refused}");
                ensure!(
                    !refused.contains("overflow") && refused.contains("1970-01-01T00:00:00Z"),
                    "{refused}"
                );
            }
            Ok(())
        })
        .await
}

/// Metadata that any writer of an object may set, and that a client's types for timestamps cannot parse.
#[tokio::test]
async fn a_managed_field_of_the_year_minus_1_stops_no_watch() -> Result<()> {
    let mut stage = TenantStage::start("managed-fields").await?;
    stage
        .attack(async |stage| {
            let account = json!({"name": "missing"});
            let inventory = json!({"accountRef": account, "region": "cn-beijing", "scope": "Account"});
            let cloud = json!({"provider": "Volcengine", "credentials": {"secretRef": account}});
            let ours = "crossregionbackup.io/v1alpha1";
            for (version, kind, spec) in [
                ("v1", "Secret", json!({})),
                (ours, "BackupInventory", inventory),
                (ours, "CloudAccount", cloud),
            ] {
                let mut manifest = json!({
                    "apiVersion": version, "kind": kind,
                    "metadata": {"name": "old", "managedFields": [{
                        "manager": "history", "operation": "Update", "apiVersion": version, "fieldsType": "FieldsV1",
                        "time": "0000-01-01T00:00:00+14:00", "fieldsV1": {"f:metadata": {"f:labels": {}}},
                    }]},
                });
                if kind != "Secret" {
                    manifest["spec"] = spec;
                }
                stage.apply(&[manifest]).await?;
            }
            stage.until("bkinv", "old", "its account to be missing", |o| says(o, "AccountNotFound")).await?;
            stage.until("cacct", "old", "its Secret to be missing", |o| says(o, "CredentialsMissing")).await?;
            let stored = stage.run(&["get", "bkinv", "old", "-o", "yaml", "--show-managed-fields"]).await?;
            println!("{stored}");
            // The first list of a watch parses them on another path.
            stage.honest.operator().terminate(LIMIT).await?;
            stage.honest.start_operator().await?;
            Ok(())
        })
        .await
}

#[tokio::test]
async fn long_annotations_are_kept_as_hashes_and_cost_no_memory() -> Result<()> {
    let mut stage = TenantStage::start("long-annotations").await?;
    stage
        .attack(async |stage| {
            let before = stage.honest.memory_kib("VmRSS")?;
            let client = stage.client().await?;
            let created = stream::iter(0..OBJECTS).map(|number| {
                let (kind, object) = object_with_long_annotation(number, &stage.namespace);
                let api = client::api(&client, kind, &stage.namespace);
                async move {
                    let object = serde_json::from_value(object)?;
                    api.create(&PostParams::default(), &object).await?;
                    Ok::<_, anyhow::Error>(())
                }
            });
            created.buffer_unordered(4).try_collect::<Vec<_>>().await?;
            wait_until(2 * LIMIT, "every request to be handled", async || {
                let mut handled = 0;
                for kind in KINDS {
                    let objects = client::list(&client, kind, Some(&stage.namespace)).await?;
                    let value = |o: &Value| o["status"]["lastHandledReconcileAt"].as_str().map(str::to_owned);
                    let is_hash = |value: &String| value.starts_with("sha256:") && value.len() == 71;
                    handled += objects.iter().filter_map(value).filter(is_hash).count();
                }
                Ok((handled == OBJECTS).then_some(()))
            })
            .await?;
            let growth = stage.honest.memory_kib("VmRSS")?.saturating_sub(before);
            println!("{OBJECTS} annotations of {ANNOTATION_BYTES} bytes: memory +{growth} KiB");
            ensure!(growth < GROWTH_MAX_KIB, "memory grew by {growth} KiB");
            Ok(())
        })
        .await
}

const KINDS: [&str; 3] = ["CrossRegionBackupPolicy", "BackupInventory", "CloudAccount"];

fn object_with_long_annotation(number: usize, namespace: &str) -> (&'static str, Value) {
    let kind = KINDS[number % KINDS.len()];
    let account = json!({"name": "missing"});
    let spec = match kind {
        "CloudAccount" => json!({"provider": "Volcengine", "credentials": {"secretRef": account}}),
        "BackupInventory" => json!({"accountRef": account, "region": "cn-beijing", "scope": "Account"}),
        _ => json!({
            "accountRef": account, "region": "cn-beijing", "instanceId": format!("redis-{number}"), "active": false,
        }),
    };
    let text = format!("{number} ").repeat(ANNOTATION_BYTES / 4);
    let object = json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": kind,
        "metadata": {
            "name": format!("long-{number}"), "namespace": namespace,
            "annotations": {"crossregionbackup.io/reconcile-requested-at": &text[..ANNOTATION_BYTES.min(text.len())]},
        },
        "spec": spec,
    });
    (kind, object)
}
