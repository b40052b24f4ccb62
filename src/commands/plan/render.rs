//! Renders a plan as text, as JSON, or as a Markdown comment.

use serde_json::{Value, json};

use super::evaluate::Verdict;
use super::{PlanResult, PolicyResult};
use crate::commands::show::{Paint, TextStyle, markdown, plain};
use crate::domain::{Change, PolicyState};

/// Longest comment, in bytes. GitHub accepts 65,536 characters, and others no fewer.
const COMMENT_MAX: usize = 60_000;

/// Verdict on a policy as shown: a sign, the action in a few words, and the details.
struct VerdictText {
    sign: &'static str,
    text_style: TextStyle,
    action: &'static str,
    text: String,
}

/// Returns the action of a verdict, as in the JSON output.
pub fn action(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Modify { from, to, .. } => match from {
            _ if !to.active => "disable",
            Some(from) if from.active => "changeTarget",
            _ => "enable",
        },
        Verdict::Nothing { .. } => "none",
        Verdict::Drift { .. } => "drift",
        Verdict::Problem { .. } => "error",
    }
}

fn verdict_text(verdict: &Verdict) -> VerdictText {
    let (sign, text_style) = match action(verdict) {
        "enable" => ("+", TextStyle::Good),
        "changeTarget" => ("~", TextStyle::Notice),
        "disable" => ("-", TextStyle::Bad),
        "drift" => ("?", TextStyle::Notice),
        "error" => ("!", TextStyle::Bad),
        _ => ("=", TextStyle::Neutral),
    };
    let (action, text) = match verdict {
        Verdict::Modify { from, to, is_drift } => {
            let before = from.as_ref().and_then(|from| from.cross_backup_region.as_deref());
            let target = to.cross_backup_region.as_deref().unwrap_or("none");
            let corrected = if *is_drift { " (corrects a drift)" } else { "" };
            match action(verdict) {
                "enable" => ("would enable", format!("copies to {target}{corrected}")),
                "disable" => {
                    ("would disable", format!("copies to {}{corrected}", before.unwrap_or("another region")))
                }
                _ => (
                    "would change the target",
                    format!("{} -> {target}{corrected}", before.unwrap_or("none")),
                ),
            }
        }
        Verdict::Nothing { reason, message } => ("no change", format!("{reason}: {message}")),
        Verdict::Drift { difference } => ("drift", format!("only observed: {difference}")),
        Verdict::Problem { reason, message } => ("error", format!("{reason}: {message}")),
    };
    VerdictText { sign, text_style, action, text }
}

/// Renders a line for each invalid document and each policy, and a summary.
pub fn text(outcome: &PlanResult, paint: Paint) -> String {
    let mut out = String::new();
    for problem in &outcome.invalid {
        out.push_str(&format!("{} {}\n", paint.paint("!", TextStyle::Bad), plain(problem)));
    }
    for line in &outcome.lines {
        let verdict_text = verdict_text(&line.verdict);
        out.push_str(&format!(
            "{} {}/{}  {} ({})  {}: {}\n",
            paint.paint(verdict_text.sign, verdict_text.text_style),
            plain(&line.namespace),
            plain(&line.name),
            plain(&line.instance.id),
            plain(&line.instance.region),
            paint.paint(verdict_text.action, verdict_text.text_style),
            plain(&verdict_text.text),
        ));
    }
    out.push_str(&format!("{}\n", summary(outcome)));
    out
}

fn summary(outcome: &PlanResult) -> String {
    let count = |wanted: &str| outcome.lines.iter().filter(|line| action(&line.verdict) == wanted).count();
    let errors = count("error") + outcome.invalid.len();
    let calls = outcome.calls.values().sum::<u64>();
    format!(
        "Plan: {} to enable, {} to change the target, {} to disable, {} drifted and only observed, {} unchanged, {errors} \
         {}. {calls} cloud {}, none that changes anything.",
        count("enable"),
        count("changeTarget"),
        count("disable"),
        count("drift"),
        count("none"),
        if errors == 1 { "error" } else { "errors" },
        if calls == 1 { "call" } else { "calls" },
    )
}

