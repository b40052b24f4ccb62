//! What a test logs.

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

/// The process's one subscriber, which hands each thread's lines to whoever listens on that thread.
///
/// It is there before anybody listens and stays: `tracing` asks only the subscribers of the thread that first passes an event, and
/// remembers the answer for all threads. With a subscriber of one's own thread, a test beside it decides what is logged.
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

/// Listens on this thread until it is dropped.
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

/// Everything that this thread logs, at any level, by any crate.
pub fn capture() -> Capture {
    every_event_is_asked_about();
    let lines = Lines::default();
    LISTENING.set(Some(lines.clone()));
    Capture(lines)
}

/// A subscriber of one thread alone misses nothing after this.
pub fn every_event_is_asked_about() {
    LazyLock::force(&SUBSCRIBER);
}
