//! Compact objects, as the stores hold them, of the kinds with many objects.

use std::borrow::Cow;
use std::fmt::{self, Debug, Display, Formatter};
use std::sync::{Arc, OnceLock};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::reflector::ObjectRef;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::compressed::Compressed;
use super::guarded::Guarded;
use super::watch::Stored;
use crate::api::inventory::{BackupInventorySpec, BackupInventoryStatus};
use crate::api::policy::{BoxedStatus, CrossRegionBackupPolicySpec};
use crate::api::{BackupInventory, CrossRegionBackupPolicy, FINALIZER, RECONCILE_REQUESTED_AT};
use crate::cluster::resource_version;
use crate::domain::ObjectKey;

/// A kind with many, or large, objects.
pub trait Cacheable: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug {
    type Spec: Serialize + DeserializeOwned + Clone + Debug + PartialEq;
    type Status: Serialize + DeserializeOwned + Clone + Debug + PartialEq;

    fn of_parts(metadata: ObjectMeta, spec: Self::Spec, status: Option<Self::Status>) -> Self;

    fn into_parts(self) -> (ObjectMeta, Self::Spec, Option<Self::Status>);

    /// Returns the number of backups that a status reports.
    fn listed(status: &Self::Status) -> Option<i64>;
}

impl Cacheable for CrossRegionBackupPolicy {
    type Spec = CrossRegionBackupPolicySpec;
    type Status = BoxedStatus;

    fn of_parts(metadata: ObjectMeta, spec: Self::Spec, status: Option<BoxedStatus>) -> Self {
        Self { metadata, spec, status }
    }

    fn into_parts(self) -> (ObjectMeta, Self::Spec, Option<BoxedStatus>) {
        (self.metadata, self.spec, self.status)
    }

    fn listed(status: &BoxedStatus) -> Option<i64> {
        status.backups.as_ref().map(|backups| backups.total)
    }
}

impl Cacheable for BackupInventory {
    type Spec = BackupInventorySpec;
    type Status = BackupInventoryStatus;

    fn of_parts(metadata: ObjectMeta, spec: Self::Spec, status: Option<BackupInventoryStatus>) -> Self {
        Self { metadata, spec, status }
    }

    fn into_parts(self) -> (ObjectMeta, Self::Spec, Option<BackupInventoryStatus>) {
        (self.metadata, self.spec, self.status)
    }

    fn listed(status: &BackupInventoryStatus) -> Option<i64> {
        status.total
    }
}

/// An object as the stores hold it, or the reason why it cannot be parsed. It is built while the API server's response
/// is parsed: no list is ever held as it was received.
#[derive(Clone, Debug)]
pub struct Cached<K: Cacheable>(pub Result<CompactObject<K>, Box<InvalidObject>>);

/// An object in compact form: the metadata that is used, and spec and status compressed. It also takes few allocations:
/// small ones that live long, among many that do not, keep whole pages from being returned to the system.
#[derive(Clone, Debug)]
pub struct CompactObject<K: Cacheable> {
    pub object_key: Arc<ObjectKey>,
    spec: Compressed<K::Spec>,
    pub status: Option<Compressed<K::Status>>,
    /// Number of backups that the status reports.
    pub listed: Option<i64>,
    version: Version,
    generation: Option<i64>,
    created: Option<Time>,
    rare: Option<Box<RareMetadata>>,
    metadata: KubeMetadata,
}

/// Fields that most objects do not set.
#[derive(Clone, Debug)]
struct RareMetadata {
    deleted: Option<Time>,
    /// Whether [`FINALIZER`] is among the finalizers.
    has_finalizer: bool,
    /// Value of the request annotation.
    request: Option<String>,
}

/// A resourceVersion: opaque, and nearly always a number.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Version {
    Number(u64),
    Text(Box<str>),
}

impl Version {
    fn of(text: &str) -> Self {
        let number = text.parse().ok().filter(|number: &u64| number.to_string() == text);
        number.map_or_else(|| Self::Text(text.into()), Self::Number)
    }
}

impl Display for Version {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Metadata for kube: the name, and the version while the watch reads the object. It is as large as all other fields
/// together, so a copy, such as the one in the store, is made without it.
#[derive(Debug, Default)]
struct KubeMetadata(OnceLock<Box<ObjectMeta>>);

impl Clone for KubeMetadata {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<K: Cacheable> CompactObject<K> {
    /// Compacts an object whose metadata was stripped, as [`Guarded`] does.
    pub fn of(object: K) -> Self {
        let (metadata, spec, status) = object.into_parts();
        let [uid, namespace, name] = [&metadata.uid, &metadata.namespace, &metadata.name]
            .map(|text| text.as_deref().unwrap_or_default());
        let object_key = ObjectKey::new(uid, namespace, name);
        let listed = status.as_ref().and_then(K::listed);
        let rare = RareMetadata {
            deleted: metadata.deletion_timestamp,
            has_finalizer: metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER),
            request: metadata.annotations.and_then(|mut all| all.remove(RECONCILE_REQUESTED_AT)),
        };
        Self {
            spec: Compressed::of(spec),
            status: status.map(Compressed::of),
            listed,
            version: Version::of(metadata.resource_version.as_deref().unwrap_or_default()),
            generation: metadata.generation,
            created: metadata.creation_timestamp,
            rare: rare.is_any().then(|| Box::new(rare)),
            metadata: KubeMetadata::default(),
            object_key,
        }
    }

    pub fn spec(&self) -> K::Spec {
        self.spec.decompress()
    }