/// Renders a comment for a pull request: changes and errors first, unchanged policies folded.
pub fn comment(outcome: &PlanResult) -> String {
    let mut out = format!("### Cross-region backup plan\n\n{}\n", summary(outcome));
    let (unchanged, news): (Vec<_>, Vec<_>) =
        outcome.lines.iter().partition(|line| matches!(line.verdict, Verdict::Nothing { .. }));
    if !outcome.invalid.is_empty() {
        out.push_str("\n**Not valid**\n\n");
        let left =
            push_all(&mut out, outcome.invalid.iter().map(|problem| format!("- {}\n", markdown(problem))));
        out.push_str(&and_more(left));
    }
    for (lines, folded) in [(news, false), (unchanged, true)] {
        if lines.is_empty() {
            continue;
        }
        out.push('\n');
        if folded {
            out.push_str(&format!("<details><summary>{} unchanged</summary>\n\n", lines.len()));
        }
        out.push_str("| | policy | instance | plan |\n| --- | --- | --- | --- |\n");
        let left = push_all(&mut out, lines.into_iter().map(row));
        out.push_str(&and_more(left));
        if folded {
            out.push_str("\n</details>\n");
        }
    }
    out
}

fn row(line: &PolicyResult) -> String {
    let verdict_text = verdict_text(&line.verdict);
    format!(
        "| {} | {} | {} ({}) | {}: {} |\n",
        markdown(verdict_text.sign),
        markdown(&format!("{}/{}", line.namespace, line.name)),
        markdown(&line.instance.id),
        markdown(&line.instance.region),
        verdict_text.action,
        markdown(&verdict_text.text),
    )
}

/// Appends as many rows as fit into a comment. Returns how many do not.
fn push_all(out: &mut String, rows: impl Iterator<Item = String>) -> usize {
    let mut left = 0;
    for row in rows {
        if left == 0 && out.len() + row.len() < COMMENT_MAX {
            out.push_str(&row);
        } else {
            left += 1;
        }
    }
    left
}

fn and_more(left: usize) -> String {
    if left == 0 { String::new() } else { format!("\n… and {left} more: a comment has no room for them\n") }
}

pub fn json(outcome: &PlanResult) -> Value {
    let lines: Vec<_> = outcome
        .lines
        .iter()
        .map(|line| {
            let mut object = json!({
                "namespace": line.namespace,
                "name": line.name,
                "file": line.file,
                "line": line.line,
                "account": line.account,
                "region": line.instance.region,
                "instanceId": line.instance.id,
                "action": action(&line.verdict),
            });
            match &line.verdict {
                Verdict::Modify { from, to, is_drift } => {
                    object["from"] = from.as_ref().map_or(Value::Null, found);
                    object["to"] = values(to);
                    object["cause"] = json!(if *is_drift { "Drift" } else { "SpecChanged" });
                }
                Verdict::Drift { difference } => {
                    object["reason"] = json!("DriftDetected");
                    object["message"] = json!(difference);
                }
                Verdict::Nothing { reason, message } | Verdict::Problem { reason, message } => {
                    object["reason"] = json!(reason);
                    object["message"] = json!(message);
                }
            }
            object
        })
        .collect();
    let count = |wanted: &str| outcome.lines.iter().filter(|line| action(&line.verdict) == wanted).count();
    json!({
        "policies": lines,
        "invalid": outcome.invalid,
        "summary": {
            "enable": count("enable"),
            "changeTarget": count("changeTarget"),
            "disable": count("disable"),
            "drift": count("drift"),
            "none": count("none"),
            "error": count("error") + outcome.invalid.len(),
        },
        "cloudCalls": {"total": outcome.calls.values().sum::<u64>(), "byAction": outcome.calls},
    })
}

fn values(change: &Change) -> Value {
    match &change.cross_backup_region {
        Some(region) if change.active => json!({"active": true, "crossBackupRegion": region}),
        _ => json!({"active": change.active}),
    }
}

fn found(state: &PolicyState) -> Value {
    match &state.cross_backup_region {
        Some(region) => json!({"active": state.active, "crossBackupRegion": region}),
        None => json!({"active": state.active}),
    }
}
