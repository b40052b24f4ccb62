//! JSON body of a request, read field by field. An explicit null counts as absent, and so does an empty string. Fields
//! that an action does not have are refused; whether the real Redis does that is not documented.

use serde_json::{Map, Value};

use super::error;
use crate::error::ApiError;

#[derive(Clone, Debug, Default)]
pub(super) struct Params(Map<String, Value>);

impl Params {
    /// Parses the body; an empty one stands for an empty object. `known` are the action's field names.
    pub fn parse(body: &[u8], known: &[&str]) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let fields = match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(error::invalid_body("it is another JSON value")),
            Err(why) => return Err(error::invalid_body(&why.to_string())),
        };
        match fields.keys().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(error::unknown_parameter(unknown)),
            None => Ok(Self(fields)),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(error::type_error(name)),
        }
    }

    pub fn required_text(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name)?.ok_or_else(|| error::missing_parameter(name))
    }

    pub fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name).map(|value| value.as_i64().ok_or_else(|| error::type_error(name))).transpose()
    }

    /// Returns an integer within `range`, or `default`.
    pub fn integer_of(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<i64>,
        default: i64,
    ) -> Result<i64, ApiError> {
        let number = self.integer(name)?.unwrap_or(default);
        if !range.contains(&number) {
            let (least, most) = range.into_inner();
            let message = format!("{name} must be between {least} and {most}.");
            return Err(error::invalid_parameter(message));
        }
        Ok(number)
    }

    pub fn integers(&self, name: &str) -> Result<Vec<i64>, ApiError> {
        self.array(name)?.iter().map(|item| item.as_i64().ok_or_else(|| error::type_error(name))).collect()
    }

    pub fn texts(&self, name: &str) -> Result<Vec<&str>, ApiError> {
        self.array(name)?.iter().map(|item| item.as_str().ok_or_else(|| error::type_error(name))).collect()
    }

    fn array(&self, name: &str) -> Result<&[Value], ApiError> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(error::type_error(name)),
        }
    }
}
