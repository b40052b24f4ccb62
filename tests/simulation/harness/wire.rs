//! What ties one process of the operator to the outside. A process that is killed is cut off: nothing that it does afterwards
//! can be seen by anybody, as if it did nothing.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::journal::{Journal, Stage, What};

/// How much later what was under way at the death takes effect.
const LATE: Duration = Duration::from_secs(3);

#[derive(Clone)]
pub struct Wire {
    pub process: usize,
    pub journal: Journal,
    is_cut: Arc<watch::Sender<bool>>,
}

impl Wire {
    pub fn new(process: usize, journal: Journal) -> Self {
        Self { process, journal, is_cut: Arc::new(watch::Sender::new(false)) }
    }

    pub fn kill(&self) {
        if !self.is_cut.send_replace(true) {
            self.journal.note(self.process, || What::Killed);
        }
    }

    /// Resolves when the process is dead.
    pub async fn cut(&self) {
        // The sender lives as long as this.
        let _ = self.is_cut.subscribe().wait_for(|cut| *cut).await;
    }

    pub fn note(&self, what: impl FnOnce() -> What) {
        self.journal.note(self.process, what);
    }

    /// Makes one interaction: it takes a while until it has its effect, and another one until the answer is there. Nothing
    /// answers a process that is dead.
    pub async fn interact<T>(
        &self,
        there: Duration,
        effect: impl Future<Output = T> + Send + 'static,
        back: Duration,
    ) -> T
    where
        T: Send + 'static,
    {
        let strike = self.journal.interact();
        match strike {
            Some(Stage::Before) => self.kill(),
            Some(Stage::Under) => {
                self.kill();
                tokio::spawn(async move {
                    sleep(there + LATE).await;
                    effect.await
                });
                return pending().await;
            }
            Some(Stage::After) | None => {}
        }
        let alive = async {
            sleep(there).await;
            let answer = effect.await;
            if strike == Some(Stage::After) {
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

impl Default for Wire {
    fn default() -> Self {
        Self::new(1, Journal::default())
    }
}
