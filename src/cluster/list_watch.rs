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

use super::{answered, cause, resource_version};
use crate::clock::Clock;
use crate::telemetry::health::Awaited;

/// Timeout of a connection to the API server: if nothing was received for this long, the connection is dead.
pub const SILENCE: Duration = Duration::from_secs(45);
/// Duration in seconds after which the API server is asked to end each watch. It sends a bookmark shortly before,
/// from which the next watch resumes; without an end, a watch of objects that never change is silent for a minute,
/// between two bookmarks.
const WATCH_SECONDS: u32 = 40;
/// Minimum interval between two invalidations, each of which relists every kind.
const BETWEEN_DOUBTS: Duration = Duration::from_secs(10);
const NO_ANSWER: &str = "no answer from the API server within 45 s";
/// Number of objects in one page of a list. A page is held as received, some three times over, while it is parsed,
/// and an object can have 1.5 MB, whatever is kept of it: a page takes 110 MiB at most. With kube's 500, a namespace
/// full of long annotations would take more memory than the pod has, at each start.
const PAGE: u32 = 25;

/// State shared by all watches of a process: the time from which on their lists are trusted.
#[derive(Clone, Debug)]
pub struct Caches {
    /// Time of the last invalidation: lists that began before it are relisted then. It can be in the future.
    doubted: watch::Sender<Option<Instant>>,
    /// Time when this process last became the leader.
    lead_taken: Arc<Mutex<Option<Instant>>>,
    clock: Clock,
}

impl Caches {
    /// Creates the state; `clock` gives the times that `/readyz` reports.
    pub fn new(clock: Clock) -> Self {
        Self { doubted: watch::Sender::new(None), lead_taken: Arc::default(), clock }
    }

