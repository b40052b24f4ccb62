//! The shapes of the API's answers (Redis API, "Response structure", D/6293/65745, and the pages of the actions).
//! Read by hand from JSON values: every field may be absent, null, of a later make or a float, and none of that may
//! cost the rest of the answer.

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::cloud::text;
use crate::domain::{Backup, Failure, Instance, InstanceInfo, Kind, PolicyState};

use super::codes;

/// The code of every answer that cannot be what the API sends.
pub const NOT_PROMISED: &str = "an answer that is not what the API promises";

/// A successful answer.
#[derive(Debug)]
pub struct Answer {
    pub request_id: Option<String>,
    /// Null where the action returns nothing.
    pub result: Value,
}

/// One page of a listing of backups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupPage {
    /// How many the cloud says there are over all pages.
    pub total: Option<u64>,
    /// How many records the page had, those included that are left out of `backups` because they have no id.
    pub records: usize,
    pub backups: Vec<Backup>,
}

/// One page of a listing of instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstancePage {
    /// How many the cloud says there are over all pages.
    pub total: Option<u64>,
    /// How many records the page had, those included that are left out of `instances` because they have no id.
    pub records: usize,
    pub instances: Vec<Instance>,
}

/// Takes the envelope off. Any status but 200 is a failure, and so is 200 with an error in it, as the SDKs see it.
pub fn answer(
    action: &'static str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Answer, Failure> {
    let fail = |kind, code, message, request_id| Failure {
        kind,
        action,
        code,
        message,
        request_id,
        retry_after: text::retry_after(headers, now),
    };
    if status.is_redirection() {
        return Err(fail(Kind::CloudUnavailable, "redirect refused".to_owned(), None, None));
    }
    let value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let metadata = value.get("ResponseMetadata").filter(|m| m.is_object());
    let request_id = metadata.and_then(|m| text_of(m, "RequestId")).and_then(text::request_id);
    if let Some((code, message)) = error_in(&value) {
        let kind = codes::kind(&code, status);
        let shown = text::code(&code).unwrap_or_else(|| http_code(status));
        return Err(fail(kind, shown, message.and_then(text::message), request_id));
    }
    if status != StatusCode::OK {
        return Err(fail(codes::kind("", status), http_code(status), None, request_id));
    }
    let result = value.get("Result").cloned().unwrap_or_default();
    // An error without a code is none of the API's, but no success either: a change must not count as accepted.
    if metadata.is_none() && result.is_null() || metadata.and_then(|m| m.get("Error")).is_some_and(says) {
        return Err(fail(Kind::CloudUnavailable, NOT_PROMISED.to_owned(), None, request_id));
    }
    Ok(Answer { request_id, result })
}

fn http_code(status: StatusCode) -> String {
    format!("HTTP {}", status.as_u16())
}

/// Code and message of the usual form, or of the simple one that the gateway falls back to
/// (`{"HTTPCode", "errorcode", "message"}`; Volcengine SDK, `VolcengineSimpleError`).
fn error_in(value: &Value) -> Option<(String, Option<&str>)> {
    if let Some(error) = value.get("ResponseMetadata").and_then(|m| m.get("Error")) {
        let number = || error.get("CodeN").and_then(whole).filter(|n| *n != 0).map(|n| n.to_string());
        let code = text_of(error, "Code").map(str::to_owned).or_else(number);
        return code.map(|code| (code, text_of(error, "Message")));
    }
    text_of(value, "errorcode").map(|code| (code.to_owned(), text_of(value, "message")))
}

/// Whether anything is in it; an SDK that writes its types' zero values says nothing by them.
fn says(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => items.iter().any(says),
        Value::Object(fields) => fields.values().any(says),
        Value::Bool(true) => true,
    }
}

impl Answer {
    /// The instance that the answer says it is about.
    pub fn instance_id(&self) -> Option<&str> {
        text_of(&self.result, "InstanceId")
    }

