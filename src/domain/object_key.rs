//! Identity of a resource.

use std::sync::Arc;

/// UID, namespace and name of a resource. Many structures share it, so it is stored once, in few allocations.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    pub uid: Arc<str>,
    /// Namespace and name, concatenated.
    namespace_and_name: Box<str>,
    namespace: usize,
}

impl ObjectKey {
    pub fn new(uid: &str, namespace: &str, name: &str) -> Arc<Self> {
        Arc::new(Self {
            uid: uid.into(),
            namespace_and_name: [namespace, name].concat().into(),
            namespace: namespace.len(),
        })
    }

    pub fn namespace(&self) -> &str {
        &self.namespace_and_name[..self.namespace]
    }

    pub fn name(&self) -> &str {
        &self.namespace_and_name[self.namespace..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_and_name_are_told_apart() {
        for (namespace, name) in [("payments", "sessions"), ("", "shared"), ("a", "")] {
            let named = ObjectKey::new("u-1", namespace, name);
            assert_eq!((named.namespace(), named.name()), (namespace, name));
        }
        assert_ne!(ObjectKey::new("u", "ab", "c"), ObjectKey::new("u", "a", "bc"));
    }
}
