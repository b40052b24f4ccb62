//! Progress of a long listing, for a person who waits at a terminal.

use std::io::{self, IsTerminal as _, Write};

use super::plain::plain;

/// Control sequence that returns to the start of the line and clears it.
const CLEAR: &str = "\r\u{1b}[K";

/// One line on standard error, rewritten on each update and cleared at the end. Writes nothing if standard error is no
/// terminal, or a dumb one.
pub struct Progress<W: Write = io::Stderr> {
    out: Option<W>,
    shown: String,
}

impl Progress {
    pub fn on_stderr() -> Self {
        let able = io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        Self { out: able.then(io::stderr), shown: String::new() }
    }
}

impl<W: Write> Progress<W> {
    /// Replaces the shown text.
    pub fn update(&mut self, text: &str) {
        // One line: a longer text would wrap, and its first part would not be cleared.
        let text: String = plain(text).chars().take(79).collect();
        if let Some(out) = self.out.as_mut().filter(|_| text != self.shown) {
            // A closed terminal is no failure of the command.
            let _ = write!(out, "{CLEAR}{text}").and_then(|()| out.flush());
            self.shown = text;
        }
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        if let Some(out) = self.out.as_mut().filter(|_| !self.shown.is_empty()) {
            let _ = write!(out, "{CLEAR}").and_then(|()| out.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_written_again_and_cleared() {
        let mut written = Vec::new();
        let mut progress = Progress { out: Some(&mut written), shown: String::new() };
        progress.update("100 backups");
        progress.update("100 backups");
        progress.update("200\nbackups\u{1b}");
        drop(progress);
        assert_eq!(
            String::from_utf8(written).unwrap(),
            "\r\u{1b}[K100 backups\r\u{1b}[K200 backups\r\u{1b}[K"
        );
    }

    #[test]
    fn what_never_spoke_leaves_nothing() {
        let mut written = Vec::new();
        drop(Progress { out: Some(&mut written), shown: String::new() });
        assert!(written.is_empty());
    }
}
