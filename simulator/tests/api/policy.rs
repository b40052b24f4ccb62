//! An instance's policy: Describe, Modify, and the refusals.

use cloud_simulator::{InactiveShape, InstanceSpec, KeySpec, Policy, Settings, Simulator};
use serde_json::{Value, json};

use crate::client::{Ask, DESCRIBE, ID, MODIFY, ask, cloud, describe, enable};

#[tokio::test(start_paused = true)]
async fn a_modify_is_seen_at_once() {
    let simulator = cloud();
    assert_eq!(describe(&simulator).await["Active"], false);
    assert_eq!(enable(&simulator, "cn-shanghai", "one").await.result(), &Value::Null);
    let active = json!({ "InstanceId": ID, "Active": true, "CrossBackupRegion": "cn-shanghai", "TTL": 7 });
    assert_eq!(describe(&simulator).await, active);
    let off = json!({ "InstanceId": ID, "Active": false, "CrossBackupRegion": "nowhere" });
    assert_eq!(ask(&simulator, MODIFY, off).await.result(), &Value::Null);
    assert_eq!(describe(&simulator).await["Active"], false);
    assert_eq!(simulator.counters().modifies_applied, 2);
}

#[tokio::test(start_paused = true)]
async fn an_inactive_policy_has_three_shapes() {
    let simulator = cloud();
    for (shape, shown) in [
        ("absent", json!({ "InstanceId": ID, "Active": false })),
        ("empty", json!({ "InstanceId": ID, "Active": false, "CrossBackupRegion": "", "TTL": 0 })),
        ("last", json!({ "InstanceId": ID, "Active": false, "CrossBackupRegion": "cn-shanghai", "TTL": 9 })),
    ] {
        simulator.patch_instance(ID, json!({ "inactiveShape": shape })).unwrap();
        let policy = Policy { active: false, region: "cn-shanghai".into(), ttl: 9 };
        simulator.set_policy(ID, policy).unwrap();
        assert_eq!(describe(&simulator).await, shown);
    }
    assert_eq!(simulator.instance(ID).unwrap().inactive_shape, InactiveShape::Last);
}

#[tokio::test(start_paused = true)]
async fn modify_checks_its_parameters() {
    let simulator = cloud();
    let long = "x".repeat(128);
    for (body, error) in [
        (json!({ "Active": true }), "MissingParameter"),
        (json!({ "InstanceId": null, "Active": true }), "MissingParameter"),
        (json!({ "InstanceId": 5, "Active": true }), "ParamError"),
        (json!({ "InstanceId": ID }), "MissingParameter"),
        (json!({ "InstanceId": ID, "Active": null }), "MissingParameter"),
        (json!({ "InstanceId": ID, "Active": "true" }), "ParamError"),
        (json!({ "InstanceId": ID, "Active": true }), "MissingParameter"),
        (json!({ "InstanceId": ID, "Active": true, "CrossBackupRegion": "" }), "MissingParameter"),
        (json!({ "InstanceId": ID, "Active": true, "CrossBackupRegion": "cn-mars" }), "InvalidRegion"),
        (json!({ "InstanceId": ID, "Active": true, "CrossBackupRegion": "cn-beijing" }), "InvalidRegion"),
        (json!({ "InstanceId": ID, "Active": false, "ClientToken": long }), "ParamError"),
        (json!({ "InstanceId": ID, "Active": false, "ClientToken": "é" }), "ParamError"),
        (json!({ "InstanceId": "redis-other", "Active": false }), "InstanceNotExist"),
        (json!([ID]), "ParamError"),
    ] {
        let told = ask(&simulator, MODIFY, body.clone()).await;
        assert_eq!(told.error(), (400, error), "{body}");
    }
    assert_eq!(simulator.counters().modifies_applied, 0);
    let mut broken = Ask::new(&simulator, MODIFY, Value::Null);
    broken.body = "{".into();
    assert_eq!(broken.send(&simulator).await.error(), (400, "ParamError"));
    let token = "x".repeat(127);
    let body = json!({ "InstanceId": ID, "Active": false, "ClientToken": token, "TagFilters": null });
    ask(&simulator, MODIFY, body).await.result();
}

