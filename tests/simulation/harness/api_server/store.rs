//! Objects, their versions, and their watchers.
//!
//! An object is stored as the JSON text that clients receive, so that a list or a watch of ten thousand objects copies
//! bytes; only a write parses it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::target::Target;

/// Number of changes kept; a watch from before them gets 410 and the client has to relist.
const CHANGES_KEPT: usize = 10_000;

/// Error response to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    /// Retry-After, in seconds.
    pub retry_after: Option<u64>,
}

impl Refusal {
    pub const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason, retry_after: None }
    }

    pub const fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Returns the body, a `Status`.
    pub fn status(&self) -> String {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "code": self.code, "reason": self.reason, "message": self.reason,
        });
        status.to_string()
    }
}

const DELETED: &str = "DELETED";

const NOT_FOUND: Refusal = Refusal::new(404, "NotFound");
const EXISTS: Refusal = Refusal::new(409, "AlreadyExists");
const CONFLICT: Refusal = Refusal::new(409, "Conflict");
const EXPIRED: Refusal = Refusal::new(410, "Expired");

#[derive(Clone, Default)]
pub struct Store {
    version: u64,
    created: u64,
    kinds: HashMap<String, Kind>,
    /// Remaining items of paged lists, by continue token: each list stays at the version of its first page.
    unread: HashMap<String, RemainingItems>,
    /// Number of continue tokens issued; makes each unique.
    pages: u64,
}

#[derive(Clone, Default)]
struct Kind {
    /// By namespace and name.
    objects: BTreeMap<(String, String), Bytes>,
    changes: VecDeque<Change>,
    /// Version of the last discarded change.
    forgotten: u64,
    watchers: Vec<Watcher>,
}

impl Kind {
    /// Returns the objects at this version. The kind's changes must all be kept.
    fn as_of(&self, version: u64) -> BTreeMap<(String, String), Bytes> {
        let mut objects = BTreeMap::new();
        for change in self.changes.iter().filter(|change| change.version <= version) {
            let object: Value = serde_json::from_slice(&change.object).unwrap();
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let at = (change.namespace.clone(), name);
            match change.kind {
                DELETED => objects.remove(&at),
                _ => objects.insert(at, change.object.clone()),
            };
        }
        objects
    }
}

/// One event of a watch.
#[derive(Clone)]
pub struct Change {
    pub version: u64,
    pub kind: &'static str,
    pub namespace: String,
    pub object: Bytes,
}

#[derive(Clone)]
struct Watcher {
    namespace: Option<String>,
    /// Events up to this version are skipped, even if it lies in the future, as in a real API server.
    after: u64,
    sender: UnboundedSender<Change>,
}

#[derive(Clone)]
struct RemainingItems {
    version: u64,
    rest: VecDeque<Bytes>,
}

/// One page of a list.
pub struct Page {
    pub version: u64,
    pub items: Vec<Bytes>,
    pub next: Option<String>,
}

impl Store {
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns a copy without watchers.
    pub fn backup(&self) -> Self {
        let mut backup = self.clone();
        backup.kinds.values_mut().for_each(|kind| kind.watchers.clear());
        backup
    }

    /// Restores a copy, except the UID counter: no UID is issued twice.
    pub fn restore(&mut self, backup: Self) {
        let created = self.created;
        *self = Self { created, ..backup };
    }

    pub fn get(&self, target: &Target) -> Result<Bytes, Refusal> {
        self.kinds
            .get(&target.resource)
            .and_then(|kind| kind.objects.get(&key(target)))
            .cloned()
            .ok_or(NOT_FOUND)
    }

    /// Returns all objects of a kind.
    pub fn all(&self, resource: &str) -> Vec<Bytes> {
        self.kinds.get(resource).into_iter().flat_map(|kind| kind.objects.values().cloned()).collect()
    }

