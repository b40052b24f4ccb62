//! Parameters of a listing of backups (Redis API, DescribeCrossRegionBackups).

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Maximum number of records per page.
pub const PAGE_SIZE_MAX: u32 = 100;
pub const STATUSES: [&str; 4] = ["Creating", "Available", "Unavailable", "Deleting"];
pub const STRATEGIES: [&str; 2] = ["ManualBackup", "AutomatedBackup"];

/// Scope of a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Backups of one instance.
    #[default]
    OneInstance,
    /// Backups of every instance of the account in the region.
    AccountInstances,
}

/// All parameters of DescribeCrossRegionBackups; `None` and empty values are left out of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupQuery {
    pub scope: Scope,
    /// Exact match. Required with [`Scope::OneInstance`].
    pub instance_id: Option<String>,
    /// `Creating`, `Available`, `Unavailable` or `Deleting`.
    pub status: Option<String>,
    /// Both times or neither, the end later. The API takes whole seconds; fractions are cut.
    pub start_time: Option<Timestamp>,
    pub end_time: Option<Timestamp>,
    /// `ManualBackup`, `AutomatedBackup`; empty for all.
    pub strategies: Vec<String>,
    /// Fuzzy match; only with [`Scope::AccountInstances`], like the next two fields.
    pub backup_point_name: Option<String>,
    /// Fuzzy match.
    pub backup_point_id: Option<String>,
    pub project_name: Option<String>,
    /// 1 to 100. Set with the number or not at all; without the two the API does not page.
    pub page_size: Option<u32>,
    /// From 1.
    pub page_number: Option<u32>,
}

impl BackupQuery {
    /// Returns the request's body. The error names the field that breaks one of the API's rules.
    pub(super) fn body(&self) -> Result<Value, String> {
        let instance_id = non_empty(&self.instance_id);
        if self.scope == Scope::OneInstance && instance_id.is_none() {
            return Err("InstanceId is required with Scope OneInstance".to_owned());
        }
        let mut body = Map::new();
        let scope = match self.scope {
            Scope::OneInstance => "OneInstance",
            Scope::AccountInstances => "AccountInstances",
        };
        body.insert("Scope".to_owned(), json!(scope));
        put(&mut body, "InstanceId", instance_id);
        let account_only = [
            ("BackupPointName", non_empty(&self.backup_point_name)),
            ("BackupPointId", non_empty(&self.backup_point_id)),
            ("ProjectName", non_empty(&self.project_name)),
        ];
        for (name, value) in account_only {
            // The API would ignore the field and list more than was requested.
            if value.is_some() && self.scope == Scope::OneInstance {
                return Err(format!("{name} takes effect with Scope AccountInstances only"));
            }
            put(&mut body, name, value);
        }
        let status = non_empty(&self.status);
        if status.is_some_and(|s| !STATUSES.contains(&s)) {
            return Err(format!("Status must be one of {}", STATUSES.join(", ")));
        }
        put(&mut body, "Status", status);
        if !self.strategies.is_empty() {
            if !self.strategies.iter().all(|s| STRATEGIES.contains(&s.as_str())) {
                return Err(format!("BackupStrategyList may hold {}", STRATEGIES.join(", ")));
            }
            body.insert("BackupStrategyList".to_owned(), json!(self.strategies));
        }
        self.put_times(&mut body)?;
        self.put_paging(&mut body)?;
        Ok(Value::Object(body))
    }