    /// Relists every kind: at once, or a minimum interval after the last time.
    pub fn doubt(&self, kind: &str, why: &str) {
        let now = Instant::now();
        let is_new = self.doubted.send_if_modified(|at| {
            let due = at.map_or(now, |last| now.max(last + BETWEEN_DOUBTS));
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
    pub fn take_lead(&self) {
        let now = Instant::now();
        *self.lead_taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        self.doubted.send_replace(Some(now));
    }

    /// Whether a list that began at `listed` is recent enough for a leader.
    pub fn trusts(&self, listed: Instant) -> bool {
        self.lead_taken.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|taken| listed >= taken)
    }

    /// Resolves once a leader cannot trust a list that began at `listed`.
    async fn mistrusted(&self, listed: Instant) {
        // `self` holds a sender, so the channel stays open.
        let _ = self.doubted.subscribe().wait_for(|_| !self.trusts(listed)).await;
    }

    /// Whether a list that began at `listed` has to be repeated.
    pub fn doubts(&self, listed: Instant) -> bool {
        self.doubted.borrow().is_some_and(|at| at > listed && at <= Instant::now())
    }

    /// Resolves once a list that began at `listed` has to be repeated.
    async fn outdated(&self, listed: Instant) {
        let mut doubted = self.doubted.subscribe();
        // `self` holds a sender, so the channel stays open.
        if let Ok(at) = doubted.wait_for(|at| at.is_some_and(|at| at > listed)).await.map(|at| *at) {
            sleep_until(at.unwrap_or(listed)).await;
        }
    }
}

/// Lists all objects that `api` reaches, then watches them, without end. Each list is a quorum read. A stream that is
/// polled after an error retries at once: pause it with a backoff.
///
/// `cache` reports on `/readyz` which data is missing, and which is older than [`SILENCE`].
pub fn list_watch<K>(
    api: Api<K>,
    caches: Caches,
    cache: Awaited,
) -> impl Stream<Item = Result<Event<K>, Error>> + Send
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let known = Known { caches, cache, listed: Instant::now(), heard: None, newest: None };
    let started = ListWatch { api, known, phase: Phase::Unlisted };
    stream::unfold(started, |mut list_watch| async move {
        let event = list_watch.next().await;
        Some((event, list_watch))
    })
}

struct ListWatch<K> {
    api: Api<K>,
    known: Known,
    phase: Phase<K>,
}

/// Freshness of the data read.
struct Known {
    caches: Caches,
    cache: Awaited,
    /// Start of the list that the watch follows.
    listed: Instant,
    /// Time of the API server's last answer; `None` before the first one.
    heard: Option<(Instant, Timestamp)>,
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
        heard: Instant,
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
                    self.known.listed = Instant::now();
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
                        self.known.cache.is_there();
                        return Ok(Event::InitDone);
                    }
                    let is_first = token.is_none();
                    let params = ListParams { continue_token: token, ..ListParams::default().limit(PAGE) };
                    // Other invalidations do not interrupt a list: one that takes long would never end.
                    let answer = tokio::select! {
                        biased;
                        () = self.known.caches.mistrusted(self.known.listed) => continue,
                        answer = self.known.answer(self.api.list(&params)) => answer,
                    };
                    let page = answer.map_err(|error| self.known.failed(Error::InitialListFailed(error)))?;
                    self.known.hears();
                    let version = page.metadata.resource_version.filter(|version| !version.is_empty());
                    let version = version.ok_or_else(|| self.known.failed(Error::NoResourceVersion))?;
                    if is_first && self.known.goes_back_to(&version) {
                        self.known
                            .caches
                            .doubt(&K::kind(&()), "a list is of an earlier resourceVersion than known");
                    }
                    self.known.newest = resource_version(&version);
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
                        () = self.known.caches.outdated(self.known.listed) => continue,
                        answer = self.known.answer(self.api.list(&params)) => answer,
                    };
                    let look = answer.map_err(|error| self.resumes(version.clone(), error))?;
                    self.known.hears();
                    let reached = look.metadata.resource_version.unwrap_or_default();
                    if self.known.goes_back_to(&reached) {
                        self.known.caches.doubt(&K::kind(&()), "the API server's resourceVersion went back");
                        continue;
                    }
                    self.known.newest = resource_version(&reached);
                    self.phase = Phase::Opening { version };
                }
                Phase::Opening { version } => {
                    let params = WatchParams::default().timeout(WATCH_SECONDS);
                    let answer = tokio::select! {
                        biased;
                        () = self.known.caches.outdated(self.known.listed) => continue,
                        answer = self.known.answer(self.api.watch(&params, &version)) => answer,
                    };
                    let stream = match answer {
                        Ok(stream) => stream.boxed(),
                        Err(error) if answered(&error, 410) => {
                            return Err(self.known.failed(Error::WatchStartFailed(error)));
                        }
                        Err(error) => return Err(self.resumes(version, error)),
                    };
                    self.known.hears();
                    self.known.cache.is_there();
                    self.phase = Phase::Watching { version, stream, heard: Instant::now() };
                }
                Phase::Watching { version, mut stream, heard } => {
                    let message = tokio::select! {
                        biased;
                        () = self.known.caches.outdated(self.known.listed) => continue,
                        message = timeout_at(heard + SILENCE, stream.next()) => message,
                    };
                    let Ok(message) = message else {
                        let why = "a watch was silent for 45 s";
                        self.known.is_outdated(why);
                        self.known.caches.doubt(&K::kind(&()), why);
                        continue;
                    };
                    let Some(message) = message else {
                        self.phase = Phase::Ended { version };
                        continue;
                    };
                    if message.is_ok() {
                        self.known.hears();
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
                            return Err(self.known.failed(Error::WatchError(status.boxed())));
                        }
                        Err(error) => {
                            self.phase = Phase::Ended { version };
                            return Err(self.known.failed(Error::WatchFailed(error)));
                        }
                    };
                    if version.is_empty() {
                        return Err(self.known.failed(Error::NoResourceVersion));
                    }
                    self.known.newest = self.known.newest.max(resource_version(&version));
                    self.phase = Phase::Watching { version, stream, heard: Instant::now() };
                    if let Some(event) = event {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// Returns the error of a watch that could not be opened, and retries from the same version.
    fn resumes(&mut self, version: String, error: kube::Error) -> Error {
        self.phase = Phase::Ended { version };
        self.known.failed(Error::WatchStartFailed(error))
    }
}

