//! Structural validation: walks a CRD's schema, with the terms and the order of the API server: unknown fields, nulls
//! and defaults, then types and limits.

use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;
use serde_json::{Map, Value};

use super::FieldError;
use crate::api::time;
use crate::commands::manifests::escaped;

/// Largest edit distance at which a known field is suggested for an unknown one.
const MAX_EDIT_DISTANCE: usize = 3;
/// Keywords that the schema of a spec may use; a test fails on any other.
#[cfg(test)]
pub const KEYWORDS: [&str; 24] = [
    "additionalProperties",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "maxProperties",
];

pub struct Schema {
    whole: Arc<Value>,
    /// Compiled patterns by their text.
    patterns: HashMap<String, Regex>,
}

/// Position of a walk, as a JSON pointer and as a field name.
#[derive(Clone, Default)]
pub struct FieldPath {
    pub pointer: String,
    pub field: String,
}

impl FieldPath {
    pub fn key(&self, key: &str) -> Self {
        let field = if self.field.is_empty() { key.to_owned() } else { format!("{}.{key}", self.field) };
        Self { pointer: format!("{}/{}", self.pointer, escaped(key)), field }
    }

    pub fn item(&self, at: usize) -> Self {
        Self { pointer: format!("{}/{at}", self.pointer), field: format!("{}[{at}]", self.field) }
    }

    pub fn field_error(&self, rule: &str, message: impl Into<String>) -> FieldError {
        FieldError {
            pointer: self.pointer.clone(),
            field: self.field.clone(),
            rule: rule.to_owned(),
            message: message.into(),
        }
    }
}

impl Schema {
    /// # Errors
    /// A pattern is not a valid regular expression.
    pub fn compile(whole: &Arc<Value>) -> Result<Self, String> {
        let mut texts = Vec::new();
        gather(whole, &mut texts);
        let compile = |text: &str| Regex::new(text).map_err(|error| error.to_string());
        let patterns = texts.into_iter().map(|text| Ok((text.to_owned(), compile(text)?)));
        Ok(Self { whole: whole.clone(), patterns: patterns.collect::<Result<_, String>>()? })
    }

    /// Finds the unknown fields of one top-level part.
    pub fn unknown_in(&self, part: &str, value: &Value, field_errors: &mut Vec<FieldError>) {
        unknown(&self.whole["properties"][part], value, &FieldPath::default().key(part), field_errors);
    }

    /// Fills in the defaults, and finds validation errors. `metadata` is not checked here: its rules are not in the
    /// schema.
    pub fn check(&self, object: &mut Value, field_errors: &mut Vec<FieldError>) {
        let Some(fields) = object.as_object_mut() else { return };
        let known = ["apiVersion", "kind", "metadata", "spec", "status"];
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            field_errors.push(
                FieldPath::default().key(name).field_error("unknown field", "is no field of this kind"),
            );
        }
        let of_spec = &self.whole["properties"]["spec"];
        let at = FieldPath::default().key("spec");
        match fields.get_mut("spec") {
            Some(Value::Null) | None => field_errors.push(at.field_error("required", "is required")),
            Some(spec) => {
                unknown(of_spec, spec, &at, field_errors);
                fill(of_spec, spec);
                self.check_value(of_spec, spec, &at, field_errors);
            }
        }
    }
}