    fn put_times(&self, body: &mut Map<String, Value>) -> Result<(), String> {
        let (start, end) = match (self.start_time, self.end_time) {
            (None, None) => return Ok(()),
            (Some(start), Some(end)) => (start, end),
            (Some(_), None) => return Err("EndTime is required with StartTime".to_owned()),
            (None, Some(_)) => return Err("StartTime is required with EndTime".to_owned()),
        };
        // Compared in whole seconds, as they are sent.
        if end.as_second() <= start.as_second() {
            return Err("EndTime must be later than StartTime".to_owned());
        }
        for (name, time) in [("StartTime", start), ("EndTime", end)] {
            body.insert(name.to_owned(), json!(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
        }
        Ok(())
    }

    fn put_paging(&self, body: &mut Map<String, Value>) -> Result<(), String> {
        let (size, number) = match (self.page_size, self.page_number) {
            (None, None) => return Ok(()),
            (Some(size), Some(number)) => (size, number),
            (Some(_), None) => return Err("PageNumber is required with PageSize".to_owned()),
            (None, Some(_)) => return Err("PageSize is required with PageNumber".to_owned()),
        };
        if !(1..=PAGE_SIZE_MAX).contains(&size) {
            return Err(format!("PageSize must be 1 to {PAGE_SIZE_MAX}"));
        }
        page_number(number)?;
        body.insert("PageSize".to_owned(), json!(size));
        body.insert("PageNumber".to_owned(), json!(number));
        Ok(())
    }
}

/// Validates a page number, "Not exceeding the maximum value of the Integer data type": int32 in the SDKs.
pub(super) fn page_number(number: u32) -> Result<(), String> {
    if (1..=i32::MAX as u32).contains(&number) {
        Ok(())
    } else {
        Err(format!("PageNumber must be 1 to {}", i32::MAX))
    }
}

fn non_empty(field: &Option<String>) -> Option<&str> {
    field.as_deref().filter(|f| !f.is_empty())
}

fn put(body: &mut Map<String, Value>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), json!(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Option<String> {
        Some(s.to_owned())
    }

    fn time(s: &str) -> Option<Timestamp> {
        Some(s.parse().unwrap())
    }

    fn account() -> BackupQuery {
        BackupQuery { scope: Scope::AccountInstances, ..BackupQuery::default() }
    }

    #[test]
    fn sends_what_is_given_and_nothing_else() {
        assert_eq!(account().body().unwrap(), json!({"Scope": "AccountInstances"}));
        let one = BackupQuery { instance_id: text("redis-1"), ..BackupQuery::default() };
        assert_eq!(one.body().unwrap(), json!({"Scope": "OneInstance", "InstanceId": "redis-1"}));
        let all = BackupQuery {
            scope: Scope::AccountInstances,
            instance_id: text("redis-1"),
            status: text("Available"),
            start_time: time("2024-08-22T07:51:09.9Z"),
            end_time: time("2024-08-22T15:51:12+08:00"),
            strategies: vec!["AutomatedBackup".to_owned(), "ManualBackup".to_owned()],
            backup_point_name: text("nightly"),
            backup_point_id: text("b-1"),
            project_name: text("default"),
            page_size: Some(100),
            page_number: Some(2),
        };
        let expected = json!({
            "Scope": "AccountInstances", "InstanceId": "redis-1", "Status": "Available",
            "StartTime": "2024-08-22T07:51:09Z", "EndTime": "2024-08-22T07:51:12Z",
            "BackupStrategyList": ["AutomatedBackup", "ManualBackup"], "BackupPointName": "nightly",
            "BackupPointId": "b-1", "ProjectName": "default", "PageSize": 100, "PageNumber": 2,
        });
        assert_eq!(all.body().unwrap(), expected);
    }

    #[test]
    fn every_broken_rule_names_its_field() {
        let one = || BackupQuery { instance_id: text("redis-1"), ..BackupQuery::default() };
        let (early, late) = (time("2024-08-22T07:51:09Z"), time("2024-08-22T07:51:12Z"));
        let cases = [
            ("InstanceId", BackupQuery::default()),
            ("InstanceId", BackupQuery { instance_id: text(""), ..BackupQuery::default() }),
            ("BackupPointName", BackupQuery { backup_point_name: text("x"), ..one() }),
            ("BackupPointId", BackupQuery { backup_point_id: text("x"), ..one() }),
            ("ProjectName", BackupQuery { project_name: text("x"), ..one() }),
            ("Status", BackupQuery { status: text("available"), ..account() }),
            ("BackupStrategyList", BackupQuery { strategies: vec!["Automatic".to_owned()], ..account() }),
            ("EndTime", BackupQuery { start_time: early, ..account() }),
            ("StartTime", BackupQuery { end_time: late, ..account() }),
            ("EndTime", BackupQuery { start_time: late, end_time: early, ..account() }),
            ("EndTime", BackupQuery { start_time: early, end_time: early, ..account() }),
            (
                "EndTime",
                BackupQuery { start_time: early, end_time: time("2024-08-22T07:51:09.9Z"), ..account() },
            ),
            ("PageNumber", BackupQuery { page_size: Some(10), ..account() }),
            ("PageSize", BackupQuery { page_number: Some(1), ..account() }),
            ("PageSize", BackupQuery { page_size: Some(0), page_number: Some(1), ..account() }),
            ("PageSize", BackupQuery { page_size: Some(101), page_number: Some(1), ..account() }),
            ("PageNumber", BackupQuery { page_size: Some(10), page_number: Some(0), ..account() }),
            ("PageNumber", BackupQuery { page_size: Some(10), page_number: Some(1 << 31), ..account() }),
        ];
        for (field, query) in cases {
            let error = query.body().unwrap_err();
            assert!(error.starts_with(field), "{query:?} gave {error}");
        }
    }
}
