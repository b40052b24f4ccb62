//! How commands show things: on a terminal, and to whatever else reads standard output.

use std::io::{self, Write as _};

use anyhow::Context as _;

/// Writes to standard output. A reader that has seen enough, as `head` has, is no error.
///
/// # Errors
/// The text cannot be written.
pub fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// Says on standard error why a command did not do its work.
pub fn error(error: &anyhow::Error) {
    // There is nowhere else to say that it cannot be written.
    let _ = writeln!(io::stderr().lock(), "error: {error:#}");
}
