//! The rules for every object's metadata, which no CRD repeats (Kubernetes, "Object Names and IDs", "Labels and Selectors",
//! "Annotations").

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::FieldError;
use super::schema::FieldPath;
use crate::controllers::sharing::{is_label_key, is_label_name};

const KNOWN: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];
const NAME_MAX: usize = 253;
/// Largest size of all annotations together, in bytes.
const ANNOTATIONS_MAX: usize = 256 << 10;

pub fn field_errors(object: &Value) -> Vec<FieldError> {
    let at = FieldPath::default().key("metadata");
    let meta = &object["metadata"];
    let Some(fields) = meta.as_object() else {
        return vec![at.field_error("required", "must be an object with a name")];
    };
    let unknown = fields.keys().filter(|name| !KNOWN.contains(&name.as_str()));
    let mut field_errors: Vec<_> =
        unknown.map(|name| at.key(name).field_error("unknown field", "is no field of metadata")).collect();
    if let Err(error) = serde_json::from_value::<ObjectMeta>(meta.clone()) {
        field_errors.push(at.field_error("type", error.to_string()));
    }
    let text = |name: &str| meta[name].as_str().filter(|text| !text.is_empty());
    match (text("name"), text("generateName")) {
        (Some(name), _) if !is_subdomain(name) => field_errors.push(at.key("name").field_error(
            "DNS-1123 subdomain",
            "must be lower-case letters, digits, - and ., and begin and end with a letter or digit",
        )),
        (None, None) => field_errors.push(at.key("name").field_error("required", "is required")),
        _ => {}
    }
    if text("namespace").is_some_and(|namespace| !is_label(namespace)) {
        let rule = "must be 1 to 63 lower-case letters, digits and -, which does not begin or end it";
        field_errors.push(at.key("namespace").field_error("DNS-1123 label", rule));
    }
    for (key, value) in meta["labels"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        if !is_label_key(key) || !value.is_empty() && !is_label_name(value) {
            field_errors
                .push(at.key("labels").key(key).field_error("label", "is no label that Kubernetes takes"));
        }
    }
    let mut size = 0;
    for (key, value) in meta["annotations"].as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        // The key of an annotation, unlike that of a label, is checked without regard to case.
        if !is_label_key(&key.to_lowercase()) {
            field_errors.push(
                at.key("annotations").key(key).field_error("annotation", "is no key that Kubernetes takes"),
            );
        }
    }
    if size > ANNOTATIONS_MAX {
        field_errors.push(at.key("annotations").field_error("size", "must be at most 256 KiB together"));
    }
    field_errors
}

fn is_label(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| plain(b) || b == b'-')
        && text.bytes().next().is_some_and(plain)
        && text.bytes().last().is_some_and(plain)
}

fn is_subdomain(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |label: &str| {
        label.bytes().all(|b| plain(b) || b == b'-')
            && label.bytes().next().is_some_and(plain)
            && label.bytes().last().is_some_and(plain)
    };
    text.len() <= NAME_MAX && text.split('.').all(label)
}
