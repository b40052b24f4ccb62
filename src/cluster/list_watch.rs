//! Lists the objects of a kind and watches them, as `kube::runtime::watcher` does, and doubts what it has read.
//!
//! kube's watcher keeps resourceVersions, bookmarks and silence to itself, and cannot be asked to list anew. An API server whose etcd was
//! restored answers a watch from a resourceVersion that it has not reached yet with silence, so that kube's watcher misses every change
//! until the number is reached again; and a connection that a firewall has dropped is silent as well.

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

/// Within this time something is heard on each connection to the API server, or it is dead.
pub const SILENCE: Duration = Duration::from_secs(45);
/// The API server is asked to end each watch after so many seconds. It sends a bookmark shortly before, so that the next watch goes on from
/// there; without an end a watch of what never changes is silent for a minute, between two bookmarks.
const WATCH_SECONDS: u32 = 40;
/// Between two doubts about everything, each of which makes every kind be listed anew.
const BETWEEN_DOUBTS: Duration = Duration::from_secs(10);
const NO_ANSWER: &str = "no answer from the API server within 45 s";
/// Objects in one page of a list. A page is held as it came, some three times over, while it is read, and an object can have 1.5 MB,
/// whatever of it is kept: so a page takes 110 MiB at most. With kube's 500, a namespace full of long annotations would take more
/// than the pod has, at each start.
const PAGE: u32 = 25;

/// Shared by all watches of a process: from when on what they have read is trusted.
#[derive(Clone, Debug)]
pub struct Caches {
    /// A list that began before this is read anew then; it can be in the future.
    doubted: watch::Sender<Option<Instant>>,
    /// When this process took the lead the last time.
    lead_taken: Arc<Mutex<Option<Instant>>>,
    clock: Clock,
}

impl Caches {
    /// `clock` dates what `/readyz` says.
    pub fn new(clock: Clock) -> Self {
        Self { doubted: watch::Sender::new(None), lead_taken: Arc::default(), clock }
    }

    /// Has everything listed anew: at once, or `BETWEEN_DOUBTS` after the last time.
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

    /// Has everything listed anew at once, as this process leads from now on: while it stood by it may have been told nothing, or of an
    /// API server that lags behind.
    pub fn take_lead(&self) {
        let now = Instant::now();
        *self.lead_taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        self.doubted.send_replace(Some(now));
    }

    /// Whether a list that began then tells what is true for a leader.
    pub fn trusts(&self, listed: Instant) -> bool {
        self.lead_taken.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|taken| listed >= taken)
    }

    /// Resolves when a leader cannot trust a list that began then.
    async fn mistrusted(&self, listed: Instant) {
        // `self` holds a sender, so the channel stays open.
        let _ = self.doubted.subscribe().wait_for(|_| !self.trusts(listed)).await;
    }

    /// Whether a list that began then is to be read anew.
    pub fn doubts(&self, listed: Instant) -> bool {
        self.doubted.borrow().is_some_and(|at| at > listed && at <= Instant::now())
    }

    /// Resolves when a list that began then is to be read anew.
    async fn outdated(&self, listed: Instant) {
        let mut doubted = self.doubted.subscribe();
        // `self` holds a sender, so the channel stays open.
        if let Ok(at) = doubted.wait_for(|at| at.is_some_and(|at| at > listed)).await.map(|at| *at) {
            sleep_until(at.unwrap_or(listed)).await;
        }
    }
}

/// Lists all objects that `api` reaches, then watches them; for ever. Each list is a quorum read. A stream that is polled after an error
/// tries again at once: pause it with a backoff.
///
/// `cache` says on `/readyz` what is missing, and what is older than [`SILENCE`].
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

/// How far what was read can be trusted.
struct Known {
    caches: Caches,
    cache: Awaited,
    /// When the list that the watch goes on from was begun.
    listed: Instant,
    /// When the API server last answered. `None`: it never did.
    heard: Option<(Instant, Timestamp)>,
    /// The resourceVersion that the API server has reached, as far as it was seen. `None` where it is no number.
    newest: Option<u128>,
}

enum Phase<K> {
    Unlisted,
    Listing {
        /// Of the page to ask for; `None`: the first one.
        token: Option<String>,
        objects: VecDeque<K>,
        /// The list's resourceVersion, once no further page is to be asked for.
        complete: Option<String>,
    },
    /// The watch has ended. Whether it can go on is to be looked at.
    Ended {
        version: String,
    },
    /// The watch is to be opened.
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
                    // Other doubts let a list come to its end: one that takes long would never.
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
                    // A quorum read that costs next to nothing, and shows how far the API server is. The watch would not: from a
                    // resourceVersion that was not reached yet it is silent, and no error.
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
                        // 410 is the only one that a further watch from there would meet again.
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

    /// The watch could not be opened again, which is to be tried from the same version.
    fn resumes(&mut self, version: String, error: kube::Error) -> Error {
        self.phase = Phase::Ended { version };
        self.known.failed(Error::WatchStartFailed(error))
    }
}

impl Known {
    /// The API server's answer, or an error where none comes.
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

    /// After how long a list that began then is to be read anew.
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
