//! Lists the objects of a kind and watches them, as `kube::runtime::watcher` does, and relists when the result may be
//! stale.
//!
//! kube's watcher hides resourceVersions, bookmarks and silence, and cannot be made to relist. An API server whose
//! etcd was restored does not answer a watch from a resourceVersion that it has not reached yet, so that kube's
//! watcher misses every change until that number is reached again; a connection that a firewall has dropped is silent
//! as well.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Debug;
use std::future::pending;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::runtime::watcher::{Error, Event};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{cause, has_status_code, resource_version};
use crate::clock::Clock;
use crate::telemetry::health::Dependency;

/// Timeout of a connection to the API server: if nothing was received for this long, the connection is dead.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(45);
/// Duration in seconds after which the API server is asked to end each watch. It sends a bookmark shortly before,
/// from which the next watch resumes; without an end, a watch of objects that never change is silent for a minute,
/// between two bookmarks.
const WATCH_TIMEOUT_SECONDS: u32 = 40;
/// Minimum interval between two invalidations, each of which relists every kind.
const MIN_RELIST_INTERVAL: Duration = Duration::from_secs(10);
const NO_ANSWER: &str = "no answer from the API server within 45 s";
/// Number of objects in one page of a list. A page is held as received, some three times over, while it is parsed,
/// and an object can have 1.5 MB, whatever is kept of it: a page takes 110 MiB at most. With kube's 500, a namespace
/// full of long annotations would take more memory than the pod has, at each start.
const PAGE_SIZE: u32 = 25;

/// State shared by all watches of a process: the time from which on their lists are trusted.
#[derive(Clone, Debug)]
pub struct ListFreshness {
    /// Time of the last invalidation: lists that began before it are relisted then. It can be in the future.
    invalidated: watch::Sender<Option<Instant>>,
    /// Time when this process last became the leader.
    leading_since: Arc<Mutex<Option<Instant>>>,
    clock: Clock,
}

impl ListFreshness {
    /// Creates the state; `clock` gives the times that `/readyz` reports.
    pub fn new(clock: Clock) -> Self {
        Self { invalidated: watch::Sender::new(None), leading_since: Arc::default(), clock }
    }

    /// Relists every kind: at once, or a minimum interval after the last time.
    pub fn invalidate(&self, kind: &str, why: &str) {
        let now = Instant::now();
        let is_new = self.invalidated.send_if_modified(|at| {
            let due = at.map_or(now, |last| now.max(last + MIN_RELIST_INTERVAL));
            let is_new = at.is_none_or(|last| last < now);
            if is_new {
                *at = Some(due);
            }
            is_new
        });
        if is_new {
            tracing::warn!(kind, "{why}: everything is listed anew");
        }
    }

    /// Relists every kind at once, as this process leads from now on: as a standby it may have received nothing, or
    /// events of an API server that lags behind.
    pub fn start_leading(&self) {
        let now = Instant::now();
        *self.leading_since.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        self.invalidated.send_replace(Some(now));
    }

    /// Whether a list that began at `listed` is recent enough for a leader.
    pub fn is_fresh_for_leader(&self, listed: Instant) -> bool {
        self.leading_since.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|taken| listed >= taken)
    }

    /// Resolves once a leader cannot trust a list that began at `listed`.
    async fn stale_for_leader(&self, listed: Instant) {
        // `self` holds a sender, so the channel stays open.
        let _ = self.invalidated.subscribe().wait_for(|_| !self.is_fresh_for_leader(listed)).await;
    }

    /// Whether a list that began at `listed` has to be repeated.
    pub fn needs_relist(&self, listed: Instant) -> bool {
        self.invalidated.borrow().is_some_and(|at| at > listed && at <= Instant::now())
    }

    /// Resolves once a list that began at `listed` has to be repeated.
    async fn relist_due(&self, listed: Instant) {
        let mut invalidated = self.invalidated.subscribe();
        // `self` holds a sender, so the channel stays open.
        if let Ok(at) = invalidated.wait_for(|at| at.is_some_and(|at| at > listed)).await.map(|at| *at) {
            sleep_until(at.unwrap_or(listed)).await;
        }
    }
}

