//! Renders the report for a terminal: the summary first, then the worst states.

use jiff::Timestamp;

use super::model::{Objective, Report, Row, State};
use crate::commands::show::{Cell, Paint, TextStyle, age, plain, table};

pub fn text(report: &Report, paint: Paint) -> String {
    let mut out = format!("{}\n", paint.paint(&report.summary(), TextStyle::Heading));
    out.push_str(&format!("As of {}.\n", report.generated_at));
    let section = |out: &mut String, title: &str| {
        out.push_str(&format!("\n{}\n", paint.paint(title, TextStyle::Heading)))
    };
    if !report.problems.is_empty() {
        section(&mut out, "Not read");
        for problem in &report.problems {
            let region = problem.region.as_deref().map(|region| format!(" in {region}")).unwrap_or_default();
            out.push_str(&format!(
                "  {}{}: {}\n",
                plain(&problem.account),
                plain(&region),
                plain(&problem.message)
            ));
        }
    }
    if !report.policies_without_instance.is_empty() {
        section(&mut out, "Policies without an instance");
        for policy in &report.policies_without_instance {
            let (id, region) = (plain(&policy.instance_id), plain(&policy.region));
            let name = plain(&format!("{}/{}", policy.namespace, policy.name));
            out.push_str(&format!(
                "  {name}: {id} is not in {region}, by the account {}\n",
                plain(&policy.account)
            ));
        }
    }
    let rows = report.rows();
    for state in State::ALL {
        let of_state: Vec<[Cell; 12]> =
            rows.iter().filter(|row| row.state == state).map(|row| cells(row, report.generated_at)).collect();
        if !of_state.is_empty() {
            section(&mut out, &format!("{} ({})", capital(state.words()), of_state.len()));
            out.push_str(&table(TITLES, &of_state, paint));
        }
    }
    out
}

const TITLES: [&str; 12] = [
    "INSTANCE",
    "NAME",
    "ACCOUNT",
    "REGION",
    "STATE",
    "TARGET",
    "SINCE",
    "RECOVERY-POINT",
    "OBJECTIVE",
    "COPIES",
    "POLICY",
    "NOTE",
];

fn cells(row: &Row<'_>, now: Timestamp) -> [Cell; 12] {
    let instance = row.instance;
    let ago = |time: Timestamp| age::age(time, now);
    [
        instance.id.as_str().into(),
        instance.name.as_deref().into(),
        row.account.name.as_str().into(),
        row.account.region.as_str().into(),
        Cell::new(row.state.as_str(), text_style(row.state)),
        instance.target().into(),
        instance.protected_since().map(ago).into(),
        instance.recovery_point().map(ago).into(),
        objective(row, now).into(),
        instance.usable_copies().map(|copies| copies.to_string()).into(),
        instance.policy().into(),
        instance.note().into(),
    ]
}

/// Formats the objective and whether it is met, such as `26h, met`.
pub fn objective(row: &Row<'_>, now: Timestamp) -> Option<String> {
    let length = age::duration(row.instance.declared.as_ref()?.objective?);
    let verdict = match row.instance.objective(now) {
        Objective::NoObjective => return None,
        Objective::Met => "met",
        Objective::Exceeded => "exceeded",
        Objective::NoBackupYet => "no backup yet",
        Objective::Unknown => "unknown",
    };
    Some(format!("{length}, {verdict}"))
}

fn text_style(state: State) -> TextStyle {
    match state {
        State::NotProtected | State::NoUsableCopy | State::ObjectiveExceeded => TextStyle::Bad,
        State::Drifted | State::Unknown => TextStyle::Notice,
        State::Unsupported => TextStyle::Neutral,
        State::Protected => TextStyle::Good,
    }
}

pub fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
