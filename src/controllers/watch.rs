//! Watch with a store, which also reports deleted objects.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::channel::mpsc::UnboundedSender;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::guarded::Guarded;
#[cfg(test)]
use crate::clock::Clock;
use crate::cluster::list_watch::{ListFreshness, list_watch};
use crate::telemetry::health::Health;

/// Number of events at once that are delayed.
const BATCH_SIZE: usize = 64;
/// Delay after [`BATCH_SIZE`] events, in which a queue releases them.
const BATCH_DELAY: Duration = Duration::from_millis(2);

/// Upper bound on the delay between two attempts to list or watch, and so on the time until changes are observed after
/// an outage of the API server.
const MAX_BACKOFF: Duration = Duration::from_secs(2);
const MIN_BACKOFF: Duration = Duration::from_millis(250);

pub struct Watched<O: Stored> {
    pub store: Store<O>,
    /// kube's own `Store::wait_until_ready` wakes only the last of several tasks that wait, and the controller is one
    /// of them.
    pub synced: Synced,
    pub stream: SharedStream<O>,
}

/// A watch's stream, which outlives its readers. It has one reader at a time: the one that polled it last is woken.
pub struct SharedStream<T>(Arc<Mutex<BoxStream<'static, T>>>);

impl<T> Clone for SharedStream<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Stream for SharedStream<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).poll_next_unpin(cx)
    }
}

impl<T: Send + 'static> SharedStream<T> {
    /// Returns the objects of a watch. Errors are dropped: they were reported, and the watch's backoff has handled
    /// them; a controller that received them would pause all of its triggers for a backoff of its own.
    fn of_objects(watch: impl Stream<Item = Result<T, watcher::Error>> + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(watch.filter_map(|event| std::future::ready(event.ok())).boxed())))
    }
}

/// Time without a failure after which the next delay is the shortest one again.
const BACKOFF_RESET_AFTER: Duration = Duration::from_secs(10);

/// Backoff between attempts: exponential, with jitter, up to [`MAX_BACKOFF`].
#[derive(Default)]
pub struct Reconnect {
    failures: u32,
    last: Option<Instant>,
}

impl Iterator for Reconnect {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self.last.replace(now).is_some_and(|last| now - last > BACKOFF_RESET_AFTER) {
            self.failures = 0;
        }
        let wait = MIN_BACKOFF.saturating_mul(1 << self.failures.min(8)).min(MAX_BACKOFF);
        self.failures = self.failures.saturating_add(1);
        Some(wait.mul_f64(0.5 + fastrand::f64() / 2.0))
    }
}

impl Backoff for Reconnect {
    /// Does nothing: an event does not show that the API server responds, since each attempt to list begins with one.
    fn reset(&mut self) {}
}

/// Whether a store holds a complete list that is recent enough: for a leader, one that began after it became the
/// leader.
#[derive(Clone)]
pub struct Synced {
    /// Start of the list that the store holds. `None`: it holds none yet.
    listed: watch::Receiver<Option<Instant>>,
    freshness: ListFreshness,
}

impl Synced {
    pub fn is_synced(&self) -> bool {
        self.listed.borrow().is_some_and(|at| self.freshness.is_fresh_for_leader(at))
    }

    /// Creates the state of a store that holds a list.
    #[cfg(test)]
    pub fn listed_now() -> Self {
        let listed = watch::channel(Some(Instant::now())).1;
        Self { listed, freshness: ListFreshness::new(Clock::system()) }
    }

    /// Whether the list began after the last invalidation of all lists.
    pub fn is_up_to_date(&self) -> bool {
        self.listed.borrow().is_some_and(|at| !self.freshness.needs_relist(at))
    }

    pub async fn wait(&self) {
        let is_new_enough =
            |listed: &Option<Instant>| listed.is_some_and(|at| self.freshness.is_fresh_for_leader(at));
        // It fails only if the watch has ended, and the process with it.
        let _ = self.listed.clone().wait_for(is_new_enough).await;
    }
}