/// Lists all objects that `api` reaches, then watches them, without end. Each list is a quorum read. A stream that is
/// polled after an error retries at once: pause it with a backoff.
///
/// `cache` reports on `/readyz` which data is missing, and which is older than [`SILENCE_TIMEOUT`].
pub fn list_watch<K>(
    api: Api<K>,
    freshness: ListFreshness,
    cache: Dependency,
) -> impl Stream<Item = Result<Event<K>, Error>> + Send
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let progress =
        WatchProgress { freshness, cache, listed: Instant::now(), last_answer: None, newest: None };
    let started = ListWatch { api, progress, phase: Phase::Unlisted };
    stream::unfold(started, |mut list_watch| async move {
        let event = list_watch.next().await;
        Some((event, list_watch))
    })
}

struct ListWatch<K> {
    api: Api<K>,
    progress: WatchProgress,
    phase: Phase<K>,
}

/// Freshness of the data read.
struct WatchProgress {
    freshness: ListFreshness,
    cache: Dependency,
    /// Start of the list that the watch follows.
    listed: Instant,
    /// Time of the API server's last answer; `None` before the first one.
    last_answer: Option<(Instant, Timestamp)>,
    /// ResourceVersion that the API server has reached, as far as observed; `None` if it is no number.
    newest: Option<u128>,
}

enum Phase<K> {
    Unlisted,
    Listing {
        /// Continue token of the page to request; `None`: the first page.
        token: Option<String>,
        objects: VecDeque<K>,
        /// The list's resourceVersion, once no page is left to request.
        complete: Option<String>,
    },
    /// The watch has ended; a check is due whether it can resume.
    Ended {
        version: String,
    },
    /// The watch has to be opened.
    Opening {
        version: String,
    },
    Watching {
        version: String,
        stream: BoxStream<'static, kube::Result<WatchEvent<K>>>,
        last_answer: Instant,
    },
}

