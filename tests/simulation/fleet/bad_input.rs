//! Bad input in one resource affects no other: a fleet has the same cost and latency with the worst of neighbours.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud_simulator::{BackupSpec, Effect, FaultSpec, InstanceSpec, Malformed};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::harness::TestCluster;
use crate::harness::fleet::{Fleet, OTHER_TARGET};
use crate::harness::measurements::{BACKUPS, DESCRIBE, Delays, MODIFY};

const FLEET: Fleet = Fleet { policies: 60, backups: 3, in_sync: true, ..Fleet::DEFAULT };
const INTERVAL: Duration = Duration::from_secs(600);
const INTERVALS: u32 = 2;
const CHANGES: usize = 10;
/// Upper bound on the cost of one bad resource per interval, in API requests and cloud calls: a failed call is retried
/// at most every five minutes after a minute or two.
const MAX_COST_PER_BAD_RESOURCE: usize = 12;

/// Measurements of the healthy fleet.
struct Measurements {
    calls: BTreeMap<String, usize>,
    to_cloud: Delays,
    to_ready: Delays,
    written: usize,
}

/// Returns the bad policies, by name.
fn bad_policies() -> BTreeMap<&'static str, Value> {
    let strange_status = |status: Value| json!({"spec": {"managementPolicy": "Own\u{0}"}, "status": status});
    let last = "9999-12-30T22:00:00Z";
    BTreeMap::from([
        ("bad-word", strange_status(json!({"observedGeneration": "three"}))),
        ("bad-status-text", strange_status(json!("by hand"))),
        ("bad-status-list", strange_status(json!([1, 2]))),
        ("bad-spec", json!({"spec": {"active": 7, "region": [], "accountRef": null}})),
        (
            "bad-numbers",
            json!({"status": {
                "observedGeneration": 1, "syncedGeneration": 1, "protectedSince": last,
                "policy": {"active": false},
                "lastModification": {"time": last, "from": {"active": true}, "to": {"active": false}, "cause": "Drift"},
                "recoveryPoint": {"time": last, "backupPointId": ""},
                "drift": {
                    "corrections": i64::MAX, "recent": [last, last, last, last],
                    "lastDifference": "active: desired true, found false",
                },
                "backups": {"total": i64::MIN, "byStatus": {"": i64::MAX}, "items": []},
            }}),
        ),
        ("bad-answers", json!({})),
        ("bad-backups", json!({})),
        (
            "bad-durations",
            json!({"spec": {"resyncInterval": "0s", "recoveryPointObjective": "999999h999999h999999h"}}),
        ),
    ])
}

/// Returns values of a Secret that are no key pair; some are words that healthy resources and their cloud use.
fn bad_secrets() -> BTreeMap<&'static str, Vec<u8>> {
    BTreeMap::from([
        ("empty", Vec::new()),
        ("bytes", vec![0xff, 0x00, 0xfe]),
        ("lines", b"bad-key\nbad-key".to_vec()),
        ("large", "bad-\"\\<&>%".repeat(90_000).into_bytes()),
        ("region", b"cn-beijing".to_vec()),
        ("action", DESCRIBE.into()),
    ])
}

impl TestCluster {
    /// Adds the bad resources: to the fleet's namespace, to its account, and to accounts of their own.
    fn add_bad_resources(&self, fleet: &Fleet) {
        let home = fleet.namespace(0);
        let policy = |name: &str, over: &Value| {
            let mut object = fleet.manifest(0);
            object["metadata"]["name"] = json!(name);
            object["spec"]["instanceId"] = json!(format!("redis-{name}"));
            for (part, members) in over.as_object().unwrap() {
                match members.as_object().filter(|_| part == "spec") {
                    Some(members) => object["spec"].as_object_mut().unwrap().extend(members.clone()),
                    None => object[part.as_str()] = members.clone(),
                }
            }
            self.api.create(&fleet.collection(0), object);
        };
        for (name, over) in bad_policies() {
            let instance = format!("redis-{name}");
            let spec =
                InstanceSpec { account_id: fleet.account, ..InstanceSpec::new(&instance, "cn-beijing") };
            self.cloud.put_instance(spec).unwrap();
            policy(name, &over);
        }
        let shape = Malformed::WrongTypes;
        let answers =
            FaultSpec::new(Effect::Malformed { shape, status: 200 }).on_instance("redis-bad-answers");
        self.cloud.place_fault(answers).unwrap();
        for (number, over) in bad_records().into_iter().enumerate() {
            let spec = BackupSpec::new(format!("b-bad-{number}"), "redis-bad-backups", 60.0);
            let overrides = over.as_object().unwrap().clone();
            self.cloud.put_backup(BackupSpec { account_id: fleet.account, overrides, ..spec }).unwrap();
        }
        let accounts = format!("{}/cloudaccounts", fleet.collection(0).rsplit_once('/').unwrap().0);
        for (name, value) in bad_secrets() {
            let name = format!("bad-secret-{name}");
            let value = STANDARD.encode(value);
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                "data": {"accessKeyId": value, "secretAccessKey": value, "sessionToken": value},
            });
            self.api.create(&format!("/api/v1/namespaces/{home}/secrets"), secret);
            self.api.create(&accounts, account(&name, json!({})));
            policy(&name, &json!({"spec": {"accountRef": {"kind": "CloudAccount", "name": name}}}));
        }
        self.api.create(
            &accounts,
            account("bad-account", json!({"provider": "Acme\u{0}", "requestBudget": "all"})),
        );
        policy(
            "bad-account",
            &json!({"spec": {"accountRef": {"kind": "CloudAccount", "name": "bad-account"}}}),
        );
    }
}

