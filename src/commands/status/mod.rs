//! `status`: explains one policy in words, from its status.

mod advice;
mod explain;
mod headline;
mod notes;
mod read;

use jiff::Timestamp;

use self::explain::{Explanation, explain};
use super::Exit;
use super::show::{self, Paint, TextStyle};
use crate::cli::Status;
use crate::cli::status::Output;

/// Reads the policy and prints its explanation.
///
/// # Errors
/// The policy cannot be read, or the output cannot be written.
pub async fn run(args: &Status) -> anyhow::Result<Exit> {
    let policy = read::policy(args).await?;
    let explanation = explain(&policy, Timestamp::now());
    show::print(&match args.output {
        Output::Text => text(&explanation, Paint::of_stdout()),
        Output::Json => show::json(&explanation)?,
    })?;
    Ok(Exit::Success)
}

fn text(explanation: &Explanation, paint: Paint) -> String {
    let mut out = format!("{}\n", paint.paint(&show::plain(&explanation.policy), TextStyle::Heading));
    let mut say =
        |line: &str, text_style| out.push_str(&format!("{}\n", paint.paint(&show::plain(line), text_style)));
    say(&explanation.headline, explanation.text_style);
    for note in &explanation.notes {
        say(note, TextStyle::Notice);
    }
    let sections = [
        ("What is", &explanation.what_is),
        ("Since when", &explanation.since_when),
        ("What was changed", &explanation.changes),
        ("Backups", &explanation.backups),
        ("What you can do", &explanation.advice),
    ];
    for (title, lines) in sections {
        out.push_str(&format!("\n{}\n", paint.paint(title, TextStyle::Heading)));
        for line in lines {
            out.push_str(&format!("  {}\n", show::plain(line)));
        }
    }
    out
}

#[cfg(test)]
mod tests;
