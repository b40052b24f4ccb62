use serde_json::json;

use super::schema::KEYWORDS;
use super::*;

fn policy(spec: Value) -> Value {
    let mut value = json!({
        "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CrossRegionBackupPolicy",
        "metadata": {"name": "sessions", "namespace": "payments"},
        "spec": {"accountRef": {"name": "prod"}, "region": "cn-beijing", "instanceId": "redis-a1", "active": true,
                 "crossBackupRegion": "cn-shanghai"},
    });
    merge(&mut value["spec"], spec);
    value
}

/// Merges `more` into `into`; null removes a field.
fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                if value.is_null() {
                    into.remove(&name);
                } else {
                    merge(into.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (into, more) => *into = more,
    }
}

fn errors_of(value: &Value) -> Vec<String> {
    check_value(value).err().unwrap_or_default()
}

#[test]
fn defaults_are_the_schema_s() {
    let full = check_value(&policy(json!({}))).unwrap();
    assert_eq!(full["spec"]["accountRef"]["kind"], "CloudAccount");
    assert_eq!(full["spec"]["backups"]["limit"], 10);
    assert_eq!(full["spec"]["resyncInterval"], "10m");
    let with_null = {
        let mut policy = policy(json!({}));
        policy["spec"]["resyncInterval"] = Value::Null;
        policy["spec"]["recoveryPointObjective"] = Value::Null;
        policy
    };
    assert_eq!(check_value(&with_null).unwrap(), full);
}

#[test]
fn each_keyword_finds_what_it_is_for() {
    for (spec, expected) in [
        (json!({"active": "maybe"}), "spec.active: must be a boolean, and is a string"),
        (json!({"active": null}), "spec.active: is required"),
        (json!({"region": "Beijing"}), "spec.region: must match ^[a-z]{2,}(-[a-z0-9]+)+$"),
        (json!({"instanceId": "a-1"}), "spec.instanceId: must have 5 to 64 characters, and has 3"),
        (json!({"managementPolicy": "manage"}), "spec.managementPolicy: must be one of Manage, Observe"),
        (json!({"backups": {"limit": 101}}), "spec.backups.limit: must be 0 to 100"),
        (
            json!({"accountRef": {"nam": "x"}}),
            "spec.accountRef.nam: is no field of this kind; did you mean name?",
        ),
        (
            json!({"crossBackupRegion": null}),
            "spec.crossBackupRegion: crossBackupRegion is required when active is true",
        ),
        (
            json!({"crossBackupRegion": "cn-beijing"}),
            "spec.crossBackupRegion: crossBackupRegion must be different from region",
        ),
        (json!({"resyncInterval": "59s"}), "spec.resyncInterval: resyncInterval must be 1m to 24h"),
        (
            json!({"recoveryPointObjective": "8761h"}),
            "spec.recoveryPointObjective: recoveryPointObjective must be 1m to 8760h",
        ),
    ] {
        assert_eq!(errors_of(&policy(spec.clone())), [expected], "{spec}");
    }
}

#[test]
fn rules_about_changes_hold_for_what_is_stored_already() {
    let stored = policy(json!({"region": "cn-guangzhou"}));
    let field_errors = checked(&policy(json!({})), Some(&stored)).unwrap_err();
    assert_eq!(
        (field_errors[0].field.as_str(), field_errors[0].message.as_str()),
        ("spec.region", "region is immutable")
    );
    assert!(checked(&policy(json!({})), Some(&policy(json!({"active": false})))).is_ok());
}

#[test]
fn metadata_is_checked_as_the_api_server_does() {
    for (metadata, expected) in [
        (
            json!({"name": "Big"}),
            "metadata.name: must be lower-case letters, digits, - and ., and begin and end with a letter or digit",
        ),
        (json!({"name": null}), "metadata.name: is required"),
        (json!({"name": "a".repeat(64)}), "metadata.name must be at most 63 characters"),
        (json!({"lables": {}}), "metadata.lables: is no field of metadata"),
        (json!({"labels": {"a b": "c"}}), "metadata.labels.a b: is no label that Kubernetes takes"),
    ] {
        let mut value = policy(json!({}));
        merge(&mut value["metadata"], metadata.clone());
        assert_eq!(errors_of(&value), [expected], "{metadata}");
    }
    let mut generated = policy(json!({}));
    merge(&mut generated["metadata"], json!({"name": null, "generateName": "sessions-"}));
    assert!(errors_of(&generated).is_empty());
}

