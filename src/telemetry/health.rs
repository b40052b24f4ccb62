//! State behind the liveness and readiness probes, as reported by the rest of the process.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::Timestamp;

use super::scrub;

/// Health of the process, shared by the probes and the components that report it: initially alive and starting.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<State>);

#[derive(Debug, Default)]
struct State {
    failure: OnceLock<String>,
    started: AtomicBool,
    /// Dependencies that are missing or out of date, each with the reason as far as it is known.
    awaited: Mutex<BTreeMap<String, Missing>>,
}

#[derive(Debug, Default)]
struct Missing {
    /// Time of the data at hand; `None` if the dependency was never available.
    as_of: Option<Timestamp>,
    why: String,
}

/// Dependency without which the process is not ready.
#[derive(Debug)]
pub struct Dependency {
    health: Health,
    what: String,
}

impl Health {
    /// Returns whether nothing has failed permanently.
    pub fn alive(&self) -> bool {
        self.0.failure.get().is_none()
    }

    /// Reports the end of something that the process cannot do without, so that it must be restarted. The first reason
    /// stays.
    pub fn fail(&self, reason: &str) {
        self.0.failure.get_or_init(|| scrub::clean(reason).into_owned());
    }

    /// Marks the setup as complete: from now on only registered dependencies keep the process from being ready.
    pub fn started(&self) {
        self.0.started.store(true, Ordering::Relaxed);
    }

    /// Registers a dependency: the process is not ready before it is available, nor while it is out of date.
    pub fn require(&self, what: String) -> Dependency {
        self.awaited().insert(what.clone(), Missing::default());
        Dependency { health: self.clone(), what }
    }

    /// Registers a dependency that counts as available: the process is not ready while it is out of date.
    pub fn require_fresh(&self, what: String) -> Dependency {
        Dependency { health: self.clone(), what }
    }

    /// Returns the reason why the process must be restarted, if there is one.
    pub fn failure(&self) -> Option<String> {
        self.0.failure.get().cloned()
    }

    /// Returns what keeps the process from being ready, one dependency per line; `None` if it is ready.
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

impl Dependency {
    pub fn mark_available(&self) {
        let before = self.health.awaited().remove(&self.what);
        if before.is_some_and(|missing| missing.as_of.is_some()) {
            tracing::info!("{} is up to date again", self.what);
        }
    }

    /// Reports that the data at hand dates from `as_of`, and `why` nothing newer is available.
    pub fn mark_outdated(&self, as_of: Timestamp, why: &str) {
        let why = scrub::clean(why).into_owned();
        let missing = Missing { as_of: Some(as_of), why: why.clone() };
        let mut awaited = self.health.awaited();
        // A dependency that was never available stays awaited.
        let is_new = match awaited.get_mut(&self.what) {
            Some(before) if before.as_of.is_none() => return,
            Some(before) => mem::replace(before, missing).why != why,
            None => awaited.insert(self.what.clone(), missing).is_none(),
        };
        if is_new {
            tracing::warn!(%as_of, error = why, "{} is out of date", self.what);
        }
    }

    /// Reports a failed attempt to make the dependency available.
    pub fn failed(&self, why: &str) {
        let why = scrub::clean(why);
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
        let [policies, accounts] = ["policies", "accounts"].map(|what| health.require(what.to_owned()));
        health.started();
        policies.failed("no such kind");
        assert_eq!(health.missing().unwrap(), "waiting for accounts\nwaiting for policies: no such kind");
        accounts.mark_available();
        assert_eq!(health.missing().unwrap(), "waiting for policies: no such kind");
        policies.mark_available();
        policies.failed("the connection was lost");
        assert_eq!(health.missing(), None);
        policies.mark_outdated("2026-11-22T12:00:00.25Z".parse().unwrap(), "a watch was silent for 45 s");
        assert_eq!(
            health.missing().unwrap(),
            "policies is as of 2026-11-22T12:00:00Z: a watch was silent for 45 s"
        );
        policies.mark_available();
        assert_eq!(health.missing(), None);
    }
}