/// Input of a controller.
pub struct Feed<O: Stored> {
    pub store: Store<O>,
    /// All objects, once the store holds them.
    pub all: BoxStream<'static, ObjectRef<O>>,
    /// Changes from then on.
    pub changes: BoxStream<'static, Result<O, watcher::Error>>,
}

/// An object as a store holds it.
pub trait Stored: Resource<DynamicType = ()> + Clone + 'static {
    fn uid(&self) -> Option<&str>;

    /// Returns a reference by name only. The references that kube creates also hold UID and version, and there are
    /// several for each object.
    fn reference(&self) -> ObjectRef<Self>;

    /// Drops the fields that only the watch needed to read the object, and shares those that equal fields of the object
    /// `before`.
    fn intern(&mut self, before: Option<&Self>);
}

impl<K> Stored for Guarded<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    fn uid(&self) -> Option<&str> {
        self.meta().uid.as_deref()
    }

    fn reference(&self) -> ObjectRef<Self> {
        ObjectRef::from_obj(self)
    }

    fn intern(&mut self, _: Option<&Self>) {}
}

impl<O: Stored + Send + Sync> Watched<O> {
    /// Returns the input of a controller that starts once this is `ready`; it reads the watch's stream until it is
    /// dropped. `notice` is called for each change as soon as it is read.
    pub fn begin(
        &self,
        ready: impl Future<Output = ()> + Send + 'static,
        notice: impl FnMut(&O) + Send + 'static,
    ) -> Feed<O> {
        let Self { store, synced, stream } = self;
        let (store, synced, stream) = (store.clone(), synced.clone(), stream.clone());
        let stored = store.clone();
        let all = async move {
            synced.wait().await;
            ready.await;
            stream::iter(stored.state().into_iter().map(|object| object.reference()))
        };
        let all = in_batches(stream::once(all).flatten()).boxed();
        Feed { changes: in_batches(stream.inspect(notice).map(Ok)).boxed(), all, store }
    }
}

/// Yields a changed object once the store holds it, and all objects of the store after each list but the first. Listed
/// objects enter the store only when the list is complete: a controller that read the store earlier would find the
/// state before the list, or none, and would not be triggered again.
fn once_stored<O>(
    events: impl Stream<Item = Result<Event<O>, watcher::Error>> + Send + 'static,
    store: Store<O>,
) -> BoxStream<'static, Result<O, watcher::Error>>
where
    O: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let mut is_listed = false;
    let held = move |event| match event {
        Ok(Event::Apply(object)) => vec![Ok(object)],
        Ok(Event::InitDone) if std::mem::replace(&mut is_listed, true) => {
            store.state().iter().map(|object| Ok(O::clone(object))).collect()
        }
        Ok(_) => Vec::new(),
        Err(error) => vec![Err(error)],
    };
    events.map(held).flat_map(stream::iter).boxed()
}

/// Delays bursts. The queue of a controller accepts all events that are ready before it releases one, and never gives
/// back the memory it has grown to: for all objects at once, that is a third of what they take otherwise.
pub fn in_batches<S>(stream: S) -> impl Stream<Item = S::Item>
where
    S: Stream,
{
    let paced = stream.ready_chunks(BATCH_SIZE).then(|some| async move {
        if some.len() == BATCH_SIZE {
            sleep(BATCH_DELAY).await;
        }
        some
    });
    paced.flat_map(stream::iter)
}

/// Deletion that a watch reports.
pub enum Deleted {
    /// This object was deleted: its name and UID.
    Object(Box<ObjectMeta>),
    /// The objects were relisted: any that the store does not hold is deleted.
    Relisted,
}

/// Returns the UIDs of deleted objects; after a relist, those of the `remembered` ones that no store holds.
pub fn lost<O: Stored>(remembered: Vec<Arc<str>>, stores: &[Store<O>], gone: Deleted) -> Vec<Arc<str>> {
    match gone {
        Deleted::Object(meta) => meta.uid.into_iter().map(Arc::from).collect(),
        Deleted::Relisted => {
            let objects: Vec<_> = stores.iter().flat_map(Store::state).collect();
            let live: HashSet<&str> = objects.iter().filter_map(|object| object.uid()).collect();
            remembered.into_iter().filter(|uid| !live.contains(&**uid)).collect()
        }
    }
}

