//! Parses the API's responses ("Returned Results" of every API page, and the pages of the actions; the data types
//! RedisBackupSet and InstanceSet) by hand from JSON values: every field may be absent, null, of a later API version or
//! a float, and none of that may cost the rest of the response.

use std::fmt;

use http::StatusCode;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde_json::{Map, Value};

use crate::cloud::api_client::{ApiResponse, MALFORMED_RESPONSE, ResponseHead};
use crate::cloud::json::{self, count, has_content, owned_text, plain, text_of, whole};
use crate::cloud::page::{BackupPage, InstancePage};
use crate::cloud::text;
use crate::domain::{Backup, BackupDetail, Failure, Instance, InstanceInfo, Kind};

use super::codes;
use super::detail_filter::FilteredJson;

/// A successful response: the content of `Response`.
pub struct Answer {
    pub request_id: Option<String>,
    pub response: Map<String, Value>,
}

/// Omits the response: those of STS are secret.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

impl ApiResponse for Answer {
    fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

/// Unwraps a response. The cloud sends errors with status 200 too.
pub fn answer(head: &ResponseHead<'_>, body: &[u8]) -> Result<Answer, Failure> {
    unwrap_envelope(head, serde_json::from_slice(body).unwrap_or_default(), codes::kind)
}

/// Unwraps a response of DescribeBackupDetail, of which only a part is read, without the cloud's free text.
pub fn detail_answer(head: &ResponseHead<'_>, body: &[u8]) -> Result<Answer, Failure> {
    let FilteredJson(body) = serde_json::from_slice(body).unwrap_or_default();
    unwrap_envelope(head, body, codes::kind)
}

/// Unwraps a response of an API with codes of its own; `kind` maps them.
pub fn unwrap_envelope(
    head: &ResponseHead<'_>,
    mut body: Value,
    kind: impl Fn(&str, StatusCode) -> Kind,
) -> Result<Answer, Failure> {
    head.reject_redirect()?;
    let request_id = body.get("Response").and_then(|r| text_of(r, "RequestId"));
    let request_id = request_id.and_then(|id| text::request_id(head.redactor, id));
    head.reject_error(error_in(&body), request_id.as_ref(), kind)?;
    match body.get_mut("Response").map(Value::take) {
        // The API sends no error without a code, but that is no success either.
        Some(Value::Object(response)) if !response.get("Error").is_some_and(has_content) => {
            Ok(Answer { request_id, response })
        }
        _ => Err(head.failure(Kind::CloudUnavailable, MALFORMED_RESPONSE, request_id)),
    }
}

/// Returns code and message, in the usual form or in that of older gateways (`{"code", "message", "codeDesc"}`; the
/// official Go SDK reads both).
fn error_in(body: &Value) -> Option<(String, Option<&str>)> {
    if let Some(error) = body.get("Response").and_then(|r| r.get("Error")) {
        return text_of(error, "Code").map(|code| (code.to_owned(), text_of(error, "Message")));
    }
    let number = body.get("code").and_then(whole).filter(|code| *code != 0)?;
    let code = text_of(body, "codeDesc").map_or_else(|| number.to_string(), str::to_owned);
    Some((code, text_of(body, "message")))
}

impl Answer {
    /// Parses DescribeInstanceBackups. `region`: the one that was queried; `zone`: that of the times.
    pub fn backups(&self, region: &str, zone: Offset) -> Result<BackupPage, &'static str> {
        // The documents' own sample names the list after its type.
        let name = if self.response.contains_key("BackupSet") { "BackupSet" } else { "RedisBackupSet" };
        let (total, records) = json::page(&self.response, "TotalCount", name)?;
        Ok(BackupPage {
            total,
            records: records.len(),
            backups: records.iter().filter_map(|record| backup(record, region, zone)).collect(),
        })
    }

    /// Parses DescribeBackupDetail: the backup's id, and its other data.
    pub fn detail(&self) -> Result<(&str, BackupDetail), &'static str> {
        let text = |name| self.response.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
        let number = |name| self.response.get(name).and_then(count);
        let id = text("BackupId").ok_or("BackupId is missing")?;
        let detail = BackupDetail {
            locked: self.response.get("Locked").and_then(flag),
            remark: text("Remark").map(plain),
            instance_type: number("InstanceType"),
            mem_size_mib: number("MemSize"),
            shard_num: number("ShardNum"),
            replicas_num: number("ReplicasNum"),
        };
        Ok((id, detail))
    }

    /// Parses DescribeInstances.
    pub fn instances(&self) -> Result<InstancePage, &'static str> {
        let (total, records) = json::page(&self.response, "TotalCount", "InstanceSet")?;
        Ok(InstancePage {
            total,
            records: records.len(),
            instances: records.iter().filter_map(instance).collect(),
        })
    }
}