fn account(name: &str, over: Value) -> Value {
    let mut object = json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CloudAccount", "metadata": {"name": name},
        "spec": {
            "provider": "Volcengine", "credentials": {"secretRef": {"name": name}},
            "requestTimeout": "10s", "suspend": false,
        },
    });
    object["spec"].as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    object
}

/// Returns bad records of backups, for the listing that the healthy fleet shares.
fn bad_records() -> Vec<Value> {
    vec![
        json!({"StartTime": "-009999-01-02T01:59:59Z", "EndTime": "9999-12-30T22:00:00Z"}),
        json!({"BackupPointId": "b\u{0}\u{1b}[31m", "BackupPointName": "n".repeat(100_000), "Status": "\u{7}"}),
        json!({"BackupPointId": null, "Status": null, "Size": -1, "TTL": i64::MAX}),
        json!({"BackupPointId": 7, "StartTime": 7, "Status": {"a": [1]}, "TargetRegion": "r".repeat(10_000)}),
    ]
}

async fn figures(with_bad: bool) -> Measurements {
    let mut cluster = TestCluster::new();
    cluster.install_in_sync(&[FLEET]).await;
    if with_bad {
        cluster.add_bad_resources(&FLEET);
    }
    cluster.start(cluster.clock.now());
    sleep(INTERVAL).await;
    cluster.clear_records();
    let start = Instant::now();
    let mut changes = Vec::new();
    for number in 0..CHANGES {
        changes.push(cluster.retarget(&FLEET, 6 * number, OTHER_TARGET));
        sleep(INTERVALS * INTERVAL / CHANGES as u32).await;
    }
    let healthy = |instance: &str| !instance.contains("bad");
    let mut calls = BTreeMap::new();
    for call in cluster.calls_of(&FLEET, start).into_iter().filter(|call| healthy(&call.instance)) {
        *calls.entry(format!("{} {}", call.action, call.instance)).or_default() += 1;
    }
    let (bad, written): (Vec<_>, Vec<_>) =
        cluster.status_writes().into_iter().partition(|w| w.name.contains("bad"));
    if with_bad {
        let count = bad_policies().len() + 2 * bad_secrets().len() + 2;
        let most = count * MAX_COST_PER_BAD_RESOURCE * INTERVALS as usize;
        let seen = cluster.api.seen().into_iter().filter(|seen| seen.name.contains("bad")).count();
        assert!(seen <= most, "{seen} requests to the API server: {:?}", cluster.api.counts());
        let mut asked = BTreeMap::<String, usize>::new();
        for call in cluster.arrivals.since(start) {
            if !healthy(&call.instance) || call.key != FLEET.key() {
                *asked.entry(format!("{} {} {}", call.key, call.action, call.instance)).or_default() += 1;
            }
        }
        assert!(asked.values().sum::<usize>() <= most, "calls of the cloud: {asked:#?}");
        assert!(bad.len() <= count, "{} statuses are written at rest", bad.len());
        all_are_reported(&cluster);
    }
    Measurements {
        calls,
        to_cloud: cluster.delays_to_cloud(&changes),
        to_ready: cluster.delays_to_ready(&changes),
        written: written.len(),
    }
}