    /// Returns the object as it was written, with the metadata that [`Guarded`] keeps.
    pub fn expand(&self) -> K {
        let (metadata, spec, _) = self.without_status().into_parts();
        let status = self.status.as_ref().map(Compressed::decompress);
        K::of_parts(metadata, spec, status)
    }

    /// Returns the object without its status, which saves expanding it.
    pub fn without_status(&self) -> K {
        let rare = self.rare.as_deref();
        let request = rare.and_then(|rare| rare.request.clone());
        let metadata = ObjectMeta {
            uid: text(&self.object_key.uid),
            resource_version: text(&self.version()),
            generation: self.generation,
            creation_timestamp: self.created.clone(),
            deletion_timestamp: rare.and_then(|rare| rare.deleted.clone()),
            finalizers: rare.is_some_and(|rare| rare.has_finalizer).then(|| vec![FINALIZER.to_owned()]),
            annotations: request.map(|request| [(RECONCILE_REQUESTED_AT.to_owned(), request)].into()),
            ..self.kube_metadata()
        };
        K::of_parts(metadata, self.spec(), None)
    }

    fn kube_metadata(&self) -> ObjectMeta {
        let [namespace, name] = [self.object_key.namespace(), self.object_key.name()].map(text);
        ObjectMeta { namespace, name, ..ObjectMeta::default() }
    }

    /// Whether this is `object`, as stored by the same write.
    pub fn is(&self, object: &K) -> bool {
        let metadata = object.meta();
        metadata.uid.as_deref() == Some(&self.object_key.uid)
            && metadata.resource_version.as_deref() == Some(&*self.version())
    }

    pub fn version(&self) -> String {
        self.version.to_string()
    }

    pub fn created(&self) -> Option<&Time> {
        self.created.as_ref()
    }

    pub fn is_deleted(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.deleted.is_some())
    }

    fn request(&self) -> Option<&str> {
        self.rare.as_ref().and_then(|rare| rare.request.as_deref())
    }
}

impl RareMetadata {
    fn is_any(&self) -> bool {
        self.deleted.is_some() || self.has_finalizer || self.request.is_some()
    }
}

/// Returns `None` for an empty text: no object has an empty UID, version or name.
fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl<K: Cacheable> Cached<K> {
    pub fn generation(&self) -> Option<i64> {
        self.0.as_ref().map_or_else(|invalid| invalid.metadata.generation, |compact| compact.generation)
    }

    /// Returns the resourceVersion as a number, if it is one.
    pub fn version(&self) -> Option<u128> {
        match &self.0 {
            Ok(compact) => resource_version(&compact.version()),
            Err(invalid) => resource_version(invalid.metadata.resource_version.as_deref()?),
        }
    }

    pub fn is_deleted(&self) -> bool {
        match &self.0 {
            Ok(compact) => compact.is_deleted(),
            Err(invalid) => invalid.metadata.deletion_timestamp.is_some(),
        }
    }

    /// Returns the value of the request annotation.
    pub fn request(&self) -> Option<&str> {
        self.0.as_ref().map_or_else(|invalid| request_of(&invalid.metadata), CompactObject::request)
    }
}

/// Returns the value of the request annotation.
pub fn request_of(metadata: &ObjectMeta) -> Option<&str> {
    metadata.annotations.as_ref()?.get(RECONCILE_REQUESTED_AT).map(String::as_str)
}

impl<K: Cacheable + 'static> Stored for Cached<K> {
    fn uid(&self) -> Option<&str> {
        match &self.0 {
            Ok(compact) => Some(&*compact.object_key.uid).filter(|uid| !uid.is_empty()),
            Err(invalid) => invalid.metadata.uid.as_deref(),
        }
    }

    fn reference(&self) -> ObjectRef<Self> {
        match &self.0 {
            Ok(compact) => ObjectRef::new(compact.object_key.name()).within(compact.object_key.namespace()),
            Err(_) => ObjectRef::from_obj(self),
        }
    }

    fn intern(&mut self, before: Option<&Self>) {
        if let Ok(compact) = &mut self.0 {
            compact.metadata = KubeMetadata::default();
            let before = before.and_then(|before| before.0.as_ref().ok());
            if let Some(before) = before.filter(|before| before.object_key == compact.object_key) {
                compact.object_key = before.object_key.clone();
                if compact.spec == before.spec {
                    compact.spec = before.spec.clone();
                }
            }
        }
    }
}

impl<K: Cacheable> From<Guarded<K>> for Cached<K> {
    fn from(guarded: Guarded<K>) -> Self {
        let read = guarded.0.map(|object| {
            let mut compact = CompactObject::of(object);
            let metadata =
                ObjectMeta { resource_version: text(&compact.version()), ..compact.kube_metadata() };
            compact.metadata = KubeMetadata(OnceLock::from(Box::new(metadata)));
            compact
        });
        Self(read.map_err(Box::new))
    }
}

impl<'de, K: Cacheable> Deserialize<'de> for Cached<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Guarded::<K>::deserialize(deserializer).map(Self::from)
    }
}

impl<K: Cacheable> Resource for Cached<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    /// Creates the metadata for kube on the first call, and keeps it.
    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(compact) => compact.metadata.0.get_or_init(|| Box::new(compact.kube_metadata())),
            Err(invalid) => &invalid.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.meta();
        match &mut self.0 {
            Ok(compact) => compact.metadata.0.get_mut().expect("it was made right before"),
            Err(invalid) => &mut invalid.metadata,
        }
    }
}

#[cfg(test)]
#[path = "cached_tests.rs"]
mod tests;