#[test]
fn unknown_kinds_and_versions_are_named() {
    let mut value = policy(json!({}));
    value["apiVersion"] = json!("crossregionbackup.io/v1");
    assert_eq!(errors_of(&value), ["apiVersion: must be crossregionbackup.io/v1alpha1"]);
    value["kind"] = json!("BackupPolicy");
    assert!(errors_of(&value)[0].starts_with("kind: must be one of BackupInventory, CloudAccount"));
}

#[test]
fn no_schema_of_a_spec_has_a_keyword_that_is_not_looked_at() {
    fn gather(schema: &Value, found: &mut Vec<String>) {
        found.extend(schema.as_object().into_iter().flatten().map(|(keyword, _)| keyword.clone()));
        for property in schema["properties"].as_object().into_iter().flatten().map(|(_, property)| property) {
            gather(property, found);
        }
        for below in ["items", "additionalProperties"] {
            schema.get(below).into_iter().for_each(|below| gather(below, found));
        }
    }
    for crd in api::crds().unwrap() {
        let crd = serde_json::to_value(crd).unwrap();
        let whole = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut found = Vec::new();
        gather(&whole["properties"]["spec"], &mut found);
        found.retain(|keyword| !KEYWORDS.contains(&keyword.as_str()));
        assert!(found.is_empty(), "{found:?}");
    }
}

