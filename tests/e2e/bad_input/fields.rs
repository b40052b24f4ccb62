//! Test cases from a CRD's schema: every field of a spec, each with values that a user would hardly intend.

use serde_json::{Map, Value, json};

/// A manifest with one field changed.
pub struct Case {
    /// JSON path of the changed field, such as `spec.filter.statuses[0]`.
    pub path: String,
    /// Last field name in the path.
    pub field: String,
    pub manifest: Value,
}

/// Returns the schema of a CRD's spec.
pub fn schema(crd: &str) -> Value {
    let crd: Value = serde_saphyr::from_str(crd).expect("a CRD is YAML");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

/// Returns one case per field and test value, for every schema field that the manifest has or can have.
pub fn cases(schema: &Value, manifest: &Value) -> Vec<Case> {
    let mut all = Vec::new();
    walk(schema, "/spec", &mut |pointer, schema| {
        for value in values(schema) {
            let mut manifest = manifest.clone();
            let Some(place) = place(&mut manifest, pointer) else { return };
            *place = value;
            let names: Vec<_> = pointer.split('/').skip(1).collect();
            let field = names.iter().rfind(|name| name.parse::<usize>().is_err()).unwrap_or(&"spec");
            all.push(Case { path: names.join("."), field: (*field).to_owned(), manifest });
        }
    });
    all
}

fn walk(schema: &Value, pointer: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(pointer, schema);
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        walk(member, &format!("{pointer}/{name}"), visit);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], &format!("{pointer}/0"), visit);
    }
    if schema["additionalProperties"].is_object() {
        walk(&schema["additionalProperties"], &format!("{pointer}/key"), visit);
    }
}

/// Returns the value at a pointer; a missing member of an existing object is created as null.
fn place<'v>(manifest: &'v mut Value, pointer: &str) -> Option<&'v mut Value> {
    let (parent, name) = pointer.rsplit_once('/')?;
    match manifest.pointer_mut(parent)? {
        Value::Object(members) => Some(members.entry(name).or_insert(Value::Null)),
        Value::Array(items) => items.first_mut(),
        _ => None,
    }
}

fn values(schema: &Value) -> Vec<Value> {
    // Values of every JSON type; only one type is the field's own.
    let mut all = vec![
        json!(true),
        json!(7),
        json!(-1),
        json!(0.5),
        json!(i64::MAX),
        json!("text"),
        json!([]),
        json!([{"a": 1}]),
        json!({}),
        json!({"a": "b"}),
    ];
    match schema["type"].as_str() {
        Some("string") => all.extend(texts(schema)),
        Some("integer" | "number") => {
            let bounds = [&schema["minimum"], &schema["maximum"]].into_iter().filter_map(Value::as_f64);
            all.extend(bounds.flat_map(|bound| [-1, 0, 1].map(|by| json!(bound as i64 + by))));
            all.extend([json!(i64::MIN), json!(1_i64 << 31), json!(1e300)]);
        }
        Some("array") => all.push(json!(vec!["Available"; 200])),
        Some("object") => {
            all.push(json!({"\u{0}": "\u{1b}", "é": ""}));
            all.push(Value::Object(Map::from_iter((0..20).map(|n| (format!("key-{n}"), json!("v"))))));
        }
        _ => {}
    }
    all
}

fn texts(schema: &Value) -> Vec<Value> {
    let mut all: Vec<Value> = [
        "",
        " ",
        "-",
        "a",
        "cn-x",
        "redis-\u{0}",
        "a\u{1b}[31mb",
        "line\nbreak",
        "名\u{202e}\u{301}",
        "UPPER",
        "https://evil.example",
        "https://{region}.{region}",
        "http://127.0.0.1:1",
        "../../secrets",
        "0s",
        "1m",
        "60s",
        "24h",
        "24h1s",
        "8760h",
        "999999h999999h999999h",
        "1h1h1h1h",
        "+14:00",
        "-12:30",
        "0000-00-00T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "trn:iam::0:role/x",
        "qcs::cam::uin/0:roleName/x",
    ]
    .map(Value::from)
    .to_vec();
    for limit in ["minLength", "maxLength"].into_iter().filter_map(|name| schema[name].as_u64()) {
        for length in [limit.saturating_sub(1), limit, limit + 1] {
            let text = "a".repeat(length as usize);
            all.extend([json!(text.replacen("aa", "a-", 1)), json!(text)]);
        }
    }
    all.push(json!("a".repeat(70_000)));
    for word in schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        all.extend([json!(word), json!(word.to_lowercase()), json!(format!("{word} "))]);
    }
    all
}
