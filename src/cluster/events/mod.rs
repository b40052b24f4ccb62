//! Kubernetes Events about the operator's objects.
//!
//! kube's Recorder is not used: its deduplication ignores the note, so that of two different notes with one reason it
//! keeps the first and increments its count. Here the note is part of the Event's name: the same note about the same
//! object is one Event, any other is another.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::failure_log::FailureLog;
use super::{OPERATOR_NAME, has_status_code};
use crate::clock::Clock;

const CONTROLLER: &str = "crossregionbackup.io/cross-region-backup-operator";
/// Namespace of Events about cluster-scoped objects, and about objects in a terminating namespace.
const FALLBACK_NAMESPACE: &str = "default";
/// Maximum length of a note in bytes; the API server takes 1,024.
const MAX_NOTE_BYTES: usize = 1_000;
/// Timeout of all calls for one Event.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of Events whose counts are cached. The count of any other one is read from the API server.
const MAX_CACHED_EVENTS: usize = 1_000;

/// Content of an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Type `Warning` rather than `Normal`.
    pub warning: bool,
    /// UpperCamelCase, at most 128 characters.
    pub reason: &'static str,
    /// The operator's action, in the same style.
    pub action: &'static str,
    /// Text for people: the operator's own, and redacted parts of a cloud's answer. It is cut at 1,000 bytes.
    pub text: String,
}

/// Publishes Events; clones share the cache of published ones.
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: String,
    clock: Clock,
    cache: Arc<Mutex<EventCache>>,
    failures: Arc<FailureLog>,
}

impl Events {
    /// Creates a publisher. `identity` identifies this process, see [`super::elector::identity`].
    pub fn new(client: Client, identity: String, clock: Clock) -> Self {
        Self { client, instance: identity, clock, cache: Arc::default(), failures: Arc::default() }
    }

    /// Returns a publisher with an empty cache: another process may have incremented the counts since.
    pub fn with_empty_cache(&self) -> Self {
        Self::new(self.client.clone(), self.instance.clone(), self.clock.clone())
    }

    /// Publishes `note` about the object; a repetition increments the count of its Event. A failure is logged, and
    /// has no other effect.
    pub async fn publish(&self, about: &ObjectReference, note: Note) {
        let reason = note.reason;
        let problem = match timeout(WRITE_TIMEOUT, self.write(about, note)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer from the API server within {WRITE_TIMEOUT:?}"),
        };
        let own = about.name.as_deref().unwrap_or_default();
        let lines = self.failures.note(&problem.replace(own, ""), true, Instant::now());
        if lines.others > 0 {
            warn!(events = lines.others, "could not write more Events");
        }
        if lines.this {
            warn!(
                reason,
                namespace = about.namespace,
                name = about.name,
                error = problem,
                "could not write an Event"
            );
        }
    }

    async fn write(&self, about: &ObjectReference, note: Note) -> Result<(), kube::Error> {
        let text = cut(&note.text).to_owned();
        let name = name_of(about, note.reason, &text);
        let increment = self.lock().increment(&name);
        if let Some(cached) = increment {
            match self.count(&cached.namespace, &name, cached.count).await {
                // The API server deletes Events after an hour.
                Err(error) if has_status_code(&error, 404) => self.lock().remove(&name),
                other => return other,
            }
        }
        let own = about.namespace.as_deref().filter(|ns| !ns.is_empty()).unwrap_or(FALLBACK_NAMESPACE);
        let mut event = self.event(about, note, text, &name);
        match self.create_or_count(own, &mut event).await {
            Err(error) if own != FALLBACK_NAMESPACE && is_namespace_terminating(&error) => {
                self.create_or_count(FALLBACK_NAMESPACE, &mut event).await
            }
            other => other,
        }
    }

    /// Creates the Event, or increments the count of an existing one, which an earlier process created, or this one
    /// long ago.
    async fn create_or_count(&self, namespace: &str, event: &mut Event) -> Result<(), kube::Error> {
        event.metadata.namespace = Some(namespace.to_owned());
        let name = event.metadata.name.clone().unwrap_or_default();
        let count = match self.api(namespace).create(&PostParams::default(), event).await {
            Ok(_) => 1,
            Err(error) if has_status_code(&error, 409) => {
                // An empty patch is a read for which the verb `patch` is enough.
                let found = self.patch(namespace, &name, json!({})).await?;
                let count = found.series.map_or(1, |series| series.count).saturating_add(1);
                self.count(namespace, &name, count).await?;
                count
            }
            Err(error) => return Err(error),
        };
        self.lock().insert(name, CachedEvent { namespace: namespace.to_owned(), count, tick: 0 });
        Ok(())
    }

    async fn count(&self, namespace: &str, name: &str, count: i32) -> Result<(), kube::Error> {
        let seen = MicroTime(self.clock.now());
        let series = json!({"series": {"count": count, "lastObservedTime": seen}});
        self.patch(namespace, name, series).await.map(drop)
    }

    async fn patch(&self, namespace: &str, name: &str, patch: Value) -> Result<Event, kube::Error> {
        let params = PatchParams { field_manager: Some(OPERATOR_NAME.to_owned()), ..PatchParams::default() };
        self.api(namespace).patch(name, &params, &Patch::Merge(patch)).await
    }

    fn api(&self, namespace: &str) -> Api<Event> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn event(&self, about: &ObjectReference, note: Note, text: String, name: &str) -> Event {
        Event {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(note.reason.to_owned()),
            action: Some(note.action.to_owned()),
            note: Some(text),
            regarding: Some(about.clone()),
            event_time: Some(MicroTime(self.clock.now())),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, EventCache> {
        self.cache.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Cache of the Events published last, by name.
#[derive(Default)]
struct EventCache {
    cached: BTreeMap<String, CachedEvent>,
    tick: u64,
}

#[derive(Clone)]
struct CachedEvent {
    namespace: String,
    count: i32,
    /// Time of the last use, as a counter: the smallest is the least recently used.
    tick: u64,
}

impl EventCache {
    /// Increments the count of a cached Event.
    fn increment(&mut self, name: &str) -> Option<CachedEvent> {
        self.tick += 1;
        let cached = self.cached.get_mut(name)?;
        cached.count = cached.count.saturating_add(1);
        cached.tick = self.tick;
        Some(cached.clone())
    }

    fn insert(&mut self, name: String, cached: CachedEvent) {
        if self.cached.len() >= MAX_CACHED_EVENTS && !self.cached.contains_key(&name) {
            let oldest =
                self.cached.iter().min_by_key(|(_, cached)| cached.tick).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.cached.remove(&oldest));
        }
        self.tick += 1;
        self.cached.insert(name, CachedEvent { tick: self.tick, ..cached });
    }

    fn remove(&mut self, name: &str) {
        self.cached.remove(name);
    }
}

/// Returns the Event's name, a DNS subdomain: the same for the same object, reason and text, across restarts.
fn name_of(about: &ObjectReference, reason: &str, text: &str) -> String {
    let mut hash = Sha256::new();
    for part in [about.uid.as_deref().unwrap_or_default(), reason, text] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let hash = hex::encode(&hash.finalize()[..8]);
    let name = about.name.as_deref().unwrap_or_default();
    let name: String = name.chars().take(200).collect();
    let name = name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() { hash } else { format!("{name}.{hash}") }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_NOTE_BYTES)]
}

/// Whether the namespace is being deleted: no object can be created in it, which the API server reports in a cause of
/// its 403.
fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}
