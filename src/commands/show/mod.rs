//! Output of commands, to a terminal or to another program. Text from a cloud, a Secret or a manifest is untrusted:
//! each output format has its own escaping.

pub mod age;
pub mod csv;
mod json;
mod markdown;
mod paint;
mod plain;
mod progress;
mod table;

pub use json::json;
pub use markdown::markdown;
pub use paint::{Paint, TextStyle};
pub use plain::plain;
pub use progress::Progress;
pub use table::{Cell, table};

use std::io::{self, Write as _};

use anyhow::Context as _;

use crate::telemetry::scrub;

/// Writes to standard output. A closed pipe, as by `head`, is no error.
///
/// # Errors
/// The text cannot be written.
pub fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// Prints the error of a command to standard error.
pub fn error(error: &anyhow::Error) {
    // A failed write cannot be reported anywhere else.
    let _ = io::stderr().lock().write_all(format_error(error).as_bytes());
}

/// Prints a note to standard error, apart from the requested output.
pub fn note(text: &str) {
    // A failed write cannot be reported anywhere else.
    let _ = writeln!(io::stderr().lock(), "{}", plain(&scrub::clean(text)));
}

/// Formats an error. Indents further lines: they may come from a cloud or a cluster, and must not look like the
/// operator's own.
fn format_error(error: &anyhow::Error) -> String {
    let text = format!("error: {error:#}");
    scrub::clean(&text).lines().map(plain).collect::<Vec<_>>().join("\n  ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_no_password() {
        let proxy = "http://ci:Pa55word@p:3128".parse().unwrap();
        let feature = "kube/http-proxy";
        let error =
            kube::Error::ProxyProtocolDisabled { proxy_url: Box::new(proxy), protocol_feature: feature };
        let format_error = format_error(&anyhow::Error::from(error));
        assert!(
            format_error.contains("http://[redacted]@p:3128") && !format_error.contains("Pa55word"),
            "{format_error}"
        );
    }

    #[test]
    fn an_error_steers_no_terminal() {
        let error = anyhow::anyhow!("the cloud said: \u{1b}[2Jno\nerror: all is lost").context("cannot list");
        assert_eq!(format_error(&error), "error: cannot list: the cloud said: [2Jno\n  error: all is lost\n");
    }
}
