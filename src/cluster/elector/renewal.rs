//! Renews a held Lease until a renewal fails for good.

use k8s_openapi::api::coordination::v1::Lease;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};

use super::leadership::Term;
use super::{CallError, Candidate, LeaseExt};

/// Owner of the task that renews: dropping it ends the leadership at once, whatever the task is doing.
pub(super) struct Renewals {
    term: watch::Sender<Term>,
    task: JoinHandle<()>,
}

impl Drop for Renewals {
    fn drop(&mut self) {
        self.term.send_modify(Term::mark_ended);
        self.task.abort();
    }
}

impl Renewals {
    pub(super) fn start(candidate: Candidate, lease: Lease, term: Term) -> (Self, watch::Receiver<Term>) {
        let (sender, receiver) = watch::channel(term);
        let task = tokio::spawn({
            let sender = sender.clone();
            async move {
                let why = renew(&candidate, lease, &sender).await;
                sender.send_modify(Term::mark_ended);
                warn!(why, "no longer leading, standing by");
            }
        });
        (Self { term: sender, task }, receiver)
    }

    /// Ends the leadership. If it is over already, waits for its task, which is about to log the reason.
    pub(super) async fn end(mut self) {
        if !self.term.borrow().is_current() {
            let _ = (&mut self.task).await;
        }
    }
}

/// Reason why a renewal failed.
enum Failure {
    /// Transient: retried while the term lasts.
    Passing(CallError),
    /// The Lease is no longer held by this process.
    Lost(String),
}

/// Renews until the leadership is over, and returns the reason.
async fn renew(candidate: &Candidate, mut lease: Lease, term: &watch::Sender<Term>) -> String {
    let timing = candidate.timing;
    let mut next = Instant::now() + timing.renew;
    let mut failure = "no try was made".to_owned();
    let mut failing: Option<Instant> = None;
    loop {
        let end = term.borrow().end();
        sleep_until(next.min(end)).await;
        if !term.borrow().is_current() {
            return format!("the Lease could not be renewed in time: {failure}");
        }
        let started = Instant::now();
        match timeout_at(end, renew_once(candidate, &mut lease)).await {
            Ok(Ok(begun)) => {
                // Only a current term is prolonged: a leadership that someone has seen end must not come back.
                term.send_if_modified(|term| {
                    let lasts = term.is_current();
                    if lasts {
                        *term = candidate.term_from(begun);
                    }
                    lasts
                });
                if let Some(since) = failing.take() {
                    info!(seconds = since.elapsed().as_secs(), "renewed the Lease again");
                }
                next = started + timing.renew;
                failure = "the answer came too late".to_owned();
                continue;
            }
            Ok(Err(Failure::Lost(why))) => return why,
            Ok(Err(Failure::Passing(error))) => failure = error.text(),
            Err(_) => failure = "no answer before its end".to_owned(),
        }
        if failing.is_none() {
            failing = Some(started);
            warn!(error = failure, "could not renew the Lease, trying on while the term lasts");
        }
        next = started + timing.retry;
    }
}

/// Renews once, and returns the start of the write that succeeded.
async fn renew_once(candidate: &Candidate, lease: &mut Lease) -> Result<Instant, Failure> {
    loop {
        let begun = Instant::now();
        match candidate.replace(candidate.renewed(lease.clone())).await {
            Ok(renewed) => {
                *lease = renewed;
                return Ok(begun);
            }
            // A lost answer to an own write leads here as well: a read shows the Lease's holder.
            Err(error) if error.is(409) => match candidate.get().await.map_err(Failure::Passing)? {
                Some(found) if found.holder() == candidate.identity => *lease = found,
                Some(found) => {
                    return Err(Failure::Lost(format!("the Lease is held by {:?}", found.holder())));
                }
                None => return Err(deleted()),
            },
            // Another candidate may have created its own Lease already.
            Err(error) if error.is(404) => return Err(deleted()),
            Err(error) => return Err(Failure::Passing(error)),
        }
    }
}

fn deleted() -> Failure {
    Failure::Lost("the Lease was deleted".to_owned())
}
