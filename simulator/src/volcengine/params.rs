//! JSON body of a request, read field by field. An explicit null counts as absent, and so does an empty string ("left
//! blank"); fields that an action does not read are ignored.

use serde_json::{Map, Value};

use super::error;
use crate::error::ApiError;

#[derive(Clone, Debug, Default)]
pub(super) struct Params(Map<String, Value>);

impl Params {
    /// Parses the body; an empty one stands for an empty object.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(error::param("The request body must be a JSON object.")),
            Err(error) => Err(error::param(format!("The request body is not valid JSON: {error}."))),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(wrong_type(name, "a string")),
        }
    }

    pub fn required_text(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name)?.ok_or_else(|| error::missing_parameter(name))
    }

    pub fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.get(name).map(|value| value.as_bool().ok_or_else(|| wrong_type(name, "a boolean"))).transpose()
    }

    /// Returns an integer within `range`.
    pub fn integer(&self, name: &str, range: std::ops::RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_i64().ok_or_else(|| wrong_type(name, "an integer"))?;
        if !range.contains(&number) {
            let (least, most) = range.into_inner();
            return Err(error::param(format!("{name} must be between {least} and {most}.")));
        }
        Ok(Some(number))
    }

    pub fn array(&self, name: &str) -> Result<&[Value], ApiError> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(wrong_type(name, "an array")),
        }
    }
}

fn wrong_type(name: &str, wanted: &str) -> ApiError {
    error::param(format!("{name} must be {wanted}."))
}
