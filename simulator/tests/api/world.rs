//! Changes of the simulated state over time, which happen only where a test configures them.

use cloud_simulator::{BackupSpec, Cadence, InstanceSpec, Policy, Simulator};
use serde_json::{Value, json};

use crate::client::{BACKUPS, ID, ask, backup, cloud, describe, enable, pass};

const DAY: f64 = 86_400.0;

async fn statuses(simulator: &Simulator) -> Vec<String> {
    let told = ask(simulator, BACKUPS, json!({ "InstanceId": ID })).await;
    let items = told.result()["Backups"].as_array().unwrap();
    items.iter().map(|item| item["Status"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn nothing_changes_unless_told() {
    let simulator = cloud();
    simulator.set_policy(ID, Policy::to_region("cn-shanghai")).unwrap();
    simulator.put_backup(backup("b-1", 0.0)).unwrap();
    simulator.put_backup(BackupSpec { status: "Creating".into(), ..backup("b-2", 5.0) }).unwrap();
    let before = (describe(&simulator).await, simulator.backups());
    pass(30.0 * DAY).await;
    assert_eq!((describe(&simulator).await, simulator.backups()), before);
}

#[tokio::test(start_paused = true)]
async fn a_modify_can_be_seen_late_or_never() {
    let simulator = cloud();
    simulator.patch_instance(ID, json!({ "visibility": { "afterSeconds": 5 } })).unwrap();
    enable(&simulator, "cn-shanghai", "one").await.result();
    assert_eq!(describe(&simulator).await["Active"], false);
    assert_eq!(simulator.policy(ID).unwrap().pending, [Policy::to_region("cn-shanghai")]);
    pass(2.0).await;
    enable(&simulator, "cn-guangzhou", "two").await.result();
    pass(3.0).await;
    assert_eq!(describe(&simulator).await["CrossBackupRegion"], "cn-shanghai");
    pass(2.0).await;
    assert_eq!(describe(&simulator).await["CrossBackupRegion"], "cn-guangzhou");

    simulator.patch_instance(ID, json!({ "visibility": "never" })).unwrap();
    enable(&simulator, "cn-shanghai", "three").await.result();
    pass(DAY).await;
    assert_eq!(describe(&simulator).await["CrossBackupRegion"], "cn-guangzhou");
    assert_eq!(simulator.counters().modifies_applied, 3);
}

#[tokio::test(start_paused = true)]
async fn a_drift_drops_what_was_on_its_way() {
    let simulator = cloud();
    simulator.patch_instance(ID, json!({ "visibility": { "afterSeconds": 5 } })).unwrap();
    enable(&simulator, "cn-shanghai", "one").await.result();
    simulator.set_policy(ID, Policy::to_region("cn-guangzhou")).unwrap();
    pass(10.0).await;
    assert_eq!(describe(&simulator).await["CrossBackupRegion"], "cn-guangzhou");
    simulator.patch_instance(ID, json!({ "policy": { "active": false } })).unwrap();
    assert_eq!(describe(&simulator).await["Active"], false);
}

#[tokio::test(start_paused = true)]
async fn a_backup_can_live_and_expire() {
    let simulator = cloud();
    simulator
        .put_backup(BackupSpec {
            hidden_until_start: true,
            available_after_seconds: Some(30.0),
            expires: true,
            ttl: 1,
            deleting_seconds: 60.0,
            ..backup("b-1", -10.0)
        })
        .unwrap();
    assert_eq!(statuses(&simulator).await, [""; 0]);
    pass(10.0).await;
    assert_eq!(statuses(&simulator).await, ["Creating"]);
    let told = ask(&simulator, BACKUPS, json!({ "InstanceId": ID })).await;
    assert_eq!(told.result()["Backups"][0].get("EndTime"), None);
    pass(30.0).await;
    assert_eq!(statuses(&simulator).await, ["Available"]);
    let told = ask(&simulator, BACKUPS, json!({ "InstanceId": ID })).await;
    assert_eq!(told.result()["Backups"][0]["EndTime"], "2026-01-02T03:04:45Z");
    pass(DAY - 30.0).await;
    assert_eq!(statuses(&simulator).await, ["Deleting"]);
    pass(60.0).await;
    assert_eq!(statuses(&simulator).await, [""; 0]);
    assert!(simulator.remove_backup("b-1").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_cadence_makes_backups_while_the_policy_is_active() {
    let simulator = cloud();
    let mut spec = InstanceSpec::new(ID, "cn-beijing");
    spec.cadence = Some(Cadence { every_seconds: 3600, creating_seconds: 60.0, deleting_seconds: 0.0 });
    simulator.put_instance(spec).unwrap();
    pass(DAY).await;
    assert!(simulator.backups().is_empty());
    enable(&simulator, "cn-guangzhou", "one").await.result();
    pass(3600.0).await;
    assert_eq!(statuses(&simulator).await, ["Creating"]);
    pass(3660.0).await;
    assert_eq!(statuses(&simulator).await, ["Available", "Available"]);
    assert_eq!(simulator.backups()[0].spec.target_region, "cn-guangzhou");
    simulator.set_policy(ID, Policy::default()).unwrap();
    pass(3.0 * 3600.0).await;
    assert_eq!(simulator.backups().len(), 2);
    pass(8.0 * DAY).await;
    assert!(simulator.backups().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_does_not_flood_the_world() {
    let simulator = cloud();
    let cadence = json!({ "everySeconds": 1 });
    simulator.patch_instance(ID, json!({ "cadence": cadence, "policy": { "active": true } })).unwrap();
    pass(365.0 * DAY).await;
    let count = simulator.backups().len();
    assert!((10_000..=10_001).contains(&count), "{count}");
}

#[tokio::test(start_paused = true)]
async fn a_patch_touches_nothing_else() {
    let simulator = cloud();
    simulator.patch_instance(ID, json!({ "cadence": { "everySeconds": 10 } })).unwrap();
    let spec = simulator.patch_instance(ID, json!({ "status": "Scaling", "cadence": null })).unwrap();
    assert_eq!(spec, InstanceSpec { status: "Scaling".into(), ..InstanceSpec::new(ID, "cn-beijing") });
    assert!(simulator.patch_instance(ID, json!({ "colour": "red" })).is_err());
    assert!(simulator.patch_instance(ID, Value::Null).is_err());
    assert!(simulator.patch_instance("redis-nowhere", json!({})).is_err());

    simulator.put_backup(backup("b-1", 100.0)).unwrap();
    simulator.patch_backup("b-1", json!({ "ageSeconds": 5000 })).unwrap();
    let view = &simulator.backups()[0];
    let start = view.spec.start_time.unwrap();
    assert_eq!(simulator.now().duration_since(start).as_secs(), 5000);
    assert_eq!(view.end_time.unwrap().duration_since(start).as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_backup_can_change_its_instance() {
    let simulator = cloud();
    simulator.put_instance(InstanceSpec::new("redis-2", "cn-beijing")).unwrap();
    simulator.put_backup(backup("b-1", 10.0)).unwrap();
    simulator.patch_backup("b-1", json!({ "instanceId": "redis-2" })).unwrap();
    assert_eq!(statuses(&simulator).await, [""; 0]);
    let told = ask(&simulator, BACKUPS, json!({ "InstanceId": "redis-2" })).await;
    assert_eq!(told.result()["Total"], 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_due_is_forgotten_with_its_backup() {
    let simulator = cloud();
    let hidden = |id| BackupSpec { hidden_until_start: true, ..backup(id, -10.0) };
    let brief = |id| BackupSpec { expires: true, ttl: 1, ..backup(id, 0.0) };
    for spec in [hidden("b-1"), hidden("b-2"), brief("b-3"), brief("b-4")] {
        simulator.put_backup(spec).unwrap();
    }
    simulator.remove_backup("b-1").unwrap();
    simulator.patch_backup("b-2", json!({ "ageSeconds": -5000 })).unwrap();
    simulator.patch_backup("b-3", json!({ "expires": false })).unwrap();
    let ids =
        || simulator.backups().into_iter().map(|backup| backup.spec.backup_point_id).collect::<Vec<_>>();
    pass(60.0).await;
    assert_eq!(ids(), ["b-3", "b-4"]);
    pass(DAY).await;
    assert_eq!(ids(), ["b-2", "b-3"]);
}
