//! Logs, and the redactor that every log line and every text from a cloud passes.

#[cfg(test)]
pub mod capture;
mod filter;
pub mod health;
pub mod redact;
mod writer;

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write};
use std::panic;
use std::str::FromStr;

use anyhow::Context;
use tracing::{Level, Subscriber, error};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

pub use filter::Filter;
use writer::Scrubbing;

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Format {
    /// Text where standard error is a terminal, JSON otherwise.
    pub fn for_stderr() -> Self {
        if io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err("must be json or text".to_owned()),
        }
    }
}

/// Sends all logs of the process to standard error, scrubbed of known secrets, and panics with them.
///
/// # Errors
/// Where logs have been set up before.
pub fn init(format: Format, filter: &Filter) -> anyhow::Result<()> {
    let colours = io::stderr().is_terminal();
    subscriber(format, filter, colours, io::stderr).try_init().context("logs are set up already")?;
    // It replaces the hook that prints the message as it is: what panics may hold a secret. What a panic then does stays.
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        let message = message_of(info.payload());
        if tracing::enabled!(Level::ERROR) {
            error!(place, backtrace, "panicked: {message}");
        } else {
            // Also a process that logs nothing tells why it ends; there is nobody to tell a failure to.
            let _ = writeln!(io::stderr(), "{}", redact::scrub(&format!("panicked at {place}: {message}")));
        }
    }));
    Ok(())
}

fn subscriber<W>(
    format: Format,
    filter: &Filter,
    colours: bool,
    out: W,
) -> Box<dyn Subscriber + Send + Sync + 'static>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter.build()).with_writer(Scrubbing::new(out));
    match format {
        Format::Json => Box::new(builder.json().flatten_event(true).with_ansi(false).finish()),
        Format::Text => Box::new(builder.with_ansi(colours).finish()),
    }
}

fn message_of(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use tracing::{debug, info, warn};

    use super::capture::{Lines, every_event_is_asked_about};
    use super::*;

    fn logged(format: Format, filter: &str, log: impl FnOnce()) -> String {
        every_event_is_asked_about();
        let lines = Lines::default();
        let out = lines.clone();
        let subscriber = subscriber(format, &filter.parse().unwrap(), false, move || out.clone());
        tracing::subscriber::with_default(subscriber, log);
        lines.text()
    }

    #[test]
    fn no_line_shows_a_known_secret_however_it_is_written() {
        #[derive(Debug)]
        #[expect(dead_code, reason = "read by Debug")]
        struct Holder<'a> {
            value: &'a str,
        }
        for secret in ["canary/of+the==logs", "canary \"quoted\" \\ and more", "canary-with-ü"] {
            let _guard = redact::learn_secret(secret);
            for format in [Format::Json, Format::Text] {
                let out = logged(format, "trace", || {
                    let span = tracing::info_span!("reading", secret);
                    let _entered = span.enter();
                    info!("the value is {secret}");
                    info!(secret, "as a field");
                    info!(body = serde_json::json!({"key": secret}).to_string(), "in JSON");
                    info!(holder = ?Holder { value: secret }, "by Debug");
                    info!(holder = ?Some(format!("{:?}", Holder { value: secret })), "by Debug of Debug");
                });
                assert!(out.lines().count() >= 5 && out.contains("[redacted]"), "{out}");
                for part in ["canary", "quoted"] {
                    assert!(!out.contains(part), "{secret} as {format:?} gave {out}");
                }
                if format == Format::Json {
                    for line in out.lines() {
                        serde_json::from_str::<serde_json::Value>(line).expect(line);
                    }
                }
            }
        }
    }

    #[test]
    fn a_bare_level_is_the_operator_s_own() {
        let log = || {
            debug!("own debug");
            info!("own info");
            info!(target: "kube_client", "foreign info");
            debug!(target: "kube_client::client", "foreign debug");
            warn!(target: "hyper", "foreign warning");
            error!(target: "kube_client::client::builder", "failed with error");
            warn!(target: "kube_client::client::tls", "failed to reload");
        };
        let told = |filter| {
            let out = logged(Format::Text, filter, log);
            [
                "own debug",
                "own info",
                "foreign info",
                "foreign debug",
                "foreign warning",
                "failed with error",
                "failed to reload",
            ]
            .map(|text| out.contains(text))
        };
        assert_eq!(told("info"), [false, true, false, false, true, false, true]);
        assert_eq!(told("debug"), [true, true, false, false, true, false, true]);
        assert_eq!(told("WARN"), [false, false, false, false, true, false, true]);
        assert_eq!(told("kube_client=debug"), [false, true, true, true, true, true, true]);
        assert_eq!(told("debug, kube_client=info"), [true, true, true, false, true, true, true]);
        assert_eq!(told("error,hyper=off"), [false, false, false, false, false, false, true]);
    }

    #[test]
    fn tells_what_panicked() {
        assert_eq!(message_of(&"text"), "text");
        assert_eq!(message_of(&"owned".to_owned()), "owned");
        assert_eq!(message_of(&5), "without a message");
    }
}
