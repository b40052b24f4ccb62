//! A watch with its store, that also tells what is gone.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::channel::mpsc::UnboundedSender;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// An object that may not parse: it stops nothing else.
pub type Guarded<K> = DeserializeGuard<K>;

pub struct Watched<O: Resource<DynamicType = ()> + 'static> {
    pub store: Store<O>,
    /// Becomes true when the store holds everything for the first time. kube's own `Store::wait_until_ready` wakes only the
    /// last of several tasks that wait, and the controller is one of them.
    pub synced: watch::Receiver<bool>,
    pub stream: BoxStream<'static, Result<O, watcher::Error>>,
    /// Objects passed by while another replica was leading.
    missed: AtomicBool,
}

impl<O> Watched<O>
where
    O: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    /// Keeps the store as the API server has it while another replica leads.
    pub fn stand_by(&mut self) -> BoxStream<'_, ()> {
        let Self { stream, missed, .. } = self;
        stream.map(|_| missed.store(true, Ordering::Relaxed)).boxed()
    }

    /// The objects that passed by meanwhile, once the store has them all.
    pub fn missed(&self) -> BoxStream<'static, ObjectRef<O>> {
        if !self.missed.load(Ordering::Relaxed) {
            return stream::empty().boxed();
        }
        let (store, mut synced) = (self.store.clone(), self.synced.clone());
        let all = async move {
            // It fails only where the watch has ended, and the process with it.
            let _ = synced.wait_for(|synced| *synced).await;
            stream::iter(store.state().into_iter().map(|object| ObjectRef::from_obj(&*object)))
        };
        stream::once(all).flatten().boxed()
    }
}

/// What a watch lost.
pub enum Gone {
    /// This object was deleted.
    One(Box<ObjectMeta>),
    /// The watch began anew: whatever the store does not hold is gone.
    Unlisted,
}

/// Of the UIDs that are remembered, those of what a watch lost.
pub fn lost<O>(remembered: Vec<String>, stores: &[Store<O>], gone: Gone) -> Vec<String>
where
    O: Resource<DynamicType = ()> + Clone + 'static,
{
    match gone {
        Gone::One(meta) => meta.uid.into_iter().collect(),
        Gone::Unlisted => {
            let live: HashSet<String> =
                stores.iter().flat_map(Store::state).filter_map(|object| object.meta().uid.clone()).collect();
            remembered.into_iter().filter(|uid| !live.contains(uid)).collect()
        }
    }
}

/// The object as the watch last brought it, unless a namesake has taken its place.
pub fn stored<O>(stores: &[Store<O>], object: &impl ResourceExt, uid: &str) -> Option<Arc<O>>
where
    O: Resource<DynamicType = ()> + Clone + 'static,
{
    let reference = ObjectRef::<O>::new(&object.name_any())
        .within(object.meta().namespace.as_deref().unwrap_or_default());
    let found = stores.iter().find_map(|store| store.get(&reference));
    found.filter(|stored| stored.meta().uid.as_deref() == Some(uid))
}

/// The namespaces, for their labels.
pub struct Namespaces {
    pub store: Store<PartialObjectMeta<Namespace>>,
    pub synced: watch::Receiver<bool>,
    pub stream: BoxStream<'static, Result<PartialObjectMeta<Namespace>, watcher::Error>>,
}

/// Watches all namespaces, and keeps their labels alone.
pub fn watched_labels(kube: &kube::Client) -> Namespaces {
    let (store, writer) = reflector::store();
    let (first, synced) = watch::channel(false);
    let stream = watcher(Api::<PartialObjectMeta<Namespace>>::all(kube.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|namespace| {
            namespace.metadata.managed_fields = None;
            namespace.metadata.annotations = None;
        })
        .reflect(writer)
        .inspect_ok(move |event| {
            if matches!(event, Event::InitDone) {
                first.send_replace(true);
            }
        })
        .applied_objects()
        .boxed();
    Namespaces { store, synced, stream }
}

/// Watches all objects that `api` reaches.
pub fn watched<O>(api: Api<O>, gone: UnboundedSender<Gone>) -> Watched<O>
where
    O: Resource<DynamicType = ()> + DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let (first, synced) = watch::channel(false);
    let stream = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|object: &mut O| object.meta_mut().managed_fields = None)
        .reflect(writer)
        .inspect_ok(move |event| {
            let news = match event {
                Event::Delete(object) => Gone::One(Box::new(object.meta().clone())),
                Event::InitDone => {
                    first.send_replace(true);
                    Gone::Unlisted
                }
                _ => return,
            };
            // Nobody listens any more when the controllers have ended.
            let _ = gone.unbounded_send(news);
        })
        .applied_objects()
        .boxed();
    Watched { store, synced, stream, missed: AtomicBool::new(false) }
}
