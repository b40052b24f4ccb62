use serde_json::{Value, json};

use super::*;
use crate::api::BackupInventory;
use crate::api::inventory::Filter;

/// Texts, each with whether the API server accepts it as startTime and endTime; an end-to-end test asks the API
/// server.
fn forms() -> Vec<(String, bool)> {
    let forms: Value = serde_json::from_str(include_str!("../../tests/data/times.json")).unwrap();
    let form = |form: &Value| (form["text"].as_str().unwrap().to_owned(), form["taken"].as_bool().unwrap());
    forms.as_array().unwrap().iter().map(form).collect()
}

fn filter(start: &str, end: &str) -> Result<Filter, serde_json::Error> {
    serde_json::from_value(json!({"startTime": start, "endTime": end}))
}

#[test]
fn a_text_is_a_time_of_a_spec_where_the_api_server_takes_it() {
    for (text, taken) in forms() {
        let filters = [filter(&text, "9999-12-31T23:59:59Z"), filter("1970-01-01T00:00:00Z", &text)];
        for filter in filters {
            assert_eq!(filter.is_ok(), taken, "{text:?}: {filter:?}");
        }
    }
}

#[test]
fn a_text_is_the_time_that_it_names() {
    for (text, time) in [
        ("2026-11-01T00:00:00,5+08:00", "2026-10-31T16:00:00.5Z"),
        ("2026-11-01T00:00:00.123456789999Z", "2026-11-01T00:00:00.123456789Z"),
        ("2026-11-01T00:00:00.000001-24:60", "2026-11-02T01:00:00.000001Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        // Latest time that jiff supports.
        ("9999-12-31T23:59:59Z", "9999-12-30T22:00:00.999999999Z"),
    ] {
        let filter = filter(text, text).unwrap();
        assert_eq!(filter.start_time, filter.end_time);
        assert_eq!(filter.end_time.unwrap().0, time.parse().unwrap(), "{text}");
    }
    assert_eq!(parse("0000-01-01T00:00:00+14:00").unwrap().to_string(), "-000001-12-31T10:00:00");
    assert_eq!(filter("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z").unwrap().since, None);
    assert_eq!(serde_json::from_str::<Filter>(r#"{"startTime":null}"#).unwrap(), Filter::default());
}

#[test]
fn a_time_that_an_older_schema_let_in_is_named_in_few_words() {
    let spec = |start: &str| {
        json!({
            "apiVersion": "crossregionbackup.io/v1alpha1", "kind": "BackupInventory", "metadata": {"name": "a"},
            "spec": {
                "accountRef": {"name": "prod"}, "region": "cn-beijing", "scope": "Account",
                "filter": {"startTime": start, "endTime": "2026-11-01T00:00:00Z"},
            },
        })
    };
    let told = |start: &str| serde_json::from_value::<BackupInventory>(spec(start)).unwrap_err().to_string();
    assert_eq!(
        told("0000-01-01T00:00:00+14:00"),
        "startTime and endTime must be 1970-01-01T00:00:00Z to 9999-12-31T23:59:59Z, and one is \
         0000-01-01T00:00:00+14:00"
    );
    assert!(told(&"9".repeat(1_000_000)).len() < 200);
}
