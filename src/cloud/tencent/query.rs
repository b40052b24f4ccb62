//! Parameters of a listing of backups (Redis API, DescribeInstanceBackups).

use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

/// Maximum number of records per page.
pub const LIMIT_MAX: u32 = 100;
/// Maximum length of the requested time window.
pub const SPAN_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);
const STATUSES: [i64; 6] = [1, 2, 3, 4, -1, -2];

/// All parameters of DescribeInstanceBackups; `None` is left out of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupQuery {
    /// `None`: backups of all instances, where the cloud has such a listing.
    pub instance_id: Option<String>,
    /// Fuzzy match.
    pub instance_name: Option<String>,
    /// 1 in process, 2 normal, 3 being exported, 4 exported, -1 expired, -2 deleted. Always given: the API's default
    /// differs between its versions.
    pub statuses: Vec<i64>,
    /// Start times of the backups: from and to, both inclusive, in whole seconds; fractions are cut.
    pub window: Option<(Timestamp, Timestamp)>,
    /// 1 to 100.
    pub limit: u32,
    /// A multiple of the limit.
    pub offset: u32,
}

impl BackupQuery {
    /// Returns the request's body. The error names the field that breaks one of the API's rules.
    pub(super) fn body(&self, zone: Offset) -> Result<Value, String> {
        let mut body = Map::new();
        for (name, value) in [("InstanceId", &self.instance_id), ("InstanceName", &self.instance_name)] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                body.insert(name.to_owned(), json!(value));
            }
        }
        if self.statuses.is_empty() || !self.statuses.iter().all(|s| STATUSES.contains(s)) {
            return Err(format!("Status must be given, of {STATUSES:?}"));
        }
        body.insert("Status".to_owned(), json!(self.statuses));
        if let Some((begin, end)) = self.window {
            if end.as_second() < begin.as_second() {
                return Err("EndTime must not be earlier than BeginTime".to_owned());
            }
            if end.as_second() - begin.as_second() > SPAN_MAX.as_secs() {
                return Err("EndTime must be at most 30 days after BeginTime".to_owned());
            }
            for (name, time) in [("BeginTime", begin), ("EndTime", end)] {
                let local = zone.to_datetime(time).strftime("%Y-%m-%d %H:%M:%S").to_string();
                body.insert(name.to_owned(), json!(local));
            }
        }
        if !(1..=LIMIT_MAX).contains(&self.limit) {
            return Err(format!("Limit must be 1 to {LIMIT_MAX}"));
        }
        if !self.offset.is_multiple_of(self.limit) {
            return Err("Offset must be a multiple of Limit".to_owned());
        }
        body.insert("Limit".to_owned(), json!(self.limit));
        body.insert("Offset".to_owned(), json!(self.offset));
        Ok(Value::Object(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEIJING: Offset = Offset::constant(8);

    fn all() -> BackupQuery {
        BackupQuery { statuses: vec![1, 2, 3, 4], limit: 100, ..BackupQuery::default() }
    }

    fn window(begin: &str, end: &str) -> Option<(Timestamp, Timestamp)> {
        Some((begin.parse().unwrap(), end.parse().unwrap()))
    }

    #[test]
    fn sends_what_is_given_and_nothing_else() {
        let least = json!({"Status": [1, 2, 3, 4], "Limit": 100, "Offset": 0});
        assert_eq!(all().body(BEIJING).unwrap(), least);
        let empty =
            BackupQuery { instance_id: Some(String::new()), instance_name: Some(String::new()), ..all() };
        assert_eq!(empty.body(BEIJING).unwrap(), least);
        let query = BackupQuery {
            instance_id: Some("crs-ei43p3gr".to_owned()),
            instance_name: Some("测试".to_owned()),
            statuses: vec![-1, 2],
            window: window("2023-10-31T16:00:00.7Z", "2023-11-14T15:59:59.9Z"),
            limit: 20,
            offset: 40,
        };
        let mut expected = json!({
            "InstanceId": "crs-ei43p3gr", "InstanceName": "测试", "Status": [-1, 2], "Limit": 20, "Offset": 40,
            "BeginTime": "2023-11-01 00:00:00", "EndTime": "2023-11-14 23:59:59",
        });
        assert_eq!(query.body(BEIJING).unwrap(), expected);
        expected["BeginTime"] = json!("2023-10-31 16:00:00");
        expected["EndTime"] = json!("2023-11-14 15:59:59");
        assert_eq!(query.body(Offset::UTC).unwrap(), expected);
    }

    #[test]
    fn every_broken_rule_names_its_field() {
        let cases = [
            ("Status", BackupQuery { statuses: vec![], ..all() }),
            ("Status", BackupQuery { statuses: vec![2, 5], ..all() }),
            ("Limit", BackupQuery { limit: 0, ..all() }),
            ("Limit", BackupQuery { limit: 101, ..all() }),
            ("Offset", BackupQuery { limit: 20, offset: 30, ..all() }),
            (
                "EndTime",
                BackupQuery { window: window("2023-11-01T00:00:01Z", "2023-11-01T00:00:00Z"), ..all() },
            ),
            (
                "EndTime",
                BackupQuery { window: window("2023-11-01T00:00:00Z", "2023-12-01T00:00:01Z"), ..all() },
            ),
        ];
        for (field, query) in cases {
            let error = query.body(BEIJING).unwrap_err();
            assert!(error.starts_with(field), "{query:?} gave {error}");
        }
        for (begin, end) in [
            ("2023-11-01T00:00:00Z", "2023-11-01T00:00:00Z"),
            ("2023-11-01T00:00:00Z", "2023-12-01T00:00:00Z"),
        ] {
            let query = BackupQuery { window: window(begin, end), ..all() };
            assert!(query.body(BEIJING).is_ok(), "{begin} {end}");
        }
    }
}
