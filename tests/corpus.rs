//! Runs every fuzz target over its corpus, and over random mutations of it.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use targets::{TARGETS, mutate};

/// Returns the inputs of a target, with their paths.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Runs a target over its corpus and `changes` mutations of it: as many as take a few seconds.
fn runs(name: &str, changes: u64) {
    let (_, target) = TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let corpus = corpus(name);
    assert!(!corpus.is_empty());
    for (path, input) in &corpus {
        assert!(catch_unwind(|| target(input)).is_ok(), "{}", path.display());
    }
    for seed in 0..changes {
        let (path, input) = &corpus[seed as usize % corpus.len()];
        let input = mutate(input, seed);
        if catch_unwind(|| target(&input)).is_err() {
            let kept = std::env::temp_dir().join(format!("bad-input-{name}-{seed}"));
            std::fs::write(&kept, &input).unwrap();
            panic!("{} with seed {seed}: for the corpus, {}", path.display(), kept.display());
        }
    }
}

#[test]
fn answers() {
    runs("answers", 500);
}

#[test]
fn objects() {
    runs("objects", 2000);
}

/// Objects of the corpus that can be read, and have what their kind may have.
const COMPLETE_OBJECTS: [&str; 4] = ["account", "cluster-account", "inventory", "policy-with-status"];

/// Returns values at the limits of a field of this type, and beyond them.
fn extremes(of: &Value) -> Vec<Value> {
    let texts =
        ["", "\u{0}", "True", "Maybe", "sha256:", "999999h999999h999999h", "0s", "-1", "InSync", "Drift"];
    let times = [
        "0000-01-01T00:00:00+14:00",
        "0000-01-01T00:00:00Z",
        "-009999-01-02T01:59:59Z",
        "-001-12-31T10:00:00Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00Z",
        "2016-12-31T23:59:60Z",
        "2026-11-01t00:00:00,123456789012345678z",
        "2026-11-01T00:00:00.5+24:60",
        "9999-12-30T22:00:00Z",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-14:00",
    ];
    let numbers = [
        json!(i64::MIN),
        json!(-1),
        json!(0),
        json!(i32::MAX),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e300),
    ];
    let deep = (0..100).fold(json!("deep"), |inner, _| json!([inner]));
    let others = [
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!([null]),
        json!("\u{10ffff}".repeat(2000)),
        deep,
    ];
    let texts = texts.into_iter().chain(times).map(Value::from);
    match of["type"].as_str() {
        Some("integer") => numbers.into_iter().chain(others).collect(),
        Some("object" | "array" | "boolean") => others.to_vec(),
        _ => texts.chain(others).collect(),
    }
}

/// Visits every field of a schema with its JSON pointer; of a list, the first item.
fn fields(schema: &Value, pointer: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(pointer, schema);
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        fields(member, &format!("{pointer}/{name}"), visit);
    }
    for (part, name) in [("items", "0"), ("additionalProperties", "key")] {
        if schema[part].is_object() {
            fields(&schema[part], &format!("{pointer}/{name}"), visit);
        }
    }
}

/// Sets the value at a JSON pointer, and creates missing parents. Returns `None` if a parent is something else.
fn put(object: &mut Value, pointer: &str, value: Value) -> Option<()> {
    let mut place = object;
    for name in pointer.split('/').skip(1) {
        if place.is_null() {
            *place = if name == "0" { json!([null]) } else { json!({}) };
        }
        place = match place {
            Value::Object(members) => members.entry(name).or_insert(Value::Null),
            Value::Array(items) => items.first_mut()?,
            _ => return None,
        };
    }
    *place = value;
    Some(())
}

#[test]
fn every_field_of_every_stored_object_at_its_extremes() {
    let (_, target) = TARGETS.into_iter().find(|(name, _)| *name == "objects").unwrap();
    let mut count = 0;
    for crd in cross_region_backup_operator::api::crds().unwrap() {
        let crd = serde_json::to_value(crd).unwrap();
        let mut schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        let metadata =
            ["name", "uid", "generateName", "labels", "annotations", "ownerReferences", "finalizers"];
        let text = |name: &str| (name.to_owned(), json!({}));
        schema["properties"]["metadata"]["properties"] =
            Value::Object(metadata.map(text).into_iter().collect());
        schema["properties"]["metadata"]["properties"]["managedFields"] =
            json!({"items": {"properties": {"time": {}, "manager": {}}}});
        for (path, input) in corpus("objects") {
            let base = serde_json::from_slice::<Value>(&input).unwrap_or_default();
            let is_whole =
                path.file_name().is_some_and(|name| COMPLETE_OBJECTS.iter().any(|whole| name == *whole));
            if !is_whole || base["kind"] != crd["spec"]["names"]["kind"] {
                continue;
            }
            fields(&schema, "", &mut |pointer, of| {
                for extreme in extremes(of) {
                    let mut object = base.clone();
                    if put(&mut object, pointer, extreme.clone()).is_some() {
                        count += 1;
                        let input = object.to_string();
                        let shown = extreme.to_string().chars().take(50).collect::<String>();
                        assert!(
                            catch_unwind(|| target(input.as_bytes())).is_ok(),
                            "{}{pointer}: {shown}",
                            path.display()
                        );
                    }
                }
            });
        }
    }
    assert!(count > 3_000, "{count}");
}

#[test]
fn secrets() {
    runs("secrets", 30);
}

#[test]
fn sts() {
    runs("sts", 300);
}

#[test]
fn texts() {
    runs("texts", 10000);
}
