//! Terminal colours, if the terminal supports them and the user wants them.

use std::io;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

/// Meaning of a text, which decides its style.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextStyle {
    #[default]
    Neutral,
    Heading,
    Good,
    /// Temporary, or worth knowing.
    Notice,
    Bad,
}

/// Switch for colours, which only repeat what the words say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    colours: bool,
}

impl Paint {
    pub const NONE: Paint = Paint { colours: false };

    /// Detects whether standard output supports colours and the user wants them: `NO_COLOR`, `CLICOLOR`,
    /// `CLICOLOR_FORCE`, `TERM=dumb`.
    pub fn of_stdout() -> Self {
        Self { colours: AutoStream::choice(&io::stdout()) != ColorChoice::Never }
    }

    pub fn paint(self, text: &str, text_style: TextStyle) -> String {
        let style = match text_style {
            TextStyle::Neutral => Style::new(),
            TextStyle::Heading => Style::new().bold(),
            TextStyle::Good => AnsiColor::Green.on_default(),
            TextStyle::Notice => AnsiColor::Yellow.on_default(),
            TextStyle::Bad => AnsiColor::Red.on_default().bold(),
        };
        if self.colours && text_style != TextStyle::Neutral {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_put_around_the_words_that_mean_something() {
        let paint = Paint { colours: true };
        assert_eq!(paint.paint("ok", TextStyle::Good), "\u{1b}[32mok\u{1b}[0m");
        assert_eq!(paint.paint("no", TextStyle::Bad), "\u{1b}[1m\u{1b}[31mno\u{1b}[0m");
        assert_eq!(paint.paint("x", TextStyle::Neutral), "x");
        assert_eq!(Paint::NONE.paint("no", TextStyle::Bad), "no");
    }

    #[test]
    fn there_are_none_where_output_is_captured() {
        // The output of cargo test may be a terminal; that of a child process is a pipe.
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "commands::show::paint::tests::tells_its_choice", "--ignored", "--nocapture"])
            .env_remove("CLICOLOR_FORCE")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("CHOICE Paint { colours: false }"), "{text}");
    }

    #[test]
    #[ignore = "the test above starts it"]
    fn tells_its_choice() {
        println!("CHOICE {:?}", Paint::of_stdout());
    }
}
