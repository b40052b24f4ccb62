//! Every field of every manifest with unintended values: either the API server refuses the value and names the field, or the
//! operator accepts it, reports the outcome in the status, and serves the other objects as before.

mod fields;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::PostParams;
use serde_json::{Value, json};
use testbed::{AuditFilter, ControlPlane, Options, wait_until};

use crate::client;
use crate::harness::{INSTANCE, LIMIT, Stage, condition, install, settled};
use crate::objects::OPERATOR_USER;

const GROUP: &str = "crossregionbackup.io";
/// Maximum number of concurrent requests to the API server.
const AT_ONCE: usize = 16;
/// Measurement window that starts after every odd object has a status; several polls fall into it.
const WINDOW: Duration = Duration::from_secs(12);
const INTERVAL: Duration = Duration::from_secs(4);
/// Maximum number of accepted values per field that are also created as objects.
const EACH: usize = 4;
const ODD: &str = "odd-";
const KINDS: [(&str, &str); 4] = [
    (
        "CrossRegionBackupPolicy",
        include_str!("../../../crds/crossregionbackup.io_crossregionbackuppolicies.yaml"),
    ),
    ("BackupInventory", include_str!("../../../crds/crossregionbackup.io_backupinventories.yaml")),
    ("CloudAccount", include_str!("../../../crds/crossregionbackup.io_cloudaccounts.yaml")),
    ("ClusterCloudAccount", include_str!("../../../crds/crossregionbackup.io_clustercloudaccounts.yaml")),
];

/// Returns manifests that together contain every object and list of the kind's schema.
fn good(stage: &Stage<'_>, kind: &str) -> Vec<Value> {
    let of = |spec: Value| {
        json!({
            "apiVersion": format!("{GROUP}/v1alpha1"), "kind": kind,
            "metadata": {"name": "good", "namespace": stage.namespace}, "spec": spec,
        })
    };
    let prod = json!({"kind": "CloudAccount", "name": "prod"});
    let account = json!({
        "provider": "Volcengine", "region": "cn-beijing", "endpoint": stage.endpoint,
        "credentials": {"secretRef": {"name": "cloud-key"}}, "requestTimeout": "5s",
        "requestBudget": {"requestsPerSecond": 100, "burst": 10},
    });
    let with = |more: Value| {
        let mut spec = account.clone();
        for (name, value) in more.as_object().into_iter().flatten() {
            spec[name] = value.clone();
        }
        spec
    };
    let volc_role = "trn:iam::2100000000:role/backup";
    let sharing = json!({
        "from": "Selector", "selector": {
            "matchLabels": {"key": "yes"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}],
        },
    });
    match kind {
        "CrossRegionBackupPolicy" => vec![of(json!({
            "accountRef": prod, "region": "cn-beijing", "instanceId": "redis-odd", "active": true,
            "crossBackupRegion": "cn-shanghai", "managementPolicy": "Manage", "deletionPolicy": "Retain",
            "suspend": false, "resyncInterval": "10m", "recoveryPointObjective": "26h", "backups": {"limit": 10},
        }))],
        "BackupInventory" => vec![of(json!({
            "accountRef": prod, "region": "cn-beijing", "scope": "Account", "limit": 10,
            "filter": {"statuses": ["Available"], "strategies": ["ManualBackup"], "since": "36h"},
        }))],
        "CloudAccount" => vec![
            of(with(json!({"assumeRole": {"role": volc_role, "duration": "1h"}}))),
            of(json!({
                "provider": "Tencent", "region": "ap-guangzhou", "credentials": {"secretRef": {"name": "cloud-key"}},
                "tencent": {"site": "China", "timeZone": "+08:00"}, "endpoint": stage.endpoint,
            })),
        ],
        _ => vec![
            of(with(json!({
                "allowedNamespaces": sharing, "permissions": {"manage": true}, "assumeRole": {"role": volc_role},
            }))),
            of(json!({
                "provider": "Tencent", "tencent": {"site": "China"}, "allowedNamespaces": sharing,
                "credentials": {"workloadIdentity": {
                    "role": "qcs::cam::uin/100000000:roleName/backup", "providerId": "cls-abcdefgh",
                }},
            })),
        ],
    }
}

