//! How far a long listing is, for a person who waits at a terminal.

use std::io::{self, IsTerminal as _, Write};

use super::plain::plain;

/// Ends a line that was begun: back to its beginning, and clear it.
const CLEAR: &str = "\r\u{1b}[K";

/// One line on standard error, which is written again for each news and is gone at the end. Nothing at all where standard error
/// is no terminal, or one that cannot do this.
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
    /// Says this in place of what was said before.
    pub fn say(&mut self, text: &str) {
        // One line: a longer one would wrap, and its first part stay.
        let text: String = plain(text).chars().take(79).collect();
        if let Some(out) = self.out.as_mut().filter(|_| text != self.shown) {
            // A terminal that is gone is no failure of the work.
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
        progress.say("100 backups");
        progress.say("100 backups");
        progress.say("200\nbackups\u{1b}");
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
