//! Parsing of watched objects: a malformed object does not fail the others of its list, and no text is kept that users
//! can make arbitrarily long.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::error_boundary::InvalidObject;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::api::{FINALIZER, RECONCILE_REQUESTED_AT, handled_value};
use crate::cluster::status::Applied;

/// Maximum length of a parse error, in characters: the parser quotes the value, which can be as long as an object.
const MAX_ERROR_CHARS: usize = 4096;
/// Maximum size of a Namespace's labels, in bytes; a Namespace with more is treated as one that no selector matches.
const MAX_LABEL_BYTES: usize = 32 * 1024;

/// An object, or the reason why it cannot be parsed. Unlike kube's `DeserializeGuard` it reads only the metadata that
/// is used: a malformed time in `managedFields`, which any writer of the object may set, fails an `ObjectMeta` and with
/// it the whole list.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, InvalidObject>);

impl<'de, K> Deserialize<'de> for Guarded<K>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    /// # Errors
    /// The value is not an object, or has no name.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Map::deserialize(deserializer)?;
        let mut metadata = match object.remove("metadata") {
            Some(Value::Object(metadata)) => metadata,
            _ => Map::new(),
        };
        trim(&mut metadata, K::kind(&()) == "Namespace");
        let metadata = Value::Object(metadata);
        object.insert("metadata".to_owned(), metadata.clone());
        Ok(Self(match read(object) {
            Ok(object) => Ok(object),
            Err(error) => Err(InvalidObject {
                error: error.to_string().chars().take(MAX_ERROR_CHARS).collect(),
                metadata: ObjectMeta::deserialize(metadata).map_err(D::Error::custom)?,
            }),
        }))
    }
}

/// Parses the object. A status that cannot be parsed is no error, since the operator itself writes it: its members that
/// can be parsed are kept, without `observedGeneration`, so that the status describes no spec and is written again.
fn read<K: DeserializeOwned>(object: Map<String, Value>) -> Result<K, serde_json::Error> {
    let mut object = Value::Object(object);
    let error = match K::deserialize(&object) {
        Ok(object) => return Ok(object),
        Err(error) => error,
    };
    let status = object["status"].take();
    let mut with = |status: Value| {
        object["status"] = status;
        K::deserialize(&object)
    };
    if with(Value::Null).is_err() {
        return Err(error);
    }
    let mut readable = Map::new();
    if let Value::Object(members) = status {
        for (name, value) in members.into_iter().filter(|(name, _)| name != "observedGeneration") {
            let member = Map::from_iter([(name, value)]);
            if with(member.clone().into()).is_ok() {
                readable.extend(member);
            }
        }
    }
    with(readable.into())
}

/// Keeps only the metadata that decisions and writes need.
fn trim(metadata: &mut Map<String, Value>, keeps_labels: bool) {
    let mut kept = Map::new();
    for name in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
    ] {
        kept.extend(metadata.remove_entry(name));
    }
    let finalizers = metadata.get("finalizers").and_then(Value::as_array);
    if finalizers.is_some_and(|all| all.iter().any(|finalizer| finalizer == FINALIZER)) {
        kept.insert("finalizers".to_owned(), Value::from([FINALIZER]));
    }
    let request = metadata.get("annotations").and_then(|all| all[RECONCILE_REQUESTED_AT].as_str());
    if let Some(request) = request {
        let request = (RECONCILE_REQUESTED_AT.to_owned(), Value::from(handled_value(request)));
        kept.insert("annotations".to_owned(), Map::from_iter([request]).into());
    }
    // Time of the last change of more than the status, which `cluster::last_change` reads.
    let fields = metadata.get("managedFields").and_then(Value::as_array).into_iter().flatten();
    let times =
        fields.filter(|entry| entry["subresource"].is_null()).filter_map(|entry| entry["time"].as_str());
    let times = times.filter_map(|time| time.parse::<Timestamp>().ok());
    if let Some(changed) = times.filter(|time| *time >= Timestamp::UNIX_EPOCH).max() {
        kept.insert("managedFields".to_owned(), json!([{"time": changed.to_string()}]));
    }
    if keeps_labels && let Some(Value::Object(labels)) = metadata.remove("labels") {
        let bytes: usize =
            labels.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
        if bytes <= MAX_LABEL_BYTES {
            kept.insert("labels".to_owned(), labels.into());
        }
    }
    *metadata = kept;
}

/// Strips the metadata of an object that no watch has read, such as the response to a write, in the same way.
pub fn strip(metadata: &mut ObjectMeta) {
    let all = std::mem::take(metadata);
    let has_finalizer = all.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    let request = all.annotations.as_ref().and_then(|all| all.get(RECONCILE_REQUESTED_AT));
    *metadata = ObjectMeta {
        finalizers: has_finalizer.then(|| vec![FINALIZER.to_owned()]),
        annotations: request
            .map(|request| [(RECONCILE_REQUESTED_AT.to_owned(), handled_value(request))].into()),
        name: all.name,
        namespace: all.namespace,
        uid: all.uid,
        resource_version: all.resource_version,
        generation: all.generation,
        creation_timestamp: all.creation_timestamp,
        deletion_timestamp: all.deletion_timestamp,
        ..ObjectMeta::default()
    };
}

/// Returns the result of a write for an object that can be parsed. One that no longer can is left to the watch.
pub fn readable<K>(applied: Applied<Guarded<K>>) -> Applied<K> {
    match applied {
        Applied::Written(Guarded(Ok(object))) => Applied::Written(object),
        Applied::Stale(Some(Guarded(Ok(object)))) => Applied::Stale(Some(object)),
        _ => Applied::Stale(None),
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &K::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &K::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn metadata_api() -> bool {
        K::metadata_api()
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|invalid| &invalid.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|invalid| &mut invalid.metadata, K::meta_mut)
    }
}

#[cfg(test)]
#[path = "guarded_tests.rs"]
mod tests;
