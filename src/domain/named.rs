//! Who a resource is.

use std::sync::Arc;

/// A resource's UID, and where it is. Many places hold it: its texts are there once.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    pub uid: Arc<str>,
    pub namespace: Box<str>,
    pub name: Box<str>,
}

impl Named {
    pub fn new(uid: &str, namespace: &str, name: &str) -> Arc<Self> {
        Arc::new(Self { uid: uid.into(), namespace: namespace.into(), name: name.into() })
    }
}