    /// DescribeCrossRegionBackupPolicy. The error says what is missing.
    pub fn policy(&self) -> Result<PolicyState, &'static str> {
        let active = self.result.get("Active").and_then(Value::as_bool).ok_or("Active is missing")?;
        Ok(PolicyState {
            active,
            cross_backup_region: owned(&self.result, "CrossBackupRegion"),
            ttl_days: self.result.get("TTL").and_then(whole),
        })
    }

    /// DescribeAvailableCrossRegion: no list and null are the empty list, as the SDKs read them.
    pub fn regions(&self) -> Result<Vec<String>, &'static str> {
        let regions = list(self.object()?, "TargetRegionIds").ok_or("TargetRegionIds is no list")?;
        Ok(regions.iter().filter_map(Value::as_str).filter(|r| !r.is_empty()).map(str::to_owned).collect())
    }

    /// DescribeCrossRegionBackups.
    pub fn backups(&self) -> Result<BackupPage, &'static str> {
        let (total, records) = self.page("Total", "Backups")?;
        Ok(BackupPage { total, records: records.len(), backups: records.iter().filter_map(backup).collect() })
    }

    /// DescribeDBInstances.
    pub fn instances(&self) -> Result<InstancePage, &'static str> {
        let (total, records) = self.page("TotalInstancesNum", "Instances")?;
        Ok(InstancePage {
            total,
            records: records.len(),
            instances: records.iter().filter_map(instance).collect(),
        })
    }

    fn object(&self) -> Result<&Map<String, Value>, &'static str> {
        self.result.as_object().ok_or("Result is missing")
    }

    /// An answer with neither the total nor the list, or with a total and no list, must not read as "there are none".
    fn page(&self, total: &str, records: &str) -> Result<(Option<u64>, &[Value]), &'static str> {
        let result = self.object()?;
        let total = result.get(total).and_then(whole).and_then(|t| u64::try_from(t).ok());
        let list = list(result, records).ok_or("the list is no list")?;
        let has_list = result.get(records).is_some_and(Value::is_array);
        if !has_list && total != Some(0) {
            return Err("the list is missing");
        }
        Ok((total, list))
    }
}

fn backup(record: &Value) -> Option<Backup> {
    let info = record.get("InstanceInfo");
    let provider_status = owned(record, "Status");
    Some(Backup {
        backup_point_id: owned(record, "BackupPointId")?,
        instance_id: owned(record, "InstanceId").or_else(|| owned(info?, "InstanceId")).unwrap_or_default(),
        backup_point_name: owned(record, "BackupPointName"),
        strategy: owned(record, "BackupStrategy"),
        backup_type: owned(record, "BackupType"),
        status: provider_status.clone().unwrap_or_else(|| "Unknown".to_owned()),
        provider_status,
        source_region: owned(record, "SourceRegion"),
        target_region: owned(record, "TargetRegion"),
        start_time: time(record, "StartTime"),
        end_time: time(record, "EndTime"),
        size_bytes: record.get("Size").and_then(whole),
        ttl_days: record.get("TTL").and_then(whole),
        project_name: owned(record, "ProjectName"),
        instance: info.filter(|i| i.is_object()).map(|info| InstanceInfo {
            name: owned(info, "InstanceName"),
            engine_version: owned(info, "EngineVersion"),
        }),
    })
}

fn instance(record: &Value) -> Option<Instance> {
    Some(Instance {
        id: owned(record, "InstanceId")?,
        name: owned(record, "InstanceName"),
        region: owned(record, "RegionId"),
        status: owned(record, "Status"),
        class: owned(record, "InstanceClass"),
        engine_version: owned(record, "EngineVersion"),
        project_name: owned(record, "ProjectName"),
    })
}

/// A text that is there and not empty: the API says "" for what is not there, such as ExpiredTime.
fn text_of<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str().filter(|t| !t.is_empty())
}

fn owned(object: &Value, name: &str) -> Option<String> {
    text_of(object, name).map(str::to_owned)
}

fn time(object: &Value, name: &str) -> Option<Timestamp> {
    text_of(object, name)?.parse().ok()
}

/// A whole number, also where it is written as a float (7.0). Beyond 2^53 a float is no exact number any more.
fn whole(value: &Value) -> Option<i64> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    value
        .as_i64()
        .or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && f.abs() <= EXACT).map(|f| f as i64))
}

/// The list; empty where it is absent or null; `None` where something else stands there.
fn list<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a [Value]> {
    match object.get(name) {
        None | Some(Value::Null) => Some(&[]),
        Some(value) => value.as_array().map(Vec::as_slice),
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