#[tokio::test(start_paused = true)]
async fn an_instance_must_be_fit_for_a_modify() {
    let simulator = cloud();
    simulator.patch_instance(ID, json!({ "status": "Scaling" })).unwrap();
    let told = enable(&simulator, "cn-shanghai", "one").await;
    assert_eq!(told.error(), (400, "InstanceStatusNotMatch"));
    assert_eq!(describe(&simulator).await["Active"], false);
    simulator.patch_instance(ID, json!({ "class": "Standalone", "status": "Running" })).unwrap();
    let told = enable(&simulator, "cn-shanghai", "two").await;
    assert_eq!(told.error(), (400, "InvalidOperator"));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_for_one_effect() {
    let simulator = cloud();
    enable(&simulator, "cn-shanghai", "one").await.result();
    simulator.set_policy(ID, Policy::default()).unwrap();
    enable(&simulator, "cn-shanghai", "one").await.result();
    assert_eq!(describe(&simulator).await["Active"], false);
    let counters = simulator.counters();
    assert_eq!((counters.modifies_applied, counters.modifies_replayed), (1, 1));

    let other = enable(&simulator, "cn-guangzhou", "one").await;
    assert_eq!(other.error(), (400, "ParamError"));
    enable(&simulator, "cn-guangzhou", "ONE").await.result();
    assert_eq!(describe(&simulator).await["CrossBackupRegion"], "cn-guangzhou");
}

#[tokio::test(start_paused = true)]
async fn a_token_remembers_a_refusal_too() {
    let simulator = cloud();
    simulator.patch_instance(ID, json!({ "status": "Scaling" })).unwrap();
    enable(&simulator, "cn-shanghai", "one").await.error();
    simulator.patch_instance(ID, json!({ "status": "Running" })).unwrap();
    let again = enable(&simulator, "cn-shanghai", "one").await;
    assert_eq!(again.error(), (400, "InstanceStatusNotMatch"));
    enable(&simulator, "cn-shanghai", "two").await.result();
}

fn stranger(simulator: &Simulator) {
    let mut key = KeySpec::new("AKLTStranger", "secret");
    key.account_id = 2_100_000_001;
    simulator.put_key(key).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_instance_lives_in_one_region_of_one_account() {
    let simulator = cloud();
    stranger(&simulator);
    for action in [DESCRIBE, "DescribeAvailableCrossRegion"] {
        let here = Ask::new(&simulator, action, json!({ "InstanceId": ID }));
        here.send(&simulator).await.result();
        let elsewhere = here.clone().region("cn-shanghai").send(&simulator).await;
        assert_eq!(elsewhere.error(), (400, "InstanceNotExist"));
        assert_eq!(elsewhere.json["ResponseMetadata"]["Region"], "cn-shanghai");
        let mut other = here;
        other.key = "AKLTStranger".into();
        other.secret = "secret".into();
        assert_eq!(other.send(&simulator).await.error(), (400, "InstanceNotExist"));
    }
    simulator.remove_instance(ID).unwrap();
    let gone = ask(&simulator, DESCRIBE, json!({ "InstanceId": ID })).await;
    assert_eq!(gone.error(), (400, "InstanceNotExist"));
}

#[tokio::test(start_paused = true)]
async fn available_regions_are_the_instances_own() {
    let simulator = cloud();
    let mut spec = InstanceSpec::new("redis-2", "cn-beijing");
    spec.available_regions = vec!["cn-hongkong".into()];
    simulator.put_instance(spec).unwrap();
    let told = ask(&simulator, "DescribeAvailableCrossRegion", json!({ "InstanceId": "redis-2" })).await;
    assert_eq!(told.result(), &json!({ "TargetRegionIds": ["cn-hongkong"] }));
    let missing = ask(&simulator, "DescribeAvailableCrossRegion", json!({})).await;
    assert_eq!(missing.error(), (400, "MissingParameter"));
}

#[tokio::test(start_paused = true)]
async fn answers_can_hold_what_no_client_knows() {
    let simulator = cloud();
    simulator.set_settings(Settings { quirks: true, ..Settings::default() });
    assert!(describe(&simulator).await["FutureField"].is_object());
    simulator.patch_instance(ID, json!({ "policyOverrides": { "TTL": null, "Active": "yes" } })).unwrap();
    let odd = describe(&simulator).await;
    assert_eq!((&odd["TTL"], &odd["Active"]), (&Value::Null, &json!("yes")));
}