/// Checks that each bad policy reports its problem, or is as good as it can be.
fn all_are_reported(cluster: &TestCluster) {
    let names = bad_policies().into_keys().map(str::to_owned);
    let names = names.chain(bad_secrets().into_keys().map(|name| format!("bad-secret-{name}")));
    let mut reasons = BTreeMap::new();
    for name in names.chain(["bad-account".to_owned()]) {
        let policy = cluster.api.get(&format!("{}/{name}", FLEET.collection(0)));
        let conditions = policy["status"]["conditions"].as_array().unwrap_or_else(|| panic!("{policy:#}"));
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
        reasons.insert(name, ready["reason"].as_str().unwrap().to_owned());
    }
    let expected = [
        ("bad-account", "AccountNotReady"),
        ("bad-answers", "CloudUnavailable"),
        ("bad-backups", "InSync"),
        ("bad-durations", "InSync"),
        ("bad-numbers", "InSync"),
        ("bad-secret-action", "CredentialsRejected"),
        ("bad-secret-bytes", "CredentialsMissing"),
        ("bad-secret-empty", "CredentialsMissing"),
        ("bad-secret-large", "CredentialsMissing"),
        ("bad-secret-lines", "CredentialsMissing"),
        ("bad-secret-region", "CredentialsRejected"),
        ("bad-spec", "InvalidRequest"),
        ("bad-status-list", "InvalidRequest"),
        ("bad-status-text", "InvalidRequest"),
        ("bad-word", "InvalidRequest"),
    ];
    assert_eq!(reasons, expected.map(|(name, reason)| (name.to_owned(), reason.to_owned())).into());
}

#[tokio::test(start_paused = true)]
async fn bad_neighbours_change_neither_calls_nor_latencies_of_a_healthy_fleet() {
    let (alone, beside) = (figures(false).await, figures(true).await);
    let listing = format!("{BACKUPS} ");
    for (what, count) in &alone.calls {
        let now = beside.calls.get(what).copied().unwrap_or_default();
        // One more page per listing, for the backups of the bad instances.
        let more = if *what == listing { INTERVALS as usize + 1 } else { 1 };
        assert!(now.abs_diff(*count) <= more, "{what}: {count} alone, {now} beside bad ones");
    }
    let made = |calls: &BTreeMap<String, usize>, action: &str| -> usize {
        calls.iter().filter(|(what, _)| what.starts_with(action)).map(|(_, count)| count).sum()
    };
    assert_eq!(made(&beside.calls, MODIFY), CHANGES);
    assert!(made(&alone.calls, DESCRIBE) >= FLEET.policies * INTERVALS as usize);
    assert!(made(&beside.calls, DESCRIBE).abs_diff(made(&alone.calls, DESCRIBE)) <= CHANGES);
    assert_eq!(beside.written, alone.written);
    for (was, is) in [(&alone.to_cloud, &beside.to_cloud), (&alone.to_ready, &beside.to_ready)] {
        let (was, is) = (was.percentile(100), is.percentile(100));
        assert!(is <= was + Duration::from_millis(100), "{was:?} alone, {is:?} beside bad ones");
    }
}

/// The year -1, which Kubernetes serialises so that nothing can parse it.
const YEAR_MINUS_1: &str = "0000-01-01T00:00:00+14:00";
const YEAR_9999: &str = "9999-12-30T22:00:00Z";

