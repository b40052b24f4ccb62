//! Renders the report as one self-contained page: no script, no network, readable on a screen, a phone and on paper.

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::model::{Objective, Report, Row, State, plural};
use super::text::{capital, objective};
use crate::commands::show::{age, plain};

/// Content security policy: the page may load and run nothing, in case text from a cloud is taken for markup in spite
/// of escaping.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const STYLE: &str = include_str!("page.css");

pub fn html(report: &Report) -> String {
    let rows = report.rows();
    let time = report.generated_at.strftime("%Y-%m-%d %H:%M UTC").to_string();
    let attention: Vec<&Row<'_>> = rows.iter().filter(|row| needs_attention(row.state)).collect();
    let others: Vec<State> = State::ALL.into_iter().filter(|state| !needs_attention(*state)).collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { "Cross-region backups, " (time) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "Cross-region backups" }
                    p { "As of " time datetime=(report.generated_at) { (time) } }
                }
                main {
                    (summary(report))
                    (not_read(report))
                    (without_instance(report))
                    @if !attention.is_empty() {
                        section aria-labelledby="attention" {
                            h2 id="attention" { "To look at (" (attention.len()) ")" }
                            (legend())
                            (table(&attention, report.generated_at, "Instances to look at, the worst first"))
                        }
                    }
                    @for state in others {
                        @let of_state: Vec<&Row<'_>> = rows.iter().filter(|row| row.state == state).collect();
                        @if !of_state.is_empty() {
                            section {
                                details {
                                    summary { h2 { (capital(state.words())) " (" (of_state.len()) ")" } }
                                    @if state == State::Protected { (legend()) }
                                    (table(&of_state, report.generated_at, state.words()))
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn needs_attention(state: State) -> bool {
    !matches!(state, State::Unsupported | State::Protected)
}

fn summary(report: &Report) -> Markup {
    html! {
        section aria-labelledby="summary" {
            h2 id="summary" { "Summary" }
            p.lead { (report.summary()) }
            ul.totals {
                @for (state, count) in report.totals() {
                    @if count > 0 { li class=(class(state)) { b { (count) } " " (state.words()) } }
                }
            }
        }
    }
}

fn not_read(report: &Report) -> Markup {
    html! {
        @if !report.problems.is_empty() {
            section aria-labelledby="problems" {
                h2 id="problems" { "Not read (" (report.problems.len()) ")" }
                p { "The report says nothing of what is there." }
                ul { @for problem in &report.problems {
                    li { b { (plain(&problem.account)) }
                        @if let Some(region) = &problem.region { " in " (plain(region)) }
                        ": " (plain(&problem.message)) }
                } }
            }
        }
    }
}

fn without_instance(report: &Report) -> Markup {
    let policies = &report.policies_without_instance;
    html! {
        @if !policies.is_empty() {
            section aria-labelledby="orphans" {
                h2 id="orphans" { "Policies without an instance (" (policies.len()) ")" }
                ul { @for policy in policies {
                    li { b { (plain(&policy.namespace)) "/" (plain(&policy.name)) } ": the account " (plain(&policy.account)) " has no "
                        (plain(&policy.instance_id)) " in " (plain(&policy.region)) }
                } }
            }
        }
    }
}

fn legend() -> Markup {
    html! {
        p.legend {
            "The bar is the age of the newest usable copy; the line in its middle is the objective. Striped: beyond it. An arrow: more than twice."
        }
    }
}

fn table(rows: &[&Row<'_>], now: Timestamp, caption: &str) -> Markup {
    html! {
        table {
            caption { (caption) }
            thead { tr {
                th scope="col" { "Instance" } th scope="col" { "Account, region" } th scope="col" { "State" } th scope="col" { "Copies in" }
                th scope="col" { "Recovery point" } th scope="col" { "Policy" }
            } }
            tbody { @for row in rows { (line(row, now)) } }
        }
    }
}

fn line(row: &Row<'_>, now: Timestamp) -> Markup {
    let (instance, declared) = (row.instance, row.instance.declared.as_ref());
    let since = instance.protected_since().map(|time| time.strftime("%Y-%m-%d").to_string());
    html! {
        tr {
            th scope="row" {
                (plain(&instance.id))
                @if let Some(name) = &instance.name { small { (plain(name)) } }
                @if let Some(project) = &instance.project { small { "project " (plain(project)) } }
            }
            td { (plain(&row.account.name)) small { (plain(&row.account.provider)) ", " (plain(&row.account.region)) } }
            td { b class=(class(row.state)) { (row.state.words()) }
                @if let Some(note) = instance.note() { small { (plain(&note)) } } }
            td { @match instance.target() {
                    Some(target) => { (plain(target)) },
                    None => "—",
                }
                @if let Some(since) = since { small { "protected since " (since) } }
                @if let Some(days) = instance.ttl_days() { small { "kept " (days) " days" } } }
            td { (recovery_point(row, now)) }
            td { @match instance.policy() {
                    Some(policy) => { (plain(&policy)) },
                    None => "none",
                }
                @if let Some(declared) = declared { small { (plain(&declared.management_policy)) } } }
        }
    }
}

/// Renders the age of the recovery point and its objective, as text and as a bar.
fn recovery_point(row: &Row<'_>, now: Timestamp) -> Markup {
    let instance = row.instance;
    html! {
        @match instance.recovery_point() {
            Some(time) => {
                time datetime=(time) { (age::age(time, now)) " old" }
                @if let Some(copies) = instance.usable_copies() {
                    ", " (plural(usize::try_from(copies).unwrap_or(0), "copy", "copies"))
                }
            },
            None => @if instance.usable_copies().is_some() { "none" } @else { "not known" },
        }
        @match objective(row, now) {
            Some(words) => small { "objective " (words) },
            None => small { "no objective" },
        }
        @if let Some(part) = part_of_objective(row, now) {
            @let beyond = instance.objective(now) == Objective::Exceeded;
            // Twice the objective is the whole width, so that the objective is the middle of every bar.
            i.bar aria-hidden="true" {
                i.over[beyond] .far[part > 200] style={ "width:" (part.min(200) / 2) "%" } {}
            }
        }
    }
}

/// Returns the recovery point's age as a percentage of the objective.
fn part_of_objective(row: &Row<'_>, now: Timestamp) -> Option<i64> {
    let objective = row.instance.declared.as_ref()?.objective?.as_secs().max(1);
    let age = now.duration_since(row.instance.recovery_point()?).as_secs().max(0);
    Some(age.saturating_mul(100) / objective)
}

fn class(state: State) -> &'static str {
    match state {
        State::NotProtected | State::NoUsableCopy | State::ObjectiveExceeded => "bad",
        State::Drifted | State::Unknown => "notice",
        State::Unsupported => "none",
        State::Protected => "good",
    }
}
