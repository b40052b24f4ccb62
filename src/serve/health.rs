//! What the probes answer, as the rest of the process tells it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::telemetry::redact::scrub;

/// Shared by the probes and whoever knows how the process is: alive and starting at first.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<State>);

#[derive(Debug, Default)]
struct State {
    failure: OnceLock<String>,
    started: AtomicBool,
}

impl Health {
    /// Whether nothing has failed for good.
    pub fn alive(&self) -> bool {
        self.0.failure.get().is_none()
    }

    /// Something has ended that the process cannot do without: it is to be restarted. The first reason stays.
    pub fn fail(&self, reason: &str) {
        self.0.failure.get_or_init(|| scrub(reason).into_owned());
    }

    /// Everything is set up: the process leads, or waits to.
    pub fn started(&self) {
        self.0.started.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_started(&self) -> bool {
        self.0.started.load(Ordering::Relaxed)
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.0.failure.get().cloned()
    }
}