impl Schema {
    fn check_value(&self, schema: &Value, value: &Value, at: &FieldPath, field_errors: &mut Vec<FieldError>) {
        let wanted = schema["type"].as_str().unwrap_or_default();
        let fits = match (wanted, value) {
            ("object", Value::Object(_)) | ("array", Value::Array(_)) => true,
            ("string", Value::String(_)) | ("boolean", Value::Bool(_)) => true,
            ("integer", Value::Number(number)) => number.is_i64() || number.is_u64(),
            ("number", Value::Number(_)) => true,
            _ => false,
        };
        if !fits {
            let article = if wanted.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
            return field_errors.push(
                at.field_error("type", format!("must be {article} {wanted}, and is {}", name_of(value))),
            );
        }
        if let Some(allowed) = schema["enum"].as_array().filter(|allowed| !allowed.contains(value)) {
            let words: Vec<_> = allowed.iter().map(|word| word.as_str().unwrap_or_default()).collect();
            field_errors.push(at.field_error("enum", format!("must be one of {}", words.join(", "))));
        }
        match value {
            Value::Object(fields) => self.check_object(schema, fields, at, field_errors),
            Value::Array(items) => {
                let count = items.len() as u64;
                if let Some(most) = schema["maxItems"].as_u64().filter(|most| count > *most) {
                    field_errors.push(
                        at.field_error(
                            "maxItems",
                            format!("must have at most {most} items, and has {count}"),
                        ),
                    );
                }
                if let Some(least) = schema["minItems"].as_u64().filter(|least| count < *least) {
                    field_errors.push(at.field_error(
                        "minItems",
                        format!("must have at least {least} items, and has {count}"),
                    ));
                }
                for (n, item) in items.iter().enumerate() {
                    self.check_value(&schema["items"], item, &at.item(n), field_errors);
                }
            }
            Value::String(text) => self.check_text(schema, text, at, field_errors),
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
                let of_format = match schema["format"].as_str() {
                    Some("int32") => number.abs() <= f64::from(i32::MAX) + 1.0,
                    _ => true,
                };
                let within =
                    least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most);
                if !within || !of_format {
                    let least = least.unwrap_or(f64::from(i32::MIN));
                    let most = most.unwrap_or(f64::from(i32::MAX));
                    field_errors.push(at.field_error("range", format!("must be {least} to {most}")));
                }
            }
            _ => {}
        }
    }

    fn check_object(
        &self,
        schema: &Value,
        fields: &Map<String, Value>,
        at: &FieldPath,
        field_errors: &mut Vec<FieldError>,
    ) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                field_errors.push(at.key(name).field_error("required", "is required"));
            }
        }
        for (name, value) in fields {
            let property = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
            if let Some(property) = property {
                self.check_value(property, value, &at.key(name), field_errors);
            }
        }
    }

    fn check_text(&self, schema: &Value, text: &str, at: &FieldPath, field_errors: &mut Vec<FieldError>) {
        let length = text.chars().count() as u64;
        let (least, most) = (schema["minLength"].as_u64().unwrap_or(0), schema["maxLength"].as_u64());
        if length < least || most.is_some_and(|most| length > most) {
            let most = most.map_or_else(|| "any number of".to_owned(), |most| most.to_string());
            field_errors.push(
                at.field_error("length", format!("must have {least} to {most} characters, and has {length}")),
            );
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            let matches = self.patterns.get(pattern).is_some_and(|regex| regex.is_match(text));
            if !matches {
                field_errors.push(at.field_error("pattern", format!("must match {pattern}")));
            }
        }
        if schema["format"] == "date-time" && time::parse(text).is_none() {
            field_errors.push(at.field_error("format", "must be a time such as 2026-11-01T00:00:00Z"));
        }
    }
}

fn unknown(schema: &Value, value: &Value, at: &FieldPath, field_errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(fields) => {
            let properties = schema["properties"].as_object();
            for (name, value) in fields {
                match properties.and_then(|properties| properties.get(name)) {
                    Some(property) => unknown(property, value, &at.key(name), field_errors),
                    None if schema.get("additionalProperties").is_some() => {
                        unknown(&schema["additionalProperties"], value, &at.key(name), field_errors);
                    }
                    // The type check reports an object where the schema has none.
                    None if schema["type"] != "object" => {}
                    None => {
                        let near = properties.and_then(|properties| nearest(name, properties.keys()));
                        let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
                        field_errors.push(
                            at.key(name)
                                .field_error("unknown field", format!("is no field of this kind{hint}")),
                        );
                    }
                }
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                unknown(&schema["items"], item, &at.item(n), field_errors);
            }
        }
        _ => {}
    }
}

/// Returns the most similar known name.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    let distance = |other: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase());
    known
        .map(|known| (distance(known), known.as_str()))
        .filter(|(far, _)| *far <= MAX_EDIT_DISTANCE)
        .min()
        .map(|(_, k)| k)
}

/// Removes nulls and fills in defaults, as the API server does.
fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let properties = schema["properties"].as_object();
            fields.retain(|_, value| !value.is_null());
            for (name, property) in properties.into_iter().flatten() {
                if let Some(default) = property.get("default").filter(|_| !fields.contains_key(name)) {
                    fields.insert(name.clone(), default.clone());
                }
                if let Some(value) = fields.get_mut(name) {
                    fill(property, value);
                }
            }
            if let Some(of_others) = schema.get("additionalProperties") {
                let is_other = |name: &String| properties.is_none_or(|known| !known.contains_key(name));
                fields
                    .iter_mut()
                    .filter(|(name, _)| is_other(name))
                    .for_each(|(_, value)| fill(of_others, value));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(&schema["items"], item)),
        _ => {}
    }
}

fn gather<'a>(schema: &'a Value, patterns: &mut Vec<&'a str>) {
    patterns.extend(schema["pattern"].as_str());
    for property in schema["properties"].as_object().into_iter().flatten().map(|(_, property)| property) {
        gather(property, patterns);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(below) {
            gather(below, patterns);
        }
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