/// Returns the object as last delivered by the watch, unless another one of its name has replaced it.
pub fn stored<O: Stored>(stores: &[Store<O>], object: &impl ResourceExt, uid: &str) -> Option<Arc<O>> {
    let reference = ObjectRef::<O>::new(&object.name_any())
        .within(object.meta().namespace.as_deref().unwrap_or_default());
    let found = stores.iter().find_map(|store| store.get(&reference));
    found.filter(|stored| stored.uid() == Some(uid))
}

/// State that all watches of a process share, and the namespace that the watch is limited to.
#[derive(Clone, Copy)]
pub struct WatchSettings<'a> {
    pub health: &'a Health,
    pub freshness: &'a ListFreshness,
    pub namespace: Option<&'a str>,
}

impl WatchSettings<'_> {
    fn list_of<K: Resource<DynamicType = ()>>(self) -> String {
        let kind = K::kind(&());
        match self.namespace {
            Some(namespace) => format!("the list of {kind} in namespace {namespace}"),
            None => format!("the list of {kind}"),
        }
    }

    /// Lists and watches all objects that `api` reaches; the process is not ready until they were listed, nor while the
    /// data is out of date.
    fn list_watch<K>(
        self,
        api: Api<K>,
    ) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + use<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    {
        list_watch(api, self.freshness.clone(), self.health.require(self.list_of::<K>()))
            .backoff(Reconnect::default())
    }

    /// Records the start of the list that the store holds.
    fn synced<O>(self) -> (impl FnMut(&Event<O>) + Send + use<O>, Synced) {
        let (sender, listed) = watch::channel(None);
        let mut begun = None;
        let note = move |event: &Event<O>| match event {
            Event::Init => begun = Some(Instant::now()),
            Event::InitDone => drop(sender.send_replace(begun)),
            _ => {}
        };
        (note, Synced { listed, freshness: self.freshness.clone() })
    }
}

/// Streams the metadata of all objects that `api` reaches as it is received, that of deleted objects included.
pub fn touched_metadata<K>(
    api: Api<Guarded<PartialObjectMeta<K>>>,
    awaits: WatchSettings<'_>,
) -> BoxStream<'static, Guarded<PartialObjectMeta<K>>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let cache = awaits.health.require_fresh(awaits.list_of::<K>());
    list_watch(api, awaits.freshness.clone(), cache)
        .backoff(Reconnect::default())
        .touched_objects()
        // The errors were reported, and the backoff has handled them.
        .filter_map(|object| std::future::ready(object.ok()))
        .boxed()
}

/// Namespaces with their labels.
pub struct Namespaces {
    pub store: Store<Guarded<PartialObjectMeta<Namespace>>>,
    pub synced: Synced,
    pub stream: SharedStream<Guarded<PartialObjectMeta<Namespace>>>,
}

/// Watches all namespaces, and keeps only their labels.
pub fn watched_labels(kube: &kube::Client, awaits: WatchSettings<'_>) -> Namespaces {
    let (store, writer) = reflector::store();
    let (mut note, synced) = awaits.synced();
    let events = awaits
        .list_watch(Api::<Guarded<PartialObjectMeta<Namespace>>>::all(kube.clone()))
        .reflect(writer)
        .inspect_ok(move |event| note(event));
    Namespaces { stream: SharedStream::of_objects(once_stored(events, store.clone())), store, synced }
}

