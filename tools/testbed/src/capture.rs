//! Captures the `tracing` output of a test's thread.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex};

use tracing_subscriber::Layer;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

thread_local! {
    static LISTENING: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

/// The process's only subscriber; it writes each thread's lines to the [`Capture`] of that thread, if any.
///
/// It is installed before the first capture and stays: `tracing` asks only the subscribers of the thread that first reaches a
/// callsite, and caches their interest for all threads. With thread-local subscribers, a test on another thread would decide what
/// is logged.
static SUBSCRIBER: LazyLock<()> = LazyLock::new(|| {
    let out = || LISTENING.with_borrow(|lines| lines.clone().unwrap_or_default());
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(out);
    let listened_to = dynamic_filter_fn(|_, _| LISTENING.with_borrow(Option::is_some));
    tracing_subscriber::registry().with(layer.with_filter(listened_to)).init();
    tracing::callsite::rebuild_interest_cache();
});

#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Captures the thread's log lines until it is dropped.
pub struct Capture(Lines);

impl Capture {
    pub fn text(&self) -> String {
        self.0.text()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        LISTENING.set(None);
    }
}

/// Starts to capture everything that this thread logs, at any level, from any crate.
pub fn capture() -> Capture {
    every_event_is_asked_about();
    let lines = Lines::default();
    LISTENING.set(Some(lines.clone()));
    Capture(lines)
}

/// Installs the process's subscriber, after which a thread-local subscriber misses no event.
pub fn every_event_is_asked_about() {
    LazyLock::force(&SUBSCRIBER);
}