    /// Returns whether this state of an object was its last one.
    pub fn is_gone(&self, target: &Target, object: &Bytes) -> bool {
        let last = self.kinds.get(&target.resource).and_then(|kind| kind.changes.back());
        last.is_some_and(|change| change.kind == DELETED && change.object == *object)
    }

    /// Returns one page. A first page is `behind` versions old.
    pub fn list(
        &mut self,
        target: &Target,
        limit: usize,
        token: Option<&str>,
        behind: u64,
    ) -> Result<Page, Refusal> {
        let mut unread = match token {
            Some(token) => self.unread.remove(token).ok_or(EXPIRED)?,
            None => {
                let version = self.version.saturating_sub(behind);
                let objects = match (self.kinds.get(&target.resource), behind) {
                    (Some(kind), 0) => kind.objects.clone(),
                    (Some(kind), _) => kind.as_of(version),
                    (None, _) => BTreeMap::new(),
                };
                let near = |namespace: &str| target.namespace.as_ref().is_none_or(|n| n == namespace);
                let rest = objects
                    .into_iter()
                    .filter(|((home, _), _)| near(home))
                    .map(|(_, object)| object)
                    .collect();
                RemainingItems { version, rest }
            }
        };
        let items = unread.rest.drain(..limit.min(unread.rest.len())).collect();
        let version = unread.version;
        let next = (!unread.rest.is_empty()).then(|| {
            self.pages += 1;
            format!("{version}-{}", self.pages)
        });
        if let Some(next) = &next {
            self.unread.insert(next.clone(), unread);
        }
        Ok(Page { version, items, next })
    }

    /// Returns all changes after a version, including future ones.
    pub fn watch(&mut self, target: &Target, after: u64) -> Result<UnboundedReceiver<Change>, Refusal> {
        let kind = self.kinds.entry(target.resource.clone()).or_default();
        if after < kind.forgotten {
            return Err(EXPIRED);
        }
        let (sender, receiver) = unbounded();
        let near = |change: &&Change| target.namespace.as_ref().is_none_or(|n| *n == change.namespace);
        for change in kind.changes.iter().filter(|change| change.version > after).filter(near) {
            // The receiver lives in this function.
            let _ = sender.unbounded_send(change.clone());
        }
        kind.watchers.push(Watcher { namespace: target.namespace.clone(), after, sender });
        Ok(receiver)
    }

