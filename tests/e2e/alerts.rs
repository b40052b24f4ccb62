//! Alerts and dashboard: promtool accepts and tests the rules, and everything that they refer to exists.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::harness::root;
use crate::tools::{read, run, tool, yaml};

const RULES: &str = "deploy/prometheus/rules.yaml";
const DASHBOARD: &str = "deploy/grafana/dashboard.json";

/// Collects all values of a key at any depth.
fn values_of<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                if name == key {
                    found.push(inner);
                }
                values_of(inner, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| values_of(item, key, found)),
        _ => {}
    }
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    values_of(value, key, &mut found);
    found.into_iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// Returns the operator's metric names in a text; a histogram appears under its base name.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
    let own = words.filter(|word| word.starts_with("crossregionbackup_"));
    own.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

/// Returns the anchors that GitHub generates for a page's headings.
pub fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let stays = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    let anchor = |line: &str| line.trim_start_matches('#').trim().chars().filter(stays).collect::<String>();
    headings.map(|line| anchor(line).to_lowercase().replace(' ', "-")).collect()
}

#[test]
fn promtool_takes_the_rules_and_their_tests_pass() -> Result<()> {
    let folder = root("deploy/prometheus");
    run(tool("promtool")?.args(["check", "rules", "rules.yaml"]).current_dir(&folder))?;
    run(tool("promtool")?.args(["test", "rules", "rules_test.yaml"]).current_dir(&folder))?;
    Ok(())
}

#[test]
fn every_alert_is_tested_to_fire_and_to_be_silent() -> Result<()> {
    let tests = yaml("deploy/prometheus/rules_test.yaml")?;
    let mut groups = Vec::new();
    values_of(&tests, "alert_rule_test", &mut groups);
    let all: Vec<&Value> = groups.into_iter().filter_map(Value::as_array).flatten().collect();
    for alert in texts(&yaml(RULES)?, "alert") {
        let of: Vec<_> = all.iter().filter(|test| test["alertname"] == alert).collect();
        ensure!(of.iter().any(|test| !test["exp_alerts"].is_null()), "{alert} never fires");
        ensure!(of.iter().any(|test| test["exp_alerts"].is_null()), "{alert} is never silent");
    }
    Ok(())
}

#[test]
fn every_alert_is_described_and_leads_to_what_to_do() -> Result<()> {
    let (monitoring, runbook) = (read("docs/monitoring.md")?, read("docs/runbook.md")?);
    let anchors = anchors(&runbook);
    let rules = yaml(RULES)?;
    let alerts = texts(&rules, "alert");
    ensure!(alerts.len() == texts(&rules, "runbook_url").len() && alerts.len() > 10, "{alerts:?}");
    for alert in &alerts {
        ensure!(monitoring.contains(&format!("| {alert} |")), "docs/monitoring.md has no row for {alert}");
        ensure!(runbook.contains(alert), "docs/runbook.md does not name {alert}");
    }
    let links = runbook.split("](#").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned);
    let urls = texts(&rules, "runbook_url");
    let urls = urls.iter().map(|url| url.strip_prefix("docs/runbook.md#").unwrap_or(url).to_owned());
    for anchor in links.chain(urls) {
        ensure!(anchors.contains(&anchor), "docs/runbook.md has no section #{anchor}");
    }
    Ok(())
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_are_documented() -> Result<()> {
    let documented = metrics(&read("docs/monitoring.md")?);
    let rules = metrics(&read(RULES)?);
    let dashboard = metrics(&read(DASHBOARD)?);
    for (page, used) in [(RULES, &rules), (DASHBOARD, &dashboard)] {
        let unknown: Vec<_> = used.difference(&documented).collect();
        ensure!(!used.is_empty() && unknown.is_empty(), "{page}: {unknown:?}");
    }
    Ok(())
}

#[test]
fn promtool_takes_every_query_of_the_dashboard() -> Result<()> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)?)?;
    ensure!(dashboard["uid"] == "cross-region-backup" && !dashboard["title"].is_null());
    let queries = texts(&dashboard, "expr");
    ensure!(queries.len() > 20, "{} queries", queries.len());
    let plain = |query: &str| query.replace("$namespace", ".*").replace("$__rate_interval", "5m");
    let rules =
        queries.iter().enumerate().map(|(n, q)| json!({"record": format!("query:{n}"), "expr": plain(q)}));
    let groups = json!({"groups": [{"name": "dashboard", "rules": rules.collect::<Vec<_>>()}]});
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), groups.to_string())?;
    run(tool("promtool")?.args(["check", "rules"]).arg(file.path()))?;
    // Every panel has a unique id and a grid position.
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    ensure!(ids.len() == panels.len() && !ids.contains(&None));
    ensure!(panels.iter().all(|panel| panel["gridPos"]["w"].as_u64().is_some_and(|w| w <= 24)));
    Ok(())
}
