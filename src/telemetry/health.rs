//! What the probes answer, as the rest of the process tells it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::urls;

/// Shared by the probes and whoever knows how the process is: alive and starting at first.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<State>);

#[derive(Debug, Default)]
struct State {
    failure: OnceLock<String>,
    started: AtomicBool,
    /// What is not there yet, and why as far as that is known.
    awaited: Mutex<BTreeMap<String, String>>,
}

/// Something that the process is not ready without.
#[derive(Debug)]
pub struct Awaited {
    health: Health,
    what: String,
}

impl Health {
    /// Whether nothing has failed for good.
    pub fn alive(&self) -> bool {
        self.0.failure.get().is_none()
    }

    /// Something has ended that the process cannot do without: it is to be restarted. The first reason stays.
    pub fn fail(&self, reason: &str) {
        self.0.failure.get_or_init(|| urls::clean(reason).into_owned());
    }

    /// Everything is set up: what is not awaited by now is there.
    pub fn started(&self) {
        self.0.started.store(true, Ordering::Relaxed);
    }

    /// The process is not ready before this is there. Once it is, it stays.
    pub fn awaits(&self, what: String) -> Awaited {
        self.awaited().insert(what.clone(), String::new());
        Awaited { health: self.clone(), what }
    }

    /// Why the process is to be restarted.
    pub fn failure(&self) -> Option<String> {
        self.0.failure.get().cloned()
    }

    /// What it is not ready without, a line each.
    pub fn missing(&self) -> Option<String> {
        if !self.0.started.load(Ordering::Relaxed) {
            return Some("starting".to_owned());
        }
        let awaited = self.awaited();
        let line = |(what, why): (&String, &String)| match why.as_str() {
            "" => format!("waiting for {what}"),
            why => format!("waiting for {what}: {why}"),
        };
        (!awaited.is_empty()).then(|| awaited.iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    fn awaited(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Awaited {
    pub fn is_there(&self) {
        self.health.awaited().remove(&self.what);
    }

    /// It was tried, and failed.
    pub fn failed(&self, why: &str) {
        let why = urls::clean(why);
        let mut awaited = self.health.awaited();
        let Some(before) = awaited.get_mut(&self.what).filter(|before| **before != *why) else { return };
        tracing::warn!(error = &*why, "waiting for {}", self.what);
        *before = why.into_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_all_is_there_that_is_awaited() {
        let health = Health::default();
        assert_eq!(health.missing().unwrap(), "starting");
        let [policies, accounts] = ["policies", "accounts"].map(|what| health.awaits(what.to_owned()));
        health.started();
        policies.failed("no such kind");
        assert_eq!(health.missing().unwrap(), "waiting for accounts\nwaiting for policies: no such kind");
        accounts.is_there();
        assert_eq!(health.missing().unwrap(), "waiting for policies: no such kind");
        policies.is_there();
        policies.failed("the connection was lost");
        assert_eq!(health.missing(), None);
    }
}
