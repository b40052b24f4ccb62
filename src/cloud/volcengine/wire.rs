//! Parses the API's responses (Redis API, "Response structure", D/6293/65745, and the pages of the actions) by hand
//! from JSON values: every field may be absent, null, of a later API version or a float, and none of that may cost the
//! rest of the response.

use std::fmt;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::cloud::api_client::{ApiResponse, MALFORMED_RESPONSE, ResponseHead};
use crate::cloud::json::{self, count, has_content, list, owned_text, text_of, whole};
use crate::cloud::page::{BackupPage, InstancePage};
use crate::cloud::text;
use crate::domain::{Backup, Failure, Instance, InstanceInfo, Kind, PolicyState};

use super::codes;

/// A successful response.
pub struct Answer {
    pub request_id: Option<String>,
    /// Null if the action returns nothing.
    pub result: Value,
}

/// Omits the result: STS responses are secret.
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

/// Unwraps a response. Any status but 200 is a failure, and so is 200 with an error in it, as for the SDKs.
pub fn answer(head: &ResponseHead<'_>, body: &[u8]) -> Result<Answer, Failure> {
    unwrap_envelope(head, body, codes::kind)
}

/// Unwraps a response of an API with codes of its own; `kind` maps them.
pub fn unwrap_envelope(
    head: &ResponseHead<'_>,
    body: &[u8],
    kind: impl Fn(&str, StatusCode) -> Kind,
) -> Result<Answer, Failure> {
    head.reject_redirect()?;
    let mut value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let result = value.get_mut("Result").map(Value::take).unwrap_or_default();
    let metadata = value.get("ResponseMetadata").filter(|m| m.is_object());
    let request_id =
        metadata.and_then(|m| text_of(m, "RequestId")).and_then(|id| text::request_id(head.redactor, id));
    head.reject_error(error_in(&value), request_id.as_ref(), kind)?;
    // The API sends no error without a code, but that is no success either: a change must not count as accepted.
    if metadata.is_none() && result.is_null()
        || metadata.and_then(|m| m.get("Error")).is_some_and(has_content)
    {
        return Err(head.failure(Kind::CloudUnavailable, MALFORMED_RESPONSE, request_id));
    }
    Ok(Answer { request_id, result })
}

/// Returns code and message, in the usual form or in the simple one that the gateway falls back to (`{"HTTPCode",
/// "errorcode", "message"}`; Volcengine SDK, `VolcengineSimpleError`).
fn error_in(value: &Value) -> Option<(String, Option<&str>)> {
    if let Some(error) = value.get("ResponseMetadata").and_then(|m| m.get("Error")) {
        let number = || error.get("CodeN").and_then(whole).filter(|n| *n != 0).map(|n| n.to_string());
        let code = text_of(error, "Code").map(str::to_owned).or_else(number);
        return code.map(|code| (code, text_of(error, "Message")));
    }
    text_of(value, "errorcode").map(|code| (code.to_owned(), text_of(value, "message")))
}

impl Answer {
    /// Returns the instance that the response names.
    pub fn instance_id(&self) -> Option<&str> {
        text_of(&self.result, "InstanceId")
    }

    /// Parses DescribeCrossRegionBackupPolicy. The error names what is missing.
    pub fn policy(&self) -> Result<PolicyState, &'static str> {
        let active = self.result.get("Active").and_then(Value::as_bool).ok_or("Active is missing")?;
        Ok(PolicyState {
            active,
            cross_backup_region: owned_text(&self.result, "CrossBackupRegion"),
            ttl_days: self.result.get("TTL").and_then(count),
        })
    }

    /// Parses DescribeAvailableCrossRegion. An absent or null list is the empty list, as for the SDKs.
    pub fn regions(&self) -> Result<Vec<String>, &'static str> {
        let regions = list(self.object()?, "TargetRegionIds").ok_or("TargetRegionIds is no list")?;
        Ok(regions.iter().filter_map(Value::as_str).filter(|r| !r.is_empty()).map(json::plain).collect())
    }

    /// Parses DescribeCrossRegionBackups.
    pub fn backups(&self) -> Result<BackupPage, &'static str> {
        let (total, records) = json::page(self.object()?, "Total", "Backups")?;
        Ok(BackupPage { total, records: records.len(), backups: records.iter().filter_map(backup).collect() })
    }

    /// Parses DescribeDBInstances.
    pub fn instances(&self) -> Result<InstancePage, &'static str> {
        let (total, records) = json::page(self.object()?, "TotalInstancesNum", "Instances")?;
        Ok(InstancePage {
            total,
            records: records.len(),
            instances: records.iter().filter_map(instance).collect(),
        })
    }

    fn object(&self) -> Result<&Map<String, Value>, &'static str> {
        self.result.as_object().ok_or("Result is missing")
    }
}

fn backup(record: &Value) -> Option<Backup> {
    let info = record.get("InstanceInfo");
    let provider_status = owned_text(record, "Status");
    Some(Backup {
        backup_point_id: owned_text(record, "BackupPointId")?,
        instance_id: owned_text(record, "InstanceId")
            .or_else(|| owned_text(info?, "InstanceId"))
            .unwrap_or_default(),
        backup_point_name: owned_text(record, "BackupPointName"),
        strategy: owned_text(record, "BackupStrategy"),
        backup_type: owned_text(record, "BackupType"),
        status: provider_status.clone().unwrap_or_else(|| "Unknown".to_owned()),
        provider_status,
        source_region: owned_text(record, "SourceRegion"),
        target_region: owned_text(record, "TargetRegion"),
        start_time: time(record, "StartTime"),
        end_time: time(record, "EndTime"),
        size_bytes: record.get("Size").and_then(count),
        ttl_days: record.get("TTL").and_then(count),
        project_name: owned_text(record, "ProjectName"),
        instance: info.filter(|i| i.is_object()).map(|info| InstanceInfo {
            name: owned_text(info, "InstanceName"),
            engine_version: owned_text(info, "EngineVersion"),
        }),
        ..Backup::default()
    })
}

fn instance(record: &Value) -> Option<Instance> {
    Some(Instance {
        id: owned_text(record, "InstanceId")?,
        name: owned_text(record, "InstanceName"),
        region: owned_text(record, "RegionId"),
        status: owned_text(record, "Status"),
        class: owned_text(record, "InstanceClass"),
        engine_version: owned_text(record, "EngineVersion"),
        project_name: owned_text(record, "ProjectName"),
        tags: json::tags(record, "Tags", ["Key", "Value"]),
    })
}

fn time(object: &Value, name: &str) -> Option<Timestamp> {
    json::time(text_of(object, name)?.parse().ok())
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
