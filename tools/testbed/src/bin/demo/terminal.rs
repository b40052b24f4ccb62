//! The demo's output: chapters, explanations, the commands that a user would type, and their output.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};

/// Line width of the explanations, in characters.
const WIDTH: usize = 100;

/// Standard output; a closed one (`make demo | head`) is an error like any other.
#[derive(Debug)]
pub struct Terminal {
    styled: bool,
}

impl Terminal {
    pub fn new() -> Self {
        Self { styled: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    pub fn chapter(&self, title: &str) -> Result<()> {
        self.print(&format!("\n{}\n", self.bold(&format!("== {title}"))))
    }

    /// Prints an explanation, wrapped into lines.
    pub fn say(&self, text: &str) -> Result<()> {
        let mut lines = String::new();
        let mut line = String::from("#");
        for word in text.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                lines.push_str(&line);
                lines.push('\n');
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        self.print(&format!("{lines}{line}\n"))
    }

    pub fn command(&self, line: &str) -> Result<()> {
        self.print(&format!("{}\n", self.bold(&format!("$ {line}"))))
    }

    pub fn output(&self, text: &str) -> Result<()> {
        match text.trim_end() {
            "" => Ok(()),
            text => self.print(&format!("{text}\n")),
        }
    }

    fn bold(&self, text: &str) -> String {
        if self.styled { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn print(&self, text: &str) -> Result<()> {
        let mut out = io::stdout();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
    }
}

/// Quotes and joins the words into a shell command line.
pub fn shell_line<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let plain = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c));
    let quoted =
        |word: &str| if !word.is_empty() && plain(word) { word.to_owned() } else { format!("'{word}'") };
    words.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}
