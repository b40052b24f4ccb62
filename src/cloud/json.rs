//! Reads values that may be absent, null, of another type or a later make, none of which may cost the rest of an answer.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// Longer than any id, name, region or word of a cloud.
const TEXT_MAX: usize = 256;

/// A text that is there and not empty: the APIs say "" for what is not there, such as ExpiredTime.
pub fn text_of<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str().filter(|t| !t.is_empty())
}

/// The same, to be kept.
pub fn owned(object: &Value, name: &str) -> Option<String> {
    text_of(object, name).map(plain)
}

/// The text as it may go on into statuses and messages: cut, and with a sign in the place of each control character, so that
/// it is not taken for what it would be without them.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .take(TEXT_MAX)
        .collect()
}

/// The time, unless it is before all clouds: Kubernetes writes years with four digits, and reads no others.
pub fn time(time: Option<Timestamp>) -> Option<Timestamp> {
    time.filter(|time| *time >= Timestamp::UNIX_EPOCH)
}

/// A whole number, also where it is written as a float (7.0). Beyond 2^53 a float is no exact number any more.
pub fn whole(value: &Value) -> Option<i64> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    value
        .as_i64()
        .or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && f.abs() <= EXACT).map(|f| f as i64))
}

/// A size, a duration or a count, of which none is negative.
pub fn count(value: &Value) -> Option<i64> {
    whole(value).filter(|number| *number >= 0)
}

/// Whether anything is in it; an SDK that writes its types' zero values says nothing by them.
pub fn says(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => items.iter().any(says),
        Value::Object(fields) => fields.values().any(says),
        Value::Bool(true) => true,
    }
}

/// The list; empty where it is absent or null; `None` where something else stands there.
pub fn list<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a [Value]> {
    match object.get(name) {
        None | Some(Value::Null) => Some(&[]),
        Some(value) => value.as_array().map(Vec::as_slice),
    }
}

/// The tags of a record, as a cloud that names them so lists them.
pub fn tags(record: &Value, name: &str, [key, value]: [&str; 2]) -> Vec<(String, String)> {
    let tags = record.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let pair = |tag: &Value| Some((owned(tag, key)?, owned(tag, value).unwrap_or_default()));
    tags.iter().filter_map(pair).collect()
}

/// A page's total and records. An answer with neither of them, or with a total and no list, must not read as "there are
/// none"; the error says so.
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
        assert_eq!(owned(&record, "Name").unwrap(), "a\u{fffd}b\u{fffd}[31m\u{fffd}");
        assert_eq!(owned(&record, "Long").unwrap(), "é".repeat(256));
        assert_eq!(["Empty", "Number", "None"].map(|name| owned(&record, name)), [None, None, None]);
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