/// Returns an object that breaks each rule, with the stored object for transition rules.
fn breakers() -> Vec<(&'static str, Value, Option<Value>)> {
    let account = |spec: Value| {
        let mut value = json!({
            "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "CloudAccount",
            "metadata": {"name": "prod", "namespace": "payments"},
            "spec": {"provider": "Volcengine", "credentials": {"secretRef": {"name": "key"}}},
        });
        merge(&mut value["spec"], spec);
        value
    };
    let shared = |spec: Value| {
        let mut value = account(json!({"allowedNamespaces": {"from": "All"}}));
        value["kind"] = json!("ClusterCloudAccount");
        merge(&mut value["spec"], spec);
        value
    };
    let inventory = |spec: Value| {
        let mut value = json!({
            "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "BackupInventory",
            "metadata": {"name": "all", "namespace": "payments"},
            "spec": {"accountRef": {"name": "prod"}, "region": "cn-beijing", "scope": "Account"},
        });
        merge(&mut value["spec"], spec);
        value
    };
    let role = "trn:iam::1:role/x";
    let long = |value: Value| {
        let mut value = value;
        value["metadata"]["name"] = json!("n".repeat(64));
        value
    };
    let identity = |more: Value| {
        let mut value =
            shared(json!({"credentials": {"secretRef": null, "workloadIdentity": {"role": role}}}));
        merge(&mut value["spec"], more);
        value
    };
    let filter = |filter: Value| inventory(json!({"filter": filter}));
    let one =
        |filter: Value| inventory(json!({"scope": "Instance", "instanceId": "redis-a1", "filter": filter}));
    let time = "2026-11-01T00:00:00Z";
    let mut all = vec![
        ("CrossRegionBackupPolicy", policy(json!({"region": "cn-guangzhou"})), Some(policy(json!({})))),
        ("CrossRegionBackupPolicy", policy(json!({"instanceId": "redis-b2"})), Some(policy(json!({})))),
        ("CrossRegionBackupPolicy", policy(json!({"crossBackupRegion": null})), None),
        ("CrossRegionBackupPolicy", policy(json!({"crossBackupRegion": "cn-beijing"})), None),
        ("CrossRegionBackupPolicy", policy(json!({"resyncInterval": "25h"})), None),
        ("CrossRegionBackupPolicy", policy(json!({"recoveryPointObjective": "1s"})), None),
        ("CrossRegionBackupPolicy", long(policy(json!({}))), None),
        ("BackupInventory", long(inventory(json!({}))), None),
        ("BackupInventory", inventory(json!({"refreshInterval": "1s"})), None),
        ("BackupInventory", inventory(json!({"scope": "Instance"})), None),
        ("BackupInventory", inventory(json!({"instanceId": "redis-a1"})), None),
        ("BackupInventory", filter(json!({"since": "1s"})), None),
        ("BackupInventory", filter(json!({"startTime": time})), None),
        ("BackupInventory", filter(json!({"startTime": time, "endTime": time})), None),
        ("BackupInventory", filter(json!({"startTime": "1969-12-31T23:59:59Z", "endTime": time})), None),
        ("BackupInventory", filter(json!({"startTime": "0000-01-01T00:00:00+14:00", "endTime": time})), None),
        ("BackupInventory", filter(json!({"startTime": time, "endTime": "9999-12-31T23:59:59-14:00"})), None),
        (
            "BackupInventory",
            filter(json!({"since": "1h", "startTime": time, "endTime": "2026-11-02T00:00:00Z"})),
            None,
        ),
        ("BackupInventory", one(json!({"backupPointName": "x"})), None),
        ("BackupInventory", one(json!({"backupPointId": "x"})), None),
        ("BackupInventory", one(json!({"projectName": "x"})), None),
        (
            "CloudAccount",
            account(json!({
                "provider": "Tencent", "credentials": {"secretRef": null, "workloadIdentity": {"role": role}},
            })),
            None,
        ),
    ];
    for (kind, of) in
        [("CloudAccount", &account as &dyn Fn(Value) -> Value), ("ClusterCloudAccount", &shared)]
    {
        all.extend([
            (kind, long(of(json!({}))), None),
            (kind, of(json!({"provider": "BytePlus"})), Some(of(json!({})))),
            (kind, of(json!({"requestTimeout": "61s"})), None),
            (kind, of(json!({"credentials": {"secretRef": null}})), None),
            (kind, of(json!({"tencent": {}})), None),
            (kind, of(json!({"provider": "Tencent", "tencent": {"timeZone": "+14:30"}})), None),
            (kind, of(json!({"endpoint": "https:/redis.{region}.x"})), None),
            (kind, of(json!({"endpoint": "http://x.{region}", "provider": "BytePlus", "assumeRole": {"role": role}})), None),
            (kind, of(json!({"assumeRole": {"role": role, "duration": "1m"}})), None),
            (kind, of(json!({"provider": "Tencent", "assumeRole": {"role": role}})), None),
        ]);
    }
    all.extend([
        ("ClusterCloudAccount", shared(json!({"allowedNamespaces": {"from": "Selector"}})), None),
        ("ClusterCloudAccount", identity(json!({"provider": "Tencent"})), None),
        (
            "ClusterCloudAccount",
            identity(json!({"credentials": {"workloadIdentity": {"providerId": "cls-1"}}})),
            None,
        ),
    ]);
    all
}

#[test]
fn each_rule_is_broken_by_something_and_holds_for_what_is_good() {
    let mut broken: Vec<(&str, String)> = Vec::new();
    for (kind, value, old) in breakers() {
        let field_errors = checked(&value, old.as_ref()).expect_err("it breaks a rule");
        let odd = |field_error: &&FieldError| field_error.message.contains("cannot be evaluated");
        assert!(!field_errors.iter().any(|field_error| odd(&field_error)), "{field_errors:?}");
        broken.extend(field_errors.into_iter().map(|field_error| (kind, field_error.rule)));
    }
    let mut missing = Vec::new();
    for kind in kinds().as_ref().unwrap() {
        for rule in kind.rules.texts() {
            if !broken.iter().any(|(of, text)| *of == kind.name && text == rule) {
                missing.push((kind.name.clone(), rule.to_owned()));
            }
        }
    }
    // The schema's pattern already refuses what these rules would.
    missing.retain(|(_, rule)| !rule.contains("startsWith('https://')"));
    assert!(missing.is_empty(), "{missing:#?}");
}
