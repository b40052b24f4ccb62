//! What the probes answer, as the rest of the process tells it.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::Timestamp;

use super::urls;

/// Shared by the probes and whoever knows how the process is: alive and starting at first.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<State>);

#[derive(Debug, Default)]
struct State {
    failure: OnceLock<String>,
    started: AtomicBool,
    /// What is not there, and why as far as that is known.
    awaited: Mutex<BTreeMap<String, Missing>>,
}

#[derive(Debug, Default)]
struct Missing {
    /// `None`: it never was there.
    as_of: Option<Timestamp>,
    why: String,
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

    /// The process is not ready before this is there, nor while it is out of date.
    pub fn awaits(&self, what: String) -> Awaited {
        self.awaited().insert(what.clone(), Missing::default());
        Awaited { health: self.clone(), what }
    }

    /// The process is not ready while this is out of date.
    pub fn relies_on(&self, what: String) -> Awaited {
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
        let line = |(what, missing): (&String, &Missing)| match (missing.as_of, missing.why.as_str()) {
            (None, "") => format!("waiting for {what}"),
            (None, why) => format!("waiting for {what}: {why}"),
            (Some(as_of), why) => format!("{what} is as of {as_of:.0}: {why}"),
        };
        (!awaited.is_empty()).then(|| awaited.iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    fn awaited(&self) -> MutexGuard<'_, BTreeMap<String, Missing>> {
        self.0.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Awaited {
    pub fn is_there(&self) {
        let before = self.health.awaited().remove(&self.what);
        if before.is_some_and(|missing| missing.as_of.is_some()) {
            tracing::info!("{} is up to date again", self.what);
        }
    }

    /// What is there is as of then, and `why` nothing newer could be had.
    pub fn is_outdated(&self, as_of: Timestamp, why: &str) {
        let why = urls::clean(why).into_owned();
        let missing = Missing { as_of: Some(as_of), why: why.clone() };
        let mut awaited = self.health.awaited();
        // What was never there goes on being waited for.
        let is_new = match awaited.get_mut(&self.what) {
            Some(before) if before.as_of.is_none() => return,
            Some(before) => mem::replace(before, missing).why != why,
            None => awaited.insert(self.what.clone(), missing).is_none(),
        };
        if is_new {
            tracing::warn!(%as_of, error = why, "{} is out of date", self.what);
        }
    }

    /// It was tried, and failed.
    pub fn failed(&self, why: &str) {
        let why = urls::clean(why);
        let mut awaited = self.health.awaited();
        let Some(before) = awaited.get_mut(&self.what).filter(|before| before.why != *why) else { return };
        tracing::warn!(error = &*why, "waiting for {}", self.what);
        before.why = why.into_owned();
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
        policies.is_outdated("2026-11-22T12:00:00.25Z".parse().unwrap(), "a watch was silent for 45 s");
        assert_eq!(
            health.missing().unwrap(),
            "policies is as of 2026-11-22T12:00:00Z: a watch was silent for 45 s"
        );
        policies.is_there();
        assert_eq!(health.missing(), None);
    }
}