/// Returns whether a dry-run create passes; the inner error is the API server's message.
async fn takes(stage: &Stage<'_>, manifest: &Value) -> Result<Result<(), String>> {
    let (kind, namespace) = (&manifest["kind"], &manifest["metadata"]["namespace"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let api = client::api(&stage.client, &text(kind), &text(namespace));
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&params, &serde_json::from_value(manifest.clone())?).await {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) if (400..500).contains(&status.code) => Ok(Err(status.message)),
        Err(error) => Err(error.into()),
    }
}

/// Tries every value of every field and returns the accepted manifests.
async fn odd_ones(stage: &Stage<'_>) -> Result<Vec<Value>> {
    let (mut taken, mut all, mut refused, mut paths) = (Vec::new(), 0, 0, BTreeSet::new());
    for (kind, crd) in KINDS {
        let schema = fields::schema(crd);
        let mut cases = Vec::new();
        for manifest in good(stage, kind) {
            takes(stage, &manifest).await?.map_err(|told| anyhow::anyhow!("{kind}: {told}"))?;
            cases.extend(fields::cases(&schema, &manifest));
        }
        paths.extend(cases.iter().map(|case| format!("{kind} {}", case.path)));
        let answers = stream::iter(cases)
            .map(|case| async move { Ok::<_, anyhow::Error>((takes(stage, &case.manifest).await?, case)) })
            .buffered(AT_ONCE);
        let answers: Vec<_> = answers.try_collect().await?;
        let mut created = BTreeMap::<String, usize>::new();
        for (answer, case) in answers {
            match answer {
                Ok(()) => {
                    all += 1;
                    let count = created.entry(case.path).or_default();
                    *count += 1;
                    if *count <= EACH {
                        taken.push(case.manifest);
                    }
                }
                Err(told) => {
                    refused += 1;
                    let value = case.manifest["spec"].to_string();
                    ensure!(told.contains(&case.field), "{kind} {}: {told:.600}\n{value:.600}", case.path);
                }
            }
        }
    }
    ensure!(paths.len() > 100 && refused > 2000, "{} fields, {refused} refusals", paths.len());
    eprintln!("{} fields, {refused} refused, {all} taken", paths.len());
    Ok(taken)
}

/// Adds backup records with values that no cloud sends.
fn put_hostile_backups(stage: &Stage<'_>) -> Result<()> {
    for (number, overrides) in [
        json!({"StartTime": "-009999-01-02T01:59:59Z", "EndTime": "9999-12-30T22:00:00Z"}),
        json!({"BackupPointName": "n\u{0}".repeat(100_000), "Status": "\u{7}\u{1b}[31m", "TargetRegion": "\u{0}"}),
        json!({"Size": -1, "TTL": i64::MAX, "InstanceInfo": {"InstanceName": "名".repeat(9000)}}),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("b-hostile-{number}");
        stage.add_backup_with(json!({
            "backupPointId": id, "instanceId": "redis-hostile", "ageSeconds": 60.0, "overrides": overrides,
        }))?;
    }
    Ok(())
}

/// Returns all objects of the operator's kinds, keyed by kind and name.
async fn all(stage: &Stage<'_>) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for (kind, ..) in KINDS {
        for object in stage.list(kind).await? {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            found.insert(format!("{kind} {name}"), object);
        }
    }
    Ok(found)
}

/// Returns whether Ready describes the current generation with a reason and a message without control characters.
fn is_told(object: &Value) -> bool {
    let ready = condition(object, "Ready");
    let plain = ready["message"].as_str().is_some_and(|text| !text.chars().any(char::is_control));
    settled(object) && plain && ready["reason"].as_str().is_some_and(|reason| !reason.is_empty())
}

