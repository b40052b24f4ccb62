//! Ownership index: the policies that compete for each instance, over all watched namespaces.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::{InstanceRef, ObjectKey};
use crate::plan::CompetingPolicy;
use crate::plan::conflict::{Claim, manager};

/// Nearly every policy is in both maps, so their texts are shared: the key of an instance, which includes the provider,
/// and the UID of a policy.
#[derive(Default)]
struct Index {
    claims: BTreeMap<(Arc<str>, Arc<str>), Claim>,
    by_uid: HashMap<Arc<str>, Arc<str>>,
}

pub struct Claims {
    index: Mutex<Index>,
    trigger: Box<dyn Fn(&ObjectKey) + Send + Sync>,
}

impl Claims {
    /// Creates an empty index. It calls `trigger` with every policy whose competing policy may have changed.
    pub fn new(trigger: impl Fn(&ObjectKey) + Send + Sync + 'static) -> Self {
        Self { index: Mutex::default(), trigger: Box::new(trigger) }
    }

    /// Sets or removes one policy's claim, and triggers the other policies of the instance if that changed anything.
    pub fn set(&self, uid: &Arc<str>, claim: Option<(&'static str, &InstanceRef, Claim)>) {
        let claim = claim.map(|(provider, instance, claim)| {
            (format!("{provider}/{}/{}", instance.region, instance.id), claim)
        });
        let mut index = self.lock();
        let old = index.by_uid.get(uid).cloned();
        let before = old.as_ref().and_then(|at| index.claims.get(&(at.clone(), uid.clone())));
        let unchanged = match (&claim, &old) {
            (Some((instance, claim)), Some(at)) => **at == **instance && Some(claim) == before,
            (None, None) => true,
            _ => false,
        };
        if unchanged {
            return;
        }
        let mut others = Vec::new();
        if let Some(at) = old {
            index.claims.remove(&(at.clone(), uid.clone()));
            others.extend(index.of(&at).cloned());
            index.by_uid.remove(uid);
        }
        if let Some((instance, claim)) = claim {
            let at = Arc::<str>::from(instance);
            others.extend(index.of(&at).cloned());
            index.by_uid.insert(uid.clone(), at.clone());
            index.claims.insert((at, uid.clone()), claim);
        }
        drop(index);
        for other in others {
            (self.trigger)(&other.object_key);
        }
    }

    /// Returns the policy that manages the instance instead of this one; `None` if this one does, or claims none.
    pub fn competitor(&self, uid: &str, namespace: &str) -> Option<CompetingPolicy> {
        let index = self.lock();
        let winner = &manager(index.of(index.by_uid.get(uid)?))
            .filter(|claim| *claim.object_key.uid != *uid)?
            .object_key;
        Some(CompetingPolicy { name: (winner.namespace() == namespace).then(|| winner.name().to_owned()) })
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// Returns all claims to this instance.
    fn of<'a>(&'a self, instance: &'a Arc<str>) -> impl Iterator<Item = &'a Claim> {
        let first = (instance.clone(), Arc::default());
        self.claims.range(first..).take_while(move |((of, _), _)| of == instance).map(|(_, claim)| claim)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::plan::conflict::Refusal;

    fn claim(claims: &Claims, uid: &str, namespace: &str, created: i64) {
        let instance = InstanceRef { region: "cn-beijing".to_owned(), id: "redis-a1".to_owned() };
        let claim = Claim {
            object_key: ObjectKey::new(uid, namespace, &format!("name-{uid}")),
            created: Timestamp::from_second(created).unwrap(),
            refused: Refusal::None,
        };
        claims.set(&uid.into(), Some(("Volcengine", &instance, claim)));
    }

    #[test]
    fn the_loser_learns_who_manages_and_is_woken_when_that_ends() {
        let woken = Arc::new(Mutex::new(Vec::new()));
        let seen = woken.clone();
        let claims = Claims::new(move |object_key| seen.lock().unwrap().push(object_key.name().to_string()));
        claim(&claims, "a", "one", 1);
        claim(&claims, "b", "one", 2);
        claim(&claims, "c", "two", 3);
        assert_eq!(claims.competitor("a", "one"), None);
        assert_eq!(claims.competitor("b", "one"), Some(CompetingPolicy { name: Some("name-a".to_owned()) }));
        assert_eq!(claims.competitor("c", "two"), Some(CompetingPolicy { name: None }));
        woken.lock().unwrap().clear();
        claim(&claims, "a", "one", 1);
        assert!(woken.lock().unwrap().is_empty(), "nothing changed");
        claims.set(&"a".into(), None);
        assert_eq!(*woken.lock().unwrap(), ["name-b", "name-c"]);
        assert_eq!(claims.competitor("b", "one"), None);
    }
}