fn backup(record: &Value, region: &str, zone: Offset) -> Option<Backup> {
    let end_time = time(record, "EndTime", zone);
    let provider_status = code_text(record, "Status");
    let provider_type = code_text(record, "BackupType");
    Some(Backup {
        backup_point_id: owned_text(record, "BackupId")?,
        instance_id: owned_text(record, "InstanceId").unwrap_or_default(),
        strategy: provider_type.as_deref().map(|code| strategy(code).to_owned()),
        provider_type,
        backup_type: record.get("FullBackup").and_then(whole).and_then(completeness).map(str::to_owned),
        status: status(provider_status.as_deref().unwrap_or_default(), end_time.is_some()).to_owned(),
        provider_status,
        source_region: owned_text(record, "Region").or_else(|| Some(region.to_owned())),
        start_time: time(record, "StartTime", zone),
        end_time,
        size_bytes: record.get("BackupSize").and_then(count),
        expiry_time: time(record, "ExpireTime", zone),
        instance: owned_text(record, "InstanceName")
            .map(|name| InstanceInfo { name: Some(name), engine_version: None }),
        detail: BackupDetail {
            locked: record.get("Locked").and_then(flag),
            remark: owned_text(record, "Remark"),
            instance_type: record.get("InstanceType").and_then(count),
            ..BackupDetail::default()
        },
        ..Backup::default()
    })
}

/// Returns the strategy of a BackupType. The documents disagree: those of DescribeBackupDetail and old ones of the list
/// have 1 manual and 0 automatic; the newest of the list, every official SDK and the samples have the mapping below.
/// The textual codes are those of the API's second version.
fn strategy(code: &str) -> &'static str {
    match code {
        "0" | "manualBackupInstance" => "ManualBackup",
        "1" | "systemBackupInstance" => "AutomatedBackup",
        "2" => "SpecificationChange",
        _ => "Unknown",
    }
}

/// Returns the type of a FullBackup code: "internal field" in the public documents; those of the private cloud's SDK
/// name the two.
fn completeness(code: i64) -> Option<&'static str> {
    match code {
        0 => Some("Full"),
        1 => Some("Incremental"),
        _ => None,
    }
}

/// Returns the status of a code. 1 is "in process" as a filter and "locked by another process" in a response: a backup
/// that has not ended is in process. -2 is documented for the filter only.
fn status(code: &str, ended: bool) -> &'static str {
    match code {
        "1" if ended => "Locked",
        "1" => "Creating",
        "2" => "Available",
        "3" => "Exporting",
        "4" => "Exported",
        "-1" => "Expired",
        "-2" => "Deleted",
        _ => "Unknown",
    }
}

/// Parses an instance. Engine ("Redis") and ProductVersion ("local", "cloud") are not engine versions.
fn instance(record: &Value) -> Option<Instance> {
    Some(Instance {
        id: owned_text(record, "InstanceId")?,
        name: owned_text(record, "InstanceName"),
        region: owned_text(record, "Region"),
        status: code_text(record, "Status"),
        class: None,
        engine_version: None,
        project_name: owned_text(record, "ProjectName"),
        tags: json::tags(record, "InstanceTags", ["TagKey", "TagValue"]),
    })
}

/// Returns a code as text, whether it came as a number or as text.
fn code_text(object: &Value, name: &str) -> Option<String> {
    let value = object.get(name)?;
    whole(value).map(|number| number.to_string()).or_else(|| owned_text(object, name))
}

/// Parses a flag: 0 or 1, or a boolean.
fn flag(value: &Value) -> Option<bool> {
    match whole(value) {
        Some(0) => Some(false),
        Some(1) => Some(true),
        _ => value.as_bool(),
    }
}

/// Parses `YYYY-MM-DD HH:MM:SS` in the account's zone. The cloud sends "" or "0000-00-00 00:00:00" for an absent time.
fn time(object: &Value, name: &str, zone: Offset) -> Option<Timestamp> {
    let local = DateTime::strptime("%Y-%m-%d %H:%M:%S", text_of(object, name)?).ok()?;
    json::time(zone.to_timestamp(local).ok())
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