/// Returns foreign values of a status of this kind, as merge patches.
fn foreign_statuses(kind: &str) -> Vec<Value> {
    let condition = |kind: &str, status: &str, time: &str| {
        let message = "m".repeat(30_000);
        json!({"type": kind, "status": status, "reason": "Foreign", "message": message, "lastTransitionTime": time})
    };
    let foreign: Vec<_> =
        (0..500).map(|n| condition(&format!("Foreign{n}"), "True", "2026-11-01T00:00:00Z")).collect();
    let mut all = vec![
        json!({"conditions": foreign}),
        json!({"conditions": []}),
        json!({"conditions": [condition("Ready", "Maybe", YEAR_MINUS_1), condition("Stalled", "True", YEAR_9999)]}),
        json!({"conditions": [condition("Ready", "True", "2016-12-31t23:59:60z")]}),
        json!({"conditions": "by hand"}),
        json!({"observedGeneration": i64::MAX}),
        json!({"observedGeneration": "one"}),
        json!({"observedGeneration": null}),
        json!({"lastHandledReconcileAt": "é".repeat(100_000)}),
    ];
    let item = |time: &str| json!({"backupPointId": "by-hand", "instanceId": "by-hand", "status": "", "startTime": time});
    all.extend(match kind {
        "CrossRegionBackupPolicy" => vec![
            json!({"syncedGeneration": i64::MAX, "protectedSince": YEAR_MINUS_1}),
            json!({"protectedSince": YEAR_9999, "policy": {"active": false, "ttlDays": i64::MIN}}),
            json!({"recoveryPoint": {"time": YEAR_9999, "backupPointId": "by-hand"}}),
            json!({"recoveryPoint": {"time": YEAR_MINUS_1, "backupPointId": "by-hand"}}),
            json!({"drift": {"corrections": i64::MIN, "lastTime": YEAR_MINUS_1, "recent": vec![YEAR_MINUS_1; 5000]}}),
            json!({"drift": {"corrections": 0, "recent": vec![YEAR_9999; 5000]}}),
            json!({"lastModification": {"time": YEAR_MINUS_1, "from": {"active": true}, "to": {"active": false}, "cause": "Drift"}}),
            json!({"lastModification": {"time": YEAR_9999, "from": 7, "to": [], "cause": "ByHand"}}),
            json!({"backups": {"total": i64::MIN, "byStatus": {"": i64::MAX}, "items": vec![item(YEAR_MINUS_1); 2000]}}),
            json!({"backups": {"total": i64::MAX, "byStatus": {}, "items": [item("9999-12-31T23:59:59Z")]}}),
            json!({"modifyRefused": {"time": YEAR_MINUS_1, "code": ""}}),
            json!({"backups": null, "policy": null, "instance": {"name": "n".repeat(100_000)}}),
        ],
        "BackupInventory" => vec![
            json!({"total": i64::MIN, "totalSizeBytes": -1, "totalSize": "much", "byStatus": {"": -1}}),
            json!({"newest": {"time": YEAR_MINUS_1, "backupPointId": "", "instanceId": ""}}),
            json!({"items": vec![item(YEAR_MINUS_1); 2000], "backupsOf": "ByHand"}),
            json!({"items": null, "instances": [{"instanceId": "", "total": 0, "newestBackup": YEAR_MINUS_1}]}),
            json!({"unprotected": {"total": -1, "items": [], "unsupported": 0, "unknown": 0, "asOf": YEAR_MINUS_1}}),
            json!({"truncated": "by hand"}),
        ],
        _ => vec![json!({"accessKeyIdHint": "by hand"}), json!({"accessKeyIdHint": 7})],
    });
    all
}

/// Removes transition times, and what only an earlier status determines.
fn without_history(mut status: Value) -> Value {
    let members = status.as_object_mut().unwrap();
    members.remove("lastHandledReconcileAt");
    members.remove("syncedGeneration");
    if members.get("protectedSince").is_some_and(|time| ![YEAR_MINUS_1, YEAR_9999].iter().any(|t| time == t))
    {
        members.insert("protectedSince".to_owned(), json!("some time"));
    }
    if let Some(unprotected) = members.get_mut("unprotected") {
        unprotected["asOf"] = Value::Null;
    }
    for condition in members["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = Value::Null;
    }
    status
}