impl<K> ListWatch<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    async fn next(&mut self) -> Result<Event<K>, Error> {
        loop {
            match mem::replace(&mut self.phase, Phase::Unlisted) {
                Phase::Unlisted => {
                    self.progress.listed = Instant::now();
                    self.phase = Phase::Listing { token: None, objects: VecDeque::new(), complete: None };
                    return Ok(Event::Init);
                }
                Phase::Listing { token, mut objects, complete } => {
                    if let Some(object) = objects.pop_front() {
                        self.phase = Phase::Listing { token, objects, complete };
                        return Ok(Event::InitApply(object));
                    }
                    if let Some(version) = complete {
                        self.phase = Phase::Opening { version };
                        self.progress.cache.mark_available();
                        return Ok(Event::InitDone);
                    }
                    let is_first = token.is_none();
                    let params =
                        ListParams { continue_token: token, ..ListParams::default().limit(PAGE_SIZE) };
                    // Other invalidations do not interrupt a list: one that takes long would never end.
                    let answer = tokio::select! {
                        biased;
                        () = self.progress.freshness.stale_for_leader(self.progress.listed) => continue,
                        answer = self.progress.answer(self.api.list(&params)) => answer,
                    };
                    let page =
                        answer.map_err(|error| self.progress.failed(Error::InitialListFailed(error)))?;
                    self.progress.record_answer();
                    let version = page.metadata.resource_version.filter(|version| !version.is_empty());
                    let version = version.ok_or_else(|| self.progress.failed(Error::NoResourceVersion))?;
                    if is_first && self.progress.is_older_than_seen(&version) {
                        self.progress
                            .freshness
                            .invalidate(&K::kind(&()), "a list is of an earlier resourceVersion than known");
                    }
                    self.progress.newest = resource_version(&version);
                    let token = page.metadata.continue_.filter(|token| !token.is_empty());
                    let complete = token.is_none().then_some(version);
                    self.phase = Phase::Listing { token, objects: page.items.into(), complete };
                }
                Phase::Ended { version } => {
                    // A cheap quorum read that shows the API server's present resourceVersion. A watch would not:
                    // from a resourceVersion that was not reached yet, it is silent and returns no error.
                    let params = ListParams::default().limit(1);
                    let answer = tokio::select! {
                        biased;
                        () = self.progress.freshness.relist_due(self.progress.listed) => continue,
                        answer = self.progress.answer(self.api.list(&params)) => answer,
                    };
                    let probe = answer.map_err(|error| self.retry_watch(version.clone(), error))?;
                    self.progress.record_answer();
                    let reached = probe.metadata.resource_version.unwrap_or_default();
                    if self.progress.is_older_than_seen(&reached) {
                        self.progress
                            .freshness
                            .invalidate(&K::kind(&()), "the API server's resourceVersion went back");
                        continue;
                    }
                    self.progress.newest = resource_version(&reached);
                    self.phase = Phase::Opening { version };
                }
                Phase::Opening { version } => {
                    let params = WatchParams::default().timeout(WATCH_TIMEOUT_SECONDS);
                    let answer = tokio::select! {
                        biased;
                        () = self.progress.freshness.relist_due(self.progress.listed) => continue,
                        answer = self.progress.answer(self.api.watch(&params, &version)) => answer,
                    };
                    let stream = match answer {
                        Ok(stream) => stream.boxed(),
                        Err(error) if has_status_code(&error, 410) => {
                            return Err(self.progress.failed(Error::WatchStartFailed(error)));
                        }
                        Err(error) => return Err(self.retry_watch(version, error)),
                    };
                    self.progress.record_answer();
                    self.progress.cache.mark_available();
                    self.phase = Phase::Watching { version, stream, last_answer: Instant::now() };
                }
                Phase::Watching { version, mut stream, last_answer } => {
                    let message = tokio::select! {
                        biased;
                        () = self.progress.freshness.relist_due(self.progress.listed) => continue,
                        message = timeout_at(last_answer + SILENCE_TIMEOUT, stream.next()) => message,
                    };
                    let Ok(message) = message else {
                        let why = "a watch was silent for 45 s";
                        self.progress.mark_outdated(why);
                        self.progress.freshness.invalidate(&K::kind(&()), why);
                        continue;
                    };
                    let Some(message) = message else {
                        self.phase = Phase::Ended { version };
                        continue;
                    };
                    if message.is_ok() {
                        self.progress.record_answer();
                    }
                    let (event, version) = match message {
                        Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                            let version = object.resource_version().unwrap_or_default();
                            (Some(Event::Apply(object)), version)
                        }
                        Ok(WatchEvent::Deleted(object)) => {
                            let version = object.resource_version().unwrap_or_default();
                            (Some(Event::Delete(object)), version)
                        }
                        Ok(WatchEvent::Bookmark(bookmark)) => (None, bookmark.metadata.resource_version),
                        // 410 is the only error that another watch from the same version would meet again.
                        Ok(WatchEvent::Error(status)) => {
                            if status.code != 410 {
                                self.phase = Phase::Ended { version };
                            }
                            return Err(self.progress.failed(Error::WatchError(status.boxed())));
                        }
                        Err(error) => {
                            self.phase = Phase::Ended { version };
                            return Err(self.progress.failed(Error::WatchFailed(error)));
                        }
                    };
                    if version.is_empty() {
                        return Err(self.progress.failed(Error::NoResourceVersion));
                    }
                    self.progress.newest = self.progress.newest.max(resource_version(&version));
                    self.phase = Phase::Watching { version, stream, last_answer: Instant::now() };
                    if let Some(event) = event {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// Returns the error of a watch that could not be opened, and retries from the same version.
    fn retry_watch(&mut self, version: String, error: kube::Error) -> Error {
        self.phase = Phase::Ended { version };
        self.progress.failed(Error::WatchStartFailed(error))
    }
}

impl WatchProgress {
    /// Returns the API server's answer, or an error if there is none within [`SILENCE_TIMEOUT`].
    async fn answer<T>(&self, call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
        let ages = async {
            if let Some((at, _)) = self.last_answer {
                sleep_until(at + SILENCE_TIMEOUT).await;
                self.mark_outdated(NO_ANSWER);
            }
            pending::<Infallible>().await
        };
        tokio::select! {
            biased;
            never = ages => match never {},
            answer = timeout(SILENCE_TIMEOUT, call) => {
                answer.unwrap_or_else(|_| Err(kube::Error::Service(NO_ANSWER.into())))
            }
        }
    }

    fn mark_outdated(&self, why: &str) {
        if let Some((_, as_of)) = self.last_answer {
            self.cache.mark_outdated(as_of, why);
        }
    }

    fn record_answer(&mut self) {
        self.last_answer = Some((Instant::now(), self.freshness.clock.now()));
    }

    fn is_older_than_seen(&self, version: &str) -> bool {
        resource_version(version).zip(self.newest).is_some_and(|(now, newest)| now < newest)
    }

    fn failed(&self, error: Error) -> Error {
        let hint = match &error {
            Error::InitialListFailed(error) if has_status_code(error, 404) => "is its CRD installed? ",
            Error::InitialListFailed(error) if has_status_code(error, 403) => {
                "may the ServiceAccount list it? "
            }
            _ => "",
        };
        let why = format!("{hint}{}", cause(&error));
        if self.last_answer.is_some_and(|(at, _)| at.elapsed() >= SILENCE_TIMEOUT) {
            self.mark_outdated(&why);
        } else {
            self.cache.failed(&why);
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freshness() -> ListFreshness {
        ListFreshness::new(Clock::from_tokio("2026-11-22T12:00:00Z".parse().unwrap()))
    }

    /// Returns the delay after which a list that began at `listed` has to be repeated.
    async fn outdated_after(freshness: &ListFreshness, listed: Instant) -> Duration {
        let begun = Instant::now();
        freshness.relist_due(listed).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn doubts_that_follow_each_other_are_one_until_some_time_has_passed() {
        let freshness = freshness();
        let first = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        freshness.invalidate("Secret", "silent");
        assert_eq!(outdated_after(&freshness, first).await, Duration::ZERO);
        let second = Instant::now();
        assert!(
            timeout(SILENCE_TIMEOUT, freshness.relist_due(second)).await.is_err(),
            "it began with the doubt"
        );
        freshness.invalidate("Secret", "silent");
        let third = Instant::now();
        for _ in 0..10 {
            freshness.invalidate("Secret", "silent");
        }
        assert_eq!(outdated_after(&freshness, second).await, Duration::ZERO);
        assert_eq!(outdated_after(&freshness, third - Duration::from_secs(1)).await, Duration::ZERO);
        tokio::time::advance(Duration::from_secs(1)).await;
        let fourth = Instant::now();
        freshness.invalidate("Secret", "silent");
        assert!(!freshness.needs_relist(fourth));
        assert_eq!(outdated_after(&freshness, fourth).await, MIN_RELIST_INTERVAL - Duration::from_secs(1));
        assert!(freshness.needs_relist(fourth));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_the_lead_trusts_no_list_that_began_before() {
        let freshness = freshness();
        let before = Instant::now();
        assert!(freshness.is_fresh_for_leader(before));
        tokio::time::advance(Duration::from_secs(1)).await;
        freshness.invalidate("Secret", "silent");
        tokio::time::advance(Duration::from_secs(1)).await;
        freshness.start_leading();
        assert!(!freshness.is_fresh_for_leader(before) && freshness.is_fresh_for_leader(Instant::now()));
        assert_eq!(outdated_after(&freshness, before).await, Duration::ZERO, "it does not wait for its turn");
    }
}
