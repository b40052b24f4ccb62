//! Connections of one operator process to the outside. Nothing that a killed process does afterwards has an effect or
//! can be observed.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::history::{CrashPoint, EntryKind, History};

/// Additional delay until a request in flight at the time of death takes effect.
const IN_FLIGHT_DELAY: Duration = Duration::from_secs(3);

#[derive(Clone)]
pub struct ProcessLink {
    pub process: usize,
    pub journal: History,
    is_cut: Arc<watch::Sender<bool>>,
}

impl ProcessLink {
    pub fn new(process: usize, journal: History) -> Self {
        Self { process, journal, is_cut: Arc::new(watch::Sender::new(false)) }
    }

    pub fn kill(&self) {
        if !self.is_cut.send_replace(true) {
            self.journal.note(self.process, || EntryKind::Killed);
        }
    }

    /// Resolves when the process is killed.
    pub async fn cut(&self) {
        // The sender lives as long as `self`.
        let _ = self.is_cut.subscribe().wait_for(|cut| *cut).await;
    }

    pub fn note(&self, what: impl FnOnce() -> EntryKind) {
        self.journal.note(self.process, what);
    }

    /// Makes one interaction: its effect follows after `there`, its response after another `back`. For a killed process
    /// it never resolves.
    pub async fn interact<T>(
        &self,
        there: Duration,
        effect: impl Future<Output = T> + Send + 'static,
        back: Duration,
    ) -> T
    where
        T: Send + 'static,
    {
        let crash_point = self.journal.interact();
        match crash_point {
            Some(CrashPoint::Before) => self.kill(),
            Some(CrashPoint::InFlight) => {
                self.kill();
                tokio::spawn(async move {
                    sleep(there + IN_FLIGHT_DELAY).await;
                    effect.await
                });
                return pending().await;
            }
            Some(CrashPoint::After) | None => {}
        }
        let alive = async {
            sleep(there).await;
            let answer = effect.await;
            if crash_point == Some(CrashPoint::After) {
                self.kill();
                return pending().await;
            }
            sleep(back).await;
            answer
        };
        tokio::select! {
            biased;
            () = self.cut() => pending().await,
            answer = alive => answer,
        }
    }
}

impl Default for ProcessLink {
    fn default() -> Self {
        Self::new(1, History::default())
    }
}
