//! Reads JSON values that may be absent, null, of another type or of a later API version, none of which may cost the
//! rest of a response.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// Length limit in characters, longer than any id, name, region or word of a cloud.
const TEXT_MAX: usize = 256;

/// Returns a text that is present and not empty: the APIs send "" for absent values, such as ExpiredTime.
pub fn text_of<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str().filter(|t| !t.is_empty())
}

/// Returns a copy of such a text, sanitized by [`plain`].
pub fn owned_text(object: &Value, name: &str) -> Option<String> {
    text_of(object, name).map(plain)
}

/// Sanitizes a text for statuses and messages: truncates it and replaces each control character, so that the text is
/// not taken for what it would be without them.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .take(TEXT_MAX)
        .collect()
}

/// Returns the time unless it is before 1970: Kubernetes writes years with four digits, and reads no others.
pub fn time(time: Option<Timestamp>) -> Option<Timestamp> {
    time.filter(|time| *time >= Timestamp::UNIX_EPOCH)
}

/// Returns a whole number, also one written as a float (7.0). Beyond 2^53 a float is not exact any more.
pub fn whole(value: &Value) -> Option<i64> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    value
        .as_i64()
        .or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && f.abs() <= EXACT).map(|f| f as i64))
}

/// Returns a size, a duration or a count, none of which is negative.
pub fn count(value: &Value) -> Option<i64> {
    whole(value).filter(|number| *number >= 0)
}

/// Returns whether the error holds anything; an SDK may write its types' zero values without meaning an error.
pub fn has_content(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => items.iter().any(has_content),
        Value::Object(fields) => fields.values().any(has_content),
        Value::Bool(true) => true,
    }
}

/// Returns the list; empty if absent or null; `None` if the value is not a list.
pub fn list<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a [Value]> {
    match object.get(name) {
        None | Some(Value::Null) => Some(&[]),
        Some(value) => value.as_array().map(Vec::as_slice),
    }
}

/// Returns the tags of a record: `name`, `key` and `value` are the cloud's names of the list and its members.
pub fn tags(record: &Value, name: &str, [key, value]: [&str; 2]) -> Vec<(String, String)> {
    let tags = record.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let pair = |tag: &Value| Some((owned_text(tag, key)?, owned_text(tag, value).unwrap_or_default()));
    tags.iter().filter_map(pair).collect()
}

/// Returns a page's total and records. A response with neither of them, or with a total above 0 and no list, must not
/// read as "there are none": it is an error.
pub fn page<'a>(
    result: &'a Map<String, Value>,
    total: &str,
    records: &str,
) -> Result<(Option<u64>, &'a [Value]), &'static str> {
    let total = result.get(total).and_then(whole).and_then(|t| u64::try_from(t).ok());
    let list = list(result, records).ok_or("the list is no list")?;
    let has_list = result.get(records).is_some_and(Value::is_array);
    if !has_list && total != Some(0) {
        return Err("the list is missing");
    }
    Ok((total, list))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_kept_is_cut_and_has_no_control_characters() {
        let record =
            json!({"Name": "a\u{0}b\u{1b}[31m\n", "Long": "é".repeat(1000), "Empty": "", "Number": 7});
        assert_eq!(owned_text(&record, "Name").unwrap(), "a\u{fffd}b\u{fffd}[31m\u{fffd}");
        assert_eq!(owned_text(&record, "Long").unwrap(), "é".repeat(256));
        assert_eq!(["Empty", "Number", "None"].map(|name| owned_text(&record, name)), [None, None, None]);
    }

    #[test]
    fn a_time_before_all_clouds_is_none() {
        for (text, is_one) in [
            ("2025-08-22T03:14:15Z", true),
            ("9999-12-30T22:00:00Z", true),
            ("1970-01-01T00:00:00Z", true),
            ("1969-12-31T23:59:59Z", false),
            ("-009999-01-02T01:59:59Z", false),
        ] {
            assert_eq!(time(text.parse().ok()).is_some(), is_one, "{text}");
        }
    }

    #[test]
    fn what_is_counted_is_never_negative() {
        for (value, expected) in [
            (json!(7), Some(7)),
            (json!(7.0), Some(7)),
            (json!(0), Some(0)),
            (json!(-1), None),
            (json!(-1.0), None),
            (json!(0.5), None),
            (json!("7"), None),
            (json!(1e300), None),
        ] {
            assert_eq!(count(&value), expected, "{value}");
        }
    }
}
