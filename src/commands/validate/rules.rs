//! Evaluates the CEL rules of a schema (`x-kubernetes-validations`).

use std::collections::HashMap;
use std::sync::Arc;

use cel::{Context, Program};
use jiff::civil::DateTime;
use serde_json::Value;

use super::FieldError;
use super::schema::FieldPath;
use crate::api::time;

/// Rules of one kind.
pub struct Rules {
    schema: Arc<Value>,
    /// Compiled rules by their text.
    programs: HashMap<String, Program>,
    /// Converts a string to a CEL timestamp.
    timestamp: Program,
}

impl Rules {
    /// # Errors
    /// A rule is not valid CEL.
    pub fn compile(schema: &Arc<Value>) -> Result<Self, String> {
        let compile = |rule: &str| Program::compile(rule).map_err(|error| format!("rule {rule}: {error}"));
        let mut texts = Vec::new();
        gather(schema, &mut texts);
        let programs = texts.into_iter().map(|rule| Ok((rule.to_owned(), compile(rule)?)));
        Ok(Self {
            schema: schema.clone(),
            programs: programs.collect::<Result<_, String>>()?,
            timestamp: compile("timestamp(self)")?,
        })
    }

    #[cfg(test)]
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.programs.keys().map(String::as_str)
    }

    /// Finds the rules that an object, with its defaults filled in, breaks. `old` is the stored object.
    pub fn check(&self, object: &Value, old: Option<&Value>, field_errors: &mut Vec<FieldError>) {
        let mut whole = object.clone();
        // The API server generates the name from `generateName`; the metadata check reports a missing name.
        if whole["metadata"]["name"].is_null() {
            let prefix = whole["metadata"]["generateName"].as_str().unwrap_or_default();
            whole["metadata"]["name"] = Value::String(format!("{prefix}xxxxx"));
        }
        self.walk(&self.schema, &whole, old, &FieldPath::default(), field_errors);
    }

    fn walk(
        &self,
        schema: &Value,
        value: &Value,
        old: Option<&Value>,
        at: &FieldPath,
        field_errors: &mut Vec<FieldError>,
    ) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            self.apply(schema, rule, value, old, at, field_errors);
        }
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let property =
                        schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
                    if let Some(property) = property {
                        let old = old.and_then(|old| old.get(name));
                        self.walk(property, value, old, &at.key(name), field_errors);
                    }
                }
            }
            Value::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    self.walk(&schema["items"], item, None, &at.item(n), field_errors);
                }
            }
            _ => {}
        }
    }

    fn apply(
        &self,
        schema: &Value,
        rule: &Value,
        value: &Value,
        old: Option<&Value>,
        at: &FieldPath,
        field_errors: &mut Vec<FieldError>,
    ) {
        let text = rule["rule"].as_str().unwrap_or_default();
        let mut context = Context::default();
        if text.contains("oldSelf") {
            // A transition rule does not apply to a new value.
            let Some(old) = old else { return };
            context.add_variable_from_value("oldSelf", self.converted(schema, old));
        }
        context.add_variable_from_value("self", self.converted(schema, value));
        let holds = match self.programs.get(text).map(|program| program.execute(&context)) {
            Some(Ok(cel::Value::Bool(holds))) => Ok(holds),
            Some(Ok(_)) => Err("it gives no boolean".to_owned()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("it is not known".to_owned()),
        };
        let message = match holds {
            Ok(true) => return,
            Ok(false) => {
                rule["message"].as_str().map_or_else(|| format!("breaks the rule {text}"), str::to_owned)
            }
            Err(error) => format!("the rule cannot be evaluated: {error}"),
        };
        let mut at = at.clone();
        for name in rule["fieldPath"].as_str().unwrap_or_default().split('.').filter(|name| !name.is_empty())
        {
            at = at.key(name);
        }
        field_errors.push(at.field_error(text, message));
    }

    /// Converts a value to CEL with the types of Kubernetes: a string with the format date-time is a timestamp.
    fn converted(&self, schema: &Value, value: &Value) -> cel::Value {
        match value {
            Value::Null => cel::Value::Null,
            Value::Bool(value) => cel::Value::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => cel::Value::Int(whole),
                None => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => {
                let plain = cel::Value::String(Arc::new(text.clone()));
                if schema["format"] != "date-time" {
                    return plain;
                }
                let Some(time) = time::parse(text) else { return plain };
                // CEL supports the years 1 to 9999. Clamping changes no result: both ends are outside every allowed
                // range, too.
                let time = time.clamp(DateTime::constant(1, 1, 1, 0, 0, 0, 0), DateTime::MAX);
                let mut context = Context::default();
                let written = cel::Value::String(Arc::new(format!("{time:.9}Z")));
                context.add_variable_from_value("self", written);
                self.timestamp.execute(&context).unwrap_or(plain)
            }
            Value::Array(items) => {
                let items = items.iter().map(|item| self.converted(&schema["items"], item));
                cel::Value::List(Arc::new(items.collect()))
            }
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| {
                    let property = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
                    (name.clone(), self.converted(property, value))
                });
                cel::Value::from(fields.collect::<HashMap<_, _>>())
            }
        }
    }
}

fn gather<'a>(schema: &'a Value, rules: &mut Vec<&'a str>) {
    let own = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    rules.extend(own.filter_map(|rule| rule["rule"].as_str()));
    for property in schema["properties"].as_object().into_iter().flatten().map(|(_, property)| property) {
        gather(property, rules);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(below) = schema.get(below) {
            gather(below, rules);
        }
    }
}
