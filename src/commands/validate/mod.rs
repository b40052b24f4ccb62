//! `validate`: checks manifests against the schema and the CEL rules of the CRDs, without a cluster. The CRDs that
//! `crds` prints are the only source: no rule is written a second time here.

mod metadata;
mod rules;
mod schema;

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use super::Exit;
use super::manifests::{self, Document, Problem};
use super::show::{self, Paint, TextStyle, plain};
use crate::api;
use crate::cli::validate::{Validate, ValidateFormat};
use rules::Rules;
use schema::Schema;

/// Compiled CRD of one kind.
struct Kind {
    name: String,
    version: String,
    schema: Schema,
    rules: Rules,
}

/// Validation error of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldError {
    /// JSON pointer to the field; a missing field is located at its nearest parent.
    pointer: String,
    /// Such as `spec.crossBackupRegion`.
    field: String,
    rule: String,
    message: String,
}

/// # Errors
/// A path cannot be read.
pub fn run(args: &Validate) -> anyhow::Result<Exit> {
    let read = manifests::read(&args.paths)?;
    let (mut problems, mut checked, mut skipped) = (read.problems, 0, 0);
    for document in &read.documents {
        if document.is_ours() {
            checked += 1;
            problems.extend(check(document, None).err().unwrap_or_default());
        } else {
            skipped += 1;
        }
    }
    problems.sort_by(|a, b| (&a.at.file, a.at.line, a.at.column).cmp(&(&b.at.file, b.at.line, b.at.column)));
    show::print(&match args.output {
        ValidateFormat::Text => text(&problems),
        ValidateFormat::Json => show::json(&objects(&problems, checked, skipped))?,
    })?;
    show::note(&summary(problems.len(), checked, skipped));
    Ok(if problems.is_empty() { Exit::Success } else { Exit::Failure })
}

fn text(problems: &[Problem]) -> String {
    let paint = Paint::of_stdout();
    let line = |problem: &Problem| {
        let (position, rest) = (problem.at.to_string(), problem.to_string());
        let rest = rest.strip_prefix(&position).unwrap_or(&rest);
        format!("{}{}\n", paint.paint(&plain(&position), TextStyle::Bad), plain(rest))
    };
    problems.iter().map(line).collect()
}

fn objects(problems: &[Problem], checked: usize, skipped: usize) -> Value {
    let errors: Vec<_> = problems
        .iter()
        .map(|problem| {
            json!({
                "file": &*problem.at.file,
                "line": problem.at.line,
                "column": problem.at.column,
                "object": problem.object,
                "field": problem.field,
                "rule": problem.rule,
                "message": problem.message,
            })
        })
        .collect();
    json!({"valid": problems.is_empty(), "checked": checked, "skipped": skipped, "errors": errors})
}

fn summary(problems: usize, checked: usize, skipped: usize) -> String {
    let skipped = match skipped {
        0 => String::new(),
        1 => "; 1 document of another group was skipped".to_owned(),
        n => format!("; {n} documents of other groups were skipped"),
    };
    match problems {
        0 => format!("valid: {checked} documents checked{skipped}"),
        n => format!("not valid: {n} problems in {checked} documents checked{skipped}"),
    }
}

/// Checks a document as the API server would on `kubectl apply`, and returns it with the schema's defaults. `old` is
/// the stored object, for transition rules. Returns a document of another group as it is.
///
/// # Errors
/// The validation errors.
pub fn check(document: &Document, old: Option<&Value>) -> Result<Value, Vec<Problem>> {
    if !document.is_ours() {
        return Ok(document.value().clone());
    }
    checked(document.value(), old).map_err(|field_errors| {
        let problem = |field_error: FieldError| {
            document.problem(&field_error.pointer, &field_error.field, &field_error.rule, field_error.message)
        };
        field_errors.into_iter().map(problem).collect()
    })
}

/// Checks an object that is in no file.
///
/// # Errors
/// The validation errors, as text.
pub fn check_value(value: &Value) -> Result<Value, Vec<String>> {
    let words = |field_error: FieldError| match field_error.field.as_str() {
        "" => field_error.message,
        field => format!("{field}: {}", field_error.message),
    };
    checked(value, None).map_err(|field_errors| field_errors.into_iter().map(words).collect())
}

fn checked(value: &Value, old: Option<&Value>) -> Result<Value, Vec<FieldError>> {
    let kind = kind_of(value).map_err(|field_error| vec![field_error])?;
    let mut value = value.clone();
    let mut field_errors = metadata::field_errors(&value);
    // The API server ignores the status of a manifest, except for its unknown fields.
    let status = value.as_object_mut().and_then(|object| object.remove("status"));
    if let Some(status) = status {
        kind.schema.unknown_in("status", &status, &mut field_errors);
    }
    let before = field_errors.len();
    kind.schema.check(&mut value, &mut field_errors);
    // As in the API server, CEL rules run only if the schema holds, and may rely on it.
    if field_errors.len() == before {
        kind.rules.check(&value, old, &mut field_errors);
    }
    if field_errors.is_empty() { Ok(value) } else { Err(field_errors) }
}

fn kind_of(value: &Value) -> Result<&'static Kind, FieldError> {
    let text = |name: &str| value[name].as_str().unwrap_or_default();
    let field_error = |field: &str, message: String| FieldError {
        pointer: format!("/{field}"),
        field: field.to_owned(),
        rule: "enum".to_owned(),
        message,
    };
    let kinds = kinds().as_ref().map_err(|error| field_error("kind", error.clone()))?;
    let Some(kind) = kinds.iter().find(|kind| kind.name == text("kind")) else {
        let known: Vec<_> = kinds.iter().map(|kind| kind.name.as_str()).collect();
        return Err(field_error("kind", format!("must be one of {}", known.join(", "))));
    };
    match text("apiVersion") == kind.version {
        true => Ok(kind),
        false => Err(field_error("apiVersion", format!("must be {}", kind.version))),
    }
}

/// Returns the kinds of the CRDs, compiled once.
fn kinds() -> &'static Result<Vec<Kind>, String> {
    static KINDS: OnceLock<Result<Vec<Kind>, String>> = OnceLock::new();
    KINDS.get_or_init(|| {
        let crds = api::crds().map_err(|error| error.to_string())?;
        let kinds = crds.into_iter().map(|crd| {
            let version = crd.spec.versions.first().ok_or("a CRD without a version")?;
            let whole = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
            let whole = serde_json::to_value(whole).map_err(|error| error.to_string())?;
            let whole = Arc::new(whole);
            Ok(Kind {
                name: crd.spec.names.kind,
                version: format!("{}/{}", crd.spec.group, version.name),
                rules: Rules::compile(&whole)?,
                schema: Schema::compile(&whole)?,
            })
        });
        kinds.collect::<Result<Vec<_>, String>>()
    })
}

#[cfg(test)]
mod tests;