    pub fn create(&mut self, target: &Target, mut object: Value, now: Timestamp) -> Result<Bytes, Refusal> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let target = Target { name: Some(name), ..target.clone() };
        if self.get(&target).is_ok() {
            return Err(EXISTS);
        }
        self.created += 1;
        let meta = &mut object["metadata"];
        meta["uid"] = json!(format!("00000000-0000-4000-8000-{:012x}", self.created));
        meta["creationTimestamp"] = json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        meta["generation"] = json!(1);
        if let Some(namespace) = &target.namespace {
            meta["namespace"] = json!(namespace);
        }
        if has_status(&target.resource) && object["status"].is_null() {
            object["status"] = json!({"observedGeneration": -1});
        }
        Ok(self.put("ADDED", &target, object))
    }

    /// Applies a merge patch (RFC 7386) to the object, or to its status.
    pub fn patch(&mut self, target: &Target, patch: &Value) -> Result<Bytes, Refusal> {
        let before = self.read(target, patch)?;
        let mut after = before.clone();
        match target.subresource.as_deref() {
            Some(status) => merge(&mut after[status], &patch[status]),
            None if has_status(&target.resource) => {
                merge(&mut after["metadata"], &patch["metadata"]);
                merge(&mut after["spec"], &patch["spec"]);
            }
            None => merge(&mut after, patch),
        }
        Ok(self.replace(target, &before, after))
    }

    /// Replaces an object of a kind without a status.
    pub fn update(&mut self, target: &Target, object: &Value) -> Result<Bytes, Refusal> {
        let before = self.read(target, object)?;
        Ok(self.replace(target, &before, object.clone()))
    }

    /// Returns the number of watches with a live reader.
    pub fn watches(&self) -> usize {
        let open = |watcher: &&Watcher| !watcher.sender.is_closed();
        self.kinds.values().map(|kind| kind.watchers.iter().filter(open).count()).sum()
    }

    /// Applies a status as server-side apply by its only owner does: fields missing from `body` are removed.
    pub fn apply_status(&mut self, target: &Target, body: &Value) -> Result<Bytes, Refusal> {
        let before = self.read(target, body)?;
        let mut after = before.clone();
        after["status"] = body["status"].clone();
        Ok(self.replace(target, &before, after))
    }

    pub fn delete(&mut self, target: &Target, now: Timestamp) -> Result<Bytes, Refusal> {
        let before = self.read(target, &Value::Null)?;
        let mut after = before.clone();
        if after["metadata"]["deletionTimestamp"].is_null() {
            after["metadata"]["deletionTimestamp"] = json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        }
        Ok(self.replace(target, &before, after))
    }

    /// Returns the object, or a conflict if the write names another resourceVersion.
    fn read(&self, target: &Target, write: &Value) -> Result<Value, Refusal> {
        let object: Value = serde_json::from_slice(&self.get(target)?).unwrap();
        let wanted = &write["metadata"]["resourceVersion"];
        if !wanted.is_null() && *wanted != object["metadata"]["resourceVersion"] {
            return Err(CONFLICT);
        }
        Ok(object)
    }

    fn replace(&mut self, target: &Target, before: &Value, mut after: Value) -> Bytes {
        // A write that changes nothing creates no new version.
        after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
        if after == *before {
            return Bytes::from(after.to_string());
        }
        let moved = |path: &str| before.pointer(path) != after.pointer(path);
        if moved("/spec") || moved("/metadata/deletionTimestamp") {
            let generation = before["metadata"]["generation"].as_i64().unwrap_or_default();
            after["metadata"]["generation"] = json!(generation + 1);
        }
        let held = after["metadata"]["finalizers"].as_array().is_some_and(|held| !held.is_empty());
        if !held && !after["metadata"]["deletionTimestamp"].is_null() {
            return self.put(DELETED, target, after);
        }
        self.put("MODIFIED", target, after)
    }

    fn put(&mut self, event: &'static str, target: &Target, mut object: Value) -> Bytes {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let text = Bytes::from(object.to_string());
        let kind = self.kinds.entry(target.resource.clone()).or_default();
        let at = key(target);
        let change =
            Change { version: self.version, kind: event, namespace: at.0.clone(), object: text.clone() };
        match event {
            DELETED => drop(kind.objects.remove(&at)),
            _ => drop(kind.objects.insert(at, text.clone())),
        }
        let far = |watcher: &Watcher| {
            watcher.namespace.as_ref().is_some_and(|n| *n != change.namespace)
                || change.version <= watcher.after
        };
        // A closed watcher is removed at the first change that it would receive.
        kind.watchers.retain(|watcher| far(watcher) || watcher.sender.unbounded_send(change.clone()).is_ok());
        kind.changes.push_back(change);
        if kind.changes.len() > CHANGES_KEPT {
            kind.forgotten = kind.changes.pop_front().map_or(0, |oldest| oldest.version);
        }
        text
    }
}

/// Whether a kind is one of the operator's own, whose status is a subresource with a default.
fn has_status(resource: &str) -> bool {
    ["crossregionbackuppolicies", "backupinventories", "cloudaccounts", "clustercloudaccounts"]
        .contains(&resource)
}

fn key(target: &Target) -> (String, String) {
    (target.namespace.clone().unwrap_or_default(), target.name.clone().unwrap_or_default())
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        if !patch.is_null() {
            *target = patch.clone();
        }
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().map(|fields| fields.remove(name));
        } else {
            merge(&mut target[name], value);
        }
    }
}