#[tokio::test]
async fn every_field_of_every_manifest_is_refused_by_name_or_lived_with() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    install(&plane).await?;
    let mut stage = Stage::on(&plane, "bad-input").await?;
    stage.watches_all = true;
    stage.flag("--resync-interval-override=4s");
    stage.add_instance("redis-odd")?;
    stage.add_instance("redis-hostile")?;
    put_hostile_backups(&stage)?;
    stage.apply_account().await?;
    stage.start_operator().await?;
    stage.apply_policy(json!({"recoveryPointObjective": "26h"})).await?;
    stage.until_reason("InSync").await?;

    let odd = odd_ones(&stage).await?;
    let hostile = json!({"instanceId": "redis-hostile", "recoveryPointObjective": "26h"});
    stage.apply(stage.policy_manifest("hostile", hostile)).await?;
    stream::iter(odd.iter().enumerate())
        .map(|(number, manifest)| {
            let mut manifest = manifest.clone();
            manifest["metadata"]["name"] = json!(format!("{ODD}{number}"));
            let api =
                client::api(&stage.client, manifest["kind"].as_str().unwrap_or_default(), &stage.namespace);
            async move {
                let object = serde_json::from_value(manifest)?;
                api.create(&PostParams::default(), &object).await?;
                Ok::<_, anyhow::Error>(())
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    let mut silent = Vec::new();
    let told = wait_until(LIMIT, "every odd one to be told", async || {
        let objects = all(&stage).await?;
        silent = objects
            .iter()
            .filter(|(_, o)| !is_told(o))
            .map(|(name, o)| format!("{name}: {}", o["status"]))
            .collect();
        Ok((objects.len() > odd.len() && silent.is_empty()).then_some(()))
    });
    let told = told.await;
    told.with_context(|| format!("{}: {silent:.3000?}\n{}", silent.len(), stage.log_tail()))?;

    let filter = AuditFilter { user: Some(OPERATOR_USER), ..AuditFilter::default() };
    let (asked, called) = (plane.audit_entries(&filter)?.len(), stage.cloud.counters().requests);
    let (begin, looks) = (Instant::now(), looks_at(&stage));
    stage.wait("the end of the window", || begin.elapsed() >= WINDOW).await?;
    let (spent, looked) = (begin.elapsed(), looks_at(&stage) - looks);
    let turns = (spent.as_secs_f64() / INTERVAL.as_secs_f64()).ceil() as usize;
    ensure!(2 * looked as usize >= turns, "{looked} looks in {spent:?}");
    let asked = plane.audit_entries(&filter)?.len() - asked;
    ensure!(asked <= odd.len() * turns, "{asked} requests to the API server in {spent:?}");
    let called = stage.cloud.counters().requests - called;
    ensure!(called as usize <= 4 * odd.len() * turns, "{called} calls in {spent:?}");

    let policy = stage.policy().await?;
    ensure!(condition(&policy, "Ready")["reason"] == "InSync", "{policy:#}");
    let hostile = stage.get("crbp", "hostile").await?;
    ensure!(condition(&hostile, "Ready")["reason"] == "InSync", "{hostile:#}");
    ensure!(hostile["status"]["backups"]["total"] == 3, "{hostile:#}");
    ensure!(
        stage.operator().try_wait()?.is_none() && !stage.log().contains("panicked"),
        "{}",
        stage.log_tail()
    );
    eprintln!("{} objects, {asked} requests, {called} calls, {looked} looks in {spent:?}", odd.len());
    Ok(())
}

/// Returns the number of cloud calls for the healthy policy's instance; each poll is one call.
fn looks_at(stage: &Stage<'_>) -> u64 {
    stage.cloud.counters().by_instance.get(INSTANCE).copied().unwrap_or_default()
}
