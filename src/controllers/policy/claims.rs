//! Which policies compete for which instance, over all namespaces that are watched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::{InstanceRef, Named};
use crate::plan::Rival;
use crate::plan::conflict::{Claim, manager};

/// An instance of one provider.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Contested {
    provider: &'static str,
    instance: InstanceRef,
}

/// Nearly every policy is in both, so the texts are there once.
#[derive(Default)]
struct Index {
    by_instance: HashMap<Arc<Contested>, Vec<Claim>>,
    by_uid: HashMap<Arc<str>, Arc<Contested>>,
}

pub struct Claims {
    index: Mutex<Index>,
    wake: Box<dyn Fn(&Named) + Send + Sync>,
}

impl Claims {
    /// `wake` is told of every policy whose rival has changed.
    pub fn new(wake: impl Fn(&Named) + Send + Sync + 'static) -> Self {
        Self { index: Mutex::default(), wake: Box::new(wake) }
    }

    /// Sets or takes back one policy's claim, and wakes the others where that changes something.
    pub fn set(&self, uid: &str, claim: Option<(&'static str, &InstanceRef, Claim)>) {
        let mut index = self.lock();
        let old = index.by_uid.get(uid).cloned();
        let before =
            old.as_ref().and_then(|at| index.by_instance.get(at)?.iter().find(|c| *c.named.uid == *uid));
        let unchanged = match (&claim, &old) {
            (Some((provider, instance, claim)), Some(at)) => {
                at.provider == *provider && at.instance == **instance && Some(claim) == before
            }
            (None, None) => true,
            _ => false,
        };
        if unchanged {
            return;
        }
        let mut others = Vec::new();
        if let Some(at) = old {
            let claims = index.by_instance.entry(at.clone()).or_default();
            claims.retain(|c| *c.named.uid != *uid);
            others.extend(claims.iter().cloned());
            if claims.is_empty() {
                index.by_instance.remove(&at);
            }
            index.by_uid.remove(uid);
        }
        if let Some((provider, instance, claim)) = claim {
            let at = Contested { provider, instance: instance.clone() };
            // The key that is there stays, and is the one to share.
            let at =
                index.by_instance.get_key_value(&at).map_or_else(|| Arc::new(at), |(key, _)| key.clone());
            index.by_uid.insert(claim.named.uid.clone(), at.clone());
            let claims = index.by_instance.entry(at).or_default();
            others.extend(claims.iter().cloned());
            // Nearly always it is the only one.
            claims.reserve_exact(1);
            claims.push(claim);
        }
        drop(index);
        for other in others {
            (self.wake)(&other.named);
        }
    }

    /// The policy that manages the instance instead of this one, which claims it.
    pub fn rival(&self, uid: &str, namespace: &str) -> Option<Rival> {
        let index = self.lock();
        let claims = index.by_instance.get(index.by_uid.get(uid)?)?;
        let winner = &manager(claims).filter(|claim| *claim.named.uid != *uid)?.named;
        Some(Rival { name: (*winner.namespace == *namespace).then(|| winner.name.to_string()) })
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn claim(claims: &Claims, uid: &str, namespace: &str, created: i64) {
        let instance = InstanceRef { region: "cn-beijing".to_owned(), id: "redis-a1".to_owned() };
        let claim = Claim {
            named: Named::new(uid, namespace, &format!("name-{uid}")),
            created: Timestamp::from_second(created).unwrap(),
            refused: false,
        };
        claims.set(uid, Some(("Volcengine", &instance, claim)));
    }

    #[test]
    fn the_loser_learns_who_manages_and_is_woken_when_that_ends() {
        let woken = Arc::new(Mutex::new(Vec::new()));
        let seen = woken.clone();
        let claims = Claims::new(move |named| seen.lock().unwrap().push(named.name.to_string()));
        claim(&claims, "a", "one", 1);
        claim(&claims, "b", "one", 2);
        claim(&claims, "c", "two", 3);
        assert_eq!(claims.rival("a", "one"), None);
        assert_eq!(claims.rival("b", "one"), Some(Rival { name: Some("name-a".to_owned()) }));
        assert_eq!(claims.rival("c", "two"), Some(Rival { name: None }));
        woken.lock().unwrap().clear();
        claim(&claims, "a", "one", 1);
        assert!(woken.lock().unwrap().is_empty(), "nothing changed");
        claims.set("a", None);
        assert_eq!(*woken.lock().unwrap(), ["name-b", "name-c"]);
        assert_eq!(claims.rival("b", "one"), None);
    }
}