#[tokio::test(start_paused = true)]
async fn a_status_that_somebody_spoiled_is_repaired_on_every_kind() {
    const FLEET: Fleet = Fleet { backups: 3, in_sync: true, ..Fleet::DEFAULT };
    let mut cluster = TestCluster::new();
    cluster.install(&FLEET);
    cluster.create(&FLEET, 0..1);
    let namespace = FLEET.collection(0).rsplit_once('/').unwrap().0.to_owned();
    let mut shared = FLEET.account_manifest(true);
    shared["metadata"]["name"] = json!("shared");
    let shared_accounts = format!("{}/clustercloudaccounts", crate::harness::fleet::API);
    cluster.api.create(&shared_accounts, shared);
    let secret =
        cluster.api.get(&format!("/api/v1/namespaces/{}/secrets/{}", FLEET.namespace(0), FLEET.name));
    let own = format!("/api/v1/namespaces/{}/secrets", crate::harness::OWN_NAMESPACE);
    cluster.api.create(
        &own,
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": FLEET.name}, "data": secret["data"]}),
    );
    let inventory = json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "BackupInventory", "metadata": {"name": "all"},
        "spec": {
            "accountRef": {"kind": "CloudAccount", "name": FLEET.name}, "region": "cn-beijing", "scope": "Account",
            "includeDetails": false, "limit": 50, "refreshInterval": "10m", "suspend": false,
        },
    });
    cluster.api.create(&format!("{namespace}/backupinventories"), inventory);
    cluster.start(cluster.clock.now());
    sleep(INTERVAL).await;
    let mut left = Vec::new();
    for (kind, path) in [
        ("CrossRegionBackupPolicy", FLEET.path(0)),
        ("BackupInventory", format!("{namespace}/backupinventories/all")),
        ("CloudAccount", format!("{namespace}/cloudaccounts/{}", FLEET.name)),
        ("ClusterCloudAccount", format!("{shared_accounts}/shared")),
    ] {
        let before = without_history(cluster.api.get(&path)["status"].clone());
        assert_eq!(before["conditions"][0]["status"], "True", "{kind}: {before:#}");
        for foreign_status in foreign_statuses(kind) {
            let shown =
                format!("{kind} {}", foreign_status.to_string().chars().take(150).collect::<String>());
            for restarts in [false, true] {
                if restarts {
                    cluster.stop().await;
                }
                cluster.api.patch(&format!("{path}/status"), &json!({"status": foreign_status}));
                if restarts {
                    cluster.start(cluster.clock.now());
                }
                sleep(2 * INTERVAL).await;
                let after = cluster.api.get(&path)["status"].clone();
                let handled = after["lastHandledReconcileAt"].as_str().map_or(0, str::len);
                let after = without_history(after);
                let members = before.as_object().unwrap().keys().chain(after.as_object().unwrap().keys());
                let differ: BTreeMap<_, _> = members
                    .filter(|name| before[name.as_str()] != after[name.as_str()])
                    .map(|name| {
                        (name.clone(), after[name.as_str()].to_string().chars().take(300).collect::<String>())
                    })
                    .collect();
                if !differ.is_empty() || handled > 71 {
                    left.push(format!("{shown}, restarts: {restarts}: {differ:?}, {handled}"));
                    // Restores the status for the other cases.
                    cluster.api.patch(&format!("{path}/status"), &json!({"status": null}));
                    cluster.stop().await;
                    cluster.start(cluster.clock.now());
                    sleep(2 * INTERVAL).await;
                }
            }
        }
    }
    assert!(left.is_empty(), "{} are not repaired:\n{}", left.len(), left.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn a_long_request_is_handled_once_on_every_kind_also_where_status_has_it_whole() {
    const FLEET: Fleet = Fleet { backups: 3, in_sync: true, ..Fleet::DEFAULT };
    let mut cluster = TestCluster::new();
    cluster.install(&FLEET);
    cluster.create(&FLEET, 0..1);
    let namespace = FLEET.collection(0).rsplit_once('/').unwrap().0.to_owned();
    let inventory = json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "BackupInventory", "metadata": {"name": "one"},
        "spec": {
            "accountRef": {"kind": "CloudAccount", "name": FLEET.name}, "region": "cn-beijing", "scope": "Instance",
            "instanceId": FLEET.instance(0), "includeDetails": false, "limit": 50, "refreshInterval": "10m", "suspend": false,
        },
    });
    cluster.api.create(&format!("{namespace}/backupinventories"), inventory);
    let paths = [
        FLEET.path(0),
        format!("{namespace}/backupinventories/one"),
        format!("{namespace}/cloudaccounts/{}", FLEET.name),
    ];
    cluster.start(cluster.clock.now());
    sleep(INTERVAL).await;
    let value = "now ".repeat(60_000);
    let hashed = cross_region_backup_operator::api::handled_value(&value);
    for path in &paths {
        let annotations = json!({"crossregionbackup.io/reconcile-requested-at": value});
        cluster.api.patch(path, &json!({"metadata": {"annotations": annotations}}));
    }
    for is_upgrade in [false, true] {
        if is_upgrade {
            cluster.stop().await;
            for path in &paths {
                let status = json!({"lastHandledReconcileAt": value});
                cluster.api.patch(&format!("{path}/status"), &json!({"status": status}));
            }
            cluster.start(cluster.clock.now());
        }
        sleep(Duration::from_secs(60)).await;
        for path in &paths {
            let handled = &cluster.api.get(path)["status"]["lastHandledReconcileAt"];
            assert!(*handled == hashed, "{path}: {:.100}", handled.to_string());
        }
        cluster.clear_records();
        let begin = Instant::now();
        sleep(2 * INTERVAL).await;
        let calls = cluster.calls_of(&FLEET, begin);
        let looks = calls.iter().filter(|call| call.action == DESCRIBE).count();
        assert!((1..=3).contains(&looks) && calls.len() <= 12, "{looks} looks, {} calls", calls.len());
        assert_eq!(cluster.status_writes().len(), 0);
    }
}
