//! Renders the report for programs: JSON and CSV, with the same facts under the same names.

use serde_json::{Value as Json, json};

use super::model::{Report, Row};
use crate::commands::show::csv::{Value, csv};
use crate::commands::show::json as shown;

/// # Errors
/// None that can come from a report.
pub fn to_json(report: &Report) -> anyhow::Result<String> {
    let totals: serde_json::Map<String, Json> =
        report.totals().iter().map(|(state, count)| (state.as_str().to_owned(), json!(count))).collect();
    shown(&json!({
        "generatedAt": report.generated_at,
        "summary": report.summary(),
        "totals": totals,
        "instances": report.rows().iter().map(|row| instance(row, report)).collect::<Vec<_>>(),
        "policiesWithoutInstance": report.policies_without_instance.iter().map(|policy| json!({
            "policy": format!("{}/{}", policy.namespace, policy.name), "account": policy.account, "region": policy.region,
            "instanceId": policy.instance_id,
        })).collect::<Vec<_>>(),
        "problems": report.problems.iter().map(|problem| json!({
            "account": problem.account, "region": problem.region, "message": problem.message,
        })).collect::<Vec<_>>(),
    }))
}

/// Converts a row to JSON. Absent facts are null, so that each instance has the same fields.
fn instance(row: &Row<'_>, report: &Report) -> Json {
    let (instance, declared) = (row.instance, row.instance.declared.as_ref());
    json!({
        "provider": row.account.provider,
        "account": row.account.name,
        "region": row.account.region,
        "instanceId": instance.id,
        "instanceName": instance.name,
        "projectName": instance.project,
        "state": row.state.as_str(),
        "note": instance.note(),
        "policy": instance.policy(),
        "managementPolicy": declared.map(|declared| declared.management_policy.as_str()),
        "targetRegion": instance.target(),
        "protectedSince": instance.protected_since(),
        "recoveryPoint": instance.recovery_point(),
        "recoveryPointAgeSeconds": age_seconds(row, report),
        "objectiveSeconds": objective_seconds(row),
        "objective": instance.objective(report.generated_at).as_str(),
        "usableCopies": instance.usable_copies(),
        "ttlDays": instance.ttl_days(),
    })
}

fn age_seconds(row: &Row<'_>, report: &Report) -> Option<i64> {
    row.instance.recovery_point().map(|time| report.generated_at.duration_since(time).as_secs().max(0))
}

fn objective_seconds(row: &Row<'_>) -> Option<i64> {
    row.instance
        .declared
        .as_ref()
        .and_then(|declared| declared.objective)
        .map(|objective| objective.as_secs())
}

/// # Errors
/// None that can come from a report.
pub fn to_csv(report: &Report) -> anyhow::Result<String> {
    let header = [
        "provider",
        "account",
        "region",
        "instanceId",
        "instanceName",
        "projectName",
        "state",
        "note",
        "policy",
        "managementPolicy",
        "targetRegion",
        "protectedSince",
        "recoveryPoint",
        "recoveryPointAgeSeconds",
        "objectiveSeconds",
        "objective",
        "usableCopies",
        "ttlDays",
    ];
    let rows = report.rows();
    let rows = rows.iter().map(|row| {
        let (instance, declared) = (row.instance, row.instance.declared.as_ref());
        [
            row.account.provider.as_str().into(),
            row.account.name.as_str().into(),
            row.account.region.as_str().into(),
            instance.id.as_str().into(),
            instance.name.as_deref().into(),
            instance.project.as_deref().into(),
            row.state.as_str().into(),
            instance.note().as_deref().into(),
            instance.policy().as_deref().into(),
            declared.map(|declared| declared.management_policy.as_str()).into(),
            instance.target().into(),
            instance.protected_since().map(|time| Value::Text(time.to_string())).into(),
            instance.recovery_point().map(|time| Value::Text(time.to_string())).into(),
            age_seconds(row, report).into(),
            objective_seconds(row).into(),
            instance.objective(report.generated_at).as_str().into(),
            instance.usable_copies().into(),
            instance.ttl_days().into(),
        ]
    });
    csv(header, rows)
}
