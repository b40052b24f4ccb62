//! Logging, probe health, and redaction: the texts of a cloud pass the redactor where its responses are read, before
//! anything logs or shows them.

mod filter;
pub mod health;
pub mod redact;
mod redacting_writer;
pub mod scrub;

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
use redacting_writer::RedactingWriter;

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// Human-readable text.
    Text,
}

impl Format {
    /// Returns text if standard error is a terminal, JSON otherwise.
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

/// Sends all logs of the process, panics included, to standard error.
///
/// # Errors
/// Fails if logs are set up already.
pub fn init(format: Format, filter: &Filter) -> anyhow::Result<()> {
    let colours = io::stderr().is_terminal();
    subscriber(format, filter, colours, io::stderr).try_init().context("logs are set up already")?;
    // The hook replaces the report of a panic, not what follows it.
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        let message = message_of(info.payload());
        if tracing::enabled!(Level::ERROR) {
            error!(place, backtrace, "panicked: {message}");
        } else {
            // A process whose logs are off still reports why it ends; a failure to do so has nowhere to be reported.
            let text = format!("panicked at {place}: {message}");
            let _ = writeln!(io::stderr(), "{}", scrub::clean(&text));
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
    let builder = tracing_subscriber::fmt().with_env_filter(filter.build()).with_writer(RedactingWriter(out));
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

    use super::*;
    use testbed::capture::{Lines, every_event_is_asked_about};

    fn logged(format: Format, filter: &str, log: impl FnOnce()) -> String {
        every_event_is_asked_about();
        let lines = Lines::default();
        let out = lines.clone();
        let subscriber = subscriber(format, &filter.parse().unwrap(), false, move || out.clone());
        tracing::subscriber::with_default(subscriber, log);
        lines.text()
    }

    /// Content of a Secret, an annotation or a cloud's response changes the fields of a line, never its format.
    #[test]
    fn each_line_is_one_json_object_whatever_its_fields_hold() {
        for text in ["\"level\":\"", "{\"", "\\", "two\nlines", "\u{1b}[31m\u{0}", "cloud call", "\u{2028}名"]
        {
            let out = logged(Format::Json, "trace", || {
                let span = tracing::info_span!("reading", text);
                let _entered = span.enter();
                info!("the value is {text}");
                info!(text, holder = ?Some(text), "cloud call");
            });
            let lines: Vec<serde_json::Value> =
                out.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
            let [first, second] = &lines[..] else { panic!("{out}") };
            assert_eq!(first["message"], format!("the value is {text}"));
            assert_eq!(
                (&second["message"], &second["text"], &second["level"]),
                (&"cloud call".into(), &text.into(), &"INFO".into())
            );
        }
    }

    #[test]
    fn no_line_shows_credentials_that_a_library_logs() {
        for format in [Format::Json, Format::Text] {
            let out = logged(format, "trace,hyper=trace", || {
                let span = tracing::debug_span!("HTTP", http.url = "http://ci:Pa55word@p:3128/");
                let _entered = span.enter();
                warn!(target: "kube_client", "failed with \"http://ci:Pa55 \"word@:bad\"");
                debug!(target: "hyper", headers = ?std::collections::BTreeMap::from([("authorization", "Bearer Pa55word")]), "Proxy-Authorization: Basic Y2k6UGE1NXdvcmQ=");
            });
            assert!(out.lines().count() == 2 && out.contains("[redacted]"), "{out}");
            assert!(!out.contains("Pa55") && !out.contains("word") && !out.contains("Y2k6"), "{out}");
            for line in out.lines().filter(|_| format == Format::Json) {
                serde_json::from_str::<serde_json::Value>(line).expect(line);
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