impl Known {
    /// Returns the API server's answer, or an error if there is none within [`SILENCE`].
    async fn answer<T>(&self, call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
        let ages = async {
            if let Some((at, _)) = self.heard {
                sleep_until(at + SILENCE).await;
                self.is_outdated(NO_ANSWER);
            }
            pending::<Infallible>().await
        };
        tokio::select! {
            biased;
            never = ages => match never {},
            answer = timeout(SILENCE, call) => {
                answer.unwrap_or_else(|_| Err(kube::Error::Service(NO_ANSWER.into())))
            }
        }
    }

    fn is_outdated(&self, why: &str) {
        if let Some((_, as_of)) = self.heard {
            self.cache.is_outdated(as_of, why);
        }
    }

    fn hears(&mut self) {
        self.heard = Some((Instant::now(), self.caches.clock.now()));
    }

    fn goes_back_to(&self, version: &str) -> bool {
        resource_version(version).zip(self.newest).is_some_and(|(now, newest)| now < newest)
    }

    fn failed(&self, error: Error) -> Error {
        let hint = match &error {
            Error::InitialListFailed(error) if answered(error, 404) => "is its CRD installed? ",
            Error::InitialListFailed(error) if answered(error, 403) => "may the ServiceAccount list it? ",
            _ => "",
        };
        let why = format!("{hint}{}", cause(&error));
        if self.heard.is_some_and(|(at, _)| at.elapsed() >= SILENCE) {
            self.is_outdated(&why);
        } else {
            self.cache.failed(&why);
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caches() -> Caches {
        Caches::new(Clock::from_tokio("2026-11-22T12:00:00Z".parse().unwrap()))
    }

    /// Returns the delay after which a list that began at `listed` has to be repeated.
    async fn outdated_after(caches: &Caches, listed: Instant) -> Duration {
        let begun = Instant::now();
        caches.outdated(listed).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn doubts_that_follow_each_other_are_one_until_some_time_has_passed() {
        let caches = caches();
        let first = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        caches.doubt("Secret", "silent");
        assert_eq!(outdated_after(&caches, first).await, Duration::ZERO);
        let second = Instant::now();
        assert!(timeout(SILENCE, caches.outdated(second)).await.is_err(), "it began with the doubt");
        caches.doubt("Secret", "silent");
        let third = Instant::now();
        for _ in 0..10 {
            caches.doubt("Secret", "silent");
        }
        assert_eq!(outdated_after(&caches, second).await, Duration::ZERO);
        assert_eq!(outdated_after(&caches, third - Duration::from_secs(1)).await, Duration::ZERO);
        tokio::time::advance(Duration::from_secs(1)).await;
        let fourth = Instant::now();
        caches.doubt("Secret", "silent");
        assert!(!caches.doubts(fourth));
        assert_eq!(outdated_after(&caches, fourth).await, BETWEEN_DOUBTS - Duration::from_secs(1));
        assert!(caches.doubts(fourth));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_the_lead_trusts_no_list_that_began_before() {
        let caches = caches();
        let before = Instant::now();
        assert!(caches.trusts(before));
        tokio::time::advance(Duration::from_secs(1)).await;
        caches.doubt("Secret", "silent");
        tokio::time::advance(Duration::from_secs(1)).await;
        caches.take_lead();
        assert!(!caches.trusts(before) && caches.trusts(Instant::now()));
        assert_eq!(outdated_after(&caches, before).await, Duration::ZERO, "it does not wait for its turn");
    }
}