/// Watches all objects that `api` reaches.
pub fn watched<O>(api: Api<O>, gone: UnboundedSender<Deleted>, awaits: WatchSettings<'_>) -> Watched<O>
where
    O: Stored + DeserializeOwned + std::fmt::Debug + Send + Sync,
{
    let (store, writer) = reflector::store();
    let (mut note, synced) = awaits.synced();
    let events = awaits
        .list_watch(api)
        .modify({
            let store = store.clone();
            move |object: &mut O| object.intern(store.get(&object.reference()).as_deref())
        })
        .reflect(writer)
        .inspect_ok(move |event| {
            note(event);
            let news = match event {
                Event::Delete(object) => Deleted::Object(Box::new(ObjectMeta {
                    uid: object.uid().map(str::to_owned),
                    name: object.meta().name.clone(),
                    namespace: object.meta().namespace.clone(),
                    ..ObjectMeta::default()
                })),
                Event::InitDone => Deleted::Relisted,
                _ => return,
            };
            // The receiver is dropped when the controllers have ended.
            let _ = gone.unbounded_send(news);
        });
    Watched { stream: SharedStream::of_objects(once_stored(events, store.clone())), store, synced }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_waits_between_attempts_grow_to_two_seconds() {
        let mut backoff = Reconnect::default();
        let most = [250, 500, 1_000, 2_000, 2_000, 2_000].map(Duration::from_millis);
        for most in most.into_iter().chain([MAX_BACKOFF; 100]) {
            let wait = backoff.next().unwrap();
            assert!(wait >= most / 2 && wait <= most, "{wait:?} of {most:?}");
            sleep(wait).await;
            backoff.reset();
        }
        sleep(BACKOFF_RESET_AFTER).await;
        assert!(backoff.next().unwrap() <= MIN_BACKOFF, "all was well meanwhile");
    }

    fn namespace(name: &str, version: &str) -> Guarded<PartialObjectMeta<Namespace>> {
        let (name, version) = (Some(name.to_owned()), Some(version.to_owned()));
        let metadata = ObjectMeta { name, resource_version: version, ..ObjectMeta::default() };
        Guarded(Ok(PartialObjectMeta { metadata, ..PartialObjectMeta::default() }))
    }

    #[tokio::test]
    async fn nothing_is_told_before_the_store_holds_it() {
        let (store, writer) = reflector::store();
        let list = |version: &str| {
            let listed = ["a", "b"].map(|name| Event::InitApply(namespace(name, version)));
            [vec![Event::Init], listed.into(), vec![Event::InitDone]].concat()
        };
        let events = [list("1"), vec![Event::Apply(namespace("b", "2"))], list("3")].concat();
        let events = stream::iter(events).map(Ok).reflect(writer);
        let held = store.clone();
        let told: Vec<_> = once_stored(events, store)
            .map(|told| {
                let told = told.unwrap();
                let held = held.get(&ObjectRef::from_obj(&told)).unwrap();
                assert_eq!(held.meta(), told.meta());
                (told.name_any(), told.resource_version().unwrap())
            })
            .collect()
            .await;
        let mut told: Vec<_> = told.iter().map(|(name, version)| (&**name, &**version)).collect();
        told.sort();
        assert_eq!(told, [("a", "3"), ("b", "2"), ("b", "3")]);
    }

    #[tokio::test(start_paused = true)]
    async fn many_are_held_back_and_one_is_not() {
        let begin = Instant::now();
        let many: Vec<_> =
            in_batches(stream::iter(0..3 * BATCH_SIZE + 1)).map(|n| (n, begin.elapsed())).collect().await;
        assert!(many.iter().map(|(n, _)| *n).eq(0..3 * BATCH_SIZE + 1));
        // A timer has a resolution of 1 ms, and fires late rather than early.
        let after = |pauses: u32| pauses * BATCH_DELAY..=pauses * (BATCH_DELAY + Duration::from_millis(1));
        assert!(
            after(1).contains(&many[0].1) && after(3).contains(&many[3 * BATCH_SIZE].1),
            "{:?}",
            many[3 * BATCH_SIZE]
        );
        let begin = Instant::now();
        assert_eq!(in_batches(stream::iter([1])).collect::<Vec<_>>().await, [1]);
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
